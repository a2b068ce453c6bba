"""What lips and lids have in common: an opening between two sheets of skin.

Each sheet and what lies behind is sampled on its own, and they are put together by how much of a
pixel each covers, found at three times the picture's resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from reenactment.photo.field import Box
from reenactment.photo.soft import blurred
from Sim3DR import Raster, extend, interpolate, rasterise, sample_moved

FINER = 3  # labels per pixel, each way
_FEATHER = 0.004 * 1.6  # sizes of the face; how soft a border between layers is
_PURE = 0.995  # of a pixel, from which it belongs to a layer alone


@dataclass(frozen=True, eq=False)
class Labels:
    """What each third of a pixel shows of a slit, over a box.

    opening, upper, lower (3 height, 3 width) bool; drawn (…, c) float32 : attributes there.
    """

    opening: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    drawn: np.ndarray

    def shares(self, size: float) -> np.ndarray:
        """How much of each pixel they cover, softened: (height, width, 3) float32."""
        labels = np.dstack([self.opening, self.upper, self.lower]).astype(np.float32)
        return blurred(coarser(labels), max(_FEATHER * size, 0.3))


def finer_raster(vertices: np.ndarray, triangles: np.ndarray, box: Box) -> Raster:
    """A mesh (n, 3) in the picture's pixels, rasterised over a box at the labels' resolution."""
    fine = (vertices - [box.left, box.top, 0] + [0.5, 0.5, 0]) * FINER - [0.5, 0.5, 0]
    return rasterise(fine.astype(np.float32), triangles, (FINER * box.height, FINER * box.width))


def coarser(fine: np.ndarray) -> np.ndarray:
    """The mean over each pixel: (3h, 3w[, c]) float32 to (h, w[, c])."""
    size = fine.shape[1] // FINER, fine.shape[0] // FINER
    return cv2.resize(fine, size, interpolation=cv2.INTER_AREA)


def grown(moves: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A sheet's field (h, w, 2), continued smoothly from where it is the sheet's own."""
    if not known.any():
        return moves
    return extend(moves.transpose(2, 0, 1), known).transpose(1, 2, 0)


def pure(share: np.ndarray) -> np.ndarray:
    """Where a layer's share is all of the pixel."""
    return share > _PURE


def sampled(patch: np.ndarray, origin: Box, box: Box, moves: np.ndarray) -> np.ndarray:
    """A patch (H, W, 4) that lies at `origin`, moved by a field over `box`: (h, w, 4) levels."""
    return sample_moved(patch, moves, (box.left - origin.left, box.top - origin.top))


def interpolated(raster: Raster, values: np.ndarray) -> np.ndarray:
    """`Sim3DR.interpolate` for values of any float type."""
    return interpolate(raster, np.ascontiguousarray(values, np.float32))


def edge_fade(box: Box, reach: float) -> np.ndarray:
    """0 at the border of a box, 1 from `reach` pixels inside: (height, width) float32."""
    x = np.minimum(np.arange(box.width), np.arange(box.width)[::-1])
    y = np.minimum(np.arange(box.height), np.arange(box.height)[::-1])
    return np.clip(np.minimum(x, y[:, None]) / reach, 0, 1).astype(np.float32)


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """Triangles (2 (rows-1)(columns-1), 3) int32 of a grid of vertices, row by row."""
    n = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = (q.ravel() for q in (n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]))
    return np.concatenate([np.column_stack([a, b, d]), np.column_stack([a, d, c])])
