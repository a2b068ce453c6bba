"""Unwrap the picture of a face into the 3DMM's texture map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bfm.bfm import model_of_size
from bfm.texture import texture_raster
from Sim3DR import Raster, interpolate, sample
from utils.image import as_bgr, emit
from utils.io import PathLike


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
    raster: Raster | None = None,
) -> np.ndarray:
    """Sample the picture at every face's vertices and draw it into the texture map.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR, left as it is.
    ver_lst : dense vertices (3, n) of each face; pixels.
    tri (m, 3) : triangles.
    uv_h, uv_w, uv_c : height, width and channels (3, or 1 for grey) of one map.
    uv (n, 2) : texture coordinates; by default those of the model with as many vertices.
    raster : the mesh in the map, as `BFMModel.texture_raster` keeps it, in place of `uv`.

    Returns
    -------
    (uv_h, faces·uv_w, uv_c) uint8: the maps side by side.
    """
    img = as_bgr(img)
    if uv_c not in (1, 3):
        raise ValueError(f"uv_c: expected 1 or 3, got {uv_c}")
    maps = np.zeros((uv_h, len(ver_lst) * uv_w, uv_c), np.uint8)
    for number, ver in enumerate(ver_lst):
        if raster is None:
            raster = _layout(ver.shape[1], tri, uv, uv_h, uv_w)
        colors = sample(img, ver.T)
        if uv_c == 1:
            colors = colors.mean(axis=1, keepdims=True)
        interpolate(raster, colors, maps[:, number * uv_w : (number + 1) * uv_w])
    return emit(maps, wfp, show_flag)


def _layout(
    num_vertices: int, tri: np.ndarray, uv: np.ndarray | None, height: int, width: int
) -> Raster:
    """The mesh `tri` in a texture map: of these coordinates, or as the model of its size lies."""
    if uv is not None:
        return texture_raster(uv, tri, height, width)
    model = model_of_size(num_vertices)
    if np.array_equal(tri, model.tri):
        return model.texture_raster(height, width)
    return texture_raster(model.uv, tri, height, width)
