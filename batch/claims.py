"""No row may write to a file that another one writes or reads."""

from __future__ import annotations

import argparse
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from batch.manifest import Row
from batch.options import cells_of
from reenactment.outputs import fill_pattern, name_outputs, parse_kinds
from utils.errors import UsageError
from utils.footage import SUFFIXES as VIDEOS


class Claims(NamedTuple):
    """The files that a row writes, and those that it reads; no file is looked into."""

    written: list[str]
    read: list[str]

    @classmethod
    def of(cls, row: Row, base: argparse.Namespace) -> Claims:
        """base : the options given to the whole run; `output_pattern` names what no cell does."""
        cells = {**vars(base), **cells_of(row)}
        written = [*_outputs(cells, row.number), *filter(None, [cells["save_params"]])]
        read = filter(None, (cells[name] for name in _INPUTS))
        return cls(*([_place(str(path)) for path in paths] for paths in (written, read)))


_INPUTS = ("source_img_fp", "target_img_fp", "neutral_img_fp")


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
    """Count the rows that can be iterated again, in 8 bytes of memory for each file they name.

    Raises
    ------
    UsageError : two of them would write to one file, or one to what another one reads.
    """
    count, written, read = 0, array("q"), array("q")
    for row in rows:
        count += 1
        claims = Claims.of(row, base)
        written.extend(map(hash, claims.written))
        read.extend(map(hash, claims.read))
    several = _several(written, read)
    if several:  # of a hash, which may be chance, or of a row's own files, which it finds out
        suspects = (row for row in rows
                    if any(hash(file) in several for file in sum(Claims.of(row, base), [])))
        for row in distinct(suspects, base):
            if row.problem:
                raise UsageError(f"row {row.number}: {row.problem}")
    return count


def _several(written: array[int], read: array[int]) -> set[int]:
    """The hashes of files that are written twice, or written and read."""
    values, times = np.unique(np.frombuffer(written, np.int64), return_counts=True)
    both = np.intersect1d(values, np.frombuffer(read, np.int64))
    return {*values[times > 1].tolist(), *both.tolist()}


def distinct(rows: Iterable[Row], base: argparse.Namespace) -> Iterator[Row]:
    """The rows; one that is in the way of an earlier one has that as its problem."""
    writers: dict[str, int] = {}
    readers: dict[str, int] = {}
    for row in rows:
        claims = Claims.of(row, base)
        problems = [
            *_met(claims.written, writers, "writes to the same file as row"),
            *_met(claims.written, readers, "writes over what is read by row"),
            *_met(claims.read, writers, "reads what is written by row"),
        ]
        for files, users in ((claims.written, writers), (claims.read, readers)):
            for file in files:
                users.setdefault(file, row.number)
        yield replace(row, problem=problems[0]) if problems else row


def _met(files: list[str], users: dict[str, int], how: str) -> Iterator[str]:
    for file in files:
        if file in users:
            yield f"{how} {users[file]}: {os.path.relpath(file)}"
