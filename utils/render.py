"""Draw lit face masks over a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from Sim3DR import RenderPipeline
from utils.image import as_bgr, emit
from utils.io import PathLike

Draw = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def background(img: np.ndarray, with_bg_flag: bool) -> np.ndarray:
    """What faces are drawn over: the picture as BGR, or black of its size."""
    img = as_bgr(img)
    return img if with_bg_flag else np.zeros_like(img)


def paint(
    canvas: np.ndarray, ver_lst: Sequence[np.ndarray], draw: Draw, alpha: float = 1.0
) -> np.ndarray:
    """Draw faces in order over a copy of `canvas`, touching only the rectangle that holds them.

    Parameters
    ----------
    canvas (H, W, c) : left as it is.
    ver_lst : vertices (3, n) of each face; pixels.
    draw : (patch of the picture, vertices (n, 3) in the patch's pixels, number of the face)
        -> the patch with the face drawn over it.
    alpha : opacity of the finished drawing over `canvas`, 0 to 1.
    """
    painted = canvas.copy()
    rows, columns = _touched(ver_lst, *canvas.shape[:2])
    patch = painted[rows, columns]
    if patch.size:
        corner = np.array([columns.start, rows.start, 0], np.float32)
        for number, ver in enumerate(ver_lst):
            patch = draw(patch, ver.T - corner, number)
        if alpha != 1:
            patch = cv2.addWeighted(canvas[rows, columns], 1 - alpha, patch, alpha, 0)
        painted[rows, columns] = patch
    return painted


def _touched(ver_lst: Sequence[np.ndarray], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the rectangle that holds every pixel of the faces."""
    if not len(ver_lst):
        return slice(0, 0), slice(0, 0)
    points = np.concatenate([ver[:2] for ver in ver_lst], axis=1)
    finite = np.isfinite(points)
    low = points.min(axis=1, where=finite, initial=np.inf)
    high = points.max(axis=1, where=finite, initial=-np.inf)
    size = np.array([width, height])
    left, top = np.clip(np.floor(low), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(high) + 1, 0, size).astype(int)
    return slice(top, max(top, bottom)), slice(left, max(left, right))


def render(
    img: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    alpha: float = 0.6,
    show_flag: bool = False,
    wfp: PathLike | None = None,
    with_bg_flag: bool = True,
) -> np.ndarray:
    """Draw every face as a lit mask.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR, left as it is.
    ver_lst : dense vertices (3, n) of each face; pixels.
    tri (m, 3) : triangles.
    alpha : opacity of the masks over the picture, 0 to 1.
    show_flag, wfp : whether to open a window, where to write the picture.
    with_bg_flag : if not, the masks alone, opaque on black.

    Returns
    -------
    (H, W, 3) uint8 BGR.
    """
    pipeline = RenderPipeline()
    painted = paint(
        background(img, with_bg_flag),
        ver_lst,
        lambda patch, ver, _: pipeline(ver, tri, patch),
        alpha if with_bg_flag else 1.0,
    )
    return emit(painted, wfp, show_flag)


def render_mask(
    img: np.ndarray, ver_lst: Sequence[np.ndarray], tri: np.ndarray, alpha: float = 1.0
) -> np.ndarray:
    """Draw the masks alone on a transparent picture of the size of `img`.

    Returns
    -------
    (H, W, 4) uint8 BGRA; opacity `alpha` (0 to 1) under the masks, 0 elsewhere.
    """
    pipeline = RenderPipeline()
    transparent = np.zeros(img.shape[:2] + (4,), np.uint8)
    mask = paint(transparent, ver_lst, lambda patch, ver, _: pipeline(ver, tri, patch))
    # interpolating ones can give a hair less, so the drawn opacity tells only where masks are
    mask[..., 3] = np.where(mask[..., 3] > 0, round(255 * alpha), 0)
    return mask
