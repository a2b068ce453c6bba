"""What has been done: a file of JSON lines that only grows."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from utils.errors import InputError, OutputError, UsageError
from utils.io import PathLike, one_line, read_bytes
from utils.remote import is_url, size_of_url

DONE, FAILED = "done", "failed"


class Ledger:
    """The entries of a batch, by the digest of what was asked for; the last of each counts.

    An entry is in the file before `append` returns. A run that was killed may leave its last line
    torn: it is closed, and passed over. In memory an entry takes 16 bytes.

    Parameters
    ----------
    resume : go on with a file that is there; without, it must not be there.

    Raises
    ------
    UsageError : the file is there, or another run is writing to it.
    OutputError : the place cannot be written; InputError : the file is no ledger.
    """

    def __init__(self, path: PathLike, resume: bool = False) -> None:
        self.path = Path(path)
        if not resume and self.path.exists() and self.path.stat().st_size:
            raise UsageError(
                f"the ledger {path} is there: go on with --resume, or name another by --ledger"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = open(self.path, "a+b", buffering=0)  # noqa: SIM115, closed by `close`
        except OSError as error:
            raise OutputError(f"cannot write the ledger {path}: {one_line(error)}") from error
        self._lock()
        self._digests, self._offsets = self._index()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"the ledger {self.path} is in use by another run") from error

    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the entries stand, sorted by the heads of their digests, later ones behind."""
        heads, offsets = array("Q"), array("q")
        place, line = 0, b"\n"
        self._stream.seek(0)
        with open(self.path, "rb") as lines:
            for line in lines:
                entry = _parsed(line)
                if entry:
                    heads.append(_head(entry["digest"]))
                    offsets.append(place)
                elif place == 0 and line.endswith(b"\n"):
                    raise InputError(f"{self.path} is no ledger: its first line is no entry")
                place += len(line)
        if not line.endswith(b"\n"):
            self._stream.write(b"\n")
        order = np.argsort(heads, kind="stable")
        return np.array(heads, np.uint64)[order], np.array(offsets, np.int64)[order]

    def __len__(self) -> int:
        """How many entries there were when it was opened."""
        return len(self._offsets)

    def last(self, digest: str) -> dict[str, Any] | None:
        """The last entry of a digest, of those that were there when the ledger was opened."""
        end = int(np.searchsorted(self._digests, np.uint64(_head(digest)), "right"))
        while end and self._digests[end - 1] == _head(digest):
            end -= 1
            self._stream.seek(int(self._offsets[end]))
            entry = _parsed(_read_line(self._stream))
            if entry and entry["digest"] == digest:
                return entry
        return None

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry, which has a `digest`; raises OutputError."""
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            if self._stream.write(line) != len(line):
                raise OSError("the disk seems to be full")
        except OSError as error:
            raise OutputError(f"cannot write the ledger {self.path}: {one_line(error)}") from error

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_entries(path: PathLike) -> Iterator[dict[str, Any]]:
    """The entries of a ledger, oldest first; torn lines are passed over."""
    with open(path, "rb") as lines:
        yield from filter(None, map(_parsed, lines))


def intact(outputs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether files are as an entry describes them; see `describe`.

    One whose size and time are right is believed; else its content decides.
    """
    for path, known in outputs.items():
        try:
            size, time = _size_and_time(path)
        except OSError:
            return False
        if size != known["bytes"]:
            return False
        believed = time is not None and time == known["mtime_ns"]
        if not believed and describe(path)["sha256"] != known["sha256"]:
            return False
    return True


def describe(path: str) -> dict[str, Any]:
    """Size, time and digest of a file, for an entry."""
    import hashlib

    content = read_bytes(path)
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "mtime_ns": _size_and_time(path)[1],
    }


def _size_and_time(path: str) -> tuple[int, int | None]:
    """Of a file; the time of what a URL names is not known. Raises OSError."""
    if is_url(path):
        return size_of_url(path), None
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _head(digest: str) -> int:
    """Eight bytes of a digest; no digest of ours has the same as another by chance."""
    return int(digest[:16], 16)


def _read_line(stream: Any) -> bytes:
    """A line of an unbuffered file; `readline` would read it byte by byte."""
    parts = []
    while part := stream.read(4096):
        end = part.find(b"\n")
        parts.append(part[: end + 1] if end >= 0 else part)
        if end >= 0:
            break
    return b"".join(parts)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None if it is torn, or another's."""
    try:
        entry = json.loads(line)
        int(entry["digest"][:16], 16)
    except (ValueError, TypeError, LookupError):
        return None
    return entry if "status" in entry else None
