"""The mouth as a slit: two lips that are sampled apart, and what is seen between them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bfm.topology import COLUMNS
from reenactment.photo.field import Box
from reenactment.photo.head import Head
from reenactment.photo.interior import interior_levels
from reenactment.photo.portrait import Portrait
from reenactment.photo.slits import (
    FINER,
    Labels,
    coarser,
    finer_raster,
    grid_triangles,
    grown,
    interpolated,
    pure,
    sampled,
)
from reenactment.photo.work import Work
from utils.easing import ramp

_ROWS = 9  # of the strip that stands for what lies behind the lips
_BEHIND = 0.012  # sizes of the face, that it lies behind them
_AROUND = (0.06, 4.0)  # sizes of the face and pixels, of the box around the lips
_CORNER = 22.5  # mm from the middle to the mouth's corners
_WIDTH_MM = 47.0  # of a mouth, by which a pixel's mm are counted


@dataclass(frozen=True, eq=False)
class Opening:
    """How far a mouth is open before and after, in its widths, on average over its columns."""

    before: float
    after: float

    @classmethod
    def of(cls, before: Head, after: Head) -> Opening:
        return cls(*(float(h.mouth_opening().clip(0).mean()) for h in (before, after)))


def paint_mouth(work: Work, donor: Portrait | None) -> None:
    """Draw lips and what is between them into the result."""
    lips = work.after.lip_points()
    margin = _AROUND[0] * work.size + _AROUND[1]
    box = Box.around(lips.reshape(-1, 3), margin, work.box)
    if min(box.size) < 2 or not box.of(work.field.moves, work.box).any():
        return
    opening = Opening.of(work.before, work.after)
    labels = _labels(work.after, lips, box, work.size)
    shares = labels.shares(work.size)
    distance = _distance_to_slit(labels)
    base = box.of(work.result, work.box)
    upper, lower = _lips(work, box, shares, coarser(distance), opening)
    inner = interior_levels(work, donor, box, shares[..., 0], opening.before, opening.after)
    total = np.maximum(shares.sum(axis=2), 1e-3)[..., None]
    drawn = np.zeros_like(base)
    for layer, share in ((inner, 0), (upper, 1), (lower, 2)):
        drawn += layer * shares[..., share, None]
    drawn /= total
    drawn[..., :3] *= _seam_ink(work, distance, opening)[..., None]
    base += (1 - work.sitter.concealed) * np.minimum(total, 1) * (drawn - base)


def _labels(after: Head, lips: np.ndarray, box: Box, size: float) -> Labels:
    """What is upper side, lower side and opening; attributes: mm to the side."""
    mesh, topology = after.bfm.around_mouth, after.bfm.topology
    inner = strip(*closed_where_crossed(lips, after.down), np.linspace(0, 1, _ROWS))
    inner[..., 2] -= _BEHIND * size
    vertices = np.concatenate([after.vertices[mesh.vertices], inner.reshape(-1, 3)])
    behind = grid_triangles(_ROWS, COLUMNS) + len(mesh.vertices)
    raster = finer_raster(vertices, np.concatenate([mesh.triangles, behind]), box)
    values = np.zeros((len(vertices), 2), np.float32)
    values[: len(mesh.vertices), 0] = topology.slit[mesh.vertices]
    values[: len(mesh.vertices), 1] = after.surface[mesh.vertices, 0]
    drawn = interpolated(raster, values)
    opening = raster.number >= len(mesh.triangles)
    skin = raster.covered & ~opening
    above = drawn[..., 0] > 0
    return Labels(opening, skin & above, skin & ~above, drawn[..., 1])


def closed_where_crossed(lips: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lip (COLUMNS, 3), on their mean where the upper one is below the other."""
    upper, lower = lips
    crossed = (lower[:, :2] - upper[:, :2]) @ down <= 0
    middle = (upper + lower) / 2
    return tuple(np.where(crossed[:, None], middle, lip) for lip in (upper, lower))


def strip(upper: np.ndarray, lower: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Points (rows, COLUMNS, d) between two lips (COLUMNS, d), at shares (rows,) of the way."""
    return upper + share[:, None, None] * (lower - upper)


def _distance_to_slit(labels: Labels) -> np.ndarray:
    """Pixels from each third of one to the opening, or the line where the lips meet."""
    meeting = np.zeros_like(labels.opening)
    meeting[:-1] = labels.upper[:-1] & labels.lower[1:] & (np.abs(labels.drawn[:-1]) < _CORNER)
    free = ~(labels.opening | meeting)
    if free.all():
        return np.full(free.shape, 1e3, np.float32)
    return cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 3) / FINER


def _lips(
    work: Work, box: Box, shares: np.ndarray, distance: np.ndarray, opening: Opening
) -> list[np.ndarray]:
    """Upper and lower side (h, w, 4), each sampled by its own field.

    Neither shows what was beyond its lip's edge. Near the slit they are sampled a little away from
    it, too: an opening mouth takes its dark line not along, a closing one not its teeth.
    """
    mm = float(np.linalg.norm(np.diff(work.after.lip_points()[0, [0, -1], :2], axis=0))) / _WIDTH_MM
    closing = opening.before - opening.after
    change = ramp(abs(closing), 0.008, 0.04)
    margin = change * 0.9 * (0.7 + ramp(closing, 0.02, 0.10))  # mm
    reach = 2.4 * max(margin, 0.8) * max(mm, 1e-3)
    away = (margin * mm * np.exp(-distance / reach))[..., None] * work.after.down
    moves = box.of(work.field.moves, work.box)
    sides = []
    for lip, sign in ((0, -1), (1, 1)):
        own = grown(moves, pure(shares[..., 1 + lip]))
        back = change * beyond(work.before, lip, box, own)[..., None] * work.before.down
        own = own + sign * (back + away)
        sides.append(sampled(work.patch, work.box, box, own.astype(np.float32)))
    return sides


def beyond(before: Head, lip: int, box: Box, moves: np.ndarray) -> np.ndarray:
    """How far (h, w) over the edge of its lip, 0 the upper and 1 the lower one, a field samples
    the old picture, pixels: what was hidden in the mouth, and has no field of its own, may."""
    axes = np.column_stack([[before.down[1], -before.down[0]], before.down])  # across, down
    across, down = (before.lip_points()[lip, :, :2] @ axes).T
    y, x = np.indices(box.size, np.float32)
    places = (moves + np.dstack([x + box.left, y + box.top])) @ axes
    edge = np.interp(places[..., 0], np.maximum.accumulate(across), down)
    over = (places[..., 1] - edge) * (1, -1)[lip]
    inside = (places[..., 0] > across[0]) & (places[..., 0] < across[-1])
    return np.where(inside, np.maximum(over, 0), 0)


def _seam_ink(work: Work, distance: np.ndarray, opening: Opening) -> np.ndarray:
    """The shadow line of lips that close: a factor (h, w)."""
    strength = 0.3 * (1 - ramp(opening.after, 0, 0.05)) * ramp(opening.before, 0.03, 0.08)
    line = np.exp(-((distance / (0.7 * work.after.scale + 0.6)) ** 2))
    return coarser((1 - strength * line).astype(np.float32))
