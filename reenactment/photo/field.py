"""Where each pixel of the result comes from: the displacement between two meshes, extended.

Places are in the picture's pixels. The field says for a pixel of the result how far from it, in the
target's picture, its colour lies: the target's vertices minus the result's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from reenactment.photo.head import Head, bounds, smoothstep
from Sim3DR import Raster, extend, interpolate, rasterise

# Lengths are in sizes f of the face.
_MARGIN = 0.45  # around both meshes: beyond it, nothing moves
_CELL = 1 / 110  # of the grid on which the field is extended
_RIM, _FACING = 0.07, 0.35  # so near the outline, surfaces must face us: z of their normals
_SEAM = (0.5, 0.02)  # pixels and f inside the mesh, over which its own field takes over
_BORDER = 0.12  # from the picture's border, over which the field fades


class Box(NamedTuple):
    """A rectangle of the picture: its first column and row, its width and height."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, points: np.ndarray, margin: float, within: Box) -> Box:
        """The pixels of `within` not farther than `margin` from the box of points (n, 2+)."""
        low, high = bounds(points)
        low, high = np.floor(low - margin), np.ceil(high + margin) + 1
        first = np.clip(low, (within.left, within.top), (within.right, within.bottom)).astype(int)
        last = np.clip(high, first, (within.right, within.bottom)).astype(int)
        return cls(int(first[0]), int(first[1]), *(int(side) for side in last - first))

    @property
    def right(self) -> int:
        """The first column after it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def of(self, array: np.ndarray, inside: Box | None = None) -> np.ndarray:
        """This part of an array over the picture, or over the box `inside`."""
        left, top = (self.left, self.top) if inside is None else (
            self.left - inside.left, self.top - inside.top)
        return array[top : top + self.height, left : left + self.width]

    def places(self) -> np.ndarray:
        """The pixels' coordinates (height, width, 2) float32."""
        x = np.arange(self.left, self.right, dtype=np.float32)
        y = np.arange(self.top, self.bottom, dtype=np.float32)
        return np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1)


@dataclass(frozen=True, eq=False)
class Field:
    """The displacement over a box of the picture.

    moves (height, width, 2) float32 : pixels. known (height, width) bool : where the mesh gives
    it. raster : the result's mesh over the box.
    """

    box: Box
    moves: np.ndarray
    known: np.ndarray
    raster: Raster


def displacement(
    before: Head, after: Head, picture: tuple[int, int], kept: np.ndarray | None = None
) -> Field:
    """The field that makes the face `before` look as `after`.

    Parameters
    ----------
    picture : its height and width.
    kept (height, width) bool : pixels of the picture that must not move, if any.
    """
    size = after.size
    both = np.concatenate([before.vertices, after.vertices])
    box = Box.around(both, _MARGIN * size, Box(0, 0, picture[1], picture[0]))
    raster = rasterise(after.vertices, after.bfm.tri, box.size, (box.left, box.top))
    facing = np.minimum(before.normals[:, 2], after.normals[:, 2])
    vertex = np.column_stack(
        [before.vertices[:, :2] - after.vertices[:, :2], before.seen, facing]
    )
    drawn = interpolate(raster, vertex.astype(np.float32))
    moves, seen, facing = drawn[..., :2], drawn[..., 2] > 0.5, drawn[..., 3]
    inside = cv2.distanceTransform(raster.covered.astype(np.uint8), cv2.DIST_L2, 3)
    known = raster.covered & seen & ((inside > _RIM * size) | (facing > _FACING))
    still = np.zeros(box.size, bool) if kept is None else box.of(kept)
    known &= ~still
    field = _blended(moves, known, _extended(moves, known, still, size), size)
    field *= _fade_to_border(box, picture, _BORDER * size)[..., None]
    field[still] = 0
    return Field(box, field, known, raster)


def _extended(
    moves: np.ndarray, known: np.ndarray, still: np.ndarray, size: float
) -> np.ndarray:
    """The field where it is not known: smooth, and zero beyond a ring around the face."""
    height, width = known.shape
    shrink = max(1.0, _CELL * size)
    small = max(1, round(width / shrink)), max(1, round(height / shrink))
    fine = np.dstack([moves * known[..., None], known]).astype(np.float32)
    masked = cv2.resize(fine, small, interpolation=cv2.INTER_AREA)
    share = masked[..., 2]
    given = share > 0.6
    ring = cv2.distanceTransform((share < 0.3).astype(np.uint8), cv2.DIST_L2, 3)
    outside = ring * shrink > _MARGIN * size
    outside[[0, -1]] = outside[:, [0, -1]] = True
    outside |= cv2.resize(still.astype(np.uint8), small, interpolation=cv2.INTER_NEAREST) > 0
    values = np.where(given, masked[..., :2].transpose(2, 0, 1) / np.maximum(share, 0.1), 0)
    solved = extend(values, given | outside)
    return cv2.resize(solved.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)


def _blended(
    moves: np.ndarray, known: np.ndarray, extended: np.ndarray, size: float
) -> np.ndarray:
    """The mesh's own field well inside it, the extended one outside."""
    depth = cv2.distanceTransform(known.astype(np.uint8), cv2.DIST_L2, 3)
    own = smoothstep(depth, _SEAM[0], max(_SEAM[1] * size, 3.0)).astype(np.float32)
    return extended + own[..., None] * (moves - extended)


def _fade_to_border(box: Box, picture: tuple[int, int], reach: float) -> np.ndarray:
    """1 inside the picture, falling to 0 at its border: (height, width) float32."""
    height, width = picture
    x, y = np.arange(box.left, box.right), np.arange(box.top, box.bottom)
    across = smoothstep(np.minimum(x, width - 1 - x).astype(np.float32), 0, reach)
    along = smoothstep(np.minimum(y, height - 1 - y).astype(np.float32), 0, reach)
    return np.minimum(across, along[:, None])
