"""The light on a face: second-order spherical harmonics, fitted to its skin.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reenactment.photo.colour import luminance, vertex_light
from reenactment.photo.field import Box
from reenactment.photo.head import Head, quantile

_EVERY = 7  # vertices, one is looked at
_STEPS = 4  # of reweighted least squares
_SPREAD = 1.5  # median deviations, at which a vertex counts half (Cauchy)
_RIDGE = 0.02  # of the number of vertices; ten times as much for the second order
_LEAST = 0.3  # of the median light, that the fit is trusted down to


@dataclass(frozen=True, eq=False)
class Light:
    """The light that normals get, as they are turned.

    coefficients (9,) : of the harmonics; least : down to which they are trusted.
    """

    coefficients: np.ndarray
    least: float

    def on(self, normals: np.ndarray) -> np.ndarray:
        """The linear light (k,) of unit normals (k, 3)."""
        light = self.coefficients.astype(np.float32) @ _harmonics(normals)
        return np.maximum(light, np.float32(self.least))


def light_on(head: Head, pixels: np.ndarray, box: Box) -> Light | None:
    """The light on a face, or None where too little skin is seen to tell; see `vertex_light`."""
    topology = head.bfm.topology
    skin = head.seen & (np.abs(topology.slit) > 12) & (topology.above_lid > 14)
    skin &= head.surface[:, 1] < 60
    skin[np.arange(len(skin)) % _EVERY != 0] = False
    vertices, colours = vertex_light(head, np.flatnonzero(skin), pixels, box)
    if len(vertices) < 200:
        return None
    light, basis = luminance(colours), _harmonics(head.normals[vertices]).T.astype(np.float64)
    weights, coefficients = np.ones(len(light)), np.zeros(9)
    ridge = np.diag(_RIDGE * len(light) * np.array([0.01, 1, 1, 1, 10, 10, 10, 10, 10]) * 0.1)
    for _ in range(_STEPS):
        weighted = basis * weights[:, None]
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ light)
        error = np.abs(light - basis @ coefficients)
        weights = 1 / (1 + (error / max(_SPREAD * float(quantile(error, 0.5)), 1e-4)) ** 2)
    return Light(coefficients, max(_LEAST * float(quantile(light, 0.5)), 1e-4))


def _harmonics(normals: np.ndarray) -> np.ndarray:
    """The nine polynomials (9, k) of unit normals (k, 3), up to their constant factors."""
    x, y, z = np.ascontiguousarray(normals.T)
    return np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1])
