"""Which part of the face a vertex belongs to: soft weights, so that a part can move alone.

Left and right are the person's own, as in ARKit: the left eye is on the right of the picture.
"""

from __future__ import annotations

import numpy as np

from utils.errors import UsageError

# For each region, how far around its lines it is whole, mm, and the lines, drawn through places
# that are landmarks, or means of several.
_LINES: dict[str, tuple[float, tuple[tuple[tuple[int, ...], ...], ...]]] = {
    "brow_right": (4, (((17,), (18,), (19,), (20,), (21,)),)),
    "brow_left": (4, (((22,), (23,), (24,), (25,), (26,)),)),
    "eye_right": (5, (((36,), (37,), (38,), (39,), (40,), (41,), (36,)),)),
    "eye_left": (5, (((42,), (43,), (44,), (45,), (46,), (47,), (42,)),)),
    "nose": (4, (((27,), (28,), (29,), (30,)),)),
    "cheek_right": (5, (((1,), (2,), (3,)), ((2,), (2, 2, 41)))),
    "cheek_left": (5, (((15,), (14,), (13,)), ((14,), (14, 14, 46)))),
    "mouth": (4, (((48,), (50,), (51,), (52,), (54,), (56,), (57,), (58,), (48,)),
                  ((60,), (62,), (64,), (66,), (60,)))),
    "jaw": (5, (((5,), (6,), (7,), (8,), (9,), (10,), (11,)),)),
}
_HALVES = ("mouth_right", "mouth_left")  # of the mouth, which meet softly
_SEAM = 22.0  # mm from the middle, where one half has ended
_SHARPNESS = 2.0  # how fast a region gives way to the next
_TOUCHING = 1e-3  # mm; nearer than this is inside
_MM = 1e-3  # of a µm

REGIONS = tuple(name for name in _LINES if name != "mouth") + _HALVES
_EYES, _BROWS = ("eye_right", "eye_left"), ("brow_right", "brow_left")
_CHEEKS, _MOUTH = ("cheek_right", "cheek_left"), (*_HALVES, "jaw")  # no mouth opens without a jaw
GROUPS: dict[str, tuple[str, ...]] = {
    "all": REGIONS,
    "lower-face": (*_MOUTH, *_CHEEKS, "nose"),
    "upper-face": (*_EYES, *_BROWS),
    "mouth": _MOUTH,
    "lips": _HALVES,
    "eyes": _EYES,
    "brows": _BROWS,
    "cheeks": _CHEEKS,
    # what other programs call them
    "exp": REGIONS,
    "lip": _MOUTH,
}
_BUT = "all-but:"


def region_weights(mean: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """How much of each region a vertex is.

    A region is whole near its landmarks, and between regions the weights are those of Shepard's
    interpolation ("A two-dimensional interpolation function for irregularly-spaced data", 1968):
    they fall with a power of the distance and have no crease, not where a region stops being
    whole, either.

    Parameters
    ----------
    mean (n, 3) : the face at rest, µm.
    landmarks (68,) int : vertices.

    Returns
    -------
    (regions, n) float32 in the order of `REGIONS`, adding up to one at every vertex.
    """
    points = np.asarray(mean, np.float32) * np.float32(_MM)
    marks = points[landmarks]
    near = np.stack([_distance(points, marks, *lines) for lines in _LINES.values()])
    near = np.maximum(near, _TOUCHING) ** -_SHARPNESS
    weights = dict(zip(_LINES, near / near.sum(axis=0)))
    left = _smoothstep((points[:, 0] / _SEAM + 1) / 2)
    mouth = weights.pop("mouth")
    weights.update(zip(_HALVES, (mouth * (1 - left), mouth * left)))
    return np.stack([weights[name] for name in REGIONS]).astype(np.float32)


def rows_of(name: str) -> list[int]:
    """The numbers of the regions that a name stands for; raises UsageError."""
    members = (name,) if name in REGIONS else GROUPS.get(name)
    if members is None:
        known = ", ".join((*GROUPS, *REGIONS))
        raise UsageError(f"unknown region {name!r}; choose from {known}")
    return [REGIONS.index(member) for member in members]


def parse_regions(text: str) -> np.ndarray:
    """Which regions a text asks for: 'mouth,eyes', or 'all-but:eyes' for the others.

    Returns
    -------
    (regions,) bool.

    Raises
    ------
    UsageError : an unknown name, or no region left.
    """
    others = text.startswith(_BUT)
    chosen = np.zeros(len(REGIONS), bool)
    for name in text.removeprefix(_BUT).split(","):
        chosen[rows_of(name.strip())] = True
    if not (chosen ^ others).any():
        raise UsageError(f"no region is left of {text!r}")
    return chosen ^ others


def _distance(
    points: np.ndarray,
    marks: np.ndarray,
    radius: float,
    lines: tuple[tuple[tuple[int, ...], ...], ...],
) -> np.ndarray:
    """How far points (n, 3) are from the surroundings of some lines, mm; 0 within."""
    nearest = np.full(len(points), np.inf, np.float32)
    for line in lines:
        places = [marks[list(place)].mean(axis=0) for place in line]
        for start, end in zip(places, places[1:]):
            along = end - start
            share = np.clip((points - start) @ along / (along @ along), 0, 1)
            apart = points - start - share[:, None] * along
            np.minimum(nearest, np.einsum("ij,ij->i", apart, apart), out=nearest)
    return np.maximum(np.sqrt(nearest) - radius, 0)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
