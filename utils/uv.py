"""Unwrap the picture of a face into the 3DMM's texture map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfm.bfm import model_of_size
from Sim3DR import Footprint, sample
from utils.image import as_bgr, emit
from utils.io import PathLike


def _map_vertices(uv: np.ndarray, uv_h: int, uv_w: int) -> np.ndarray:
    """Texture coordinates (n, 2) in [0, 1], v up, as flat vertices (n, 3) in map pixels."""
    flat = np.zeros((3, len(uv)), np.float32)
    flat[0] = uv[:, 0] * (uv_w - 1)
    flat[1] = uv_h - 1 - uv[:, 1] * (uv_h - 1)
    return flat.T


@dataclass(frozen=True)
class _Layout:
    """How a mesh lies in a texture map; the arrays are copies."""

    uv: np.ndarray
    tri: np.ndarray
    size: tuple[int, int]
    footprint: Footprint

    def is_of(self, uv: np.ndarray, tri: np.ndarray, size: tuple[int, int]) -> bool:
        return self.size == size and np.array_equal(self.uv, uv) and np.array_equal(self.tri, tri)


_kept: list[_Layout] = []  # the last one: it is the same for all faces of a run


def _footprint(uv: np.ndarray, tri: np.ndarray, uv_h: int, uv_w: int) -> Footprint:
    """The mesh `tri` flat in a texture map, as its coordinates `uv` say."""
    size = (uv_h, uv_w)
    for layout in _kept:
        if layout.is_of(uv, tri, size):
            return layout.footprint
    footprint = Footprint(_map_vertices(uv, uv_h, uv_w), tri, uv_h, uv_w)
    _kept[:] = [_Layout(uv.copy(), tri.copy(), size, footprint)]
    return footprint


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
    if uv_c not in (1, 3):
        raise ValueError(f"uv_c: expected 1 or 3, got {uv_c}")
    maps = np.zeros((uv_h, len(ver_lst) * uv_w, uv_c), np.uint8)
    if len(ver_lst):
        uv = model_of_size(ver_lst[0].shape[1]).uv if uv is None else uv
        footprint = _footprint(uv, tri, uv_h, uv_w)
    for number, ver in enumerate(ver_lst):
        colors = sample(img, ver.T)
        if uv_c == 1:
            colors = colors.mean(axis=1, keepdims=True)
        footprint.paint(maps[:, number * uv_w : (number + 1) * uv_w], colors)
    return emit(maps, wfp, show_flag)
