"""A mesh rasterised once, to be coloured many times."""

from __future__ import annotations

import numpy as np

from Sim3DR.lib import kernels
from Sim3DR.Sim3DR import as_canvas, as_floats, as_triangles, draw


class Footprint:
    """Which three vertices each pixel of a picture shows, and how much of each.

    Parameters
    ----------
    vertices (n, 3), triangles (m, 3) : see `Sim3DR.Sim3DR`.
    height, width : of the picture, pixels.
    """

    def __init__(
        self, vertices: np.ndarray, triangles: np.ndarray, height: int, width: int
    ) -> None:
        vertices = as_floats("vertices", vertices)
        triangles = as_triangles(triangles, len(vertices))
        self.num_vertices = len(vertices)
        # Drawn with corners of their own, triangles can carry their number and their corners'
        # weights. Interpolated numbers are a little off: up to about a million can be told apart.
        marks = np.empty((len(triangles), 3, 4), np.float32)
        marks[..., 0] = np.arange(1, len(triangles) + 1)[:, None]
        marks[..., 1:] = np.eye(3)
        picture = np.zeros((height, width, 4), np.float32)
        apart = np.arange(triangles.size, dtype=np.int32).reshape(-1, 3)
        draw(picture, vertices[triangles.ravel()], apart, marks.reshape(-1, 4))
        shown = np.rint(picture[..., 0]).astype(np.int64)  # 0: none
        self._corners = np.concatenate([np.zeros((1, 3), np.int32), triangles])[shown]
        self._weights = np.ascontiguousarray(picture[..., 1:])

    def paint(self, image: np.ndarray, colors: np.ndarray) -> None:
        """Fill `image` (height, width, c) uint8 as `draw` would fill a black one.

        colors (n, c) : of the vertices, in [0, 1].

        Raises
        ------
        ValueError : another size of the picture, or another number of vertices or channels.
        """
        canvas = as_canvas("image", image)
        colors = np.ascontiguousarray(as_floats("colors", colors, canvas.shape[2]))
        if canvas.shape[:2] != self._corners.shape[:2] or canvas.dtype != np.uint8:
            raise ValueError(
                f"image: expected {self._corners.shape[:2]} uint8, got {image.shape[:2]} of "
                f"{image.dtype}"
            )
        if len(colors) != self.num_vertices:
            raise ValueError(f"colors: expected {self.num_vertices} rows, got {len(colors)}")
        if not colors.size:
            canvas[:] = 0
        elif canvas.size:
            kernels.mix(canvas, self._corners, self._weights, colors)
