"""Unwrap the picture of a face into the 3DMM's texture map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bfm.bfm import model_of_size
from Sim3DR import rasterize
from utils.image import as_bgr, emit
from utils.io import PathLike


def sample_bilinear(img: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The picture's values at fractional pixels, clamped to its border.

    Parameters
    ----------
    img (H, W, c); x, y (n,) : pixels.

    Returns
    -------
    (n, c) float32, in the picture's unit.
    """
    height, width = img.shape[:2]
    x = np.nan_to_num(np.asarray(x, np.float32)).clip(0, width - 1)
    y = np.nan_to_num(np.asarray(y, np.float32)).clip(0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    upper = img[top, left] * (1 - across) + img[top, right] * across
    lower = img[bottom, left] * (1 - across) + img[bottom, right] * across
    return upper * (1 - down) + lower * down


def _map_vertices(uv: np.ndarray, uv_h: int, uv_w: int) -> np.ndarray:
    """Texture coordinates (n, 2) in [0, 1], v up, as flat vertices (n, 3) in map pixels."""
    flat = np.zeros((len(uv), 3), np.float32)
    flat[:, 0] = uv[:, 0] * (uv_w - 1)
    flat[:, 1] = uv_h - 1 - uv[:, 1] * (uv_h - 1)
    return flat


def uv_tex(
    img: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    uv_h: int = 256,
    uv_w: int = 256,
    uv_c: int = 3,
    show_flag: bool = False,
    wfp: PathLike | None = None,
    uv: np.ndarray | None = None,
) -> np.ndarray:
    """Sample the picture at every face's vertices and draw it into the texture map.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR, left as it is.
    ver_lst : dense vertices (3, n) of each face; pixels.
    tri (m, 3) : triangles.
    uv_h, uv_w, uv_c : height, width and channels (3, or 1 for grey) of one map.
    uv (n, 2) : texture coordinates, as `BFMModel.uv`; by default those of the model with as
        many vertices.

    Returns
    -------
    (uv_h, faces·uv_w, uv_c) uint8: the maps side by side.
    """
    img = as_bgr(img)
    if uv_c == 1:
        img = img.mean(axis=2, keepdims=True)
    elif uv_c != 3:
        raise ValueError(f"uv_c: expected 1 or 3, got {uv_c}")
    if not len(ver_lst):
        return emit(np.zeros((uv_h, 0, uv_c), np.uint8), wfp, show_flag)
    if uv is None:
        uv = model_of_size(ver_lst[0].shape[1]).uv
    flat = _map_vertices(uv, uv_h, uv_w)
    maps = [
        rasterize(flat, tri, sample_bilinear(img, *ver[:2]) / 255, None, uv_h, uv_w, uv_c)
        for ver in ver_lst
    ]
    return emit(np.concatenate(maps, axis=1), wfp, show_flag)
