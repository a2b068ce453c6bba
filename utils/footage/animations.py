"""Animated pictures: telling them from still ones, and reading those that are no videos."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from pathlib import Path

import cv2
import numpy as np

from utils.errors import InputError
from utils.footage.frames import Footage, Frame, Tally
from utils.image import as_bgr
from utils.io import read_bytes, shown

_HEADER = 1 << 16  # bytes, within which most pictures tell whether they move
_LEAST = 0.01  # seconds that a picture is seen at least; browsers do the same
# Of GIF, the end of a block, an extension that tells how long a picture is seen, and a picture.
_GIF_PICTURE = re.compile(rb"\x00\x21\xf9\x04.{4}\x00[\x2c\x21]", re.DOTALL)


def _is_moving_gif(start: bytes) -> bool:
    return start[:3] == b"GIF" and len(_GIF_PICTURE.findall(start)) > 1


def _is_moving_webp(start: bytes) -> bool:
    """Whether the header has the flag of animations (RFC 9649, 2.7)."""
    return start[8:16] == b"WEBPVP8X" and bool(start[20] & 2)


def _is_moving_png(start: bytes) -> bool:
    """Whether a chunk that controls animations comes before the pixels (PNG, third edition)."""
    return start[:4] == b"\x89PNG" and b"acTL" in start.partition(b"IDAT")[0]


_MOVING: dict[str, Callable[[bytes], bool]] = {
    ".gif": _is_moving_gif,
    ".webp": _is_moving_webp,
    ".png": _is_moving_png,
}


def is_animation(path: str) -> bool:
    """Whether a file is a picture that moves, by its content; looks at a part of it only."""
    moving = _MOVING.get(Path(path).suffix.lower())
    if moving is None:
        return False
    try:
        with open(path, "rb") as stream:
            return moving(stream.read(_HEADER))
    except (OSError, ValueError):
        return False


def open_animation(path: str) -> Footage:
    """An animated WebP or PNG file; all of its pictures are decoded at once.

    Raises
    ------
    InputError : it is damaged, or this release of OpenCV reads no such files.
    """
    if not hasattr(cv2, "imdecodeanimation"):
        raise InputError(f"cannot read {shown(path)}: animations need OpenCV 4.11 or later")
    content = np.frombuffer(read_bytes(path), np.uint8)
    decoded, animation = cv2.imdecodeanimation(content)
    if not decoded or not animation.frames:
        raise InputError(f"cannot read {shown(path)}: it is a damaged animation")
    pictures = [as_bgr(img) for img in animation.frames]
    lengths = np.maximum(np.asarray(animation.durations).ravel() / 1000, _LEAST)
    times = np.cumsum(lengths) - lengths
    tally = Tally()

    def read(start: float) -> Generator[Frame, None, None]:
        tally.begin()
        for number, (img, seconds) in enumerate(zip(pictures, times.tolist())):
            tally.frames += 1
            yield Frame(img.copy(), number, seconds)

    size = (pictures[0].shape[1], pictures[0].shape[0])
    return Footage(path, size, 1 / float(lengths.mean()), read, len(pictures), tally=tally)
