"""Draw lit face masks over a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from Sim3DR import RenderPipeline
from utils.image import as_bgr, emit
from utils.io import PathLike

Draw = Callable[[np.ndarray, np.ndarray, tuple[int, int], int], None]


def canvas_of(
    img: np.ndarray, with_bg_flag: bool = True, out: np.ndarray | None = None
) -> np.ndarray:
    """What faces are drawn into: a copy of the picture as BGR, or black of its size.

    out (H, W, 3) : where to put that; `img` itself to draw into it.
    """
    picture = as_bgr(img)
    if out is None:
        out = np.empty_like(picture)
    elif out.shape != picture.shape or out.dtype != picture.dtype:
        raise ValueError(
            f"out: expected {picture.shape} uint8, got {out.shape} of type {out.dtype}"
        )
    if not with_bg_flag:
        out[:] = 0
    elif out is not img:
        out[:] = picture
    return out


def paint(
    canvas: np.ndarray, ver_lst: Sequence[np.ndarray], draw: Draw, alpha: float = 1.0
) -> None:
    """Draw faces in order into `canvas`, touching only the rectangle that holds them.

    Parameters
    ----------
    canvas (H, W, c).
    ver_lst : vertices (3, n) of each face; pixels.
    draw : (patch of the canvas to draw into, vertices (n, 3), x and y of the patch's first
        pixel, number of the face).
    alpha : opacity of the finished drawing over the canvas as it was, 0 to 1.
    """
    rows, columns = _touched(ver_lst, *canvas.shape[:2])
    patch = canvas[rows, columns]
    if not patch.size:
        return
    drawn = patch if alpha == 1 else patch.copy()
    for number, ver in enumerate(ver_lst):
        draw(drawn, ver.T, (columns.start, rows.start), number)
    if alpha != 1:
        cv2.addWeighted(patch, 1 - alpha, drawn, alpha, 0, dst=patch)


def _touched(ver_lst: Sequence[np.ndarray], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the rectangle that holds every pixel of the faces."""
    if not len(ver_lst):
        return slice(0, 0), slice(0, 0)
    points = np.concatenate([ver[:2] for ver in ver_lst], axis=1)
    low, high = points.min(axis=1), points.max(axis=1)
    if not (np.isfinite(low) & np.isfinite(high)).all():  # looked for among four numbers first
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
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Draw every face as a lit mask.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR, left as it is unless it is `out`, too.
    ver_lst : dense vertices (3, n) of each face; pixels.
    tri (m, 3) : triangles.
    alpha : opacity of the masks over the picture, 0 to 1.
    show_flag, wfp : whether to open a window, where to write the picture.
    with_bg_flag : if not, the masks alone, opaque on black.
    out (H, W, 3) : uint8, where to draw; by default a new picture. `img` to draw into that.

    Returns
    -------
    (H, W, 3) uint8 BGR.
    """
    pipeline = RenderPipeline()
    canvas = canvas_of(img, with_bg_flag, out)

    def draw(patch: np.ndarray, ver: np.ndarray, origin: tuple[int, int], _: int) -> None:
        pipeline.draw(patch, ver, tri, origin=origin)

    paint(canvas, ver_lst, draw, alpha if with_bg_flag else 1.0)
    return emit(canvas, wfp, show_flag)


def render_mask(
    img: np.ndarray, ver_lst: Sequence[np.ndarray], tri: np.ndarray, alpha: float = 1.0
) -> np.ndarray:
    """Draw the masks alone on a transparent picture of the size of `img`.

    Returns
    -------
    (H, W, 4) uint8 BGRA; opacity `alpha` (0 to 1) under the masks, 0 elsewhere.
    """
    pipeline = RenderPipeline()
    mask = np.zeros(img.shape[:2] + (4,), np.uint8)

    def draw(patch: np.ndarray, ver: np.ndarray, origin: tuple[int, int], _: int) -> None:
        pipeline.draw(patch, ver, tri, origin=origin)
        # interpolating ones can give a hair less, so the opacity tells only where masks are
        patch[..., 3] = np.where(patch[..., 3] > 0, round(255 * alpha), 0)

    paint(mask, ver_lst, draw)
    return mask
