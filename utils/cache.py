"""The user's cache folder: what we can make again at any time.

Several machines may share it, so nothing goes because something else has come. What nobody has used
for a month goes when there is something new to keep, and what finds no room is not kept.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

MAX_AGE = 30 * 24 * 3600  # seconds since an entry was used
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
    oldest = time.time() - MAX_AGE
    for entry in folder.iterdir():
        with suppress(OSError):  # another process was faster
            if entry.stat().st_mtime < oldest:
                _remove(entry)
    used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if used + size > MAX_SIZE:
        raise OSError(f"{folder} is full: it holds {used >> 20} of {MAX_SIZE >> 20} MiB")


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink()
