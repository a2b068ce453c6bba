"""Eyes as slits: two lids that are sampled apart, and the eyeball that stays behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np

from bfm.topology import EYE_CORNERS
from reenactment.photo.colour import as_levels, luminance, saturation, to_levels, to_linear
from reenactment.photo.field import Box
from reenactment.photo.head import Head, quantile
from reenactment.photo.lids import Eyes
from reenactment.photo.portrait import Portrait
from reenactment.photo.slits import (
    Labels,
    coarser,
    edge_fade,
    finer_raster,
    grown,
    interpolated,
    pure,
    sampled,
)
from reenactment.photo.work import Work
from Sim3DR import rasterise, sample_lanczos
from utils.easing import ramp, smoothstep

_AROUND = (0.04, 3.0)  # sizes of the face and pixels, of the box around an eye
_FADE = 4.0  # pixels, of that box into the rest
_PUSH_UPPER, _PUSH_LOWER, _PUSH_REACH = 1.0, 1.4, 2.5  # mm, of lids sampled away from the gap
_MOST_SMEAR = 3.0  # pixels
_MEAN = 0.31  # opening of the mean face's eyes, on which lids' edges are measured
# How much darker the line of lashes is, and its width: mm and pixels. The mean face's eyes are open
# by the mm over which it begins at their corners.
_LASHES, _LASH_WIDTH, _LASH_BLUR, _LASH_ENDS = 0.42, 0.8, 1.0, (0.5, 3.0)
_SKIN_POWER = 0.6  # of the ratio of skin tones, for a source's eye


# Give portraits whose eyes can stand in for those that the picture does not show, the best first.
Donors = Sequence[Callable[[], Optional[Portrait]]]


def openings(head: Head) -> np.ndarray:
    """How far both eyes are open, (2,), in their widths."""
    return Eyes.of(head.bfm, head.surface, np.zeros(2)).opening


def paint_eyes(work: Work, donors: Donors) -> None:
    """Draw the lids and what is between them into the result."""
    before, after = openings(work.before), openings(work.after)
    for eye, mesh in enumerate(work.after.bfm.around_eyes):
        if len(mesh.triangles):
            _paint_eye(work, donors, eye, float(before[eye]), float(after[eye]))


def _paint_eye(work: Work, donors: Donors, eye: int, before: float, after: float) -> None:
    topology = work.after.bfm.topology
    edges = work.after.vertices[topology.lids[eye].ravel()]
    box = Box.around(edges, _AROUND[0] * work.size + _AROUND[1], work.box)
    if min(box.size) < 2 or not box.of(work.field.moves, work.box).any():
        return
    closing = ramp(before - after, 0.03, 0.12)
    shut = closing * (1 - ramp(after, 0.03, 0.10))
    labels = _labels(work.after, eye, box)
    shares = labels.shares(work.size)
    ball_share, upper_share, lower_share = (shares[..., k].copy() for k in range(3))
    upper_share += shut * ball_share
    ball_share *= 1 - shut
    above, below = np.moveaxis(coarser(labels.drawn), 2, 0)
    moves = box.of(work.field.moves, work.box)
    left = shut * np.maximum(after, 0) / _MEAN  # of the mean face's gap
    upper, lower = _lid_moves(work, moves, shares, above, below, closing, left)
    layers = [sampled(work.patch, work.box, box, m) for m in (upper, lower)]
    layers.append(sampled(work.patch, work.box, box, _ball_moves(work, eye, box, before, after)))
    wake = (1 - ramp(before, 0.08, 0.14)) * ramp(after, 0.16, 0.24)
    for donor in filter(None, (give() for give in donors if wake > 0)):
        usable = wake * _usable(donor, work.after, eye)
        _paste_eye(work, donor, eye, box, layers[2], ball_share, usable)
        wake -= usable
    total = ball_share + upper_share + lower_share
    weights = (upper_share, lower_share, ball_share)
    drawn = sum(layer * w[..., None] for layer, w in zip(layers, weights))
    drawn /= np.maximum(total, 1e-3)[..., None]
    drawn[..., :3] *= 1 - shut * _lashes(labels, work.after.scale)[..., None]
    base = box.of(work.result, work.box)
    opacity = edge_fade(box, _FADE) * np.minimum(total, 1)
    base += opacity[..., None] * (drawn - base)


def _labels(after: Head, eye: int, box: Box) -> Labels:
    """Attributes: mm above the upper lid's edge, and below the lower one's."""
    mesh, topology = after.bfm.around_eyes[eye], after.bfm.topology
    raster = finer_raster(after.vertices[mesh.vertices], mesh.triangles, box)
    edges = np.column_stack([topology.above_lid, topology.below_lid])[mesh.vertices]
    drawn = interpolated(raster, edges)
    above, below = drawn[..., 0], drawn[..., 1]
    opening = raster.covered & (np.maximum(above, below) < 0)
    skin = raster.covered & ~opening
    return Labels(opening, skin & (above >= below), skin & (above < below), drawn)


def _lid_moves(
    work: Work,
    moves: np.ndarray,
    shares: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
    closing: float,
    left: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The fields (h, w, 2) of upper and lower lid, pushed away from the gap as it closes.

    What is `left` of a shut eye's gap is filled from the upper lid's edge.
    """
    mm, down = work.after.scale, work.after.down
    far = [np.exp(-np.maximum(side, 0) / _PUSH_REACH) for side in (above, below)]
    smear = np.clip(-np.maximum(above, below) * mm * left, 0, _MOST_SMEAR)
    up = closing * _PUSH_UPPER * mm * far[0] + smear
    upper = grown(moves, pure(shares[..., 1])) - up[..., None] * down
    low = closing * _PUSH_LOWER * mm * far[1]
    lower = grown(moves, pure(shares[..., 2])) + low[..., None] * down
    return upper.astype(np.float32), lower.astype(np.float32)


def _lashes(labels: Labels, mm: float) -> np.ndarray:
    """How dark (h, w), 0 to 1, the line of lashes makes a shut eye: along the lower lid's edge,
    between the eye's corners. mm : in pixels."""
    above, below = np.moveaxis(labels.drawn, 2, 0)
    line = np.exp(-((below * mm / (_LASH_WIDTH * mm + _LASH_BLUR)) ** 2))
    return coarser((_LASHES * line * smoothstep(-(above + below), *_LASH_ENDS)).astype(np.float32))


def _ball_moves(work: Work, eye: int, box: Box, before: float, after: float) -> np.ndarray:
    """The field of the eyeball: it goes with the eye's corners, if it was seen and lids close."""
    corners = work.before.bfm.landmarks[list(EYE_CORNERS[eye])]
    still = (work.before.vertices[corners, :2] - work.after.vertices[corners, :2]).mean(axis=0)
    mesh, topology = work.before.bfm.around_eyes[eye], work.before.bfm.topology
    raster = rasterise(
        work.before.vertices[mesh.vertices], mesh.triangles, box.size,
        (box.left + float(still[0]), box.top + float(still[1])),
    )
    edges = np.maximum(topology.above_lid, topology.below_lid)[mesh.vertices, None]
    depth = np.where(raster.covered, -interpolated(raster, edges)[..., 0], -1)  # mm
    widening = 1 - ramp(after / max(before, 1e-3), 1.0, 1.2)
    stays = smoothstep(depth, 0, 0.6) * widening
    moves = box.of(work.field.moves, work.box)
    return moves + stays[..., None].astype(np.float32) * (still - moves)


def _usable(donor: Portrait, after: Head, eye: int) -> float:
    """How well the source's eye serves where the target shows none: 0 to 1."""
    shown = float(openings(donor.head)[eye])
    return ramp(shown, 0.14, 0.18) * (1 - ramp(max(donor.head.yaw, after.yaw), 25, 38))


def _paste_eye(
    work: Work,
    donor: Portrait,
    eye: int,
    box: Box,
    ball: np.ndarray,
    share: np.ndarray,
    wake: float,
) -> None:
    """Draw the source's eye into the layer `ball` (h, w, 4), where its share is not 0."""
    shown = share > 1e-3
    if not shown.any():
        return
    mesh = work.after.bfm.around_eyes[eye]
    raster = rasterise(
        work.after.vertices[mesh.vertices], mesh.triangles, box.size, (box.left, box.top)
    )
    places = interpolated(raster, donor.head.vertices[mesh.vertices, :2])[shown]
    seen = Box.around(places, 8.0, donor.box)
    if min(seen.size) < 1:
        return
    patch = as_levels(seen.of(donor.pixels, donor.box))
    light = to_linear(sample_lanczos(patch, places - (seen.left, seen.top))[:, :3])
    source, target = luminance(donor.skin), luminance(work.skin)
    grey = luminance(light)[:, None]
    light = grey + ramp(saturation(work.skin), 0.05, 0.35) * (light - grey)
    light *= (target / source) ** _SKIN_POWER
    bright = float(quantile(luminance(light), 0.98))
    light *= min(1.0, 1.5 * target / max(bright, 1e-6))
    ball[shown, :3] += np.float32(wake) * (to_levels(light) - ball[shown, :3])
