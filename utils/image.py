"""Reading, writing and showing pictures; inside the program they are (H, W, 3) uint8 BGR."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.errors import InputError, OutputError
from utils.io import PathLike, one_line, write_bytes

logger = logging.getLogger(__name__)


def silence_opencv() -> None:
    """Keep OpenCV from writing warnings of its own to stderr, whatever its release calls that."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)


def as_bgr(img: np.ndarray) -> np.ndarray:
    """Bring a picture into contiguous (H, W, 3) uint8 BGR; copies only what it must.

    Grey is repeated, alpha dropped, 16-bit and float (in [0, 1]) pictures are rescaled.

    Raises
    ------
    ValueError : the array is no picture.
    """
    img = np.asarray(img)
    if img.ndim == 2:
        img = img[..., None]
    if img.ndim != 3 or img.shape[2] not in (1, 3, 4) or img.size == 0:
        raise ValueError(f"img: expected (H, W) or (H, W, 1, 3 or 4), got shape {img.shape}")
    if img.dtype == np.uint16:
        img = (img >> 8).astype(np.uint8)
    elif img.dtype.kind == "f":
        img = (np.nan_to_num(img).clip(0, 1) * 255).round().astype(np.uint8)
    elif img.dtype != np.uint8:
        raise ValueError(f"img: expected uint8, uint16 or float pixels, got {img.dtype}")
    if img.shape[2] == 1:
        img = np.repeat(img, 3, axis=2)
    return np.ascontiguousarray(img[..., :3])


def read_image(path: PathLike) -> np.ndarray:
    """Read any picture that OpenCV knows as (H, W, 3) uint8 BGR, turned as its EXIF says.

    Raises
    ------
    InputError : the file is missing, unreadable, or no picture.
    """
    try:
        data = np.fromfile(path, np.uint8)  # cv2.imread cannot open every name on every system
    except OSError as error:
        raise InputError(f"cannot read {path}: {one_line(error)}; check the path") from error
    try:
        # IMREAD_COLOR turns by EXIF; ANYDEPTH keeps 16 bits and floats for as_bgr to scale
        img = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except cv2.error as error:
        raise InputError(f"cannot read {path}: OpenCV says {error.err}") from error
    if img is None:
        problem = "is no picture that OpenCV can decode" if data.size else "is empty"
        raise InputError(f"cannot read {path}: it {problem}; give a JPEG, PNG, WebP, BMP, TIFF, …")
    return as_bgr(img)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture (H, W, 3) uint8 BGR as read from a file, and what the file says beside it."""

    bgr: np.ndarray
    metadata: Any = None


def read_picture(path: PathLike) -> Picture:
    """`read_image`, with what the file says beside the picture."""
    return Picture(read_image(path))


def encode_image(
    img: np.ndarray, suffix: str, quality: int | None = None, metadata: Any = None
) -> bytes:
    """Encode `img` (H, W[, 1, 3 or 4]) uint8 in the format of a name's ending.

    Raises
    ------
    OutputError : the ending is no picture format.
    """
    try:
        encoded, data = cv2.imencode(suffix or ".", img)
    except cv2.error:
        encoded = False
    if not encoded:
        raise OutputError(
            f"no picture of shape {img.shape} can have the ending {suffix!r}; use .png or .jpg"
        )
    return data.tobytes()


def write_image(path: PathLike, img: np.ndarray) -> Path:
    """Write `img` (H, W[, 1, 3 or 4]) uint8 in the format of the name's ending, atomically.

    Raises
    ------
    OutputError : the ending is no picture format, or the place cannot be written.
    """
    try:
        return write_bytes(path, encode_image(img, Path(path).suffix))
    except OutputError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def show_image(img: np.ndarray, title: str = "result") -> None:
    """Open a window with `img`; without matplotlib or a display, say so and go on."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        logger.warning("showing a picture needs matplotlib: pip install matplotlib")
        return
    figure, axes = plt.subplots(num=title)
    axes.imshow(img[..., ::-1] if img.ndim == 3 else img, cmap="gray")
    axes.set_axis_off()
    figure.tight_layout()
    plt.show()
    plt.close(figure)


def emit(img: np.ndarray, wfp: PathLike | None = None, show_flag: bool = False) -> np.ndarray:
    """Write `img` to `wfp` if that is given, show it if asked to, and return it."""
    if wfp is not None:
        write_image(wfp, img)
        logger.info("saved %s", wfp)
    if show_flag:
        show_image(img)
    return img
