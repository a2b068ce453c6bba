"""How far the eyes shall be open: the fit of a shut eye never quite shuts it.

Lids move along the model's two lid directions, so an eye's gap is linear in its coefficient and
any gap can be asked for. Gaps are in widths of the eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfm import BFMModel
from bfm.topology import EYE_CORNERS
from reenactment.photo.head import MM, smoothstep

_MIDDLE = slice(2, 7)  # of the nine pairs of vertices along the lids
_SHUT = 0.14  # the gap that is fitted to shut eyes, 0.13 to 0.16
_NARROW = 0.17  # below it, a fitted gap is partly that error: an eye may be shut in truth
_ERROR = 0.12  # the least gap that is ever fitted
_MOST = 1.2  # by which a coefficient is changed
# Where lids take skin along, mm beyond their edges: less than the directions do, which reach brows
# and the frames of glasses.
_REACH_ABOVE, _REACH_BELOW = (4.0, 11.0), (2.5, 7.0)
_AWAY_ABOVE, _AWAY_BELOW = (14.0, 20.0), (9.0, 15.0)  # mm, beyond what the directions themselves do


@dataclass(frozen=True, eq=False)
class Eyes:
    """The eyes of a surface (n, 3), mm; all arrays are (2,), left to right in the picture.

    gap, width : of the opening; mm. coefficient : of each eye's lid direction.
    """

    gap: np.ndarray
    width: np.ndarray
    coefficient: np.ndarray

    @classmethod
    def of(cls, bfm: BFMModel, surface: np.ndarray, coefficient: np.ndarray) -> Eyes:
        corners = surface[bfm.landmarks[np.array(EYE_CORNERS)]]  # (eye, end, 3)
        width = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
        return cls(_gap(bfm, surface), np.maximum(width, 1e-3), coefficient)

    @property
    def opening(self) -> np.ndarray:
        """The gap in widths of the eye."""
        return self.gap / self.width


def _gap(bfm: BFMModel, heights: np.ndarray) -> np.ndarray:
    """The middle gap of both eyes, (2,), of points or moves (n, 3)."""
    y = heights[bfm.topology.lids, 1][:, :, _MIDDLE]  # (eye, edge, pair)
    return (y[:, 0] - y[:, 1]).mean(axis=1)


def asked(target: Eyes, result: Eyes, source: Eyes | None, slope: np.ndarray) -> np.ndarray:
    """The openings that the result asks for, before any correction.

    With the source of an absolute transfer known: the mean of its own opening, and of what share
    of its fully open eye it shows, on the target's eye. slope : mm of gap for a coefficient of 1.
    """
    if source is None:
        return result.opening
    open_source = np.maximum(source.gap - source.coefficient * slope, 1e-3)
    open_result = result.gap - result.coefficient * slope
    share = source.gap / open_source * open_result / target.width
    return (share + source.opening) / 2


def corrected(target: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Openings (2,) of the target and of the result, with the fit's error at shut eyes removed.

    What is more open than the target stays; below, the target's opening goes down to 0 where `want`
    reaches that of shut eyes. A target that is itself shut is treated as such.
    """
    closing = target * np.maximum(0, (want - _SHUT) / np.maximum(target - _SHUT, 0.03))
    result = np.where(want >= target, want, closing)
    narrow = target < _NARROW
    true_target = np.where(
        narrow, np.maximum(0, (target - _ERROR) / (_NARROW - _ERROR)) * _NARROW, target
    )
    stays = narrow & (want < target + 0.02)
    return true_target, np.where(stays, np.minimum(result, true_target), result)


def with_lids(
    bfm: BFMModel,
    target: tuple[np.ndarray, np.ndarray],
    result: tuple[np.ndarray, np.ndarray],
    source: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Surfaces (n, 3) mm of target and result whose eyes are as open as they shall be.

    Parameters
    ----------
    target, result, source : a surface (n, 3), mm, and the coefficients (2,) of its lid directions;
        the source's where its expression is the result's.
    """
    if bfm.lid_moves is None:
        return target[0], result[0]
    vertices, moves = bfm.lid_moves.vertices, bfm.lid_moves.moves * np.float32(MM)
    slope = np.minimum(_slopes(bfm, vertices, moves), -1e-3)
    eyes_t, eyes_r = (Eyes.of(bfm, *face) for face in (target, result))
    eyes_s = Eyes.of(bfm, *source) if source else None
    want_t, want_r = corrected(eyes_t.opening, asked(eyes_t, eyes_r, eyes_s, slope))
    change_t, change_r = (
        np.clip((want * eyes_t.width - eyes.gap) / slope, -_MOST, _MOST)
        for want, eyes in ((want_t, eyes_t), (want_r, eyes_r))
    )
    topology = bfm.topology
    reach = (1 - smoothstep(topology.above_lid[vertices], *_REACH_ABOVE)) * (
        1 - smoothstep(topology.below_lid[vertices], *_REACH_BELOW)
    )
    own = eyes_t.coefficient + change_t
    before, after = target[0].copy(), result[0].copy()
    before[vertices] += moves @ change_t.astype(np.float32)
    # all that the result's lids would take along is undone, and what is near them done
    after[vertices] += moves @ (own - eyes_r.coefficient).astype(np.float32)
    lids = moves @ (eyes_r.coefficient + change_r - own).astype(np.float32)
    after[vertices] += reach[:, None].astype(np.float32) * lids
    return before, after


def _slopes(bfm: BFMModel, vertices: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """How much each eye's gap changes with its coefficient, (2,), mm."""
    place = np.searchsorted(vertices, bfm.topology.lids)
    y = np.stack([moves[place[eye], 1, eye] for eye in (0, 1)])[:, :, _MIDDLE]
    return (y[:, 0] - y[:, 1]).mean(axis=1)


def without_eyes(bfm: BFMModel, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The surface `after` (n, 3) with the eyes and all that lids reach as they are `before`."""
    topology = bfm.topology
    away = np.maximum(
        smoothstep(topology.above_lid, *_AWAY_ABOVE), smoothstep(topology.below_lid, *_AWAY_BELOW)
    )
    return before + away[:, None].astype(np.float32) * (after - before)
