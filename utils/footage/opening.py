"""Which names are of footage, and opening it."""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path

from utils.errors import InputError
from utils.footage.animations import is_animation, open_animation
from utils.footage.camera import PREFIX, open_device, played
from utils.footage.frames import Footage
from utils.footage.pictures import names_pictures, open_pictures
from utils.footage.times import at_rate, trimmed
from utils.io import PathLike, one_line, shown
from utils.remote import is_url

SUFFIXES = (  # of videos
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".y4m", ".mxf", ".vob",
)  # fmt: skip
_BY_OPENCV = (".webp", ".png")  # animations that it reads, and FFmpeg does not or less well


def is_footage(path: PathLike) -> bool:
    """Whether a name is of moving pictures.

    Those are videos, by their endings; `camera:0`, and `camera:FILE` for a file that plays at its
    own pace; folders, 'f/*.png' and 'f/%05d.png'; and GIF, WebP and PNG files that are animated.
    """
    name = os.fspath(path)
    if name.startswith(PREFIX) or Path(name).suffix.lower() in SUFFIXES:
        return True
    return not is_url(name) and (is_animation(name) or names_pictures(name))


def open_footage(
    path: PathLike, trim: tuple[float, float | None] = (0.0, None), fps: float | None = None
) -> Footage:
    """Moving pictures under a name that `is_footage`.

    Parameters
    ----------
    trim : the seconds to take of it, from one to the other; None is the end.
    fps : makes its rate constant; it is the rate of single pictures, which have none, and what a
        camera is asked for.

    Raises
    ------
    InputError : it is missing, unreadable, or holds no picture in these seconds.
    """
    footage = _open(os.fspath(path), fps)
    start, end = trim
    if footage.count is not None and start >= footage.count / footage.fps:
        raise InputError(f"cannot read {shown(path)}: it ends before second {start:g}")
    if start > 0 or end is not None:
        footage = trimmed(footage, start, end)
    return footage if fps is None or footage.live else at_rate(footage, fps)


def _open(name: str, fps: float | None) -> Footage:
    if name.startswith(PREFIX):
        camera = name[len(PREFIX):]
        if not camera:
            raise InputError(f"cannot read {PREFIX} without its number, such as {PREFIX}0")
        return open_device(int(camera), fps) if camera.isdecimal() else played(_open(camera, fps))
    if names_pictures(name):
        return open_pictures(name, fps)
    _check_readable(name)
    if Path(name).suffix.lower() in _BY_OPENCV:
        return open_animation(name)
    if find_spec("av"):
        from utils.footage.by_av import open_video
    else:
        from utils.footage.by_opencv import open_video
    return open_video(name)


def _check_readable(name: str) -> None:
    """Find out what libraries do not tell; raises InputError."""
    if is_url(name):
        raise InputError(f"cannot read {shown(name)}: what moves is read from files of this "
                         "machine; download it, and name the file")
    try:
        if stat.S_ISFIFO(os.stat(name).st_mode):
            raise InputError(f"cannot read {name}: a video has to be a file, and this is a pipe")
        open(name, "rb").close()
    except (OSError, ValueError) as error:  # a ValueError for names that cannot be
        raise InputError(f"cannot read {shown(name)}: {one_line(error)}; check the path") from error
