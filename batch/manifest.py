"""Rows of a batch: from a manifest, or from pairs of files."""

from __future__ import annotations

import csv
import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TextIO

from reenactment.param_file import is_param_file
from utils.errors import InputError, UsageError
from utils.footage import SUFFIXES as VIDEOS
from utils.image import SUFFIXES as PICTURES
from utils.io import one_line

STDIN = "-"
_PARQUET_BATCH = 1024  # rows
_INPUTS = {*PICTURES, ".heic", ".heif", *VIDEOS}


@dataclass(frozen=True)
class Row:
    """A row: its number from 1 on, its cells by column, and why it cannot be read, if so."""

    number: int
    cells: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


class Manifest:
    """The rows of a `.csv`, `.jsonl` or `.parquet` file, or of stdin; read as they are asked for.

    Iterating again reads the file again; stdin can be iterated once.

    Raises
    ------
    UsageError : another ending.
    InputError : the file is missing or damaged as a whole.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.once = path == STDIN
        if not self.once and Path(path).suffix.lower() not in _READERS:
            endings = ", ".join(_READERS)
            raise UsageError(f"--batch: {path} must end in {endings}, or be - for stdin")

    def __iter__(self) -> Iterator[Row]:
        try:
            if self.once:
                yield from _stream_rows(sys.stdin)
            else:
                yield from _READERS[Path(self.path).suffix.lower()](self.path)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"cannot read {self.path}: {one_line(error)}") from error


def _stream_rows(stream: TextIO) -> Iterator[Row]:
    """CSV or JSON lines, whichever the first line is."""
    first = stream.readline()
    read = _jsonl_rows if first.lstrip().startswith("{") else _csv_rows
    return read(_chain(first, stream))


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv_rows(lines: Iterable[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines)
    for number, cells in enumerate(reader, 1):
        if None in cells:
            yield Row(number, problem=f"more cells than the {len(reader.fieldnames or ())} columns")
        else:
            yield Row(number, {k: v for k, v in cells.items() if v not in (None, "")})


def _jsonl_rows(lines: Iterable[str]) -> Iterator[Row]:
    filled = (line for line in lines if line.strip())
    for number, line in enumerate(filled, 1):
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, problem=f"no JSON: {one_line(error)}")
            continue
        if isinstance(cells, dict):
            yield Row(number, {k: v for k, v in cells.items() if v is not None})
        else:
            yield Row(number, problem=f"expected a JSON object, got {line.strip():.40}")


def _read_csv(path: str) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        yield from _csv_rows(stream)


def _read_jsonl(path: str) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig") as stream:
        yield from _jsonl_rows(stream)


def _read_parquet(path: str) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError(
            "--batch: a .parquet manifest needs pyarrow (pip install pyarrow); else give .csv"
        ) from error
    try:
        batches = parquet.ParquetFile(path).iter_batches(_PARQUET_BATCH)
        cells = (row for batch in batches for row in batch.to_pylist())
        for number, row in enumerate(cells, 1):
            yield Row(number, {k: v for k, v in row.items() if v is not None})
    except ValueError as error:  # pyarrow's errors are kinds of it
        raise InputError(f"cannot read {path}: {one_line(error)}") from error


_READERS: dict[str, Callable[[str], Iterator[Row]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


class Pairs:
    """Rows made of sources and targets, each a file, a folder or a glob.

    Parameters
    ----------
    how : of `PAIRINGS`: 'zip' pairs the first with the first, …; 'product' each with each;
        'one-to-many' a single source with each target.

    Raises
    ------
    UsageError : they cannot be paired so, or nothing matches.
    """

    once = False

    def __init__(self, sources: str, targets: str, how: str) -> None:
        self._sources, self._targets = matching(sources), matching(targets)
        counts = len(self._sources), len(self._targets)
        if how == "zip" and counts[0] != counts[1]:
            raise UsageError(f"--pairs zip: {counts[0]} sources, but {counts[1]} targets")
        if how == "one-to-many" and counts[0] != 1:
            raise UsageError(f"--pairs one-to-many: {counts[0]} sources; give one")
        self._zipped = how == "zip"

    def __iter__(self) -> Iterator[Row]:
        pairs = (zip if self._zipped else product)(self._sources, self._targets)
        for number, (source, target) in enumerate(pairs, 1):
            yield Row(number, {"source": source, "target": target})


def matching(pattern: str) -> list[str]:
    """The pictures and parameter files that a file name, a folder or a glob stands for, sorted.

    Raises
    ------
    UsageError : there are none.
    """
    if os.path.isdir(pattern):
        names = sorted(entry.path for entry in os.scandir(pattern) if entry.is_file())
        found = [name for name in names if _looks_usable(name)]
    elif os.path.exists(pattern):
        found = [pattern]
    else:
        found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise UsageError(f"{pattern} matches no picture or video")
    return found


def _looks_usable(name: str) -> bool:
    """Whether a file of a folder is meant: a picture, a video or parameters, and not hidden."""
    hidden = os.path.basename(name).startswith(".")
    return not hidden and (Path(name).suffix.lower() in _INPUTS or is_param_file(name))
