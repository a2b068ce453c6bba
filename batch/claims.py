"""Two rows must not write to one file."""

from __future__ import annotations

import argparse
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from batch.manifest import Row
from batch.options import cells_of
from reenactment.outputs import fill_pattern, name_outputs, parse_kinds
from utils.errors import UsageError
from utils.footage import SUFFIXES as VIDEOS


def claims(row: Row, base: argparse.Namespace) -> Iterator[str]:
    """The files that a row writes, where another one might; no file is looked into.

    base : the options given to the whole run; `output_pattern` names what no cell does.
    """
    cells = {**vars(base), **cells_of(row)}
    if cells["save_params"]:
        yield _place(str(cells["save_params"]))
    if cells["output_fp"] or "{index" not in base.output_pattern:
        yield from map(_place, _outputs(cells, row.number))


def _outputs(cells: dict[str, Any], number: int) -> Iterable[str]:
    """The outputs of a row; of one that will fail, the only one that it names, if it does."""
    source, target, output = (
        str(cells[name] or "") for name in ("source_img_fp", "target_img_fp", "output_fp")
    )
    moving = any(os.path.splitext(path)[1].lower() in VIDEOS for path in (source, target))
    try:
        opt = cells["opt"]
        kinds = parse_kinds([[opt]] if isinstance(opt, str) else opt, moving)
        if output:
            return name_outputs(source or None, target, kinds, output, moving).values()
        pattern = cells["output_pattern"]
        return fill_pattern(pattern, kinds, source or None, target, number, moving).values()
    except (UsageError, TypeError):
        return [output] if output else []


def _place(path: str) -> str:
    """The same text for the same file, whichever way there."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(_real(folder), name)


@lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def count_distinct(rows: Iterable[Row], base: argparse.Namespace) -> int:
    """Count the rows that can be iterated again, in 8 bytes of memory for each of their claims.

    Raises
    ------
    UsageError : two of them would write to one file.
    """
    count, hashes = 0, array("q")
    for row in rows:
        count += 1
        hashes.extend(hash(claim) for claim in claims(row, base))
    values, times = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    several = set(values[times > 1].tolist())
    if several:  # of a hash, which may be chance
        suspects = (row for row in rows
                    if any(hash(claim) in several for claim in claims(row, base)))
        for row in distinct(suspects, base):
            if row.problem:
                raise UsageError(f"row {row.number}: {row.problem}")
    return count


def distinct(rows: Iterable[Row], base: argparse.Namespace) -> Iterator[Row]:
    """The rows; one that would write to the file of an earlier one has that as its problem."""
    first: dict[str, int] = {}
    for row in rows:
        for claim in claims(row, base):
            earlier = first.setdefault(claim, row.number)
            if earlier != row.number:
                problem = f"writes to the same file as row {earlier}: {os.path.relpath(claim)}"
                row = replace(row, problem=problem)
        yield row
