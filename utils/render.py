"""Draw lit face masks over a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from Sim3DR import RenderPipeline, rasterize
from utils.image import as_bgr, emit
from utils.io import PathLike


def background(img: np.ndarray, with_bg_flag: bool) -> np.ndarray:
    """What faces are drawn over: the picture as BGR, or black of its size."""
    img = as_bgr(img)
    return img if with_bg_flag else np.zeros_like(img)


def paint(
    canvas: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    color_lst: Sequence[np.ndarray],
) -> np.ndarray:
    """Draw every face (3, n) with its vertex colours (n, c), each over those before it."""
    for ver, colors in zip(ver_lst, color_lst):
        canvas = rasterize(ver.T, tri, colors, bg=canvas)
    return canvas


def _touched(ver_lst: Sequence[np.ndarray], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the rectangle that holds every pixel of the faces."""
    points = np.concatenate([ver[:2] for ver in ver_lst], axis=1)
    points = points[:, np.isfinite(points).all(axis=0)]
    if not points.size:
        return slice(0, 0), slice(0, 0)
    size = np.array([width, height])
    low = np.clip(np.floor(points.min(axis=1)), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(axis=1)) + 1, 0, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


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
    canvas = background(img, with_bg_flag)
    result = canvas.copy()
    if len(ver_lst):
        pipeline = RenderPipeline()
        region = _touched(ver_lst, *canvas.shape[:2])
        overlay = canvas
        for ver in ver_lst:
            overlay = pipeline(ver.T, tri, overlay)
        if not with_bg_flag:
            result = overlay
        elif result[region].size:
            # outside the faces, blending a picture with itself would change nothing
            blended = cv2.addWeighted(canvas[region], 1 - alpha, overlay[region], alpha, 0)
            result[region] = blended
    return emit(result, wfp, show_flag)


def render_mask(
    img: np.ndarray, ver_lst: Sequence[np.ndarray], tri: np.ndarray, alpha: float = 1.0
) -> np.ndarray:
    """Draw the masks alone on a transparent picture of the size of `img`.

    Returns
    -------
    (H, W, 4) uint8 BGRA; opacity `alpha` (0 to 1) under the masks, 0 elsewhere.
    """
    mask = np.zeros(img.shape[:2] + (4,), np.uint8)
    pipeline = RenderPipeline()
    for ver in ver_lst:
        mask = pipeline(ver.T, tri, mask)
    # interpolating ones can give a hair less, so the drawn opacity tells only where masks are
    mask[..., 3] = np.where(mask[..., 3] > 0, round(255 * alpha), 0)
    return mask
