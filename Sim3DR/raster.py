"""Visibility, found once: which triangle each pixel of a picture shows, and where on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Sim3DR.lib import kernels
from Sim3DR.Sim3DR import as_canvas, as_floats, as_triangles


@dataclass(frozen=True, eq=False)
class Raster:
    """What the pixels of an (H, W) picture show of a mesh.

    number (H, W) int32 : of the triangle seen, -1 for none.
    weights (H, W, 3) float32 : of its three corners, adding up to 1; 0 for none.
    depth (H, W) float32 : interpolated z; -inf for none.
    triangles (m, 3) int32 : of the mesh, which has `num_vertices`.
    """

    number: np.ndarray
    weights: np.ndarray
    depth: np.ndarray
    triangles: np.ndarray
    num_vertices: int

    @property
    def covered(self) -> np.ndarray:
        """Which pixels show the mesh: (H, W) bool."""
        return self.number >= 0


def rasterise(
    vertices: np.ndarray,
    triangles: np.ndarray,
    size: tuple[int, int],
    origin: Sequence[float] = (0, 0),
) -> Raster:
    """Find which triangle is nearest in each pixel.

    Parameters
    ----------
    vertices (n, 3), triangles (m, 3) : see `Sim3DR.Sim3DR`.
    size : height and width of the picture, pixels.
    origin : x, y of the picture's first pixel among the vertices.

    Raises
    ------
    ValueError : wrong shapes, or triangle indices out of range.
    """
    vertices = as_floats("vertices", vertices)
    triangles = as_triangles(triangles, len(vertices))
    raster = Raster(
        number=np.full(size, -1, np.int32),
        weights=np.zeros((*size, 3), np.float32),
        depth=np.full(size, -np.inf, np.float32),
        triangles=triangles,
        num_vertices=len(vertices),
    )
    if triangles.size and raster.number.size:
        kernels.rasterise(
            raster.number, raster.weights, raster.depth, vertices, triangles, origin
        )
    return raster


def interpolate(
    raster: Raster, attributes: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Attributes of the vertices at every pixel; `draw` is this and `rasterise` in one.

    Parameters
    ----------
    attributes (n, c) : in [0, 1] for a uint8 picture, else in whatever unit they have.
    out (H, W, c) : uint8 or float32 picture to draw into where the mesh is seen, also a
        rectangle of a larger one; by default a float32 one of zeros.

    Returns
    -------
    `out`.

    Raises
    ------
    ValueError : another size of the picture, or another number of vertices or channels.
    """
    attributes = np.ascontiguousarray(as_floats("attributes", attributes, columns=None))
    size, channels = raster.number.shape, attributes.shape[1]
    if out is None:
        out = np.zeros((*size, channels), np.float32)
    canvas = as_canvas("out", out)
    if canvas.shape != (*size, channels):
        raise ValueError(f"out: expected {(*size, channels)}, got {out.shape}")
    if len(attributes) != raster.num_vertices:
        raise ValueError(f"attributes: expected {raster.num_vertices} rows, got {len(attributes)}")
    if raster.triangles.size and canvas.size:
        kernels.interpolate(
            canvas, raster.number, raster.weights, raster.depth, raster.triangles, attributes
        )
    return out
