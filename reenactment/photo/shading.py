"""Light that changes with the surface: second-order spherical harmonics, fitted to the skin.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001.
"""

from __future__ import annotations

import cv2
import numpy as np

from reenactment.photo.colour import luminance, to_linear
from reenactment.photo.field import Box
from reenactment.photo.slits import interpolated
from reenactment.photo.work import Work

_EVERY = 7  # vertices, one is looked at
_STEPS = 4  # of reweighted least squares
_SPREAD = 1.5  # median deviations, at which a vertex counts half (Cauchy)
_RIDGE = 0.02  # of the number of vertices; ten times as much for the second order
_LEAST = 0.3  # of the median light, that the fit is trusted down to
_GAIN_LIMIT = 0.35  # of log light
_BLUR = 0.012  # sizes of the face
_GAMMA = 2.2


def shade(work: Work) -> None:
    """Multiply the result by how much more light the new surface gets."""
    log_ratio = _log_ratio(work)
    if log_ratio is None:
        return
    drawn = interpolated(work.field.raster, log_ratio[:, None])[..., 0]
    box = Box.around(work.after.vertices, 2, work.box)
    inside = box.of(work.field.known, work.box).astype(np.float32)
    sigma = max(_BLUR * work.size, 0.5)
    weight = cv2.GaussianBlur(inside, (0, 0), sigma)
    smooth = cv2.GaussianBlur(box.of(drawn, work.box) * inside, (0, 0), sigma)
    smooth = np.clip(smooth / np.maximum(weight, 1e-3), -_GAIN_LIMIT, _GAIN_LIMIT)
    gain = np.exp(smooth * np.clip(2 * weight - 1, 0, 1) / _GAMMA)
    box.of(work.result, work.box)[..., :3] *= gain[..., None]


def _log_ratio(work: Work) -> np.ndarray | None:
    """Log of new light over old, (n,), or None where too little skin is seen to tell."""
    head = work.before
    topology = head.bfm.topology
    skin = head.seen & (np.abs(topology.slit) > 12) & (topology.above_lid > 14)
    skin &= head.surface[:, 1] < 60
    skin[np.arange(len(skin)) % _EVERY != 0] = False
    column, row = np.rint(head.vertices[skin, :2] - (work.box.left, work.box.top)).astype(int).T
    height, width = work.box.size
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    if inside.sum() < 200:
        return None
    light = luminance(to_linear(work.patch[row[inside], column[inside], :3]))
    basis = _harmonics(head.normals[skin][inside])
    weights, coefficients = np.ones(len(light)), np.zeros(9)
    ridge = np.diag(_RIDGE * len(light) * np.array([0.01, 1, 1, 1, 10, 10, 10, 10, 10]) * 0.1)
    for _ in range(_STEPS):
        weighted = basis * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ light)
        error = np.abs(light - basis @ coefficients)
        weights = 1 / (1 + (error / max(_SPREAD * float(np.median(error)), 1e-4)) ** 2)
    least = max(_LEAST * float(np.median(light)), 1e-4)
    old, new = (
        np.maximum(_harmonics(h.normals) @ coefficients, least) for h in (head, work.after)
    )
    return np.log(np.clip(new / old, 0.6, 1.6))


def _harmonics(normals: np.ndarray) -> np.ndarray:
    """The nine polynomials (k, 9) of unit normals (k, 3), up to their constant factors."""
    x, y, z = normals.T.astype(np.float64)
    terms = [np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]
    return np.stack(terms, axis=-1)
