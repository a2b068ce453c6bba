"""Which names are of footage, and opening it."""

from __future__ import annotations

from pathlib import Path

from utils.errors import InputError
from utils.footage.frames import Footage
from utils.footage.times import at_rate, trimmed
from utils.io import PathLike, shown

SUFFIXES = (  # of videos
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".y4m", ".mxf", ".vob", ".gif",
)  # fmt: skip


def is_footage(path: PathLike) -> bool:
    """Whether a name is of moving pictures; looks into no video."""
    return Path(path).suffix.lower() in SUFFIXES


def open_footage(
    path: PathLike, trim: tuple[float, float | None] = (0.0, None), fps: float | None = None
) -> Footage:
    """Moving pictures under a name that `is_footage`.

    Parameters
    ----------
    trim : the seconds to take of it, from one to the other; None is the end.
    fps : makes its rate constant.

    Raises
    ------
    InputError : it is missing, unreadable, or holds no picture in these seconds.
    """
    from utils.footage.by_av import open_video

    footage = open_video(path)
    start, end = trim
    if start > 0 or end is not None:
        footage = trimmed(footage, start, end)
        if footage.count == 0:
            raise InputError(f"cannot read {shown(path)}: it ends before second {start:g}")
    return footage if fps is None else at_rate(footage, fps)


