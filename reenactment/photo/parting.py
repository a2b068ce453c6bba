"""How far lips shall be apart: fits to two pictures differ by less than their mouths do."""

from __future__ import annotations

import cv2
import numpy as np

from bfm import BFMModel
from bfm.topology import COLUMNS
from utils.easing import smoothstep

# What openings differ by beyond what is read, in parts of that: on 580 faces what MediaPipe sees,
# in widths of the mouth, goes with 1.07 times what is fitted, and with 1.12 times for open mouths.
_UNREAD = 0.1
_UPPER = 0.3  # the upper lip's share of it; the jaw has the rest
_MOST = 6.0  # mm, of what is added
_ENDS, _SMOOTH = 5, 1.5  # columns, over which it ends at the corners, and is smoothed
# Over which skin follows: mm above and below the lips' meeting line, and to the side.
_REACH_UP, _REACH_DOWN, _REACH_ACROSS = (4.0, 16.0), (6.0, 30.0), (21.0, 33.0)


def parted(bfm: BFMModel, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The surface `after` (n, 3) mm, whose lips' openings differ from those `before` by more."""
    topology = bfm.topology
    gaps = []
    for surface in (before, after):
        upper, lower = topology.lip_points(surface)
        gaps.append(upper[:, 1] - lower[:, 1])
    columns = np.maximum.accumulate(upper[:, 0])
    more = _UNREAD * (np.maximum(gaps[1], 0) - np.maximum(gaps[0], 0))
    more = _eased(np.clip(more, np.maximum(-_MOST, np.minimum(-gaps[1], 0)), _MOST))
    if not more.any():
        return after
    along = np.interp(after[:, 0], columns, more)
    along *= 1 - smoothstep(np.abs(after[:, 0]), *_REACH_ACROSS)
    up = _UPPER * (1 - smoothstep(topology.slit, *_REACH_UP))
    down = (_UPPER - 1) * (1 - smoothstep(-topology.slit, *_REACH_DOWN))
    moved = after.copy()
    moved[:, 1] += along * np.where(topology.slit > 0, up, down)
    return moved


def _eased(gaps: np.ndarray) -> np.ndarray:
    """Gaps (COLUMNS,) that are smooth, and nothing at the corners."""
    from_end = np.minimum(np.arange(COLUMNS), np.arange(COLUMNS)[::-1])
    faded = gaps * np.minimum(from_end / _ENDS, 1)
    return cv2.GaussianBlur(faded[None], (0, 0), _SMOOTH)[0]
