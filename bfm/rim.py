"""A smooth outline for a face mesh that was cut out of a larger one along its grid.

A cut across the grid's rows leaves saw teeth, a vertex spacing high. The rim's vertices move onto
the curve through the teeth's middle, and those near it follow. Each new vertex is a fixed mixture
of old ones, so the same mixture serves mean and bases, and smooths every face.
"""

from __future__ import annotations

import numpy as np

from bfm.texture import boundary_loops

_SIGMA = 4.0  # of the smoothing along the rim, in vertices, 1.3 mm apart: two teeth
_EAR = 0.1  # of a single triangle's height that remains at the rim
_RINGS = 5  # of vertices that follow the rim
_SWEEPS = 12  # that spread its moves over them


def smooth_rim(columns: np.ndarray, tri: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Mean and bases of the mesh with a smooth outline.

    Parameters
    ----------
    columns (3n, k) float : x0 y0 z0 x1 …, of the mean and of the bases' directions.
    tri (m, 3) : triangles; its longest boundary is the rim.
    fixed (j,) int : vertices that stay, landmarks.

    Returns
    -------
    (3n, k) of the same type.
    """
    rows = columns.reshape(-1, 3 * columns.shape[1]).astype(np.float64)
    rim = boundary_loops(tri)[0]
    moves = np.zeros_like(rows)
    ears = np.flatnonzero(np.bincount(tri.ravel())[rim] == 1)
    moves[rim] = _along(rows[rim], ears) - rows[rim]
    near, place, starts = _neighbours(tri, rim)
    count = np.diff([*starts, len(place)])[:, None]
    for _ in range(_SWEEPS):  # each follows the mean of its neighbours
        moves[near] = np.add.reduceat(moves[place], starts) / count
    moves[fixed] = 0
    return (rows + moves).reshape(columns.shape).astype(columns.dtype)


def _along(loop: np.ndarray, ears: np.ndarray) -> np.ndarray:
    """Rows (k, c) of a closed loop, each the Gaussian mean of its neighbourhood.

    Those of `ears` (j,), corners of a single triangle, stay on its outer side: it would turn over.
    """
    steps = np.arange(-4 * int(_SIGMA), 4 * int(_SIGMA) + 1)
    weights = np.exp(-0.5 * (steps / _SIGMA) ** 2)
    mean = np.zeros_like(loop)
    for step, weight in zip(steps, weights / weights.sum()):
        mean += weight * np.roll(loop, -step, axis=0)
    sides = [ears - 1, (ears + 1) % len(loop)]
    mean[ears] = mean[sides].mean(axis=0) + _EAR * (loop[ears] - loop[sides].mean(axis=0))
    return mean


def _neighbours(tri: np.ndarray, rim: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vertices within some rings of the rim, without it, (v,); their neighbours, one list
    after the other; and where each list starts, (v,)."""
    near = np.zeros(tri.max() + 1, bool)
    near[rim] = True
    for _ in range(_RINGS):
        near[tri[near[tri].any(axis=1)]] = True
    near[rim] = False
    sides = np.concatenate([tri[:, [0, 1]], tri[:, [1, 2]], tri[:, [2, 0]]])
    sides = np.unique(np.concatenate([sides, sides[:, ::-1]]), axis=0)
    sides = sides[near[sides[:, 0]]]
    vertices, starts = np.unique(sides[:, 0], return_index=True)
    return vertices, sides[:, 1], starts
