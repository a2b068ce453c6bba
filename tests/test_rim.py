"""The outline of a mesh that was cut out of a larger one."""

from __future__ import annotations

import numpy as np

from bfm.rim import smooth_rim

SIDE = 40


def serrated() -> tuple[np.ndarray, np.ndarray]:
    """A flat sheet (3n, 1) in mm whose upper edge jumps by one every third column; triangles."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    points = np.stack([x, y, np.zeros_like(x)], axis=-1)
    points[-1, :, 1] += np.arange(SIDE) // 3 % 2
    n = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = n[:-1, :-1].ravel(), n[:-1, 1:].ravel(), n[1:, :-1].ravel(), n[1:, 1:].ravel()
    return points.reshape(-1, 1), np.concatenate([np.c_[a, b, d], np.c_[a, d, c]])


def roughness(edge: np.ndarray) -> float:
    """The largest second difference of an edge's height (k,)."""
    return float(np.abs(np.diff(edge, 2)).max())


def test_teeth_are_smoothed_and_the_inside_stays():
    columns, tri = serrated()
    before = columns.copy()
    smooth = smooth_rim(columns, tri, np.array([], int)).reshape(SIDE, SIDE, 3)
    edge = slice(10, -10)  # away from the sheet's corners, which become round
    old = before.reshape(SIDE, SIDE, 3)
    assert roughness(old[-1, edge, 1]) == 1 and roughness(smooth[-1, edge, 1]) < 0.1
    assert np.abs(smooth[-1, edge, 1] - old[-1, edge, 1]).max() < 0.6  # through their middle
    assert np.array_equal(smooth[8:-8, 8:-8], old[8:-8, 8:-8])
    assert np.array_equal(columns, before)


def test_mean_and_bases_move_alike():
    """Smoothing is linear: a smoothed face is made of the smoothed mean and bases."""
    columns, tri = serrated()
    bases = np.random.default_rng(0).normal(size=(len(columns), 3))
    smooth = smooth_rim(np.hstack([columns, bases]), tri, np.array([5]))
    face = columns + bases @ [[0.5], [-1], [2]]
    assert np.allclose(
        smooth @ [[1], [0.5], [-1], [2]], smooth_rim(face, tri, np.array([5])), atol=1e-5
    )


def test_landmarks_stay():
    columns, tri = serrated()
    fixed = np.array([3, SIDE * SIDE - 7])
    smooth = smooth_rim(columns, tri, fixed).reshape(-1, 3)
    assert np.array_equal(smooth[fixed], columns.reshape(-1, 3)[fixed])
