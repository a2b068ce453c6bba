"""Closed lips: their line is put onto the dark seam that the picture shows."""

from __future__ import annotations

import cv2
import numpy as np

from bfm.topology import COLUMNS
from reenactment.photo.colour import luminance, to_linear
from reenactment.photo.field import Box
from reenactment.photo.head import Head, quantile
from Sim3DR import sample
from utils.easing import ramp, smoothstep
from utils.image import as_bgr

_CLOSED = (0.035, 0.055)  # widths of the mouth, over which lips come to stay where they are
_SEARCH = 0.10  # widths of the mouth, up and down
_STEP = 1 / 120  # of the width, between samples, but not less than _LEAST_STEP
_LEAST_STEP = 0.35  # pixels
_LIKELY = 0.05  # widths; how far off the fit usually is
_LEAST_CONTRAST = 4.0  # levels of L* by which darkness is measured at least
_SURE = 12.0  # levels of L* darker than its column: certainly the seam
_STIFFNESS, _LARGEST_JUMP = 0.15, 2  # of the line, from column to column, in steps
_REACH_Y, _REACH_X = (5.0, 15.0), (23.0, 32.0)  # mm from the seam, over which skin follows


def snapped(head: Head, pixels: np.ndarray, part: Box) -> np.ndarray:
    """How far (n, 2) vertices move in the picture for the lips to close on its seam, pixels.

    Zeros where the mouth is open, or too small to see. pixels (height, width[, 1, 3 or 4]) : a
    part of the picture, of any kind, which is at the box `part`.
    """
    upper, lower = head.lip_points()[..., :2]
    still = np.zeros((len(head.vertices), 2), np.float32)
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    middle = slice(COLUMNS // 4, -(COLUMNS // 4))
    shut = 1 - ramp(float(quantile(head.mouth_opening()[middle], 0.5)), *_CLOSED)
    if width < 8 or shut == 0:
        return still
    step = max(_STEP * width, _LEAST_STEP)
    count = int(_SEARCH * width / step)
    offsets = np.arange(-count, count + 1) * step
    seam = (upper + lower) / 2
    box = Box.around(seam, _SEARCH * width + 3, part)
    if min(box.size) < 2:
        return still
    seam = seam - (box.left, box.top)
    darkness = _lightness(as_bgr(box.of(pixels, part)), seam, head.down, offsets)
    darkness -= quantile(darkness, 0.5)[:, None]
    line = _darkest_line(darkness, offsets / (_LIKELY * width))
    depth = np.clip(-darkness[np.arange(COLUMNS), line] / _SURE, 0, 1)
    ends = smoothstep(np.minimum(np.linspace(0, 1, COLUMNS), np.linspace(1, 0, COLUMNS)), 0, 0.08)
    shift = _blur(offsets[line] * _blur(depth, 2.0), 1.0) * ends
    return _spread(head, shut * shift)


def _lightness(
    img: np.ndarray, seam: np.ndarray, down: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """L* (COLUMNS, offsets) of the picture along the normal of the seam (COLUMNS, 2)."""
    places = np.repeat(seam[:, None, [0, 1, 1]], len(offsets), axis=1).astype(np.float32)
    places[..., :2] += offsets[:, None] * down
    colors = sample(img, places.reshape(-1, 3)).reshape(places.shape)
    lightness = 116 * np.cbrt(luminance(to_linear(255 * colors))) - 16
    return cv2.GaussianBlur(lightness, (5, 5), 0.8)


def _darkest_line(darkness: np.ndarray, unlikely: np.ndarray) -> np.ndarray:
    """The smooth line of least cost through darkness (COLUMNS, k): an index for each column."""
    spread = np.maximum(quantile(np.abs(darkness), 0.5)[:, None], _LEAST_CONTRAST)
    cost = darkness / spread + 0.5 * unlikely**2
    jumps = np.arange(-_LARGEST_JUMP, _LARGEST_JUMP + 1)
    columns = np.arange(cost.shape[1])
    came_from = np.clip(columns[:, None] + jumps, 0, len(columns) - 1)  # (k, jumps)
    best, choices = cost[0], []
    for column in cost[1:]:
        ways = best[came_from] + _STIFFNESS * jumps**2
        choice = ways.argmin(axis=1)
        choices.append(came_from[columns, choice])
        best = column + ways[columns, choice]
    line = [int(best.argmin())]
    for choice in reversed(choices):
        line.append(int(choice[line[-1]]))
    return np.array(line[::-1])


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    """Along the columns."""
    return cv2.GaussianBlur(values.astype(np.float64)[None], (0, 0), sigma)[0]


def _spread(head: Head, shift: np.ndarray) -> np.ndarray:
    """A shift (COLUMNS,) of the seam down the face, carried to the vertices around it, (n, 2)."""
    topology, across = head.bfm.topology, head.surface[:, 0]
    columns = topology.lip_points(head.surface)[0, :, 0]
    weight = (1 - smoothstep(np.abs(topology.slit), *_REACH_Y)) * (
        1 - smoothstep(np.abs(across), *_REACH_X)
    )
    along = np.interp(across, np.maximum.accumulate(columns), shift)
    return ((weight * along)[:, None] * head.down).astype(np.float32)
