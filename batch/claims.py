"""Two rows must not write to one file."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from batch.manifest import Row
from reenactment.outputs import names_folder
from utils.errors import UsageError


def claims(cells: Mapping[str, Any], pattern: str) -> Iterator[str]:
    """What names the files of a row: the same text for the same files."""
    if "save_params" in cells:
        yield os.path.normpath(str(cells["save_params"]))
    output = str(cells.get("output", cells.get("output_fp", "")))
    names = [Path(str(cells.get(role, ""))).stem for role in ("source", "target")]
    if output and not names_folder(output):
        yield os.path.normpath(output)
    elif output or "{index" not in pattern:
        yield "\n".join([os.path.normpath(output), *names, str(cells.get("opt", ""))])


def count_distinct(rows: Iterable[Row], pattern: str) -> int:
    """Count the rows that can be iterated again, in 8 bytes of memory for each.

    Raises
    ------
    UsageError : two of them would write to one file.
    """
    count, hashes = 0, array("q")
    for row in rows:
        count += 1
        hashes.extend(hash(claim) for claim in claims(row.cells, pattern))
    values, times = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    several = set(values[times > 1].tolist())
    if several:  # of a hash, which may be chance
        suspects = (row for row in rows
                    if any(hash(claim) in several for claim in claims(row.cells, pattern)))
        for row in distinct(suspects, pattern):
            if row.problem:
                raise UsageError(f"row {row.number}: {row.problem}")
    return count


def distinct(rows: Iterable[Row], pattern: str) -> Iterator[Row]:
    """The rows; one that would write to the file of an earlier one has that as its problem."""
    first: dict[str, int] = {}
    for row in rows:
        for claim in claims(row.cells, pattern):
            earlier = first.setdefault(claim, row.number)
            if earlier != row.number:
                place = claim.strip().replace("\n", " ")
                row = replace(row, problem=f"writes to the same file as row {earlier}: {place}")
        yield row
