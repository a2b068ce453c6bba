"""Two expression directions the Basel model lacks: closing the subject's right and left eye.

How the lid edges move against the eye's corners as an eye closes is measured within persons (so
that large and small eyes do not count as open and closed ones); the move of every vertex is then
laid out between and around the lid edges so that no coefficient in [−0.6, 1] folds the surface.
"""

from __future__ import annotations

import logging

import numpy as np
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from training.regressor.geometry import Fit, Model
from training.regressor.landmarks import EYE_CORNERS, LOWER_LID, UPPER_LID

MAX_YAW = 0.35  # sine of the largest yaw to learn from
SOFT = 3_000.0  # µm over which the lid's move is smoothed along the lid, away from its edge
LOWER_SHARE = (
    0.15  # share of a remaining gap that the lower lid closes, the upper lid takes the rest
)

log = logging.getLogger(__name__)


def within_persons(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """(n, k) values minus the mean of the person (n,) they belong to."""
    _, group = np.unique(person, return_inverse=True)
    mean = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(mean, group, values)
    return values - (mean / np.bincount(group)[:, None])[group]


def lid_slopes(fit: Fit, points: Tensor, person: np.ndarray, side: int) -> np.ndarray:
    """(2 lids, 7) vertical move of each lid landmark, against the eye's corners, per unit of eye
    opening.

    points: (n, 468, 2) plane. Landmarks are turned into the model's frame; what lies along the
    line of sight is unseen.
    """
    scale = fit.pose[:, 0, :3].norm(dim=1)
    front = ((fit.pose[:, 2, 0] / scale).abs() < MAX_YAW).numpy()
    own = (
        (points - fit.pose[:, None, :2, 3]) @ fit.pose[:, :2, :3] / scale.square()[:, None, None]
    )[..., 1].numpy()
    upper, lower = UPPER_LID[side], LOWER_LID[side]
    height = own[:, upper + lower] - own[:, EYE_CORNERS[side]].mean(1, keepdims=True)
    opening = own[:, [upper[3]]] - own[:, [lower[3]]]
    both = within_persons(np.concatenate([height, opening], 1)[front], person[front])
    return (both[:, :-1] * both[:, -1:]).sum(0).reshape(2, 7) / np.square(both[:, -1]).sum()


def learn_eyelids(model: Model, fit: Fit, points: Tensor, person: np.ndarray) -> np.ndarray:
    """Vertical moves of the lid edges that close the mean face's eyes.

    Returns (2 eyes, 2 lids, 9) float, µm: corner, seven edge landmarks from the outer to the inner
    corner, corner.
    """
    mean = model.mean.numpy()
    result = np.zeros((2, 2, 9))
    for side in (0, 1):
        opening = mean[list(UPPER_LID[side]), 1] - mean[list(LOWER_LID[side]), 1]  # (7,) µm
        moves = -opening[3] * lid_slopes(fit, points, person, side)
        gap = opening + moves[0] - moves[1]  # still open at 1
        log.info(
            "lids %d, mm: opening %s, upper %s, lower %s, gap left %s",
            side,
            *(np.round(a / 1000, 1) for a in (opening, moves[0], moves[1], gap)),
        )
        result[side, :, 1:8] = moves + gap * np.array([[LOWER_SHARE - 1], [LOWER_SHARE]])
    return result


def fade(distance_: np.ndarray, reach: float) -> np.ndarray:
    """1 at 0, 0 from ``reach`` on, with a flat end (a fold would need a slope steeper than the
    lid's own move)."""
    t = np.clip(distance_ / reach, 0, 1)
    return (1 - t) ** 2 * (1 + 2 * t)


class Eye:
    """Lid edges of one eye on the mean face as curves over x, and how its surface moves with them.

    edge: (2, 9, 3) upper and lower lid edge, corner to corner; moves: (2, 9) their vertical moves
    at coefficient 1; reach: how far above the upper and below the lower edge the skin follows. All
    µm.
    """

    def __init__(self, edge: np.ndarray, moves: np.ndarray, reach: tuple[float, float]) -> None:
        self.left, self.right = np.sort(edge[0, [0, -1], 0])
        self.reach = reach
        self.grid = np.arange(self.left - 3 * SOFT, self.right + 3 * SOFT, 100.0)
        inside = (self.grid > self.left) & (self.grid < self.right)
        self.top, self.bottom = (self.curve(e, e[:, 1]) for e in edge)
        near, far = (self.curve(e, e[:, 2]) for e in edge)
        self.moves = np.stack([self.curve(e, m) for e, m in zip(edge, moves)]) * inside
        self.depths = (
            self.moves * (near - far) / np.maximum(self.top - self.bottom, 500.0)
        )  # along the edges' chord
        self.far, self.near = far, near

    def curve(self, edge: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values (9,) at an edge's points (9, 3), over the grid; constant outside the corners."""
        order = np.argsort(edge[:, 0])
        return PchipInterpolator(edge[order, 0], values[order])(
            np.clip(self.grid, self.left, self.right)
        )

    def at(self, x: np.ndarray, curve: np.ndarray) -> np.ndarray:
        """A curve over the grid, at x (v,)."""
        return np.interp(x, self.grid, curve)

    def blend(self, vertices: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Carry values (2, grid) at upper and lower edge to the vertices (v, 3).

        Linear between the edges; beyond them the value fades out, and turns to one smoothed along
        the lid, so that the skin beside the eye's corners is not torn from that above the eye.
        """
        x, y = vertices[:, 0], vertices[:, 1]
        top, bottom = self.at(x, self.top), self.at(x, self.bottom)
        share = np.clip((y - bottom) / np.maximum(top - bottom, 1.0), 0, 1)
        sharp = [self.at(x, edge) for edge in edges]
        kernel = np.exp(-0.5 * (np.arange(-3 * SOFT, 3 * SOFT + 1, 100.0) / SOFT) ** 2)
        soft = [self.at(x, np.convolve(edge, kernel / kernel.sum(), "same")) for edge in edges]
        result = share * sharp[0] + (1 - share) * sharp[1]
        for beyond, i in ((y - top, 0), (bottom - y, 1)):
            away = 1 - fade(np.maximum(beyond, 0), SOFT)
            outside = (sharp[i] * (1 - away) + soft[i] * away) * fade(
                np.maximum(beyond, 0), self.reach[i]
            )
            result = np.where(beyond > 0, outside, result)
        return result

    def move(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vertical move and change of depth (v,) of the vertices (v, 3) at coefficient 1.

        The edges slide along the chord between them; skin that comes to lie in the opening bulges
        like the eyeball.
        """
        x, y, z = vertices.T
        bottom, height = (
            self.at(x, self.bottom),
            np.maximum(self.at(x, self.top - self.bottom), 1.0),
        )
        vertical, depth = self.blend(vertices, self.moves), self.blend(vertices, self.depths)
        t = np.clip((x - self.left) / (self.right - self.left), 0, 1)
        profile = 4 * t * (1 - t)  # of the bulge, from corner to corner
        before, after = (np.clip((level - bottom) / height, 0, 1) for level in (y, y + vertical))
        chord = self.at(x, self.far) + before * self.at(x, self.near - self.far)
        ball = (np.abs(before - 0.5) < 0.15) & (profile > 0.3)
        bulge = np.median((z - chord)[ball] / profile[ball])
        return vertical, depth + 4 * bulge * profile * (after * (1 - after) - before * (1 - before))


def spread_eyelids(
    basel: Model,
    vertex: np.ndarray,
    moves: np.ndarray,
    reach: tuple[float, float] = (14_000.0, 9_000.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Both directions on the full mesh, zero entries left out.

    basel: the full model; vertex: (468,) landmark vertices; moves: of ``learn_eyelids``.
    Returns vertex (v,) int, direction (v, 3, 2) float32, µm at coefficient 1.
    """
    mean = basel.mean.numpy().astype(np.float64)
    direction = np.zeros((len(mean), 3, 2), np.float32)
    for side in (0, 1):
        outer, inner = EYE_CORNERS[side]
        edge = mean[
            vertex[np.array([[outer, *lid[side], inner] for lid in (UPPER_LID, LOWER_LID)])]
        ]  # (2, 9, 3)
        near = np.flatnonzero((np.abs(mean - edge.mean((0, 1))) < [30_000, 26_000, 25_000]).all(1))
        direction[near, 1, side], direction[near, 2, side] = Eye(edge, moves[side], reach).move(
            mean[near]
        )
    used = np.flatnonzero(np.abs(direction).max((1, 2)) > 1.0)
    return used, direction[used]
