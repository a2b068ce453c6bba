"""Where each pixel of the result comes from: the displacement between two meshes, extended.

Places are in the picture's pixels. The field says for a pixel of the result how far from it, in the
target's picture, its colour lies: the target's vertices minus the result's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from reenactment.photo.head import Head, bounds
from Sim3DR import Raster, extend, interpolate, rasterise
from utils.easing import smoothstep

# Lengths are in sizes f of the face.
_REACH = 0.5  # around the target's mesh: beyond it, nothing moves
_MARGIN = 0.45  # around what is known, likewise
_CELL = 1 / 110  # of the grid on which the field is extended
_RIM, _FACING = 0.07, 0.35  # so near the outline, surfaces must face us: z of their normals
_SEAM = (0.5, 0.02)  # pixels and f inside the mesh, over which its own field takes over
_BORDER = 0.12  # from the field's border, over which it fades


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

    def in_cells(self, box: Box, cell: int) -> Box:
        """The square cells of another box that this one, which is in it, touches."""
        left, top = (self.left - box.left) // cell, (self.top - box.top) // cell
        right, bottom = -(-(self.right - box.left) // cell), -(-(self.bottom - box.top) // cell)
        return Box(left, top, right - left, bottom - top)

    @property
    def right(self) -> int:
        """The first column after it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def of(self, array: np.ndarray, inside: Box | None = None) -> np.ndarray:
        """This part of an array over the picture, or over the box `inside`."""
        left, top = (self.left, self.top) if inside is None else (
            self.left - inside.left, self.top - inside.top)
        return array[top : top + self.height, left : left + self.width]


@dataclass(frozen=True, eq=False)
class Field:
    """The displacement over a box of the picture, nought at its border.

    moves (height, width, 2) float32 : pixels.
    inner : the box of the result's mesh; raster, known (its height, width) bool : the mesh there,
        and where it gives the field.
    """

    box: Box
    moves: np.ndarray
    inner: Box
    raster: Raster
    known: np.ndarray


def displacement(
    before: Head, after: Head, picture: tuple[int, int], kept: np.ndarray | None = None
) -> Field | None:
    """The field that makes the face `before` look as `after`; None where it has no room.

    Parameters
    ----------
    picture : its height and width.
    kept (height, width) bool : pixels of the picture that must not move, if any.
    """
    size = before.size
    cell = math.ceil(_CELL * size)
    box, inner = _boxes(before, after, picture, cell)
    if not inner.area:
        return None
    raster = rasterise(after.vertices, after.bfm.tri, inner.size, (inner.left, inner.top))
    own, known = _own(before, after, raster)
    still = None if kept is None else box.of(kept)
    if still is not None:
        known &= ~inner.of(still, box)
    own[~known] = 0
    reach = _BORDER * size
    solved = _solved(own, known, box, inner, still, size)
    solved *= _fade(box.in_cells(box, cell).size, cell, reach)[..., None]
    moves = cv2.resize(solved, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    own *= inner.of(_fade(box.size, 1, reach), box)[..., None]
    depth = cv2.distanceTransform(known.astype(np.uint8), cv2.DIST_L2, 3)
    share = smoothstep(depth, _SEAM[0], max(_SEAM[1] * size, 3.0))
    part = inner.of(moves, box)
    part += share[..., None] * (own - part)
    if still is not None:
        moves[still] = 0
    return Field(box, moves, inner, raster, known)


def _boxes(before: Head, after: Head, picture: tuple[int, int], cell: int) -> tuple[Box, Box]:
    """What may move, and in it the box of the result's mesh, both of whole square cells.

    The first is the target's alone: frame by frame, a still one has the same cells.
    """
    box = Box.around(before.vertices, _REACH * before.size, Box(0, 0, picture[1], picture[0]))
    box = box._replace(width=box.width // cell * cell, height=box.height // cell * cell)
    mesh = Box.around(after.vertices, 2, box).in_cells(box, cell)
    inner = Box(*(cell * side for side in mesh))
    return box, inner._replace(left=box.left + inner.left, top=box.top + inner.top)


def _own(before: Head, after: Head, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """The mesh's field (h, w, 2) over a raster, and where (h, w) it is one of what was seen."""
    moves = interpolate(raster, before.vertices[:, :2] - after.vertices[:, :2])
    facing = np.minimum(before.normals[:, 2], after.normals[:, 2])
    drawn = interpolate(raster, np.column_stack([before.seen.astype(np.float32), facing]))
    seen, covered = drawn[..., 0] > 0.5, raster.covered
    inside = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 3)
    return moves, covered & seen & ((inside > _RIM * before.size) | (drawn[..., 1] > _FACING))


def _solved(
    own: np.ndarray,
    known: np.ndarray,
    box: Box,
    inner: Box,
    still: np.ndarray | None,
    size: float,
) -> np.ndarray:
    """The field in cells (rows, columns, 2) of the box: smooth around what is known, 0 far away."""
    cell = math.ceil(_CELL * size)
    grid, block = box.in_cells(box, cell), inner.in_cells(box, cell)
    share, values = np.zeros(grid.size, np.float32), np.zeros((*grid.size, 2), np.float32)
    to = block.width, block.height
    block.of(share)[:] = cv2.resize(known.astype(np.float32), to, interpolation=cv2.INTER_AREA)
    block.of(values)[:] = cv2.resize(own, to, interpolation=cv2.INTER_AREA)
    given = share > 0.6
    ring = cv2.distanceTransform((share < 0.3).astype(np.uint8), cv2.DIST_L2, 3)
    outside = ring > _MARGIN * size / cell
    outside[[0, -1]] = outside[:, [0, -1]] = True
    if still is not None:
        outside |= still.reshape(grid.height, cell, grid.width, cell).any(axis=(1, 3))
    values = np.where((given & ~outside)[..., None], values / np.maximum(share, 0.1)[..., None], 0)
    return extend(values.transpose(2, 0, 1), given | outside).transpose(1, 2, 0)


def _fade(size: tuple[int, int], step: int, reach: float) -> np.ndarray:
    """1 inside a box, falling to 0 at its border: (height, width) float32 of cells, `step` pixels
    each."""
    height, width = size
    across, along = (
        smoothstep(step * np.minimum(i, i[::-1]), 0, reach)
        for i in (np.arange(n, dtype=np.float32) for n in (width, height))
    )
    return np.minimum(across, along[:, None])
