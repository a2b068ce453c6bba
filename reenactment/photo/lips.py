"""Where a picture has its lips: a fit's lie a little above or below them.

They are looked for up and down the face, by how well lips stand out from the skin around them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bfm import BFMModel
from reenactment.photo.colour import as_levels, luminance
from reenactment.photo.field import Box
from reenactment.photo.head import MM, Head
from reenactment.photo.soft import blurred
from Sim3DR import get_normal
from utils.easing import smoothstep

# Lengths of the nose, landmarks 27 to 33: what is searched, and how sharply.
_NOSE = (27, 33)
_OFFSETS = np.linspace(-0.25, 0.25, 21)
_BLUR = 0.02
_MARGIN = 0.3
_EXPECTED = 0.04  # deviation of a fit's lips from the picture's
# How much a squared deviation between lips and skin, and an e-fold of darkness, count for.
_CONTRAST, _DARKNESS = 1.7, 6.7
_NOISE = 4.0  # levels², of a colour's variance
_INSIDE, _AROUND = 0.8, (1.5, 8.0)  # mm inside the lips' outer edge, and outside
_DEPTH = 8.0  # mm behind that edge, to which the mean face's lips reach
_REACH = (12.0, 28.0)  # mm from the lips' meeting line, over which skin follows
_REACH_ACROSS = (30.0, 45.0)
_EVERY, _LEAST_SEEN = 3, 30  # vertices of each kind: one of three is looked at
_STEEP = 0.05  # share of a normal towards the viewer, below which skin is unseen


class Patch(NamedTuple):
    """Some vertices (k,), and their normals (k, 3) on the mean face, in the model's frame."""

    vertices: np.ndarray
    normals: np.ndarray

    def facing(self, head: Head) -> np.ndarray:
        """Those of the vertices whose skin is turned to the viewer."""
        depth = head.pose[2, :3] / max(float(np.linalg.norm(head.pose[2, :3])), 1e-9)
        return self.vertices[self.normals @ depth > _STEEP]

    @classmethod
    def lips_and_skin(cls, bfm: BFMModel) -> tuple[Patch, Patch]:
        """The lips, and the skin around them; `BFMModel.kept` keeps them."""
        mean = MM * bfm.u.reshape(-1, 3)
        edge = mean[bfm.landmarks[48:60]]
        upper, lower = edge[:7], np.concatenate([edge[:1], edge[:5:-1]])
        x, y, z = mean.T
        top, bottom = (np.interp(x, lip[:, 0], lip[:, 1]) for lip in (upper, lower))
        beside = np.maximum(edge[0, 0] - x, x - edge[6, 0])
        outside = np.maximum.reduce([y - top, bottom - y, beside])  # mm
        front = z > edge[:, 2].min() - _DEPTH
        skin = (outside > _AROUND[0]) & (outside < _AROUND[1])
        normals = get_normal(np.ascontiguousarray(mean, np.float32), bfm.tri)
        normals *= np.sign(normals[bfm.landmarks[30], 2])  # outwards
        lips, around = (
            np.flatnonzero(part & front)[::_EVERY] for part in (outside < -_INSIDE, skin)
        )
        return cls(lips, normals[lips]), cls(around, normals[around])


def found(head: Head, pixels: np.ndarray, part: Box) -> np.ndarray:
    """How far (n, 2) vertices move in the picture for the lips to lie on its own, pixels.

    The mean over all offsets, each weighted by how likely it is, so it is continuous in the
    picture. pixels (height, width[, channels]) : a part of the picture, which is at the box `part`.
    """
    still = np.zeros((len(head.vertices), 2), np.float32)
    if min(part.size) < 2:
        return still
    nose = head.vertices[head.bfm.landmarks[list(_NOSE)], :2]
    unit = float(np.linalg.norm(nose[1] - nose[0]))
    patches = [patch.facing(head) for patch in head.bfm.kept(Patch.lips_and_skin)]
    if min(map(len, patches)) < _LEAST_SEEN:
        return still
    places = [head.vertices[v, :2] for v in patches]
    around = Box.around(np.concatenate(places), _MARGIN * unit, part)
    if min(around.size) < 2:
        return still
    colours = blurred(as_levels(around.of(pixels, part))[..., :3], max(_BLUR * unit, 0.5))
    moves = (_OFFSETS * unit)[:, None, None] * head.down  # (offset, 1, 2)
    lips, skin = (_looked_up(colours, p - (around.left, around.top) + moves) for p in places)
    evidence = _evidence(lips, skin) - 0.5 * (_OFFSETS / _EXPECTED) ** 2
    likely = np.exp(evidence - evidence.max())
    shift = unit * float(likely @ _OFFSETS / likely.sum())
    return _spread(head, shift)


def _looked_up(colours: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The colours (offset, k, 3) of the pixels at places (offset, k, 2), or nearest to them."""
    height, width = colours.shape[:2]
    x, y = np.rint(np.moveaxis(places, -1, 0)).astype(int)
    return colours[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]


def _evidence(lips: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The log likelihood (offset,), up to a constant, that these are lips and skin: how many
    deviations they are apart (Mahalanobis), and how much darker lips are."""
    means = [part.mean(axis=1) for part in (lips, skin)]
    within = [(part - mean[:, None]).reshape(-1, 3) for part, mean in zip((lips, skin), means)]
    spread = np.mean([w.T @ w / len(w) for w in within], axis=0) + _NOISE * np.eye(3)
    apart = means[0] - means[1]
    contrast = (apart @ np.linalg.inv(spread) * apart).sum(axis=1)
    light = [np.log(luminance(mean) + 8) for mean in means]
    return _CONTRAST * contrast + _DARKNESS * (light[1] - light[0])


def _spread(head: Head, shift: float) -> np.ndarray:
    """A shift down the face, of the lips and what is around them, (n, 2) pixels."""
    weight = 1 - smoothstep(np.abs(head.bfm.topology.slit), *_REACH)
    weight *= 1 - smoothstep(np.abs(head.surface[:, 0]), *_REACH_ACROSS)
    return (shift * weight[:, None] * head.down).astype(np.float32)
