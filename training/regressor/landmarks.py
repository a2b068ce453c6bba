"""MediaPipe's landmark numbering: groups, openings, and the statistics that judge them."""

from __future__ import annotations

from typing import Any

import numpy as np

Points = Any  # a numpy array or a torch tensor

# fmt: off
# dlib-style landmark -> MediaPipe landmark on the same spot (of the jaw, only the chin)
MEDIAPIPE_OF_68 = {
    8: 152,
    17: 70, 18: 63, 19: 105, 20: 66, 21: 107, 22: 336, 23: 296, 24: 334, 25: 293, 26: 300,
    27: 168, 28: 197, 29: 5, 30: 4, 31: 98, 32: 97, 33: 2, 34: 326, 35: 327,
    36: 33, 37: 160, 38: 158, 39: 133, 40: 153, 41: 144,
    42: 362, 43: 385, 44: 387, 45: 263, 46: 373, 47: 380,
    48: 61, 49: 39, 50: 37, 51: 0, 52: 267, 53: 269,
    54: 291, 55: 405, 56: 314, 57: 17, 58: 84, 59: 181,
    60: 78, 61: 82, 62: 13, 63: 312, 64: 308, 65: 317, 66: 14, 67: 87,
}

JAW_SIDES = (234, 454)  # MediaPipe's outline beside the ears, about landmarks 0 and 16 of the 68
# fmt: off
OPPOSITE_OF_68 = np.array([
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
])

# Subject's right eye, then left: corners (outer, inner) and lid edges from outer to inner corner
EYE_CORNERS = ((33, 133), (263, 362))
UPPER_LID = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
LOWER_LID = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
# Upper and lower edge of the subject's right brow, then left, from the outer to the inner end
BROWS = (
    ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
    ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
)
EYES = np.array(sum(EYE_CORNERS + UPPER_LID + LOWER_LID, ()))

OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375,
    291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
)
INNER_LIPS = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324,
    308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)
# fmt: on
LIPS = np.array(OUTER_LIPS + INNER_LIPS)


def distance(points: Points, i: int, j: int) -> Points:
    """(n, L, d) points -> (n,) distance of landmarks i and j (numpy or torch)."""
    return ((points[:, i] - points[:, j]) ** 2).sum(-1) ** 0.5


def mouth_opening(points: Points) -> Points:
    """Inner lips 13–14 over the distance of the outer eye corners 33–263; (n, 468, 2) -> (n,)."""
    return distance(points, 13, 14) / distance(points, 33, 263)


def eye_opening(points: Points) -> Points:
    """Lids 159–145 plus 386–374 over the distance of the outer eye corners; (n, 468, 2) -> (n,)."""
    return (distance(points, 159, 145) + distance(points, 386, 374)) / distance(points, 33, 263)


def wink(points: Points) -> Points:
    """Lids 386–374 (the subject's left eye) less 159–145 (the right) over the distance of the
    outer eye corners; (n, 468, 2) -> (n,)."""
    left, right = distance(points, 386, 374), distance(points, 159, 145)
    return (left - right) / distance(points, 33, 263)


def brow_heights(points: np.ndarray) -> np.ndarray:
    """How high the brows are over the eyes' corners, (n, 468, 2) plane -> (n, 2 sides, 2) of the
    outer and the inner half, over the distance of the outer eye corners; the y axis points up."""
    corners = np.array(EYE_CORNERS)
    across = points[:, corners[1, 0]] - points[:, corners[0, 0]]
    up = np.stack([-across[:, 1], across[:, 0]], 1) / np.square(across).sum(1)[:, None]
    eyes, brows = points[:, corners].mean((1, 2)), points[:, np.array(BROWS)]
    halves = np.stack([brows[..., part, :].mean((2, 3)) for part in ([0, 1], [3, 4])], 2)
    result: np.ndarray = np.einsum("nshi,ni->nsh", halves - eyes[:, None, None], up)
    return result


def correlation_and_slope(true: Points, predicted: Points) -> tuple[float, float]:
    """Correlation, and slope of predicted over true; both (n,). NaN where one is constant."""
    t, p = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    t, p = t - t.mean(), p - p.mean()
    shared, spread = (t * p).sum(), (t * t).sum()
    with np.errstate(invalid="ignore"):
        return float(shared / np.sqrt(spread * (p * p).sum())), float(shared / spread)


def opposite_landmarks(direct: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The landmark on the other side of the face for each landmark, (L,).

    direct, mirror: (n, L, 2), the same faces seen directly and through a mirror (mirrored back):
    row i of the mirror's lies where the opposite of i is, so the pairing is the nearest one on
    average.
    """
    a, b = (
        points.transpose(1, 0, 2).reshape(points.shape[1], -1).astype(np.float64)
        for points in (direct, mirror)
    )
    square = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return square.argmin(1)


def opposite_name(name: str) -> str:
    """The blendshape's name on the other side of the face."""
    for one, other in (("Left", "Right"), ("Right", "Left")):
        if one in name:
            return name.replace(one, other)
    return name
