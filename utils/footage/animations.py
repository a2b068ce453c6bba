"""Animated pictures: telling them from still ones, and reading those that are no videos."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Union

import cv2
import numpy as np

from utils.errors import InputError
from utils.footage.frames import Footage, Frame, Tally
from utils.image import as_bgr
from utils.io import read_bytes, shown

Content = Union[bytes, mmap]  # of a file
_HEADER = 1 << 16  # bytes, within which WebP and most PNG files tell whether they move
_LEAST = 0.01  # seconds that a picture is seen at least; browsers do the same
# Of GIF, the end of a block, an extension that tells how long a picture is seen, and a picture.
_GIF_PICTURE = re.compile(rb"\x00\x21\xf9\x04.{4}\x00[\x2c\x21]", re.DOTALL)


def _is_moving_gif(content: Content) -> bool:
    """Whether it holds two pictures; what comes after them is not looked at."""
    return content[:3] == b"GIF" and len([*islice(_GIF_PICTURE.finditer(content), 2)]) == 2


def _is_moving_webp(content: Content) -> bool:
    """Whether the header has the flag of animations (RFC 9649, 2.7)."""
    start = content[:_HEADER]
    return start[8:16] == b"WEBPVP8X" and bool(start[20] & 2)


def _is_moving_png(content: Content) -> bool:
    """Whether a chunk that controls animations comes before the pixels (PNG, third edition)."""
    start = content[:_HEADER]
    return start[:4] == b"\x89PNG" and b"acTL" in start.partition(b"IDAT")[0]


_MOVING: dict[str, Callable[[Content], bool]] = {
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
        with open(path, "rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
            return moving(content)
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
    alphas = [img[..., 3] if img.shape[2] == 4 else None for img in animation.frames]
    lengths = np.maximum(np.asarray(animation.durations).ravel() / 1000, _LEAST)
    times = np.cumsum(lengths) - lengths

    def read(start: float, tally: Tally) -> Generator[Frame, None, None]:
        shown = zip(pictures, times.tolist(), lengths.tolist(), alphas)
        for number, (img, seconds, lasts, alpha) in enumerate(shown):
            tally.frames += 1
            yield Frame(img.copy(), number, seconds, lasts, alpha)

    size = (pictures[0].shape[1], pictures[0].shape[0])
    return Footage(path, size, 1 / float(lengths.mean()), read, len(pictures))
