"""The training pictures: reading them from their tars, adding files to one of our own."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np


def iterate_files(tar_fp: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield ``(member name, content)`` of every file of a tar, in the tar's order."""
    with tarfile.open(tar_fp) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content:  # None for a folder
                yield member.name, content.read()


def decode_picture(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """A uint8 picture from a file's content: (H, W, 3) BGR, or as `flags` of cv2.imdecode say."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise ValueError(f"these {len(data)} bytes are no picture that OpenCV reads")
    return picture


def iterate_pictures(tar_fp: str | Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield ``(member name, (H, W, 3) uint8 BGR)`` of a tar's pictures, in the tar's order."""
    for name, data in iterate_files(tar_fp):
        yield name, decode_picture(data)


def add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add `data` to an open tar as the member `name` (times and owners stay zero: reproducible)."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
