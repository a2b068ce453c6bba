"""The user's cache folder: what we can make again at any time.

Several machines may share it, so what was used today does not go because something else has come.
What nobody has used for a month goes when there is something new to keep, and for want of room what
nobody has used for a day, the oldest first; what finds no room then is not kept.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DAY = 24 * 3600  # seconds
MAX_AGE = 30 * DAY  # since an entry was used
MAX_SIZE = 1 << 30  # bytes; the networks of a config take 17 MB for each kind of processor


def cache_folder() -> Path:
    """Where the entries lie, files or folders; it need not be there.

    Raises
    ------
    OSError : there is no such place, as for users without a home.
    """
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        return (Path(root) if root else Path.home() / ".cache") / "face_reenactment"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def note_use(entry: Path) -> None:
    """Let the age of an entry begin anew."""
    with suppress(OSError):
        os.utime(entry)


def make_room(size: int) -> None:
    """Remove the entries that are too old, for one of `size` bytes; the folder is there then.

    Raises
    ------
    OSError : there is no room, or no folder.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    now, room = time.time(), MAX_SIZE - size - _size(folder)
    for used, entry in sorted(_entries(folder)):
        if now - used < (MAX_AGE if room >= 0 else DAY):
            break
        with suppress(OSError):  # another process was faster
            room += _size(entry)
            _remove(entry)
    if room < 0:
        raise OSError(f"{folder} is full: {-room >> 10} KiB more than {MAX_SIZE >> 20} MiB")


def _entries(folder: Path) -> Iterator[tuple[float, Path]]:
    """What the folder holds, and when each was used last."""
    for entry in folder.iterdir():
        with suppress(OSError):
            yield entry.stat().st_mtime, entry


def _size(entry: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [entry] if entry.is_file() else [f for f in entry.rglob("*") if f.is_file()]
    return sum(file.stat().st_size for file in files)


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink()
