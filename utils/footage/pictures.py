"""Footage of pictures: numbered ones, all of a folder, or animations in one file."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from utils.errors import InputError
from utils.footage.frames import DEFAULT_FPS, MAX_DAMAGED, Footage, Frame, Tally
from utils.image import SUFFIXES, Picture, read_picture
from utils.io import shown

_MAGIC = re.compile(r"[*?[]")  # in patterns that the shell knows, too
NUMBER = re.compile(r"%0?(\d*)d")  # in patterns of numbered files


def numbered_name(pattern: str, number: int) -> str:
    """The name of a file of a pattern such as 'f/%05d.png'."""
    return NUMBER.sub(lambda found: f"{number:0{found[1] or 1}d}", pattern)


def is_numbered_as(path: str, pattern: str) -> bool:
    """Whether a file has a name of that pattern."""
    folder, name = os.path.split(path)
    other, stem = os.path.split(pattern)
    parts = NUMBER.split(stem)  # and between the names' parts, how many digits
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = (f"\\d{{{digits or 1},}}" for digits in parts[1::2])
    same = os.path.realpath(folder) == os.path.realpath(other)
    return same and re.fullmatch("".join(parts), name) is not None


def names_pictures(path: str) -> bool:
    """Whether a name is a folder's, a pattern such as 'f/*.png' or 'f/%05d.png'."""
    if os.path.isfile(path):
        return False
    patterns = _MAGIC.search(path) or NUMBER.search(Path(path).name)
    return os.path.isdir(path) or patterns is not None


def files_of(path: str) -> list[str]:
    """The files that a name stands for: its own, or those of pictures in order."""
    return pictures_of(path) if names_pictures(path) else [path]


def open_pictures(path: str, fps: float | None) -> Footage:
    """The pictures that a name stands for, in the order of the numbers in their names.

    The next good one stands in for those that cannot be read; all get the size of the first, with
    black at their sides where they are of another shape, and alpha, if it has that.

    Raises
    ------
    InputError : there is none that can be read.
    """
    names, rate = pictures_of(path), fps or DEFAULT_FPS
    first = next((pic for pic in map(_read, names[:MAX_DAMAGED]) if pic is not None), None)
    if first is None:
        raise InputError(f"cannot read {shown(path)}: it names no picture that can be read")
    size, clear = first.bgr.shape[1::-1], first.alpha is not None

    def read(start: float, tally: Tally) -> Generator[Frame, None, None]:
        tally.frames = skipped = min(int(start * rate), len(names))
        for number, name in enumerate(names[skipped:], skipped):
            picture = _read(name)
            if picture is None:
                tally.damaged += 1
                continue
            img = _fitted(picture.bgr, size)
            alpha = _alpha_of(picture, size) if clear else None
            for place in range(tally.frames, number + 1):
                tally.frames += 1
                own = img.copy() if place < number else img
                yield Frame(own, place, place / rate, alpha=alpha)

    return Footage(path, size, rate, read, len(names))


def pictures_of(path: str) -> list[str]:
    """The files that a name stands for which `names_pictures`, in order."""
    from glob import glob

    if os.path.isdir(path):
        found = [entry.path for entry in os.scandir(path)]
    elif _MAGIC.search(path):
        found = glob(path)
    else:
        folder = os.path.dirname(path) or "."
        found = [entry.path for entry in os.scandir(folder)
                 if is_numbered_as(entry.path, path)] if os.path.isdir(folder) else []
    return sorted(filter(_is_picture, found), key=_by_number)


def _is_picture(path: str) -> bool:
    hidden = os.path.basename(path).startswith(".")
    return not hidden and Path(path).suffix.lower() in SUFFIXES


def _by_number(path: str) -> list[tuple[bool, int, str]]:
    """Sorts 'f9.png' before 'f10.png'."""
    parts = re.split(r"(\d+)", path)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _read(path: str) -> Picture | None:
    try:
        return read_picture(path)
    except InputError:
        return None


def _alpha_of(picture: Picture, size: tuple[int, ...]) -> np.ndarray:
    opaque = np.full(size[::-1], 255, np.uint8)
    return opaque if picture.alpha is None else _fitted(picture.alpha, size)


def _fitted(img: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A picture as large as fits in a size (width, height), in the middle of black."""
    if img.shape[1::-1] == size:
        return img
    fitted = np.zeros((size[1], size[0], *img.shape[2:]), np.uint8)
    scale = min(size[0] / img.shape[1], size[1] / img.shape[0])
    width, height = (max(round(scale * side), 1) for side in img.shape[1::-1])
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    fitted[top : top + height, left : left + width] = cv2.resize(img, (width, height))
    return fitted
