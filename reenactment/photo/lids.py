"""How far the eyes shall be open: the fit of a shut eye never quite shuts it.

Lids move along the model's two lid directions, so an eye's gap is linear in its coefficient and
any gap can be asked for. Gaps are in widths of the eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bfm import BFMModel
from bfm.topology import EYE_CORNERS
from reenactment.photo.head import MM
from utils.easing import smoothstep

_MIDDLE = slice(2, 7)  # of the nine pairs of vertices along the lids
_SHUT = 0.15  # the gap that is fitted to shut eyes, 0.12 to 0.17
_NARROW = 0.17  # below it, a fitted gap is partly that error: an eye may be shut in truth
_WAKING = 0.04  # above the gap of such an eye, over which it comes to open
_ERROR = 0.12  # the least gap that is ever fitted
_MOST = 1.2  # by which a coefficient is changed
# Deviations of what two faces' eyes are read to differ by where they do not, the mean of both and
# half of left minus right: of 634 pictures' openings, against what MediaPipe sees. And how many
# times as likely that is as another difference so small.
_NOISE = np.array([0.03, 0.02])
_ALIKE = 8.0
# Where lids take skin along, mm beyond their edges: less than the directions do, which reach brows
# and the frames of glasses.
_REACH_ABOVE, _REACH_BELOW = (4.0, 11.0), (2.5, 7.0)
_AWAY_ABOVE, _AWAY_BELOW = (14.0, 20.0), (9.0, 15.0)  # mm, beyond what the directions themselves do


class Lidded(NamedTuple):
    """A surface (n, 3), mm, and the coefficients (2,) of its lid directions."""

    surface: np.ndarray
    coefficient: np.ndarray


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
    of its fully open eye it shows, on the target's eye; as far as it differs from the target's by
    more than noise. slope : mm of gap for a coefficient of 1.
    """
    if source is None:
        return result.opening
    open_source = np.maximum(source.gap - source.coefficient * slope, 1e-3)
    open_result = result.gap - result.coefficient * slope
    share = source.gap / open_source * open_result / target.width
    read = (share + source.opening) / 2
    return target.opening + credible(read - target.opening)


def credible(change: np.ndarray) -> np.ndarray:
    """What changes (2,) of both eyes' openings are worth, read from two pictures.

    Most eyes differ by nothing but noise, and the others by much more: the mean, given both (a
    spike and a slab), leaves small changes undone and large ones as they are.
    """
    parts = np.array([change[0] + change[1], change[0] - change[1]]) / 2
    parts = parts / (1 + _ALIKE * np.exp(-0.5 * (parts / _NOISE) ** 2))
    return np.array([parts[0] + parts[1], parts[0] - parts[1]])


def corrected(target: np.ndarray, want: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Openings (2,) of the target and of the result, with the fit's error at shut eyes removed.

    What is more open than the target stays; below, the target's opening goes down to 0 where `want`
    reaches that of shut eyes. A target that is itself shut is treated as such, whatever is wanted.
    """
    narrow = target < _NARROW
    true_target = np.where(
        narrow, np.maximum(0, (target - _ERROR) / (_NARROW - _ERROR)) * _NARROW, target
    )
    least = np.minimum(_SHUT, target - (_NARROW - _SHUT))
    share = np.clip((target - want) / (target - least), 0, 1)  # of the way to shut
    result = np.where(want >= target, want, true_target * (1 - share))
    wakes = np.where(narrow, smoothstep(want - target, 0, _WAKING), 1)
    asleep = np.minimum(result, true_target)
    return true_target, asleep + wakes * (result - asleep)


def settled(bfm: BFMModel, target: Lidded) -> np.ndarray:
    """The target's surface (n, 3) mm, with its eyes as open as they are in truth."""
    if bfm.lid_moves is None:
        return target.surface
    eyes = Eyes.of(bfm, *target)
    want, _ = corrected(eyes.opening, eyes.opening)
    change = _change(eyes, want * eyes.width, _slopes(bfm))
    surface = target.surface.copy()
    surface[bfm.lid_moves.vertices] += _lid_moves(bfm, change)
    return surface


def with_lids(
    bfm: BFMModel, target: Lidded, result: Lidded, source: Lidded | None = None
) -> np.ndarray:
    """The result's surface (n, 3) mm, with eyes as open as they shall be on the `settled` target.

    source : where its expression is the result's.
    """
    if bfm.lid_moves is None:
        return result.surface
    vertices, slope = bfm.lid_moves.vertices, _slopes(bfm)
    eyes_t, eyes_r = (Eyes.of(bfm, *face) for face in (target, result))
    eyes_s = Eyes.of(bfm, *source) if source else None
    wants = corrected(eyes_t.opening, asked(eyes_t, eyes_r, eyes_s, slope))
    change_t, change_r = (
        _change(eyes, want * eyes_t.width, slope) for eyes, want in zip((eyes_t, eyes_r), wants)
    )
    topology = bfm.topology
    reach = (1 - smoothstep(topology.above_lid[vertices], *_REACH_ABOVE)) * (
        1 - smoothstep(topology.below_lid[vertices], *_REACH_BELOW)
    )
    own, after = eyes_t.coefficient + change_t, result.surface.copy()
    # all that the result's lids would take along is undone, and what is near them done
    after[vertices] += _lid_moves(bfm, own - eyes_r.coefficient)
    lids = _lid_moves(bfm, eyes_r.coefficient + change_r - own)
    after[vertices] += reach[:, None].astype(np.float32) * lids
    return after


def _change(eyes: Eyes, gap: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """By how much the lids' coefficients (2,) go to open the eyes by a gap (2,), mm."""
    return np.clip((gap - eyes.gap) / slope, -_MOST, _MOST)


def _lid_moves(bfm: BFMModel, change: np.ndarray) -> np.ndarray:
    """How the vertices that lids take along move, (k, 3) float32 mm."""
    assert bfm.lid_moves is not None
    return bfm.lid_moves.moves @ (MM * change).astype(np.float32)


def _slopes(bfm: BFMModel) -> np.ndarray:
    """How much each eye's gap changes with its coefficient, (2,), mm; less than nought."""
    assert bfm.lid_moves is not None
    place = np.searchsorted(bfm.lid_moves.vertices, bfm.topology.lids)
    moves = bfm.lid_moves.moves[:, 1] * MM
    y = np.stack([moves[place[eye], eye] for eye in (0, 1)])[:, :, _MIDDLE]
    return np.minimum((y[:, 0] - y[:, 1]).mean(axis=1), -1e-3)


def without_eyes(bfm: BFMModel, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The surface `after` (n, 3) with the eyes and all that lids reach as they are `before`."""
    topology = bfm.topology
    away = np.maximum(
        smoothstep(topology.above_lid, *_AWAY_ABOVE), smoothstep(topology.below_lid, *_AWAY_BELOW)
    )
    return before + away[:, None].astype(np.float32) * (after - before)
