"""A mesh under ambient, directional and specular light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from Sim3DR.lib import kernels
from Sim3DR.Sim3DR import as_canvas, as_floats, as_triangles, draw


def _triple(value: Sequence[float], name: str) -> np.ndarray:
    triple = np.asarray(value, np.float32).ravel()
    if triple.shape != (3,):
        raise ValueError(f"{name}: expected three numbers, got {value}")
    return triple


class RenderPipeline:
    """Phong light per vertex, then rasterisation.

    The mesh is first scaled into a box of size 2 around the origin, and the positions of
    light and eye are in that frame.

    Parameters
    ----------
    intensity_ambient, intensity_directional, intensity_specular : weights of the three lights.
    specular_exp : the highlight's exponent.
    color_ambient, color_directional : RGB or BGR, as the picture, in [0, 1].
    light_pos, view_pos : x, y, z.
    """

    def __init__(
        self,
        intensity_ambient: float = 0.3,
        intensity_directional: float = 0.6,
        intensity_specular: float = 0.1,
        specular_exp: float = 5,
        color_ambient: Sequence[float] = (1, 1, 1),
        color_directional: Sequence[float] = (1, 1, 1),
        light_pos: Sequence[float] = (0, 0, 5),
        view_pos: Sequence[float] = (0, 0, 5),
    ) -> None:
        directional = _triple(color_directional, "color_directional")
        self._lighting = {
            "ambient": intensity_ambient * _triple(color_ambient, "color_ambient"),
            "directional": intensity_directional * directional,
            "specular": intensity_specular * directional,
            "specular_exponent": float(specular_exp),
            "view_position": _triple(view_pos, "view_pos"),
        }
        self.update_light_pos(light_pos)

    def update_light_pos(self, light_pos: Sequence[float]) -> None:
        """Move the light to x, y, z."""
        self._lighting["light_position"] = _triple(light_pos, "light_pos")

    def light(self, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """The light on every vertex: (n, 3) float32 in [0, 1]."""
        vertices = as_floats("vertices", vertices)
        triangles = as_triangles(triangles, len(vertices))
        colors = np.zeros(vertices.shape, np.float32)
        if colors.size:
            kernels.light_vertices(vertices, triangles, self._light(), colors)
        return colors

    def __call__(
        self,
        vertices: np.ndarray,
        triangles: np.ndarray,
        bg: np.ndarray,
        texture: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw the lit mesh over `bg`.

        Parameters
        ----------
        vertices (n, 3), triangles (m, 3) : see `Sim3DR.Sim3DR`.
        bg (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) : left as it is. Grey pictures take
            the mean of the light's channels; a fourth channel becomes 1 (opaque) under the mesh.
        texture (n, 3) : vertex colours in [0, 1] to multiply the light with.

        Returns
        -------
        A new picture of the background's shape and type.
        """
        image = np.array(bg, order="C")
        self.draw(image, vertices, triangles, texture)
        return image

    def draw(
        self,
        image: np.ndarray,
        vertices: np.ndarray,
        triangles: np.ndarray,
        texture: np.ndarray | None = None,
        origin: Sequence[float] = (0, 0),
    ) -> None:
        """Draw the lit mesh into `image` itself; see `__call__`, and `Sim3DR.draw` for origin."""
        canvas = as_canvas("image", image)
        channels = canvas.shape[2]
        if texture is None and channels == 3:
            vertices = as_floats("vertices", vertices)
            triangles = as_triangles(triangles, len(vertices))
            if triangles.size and canvas.size:
                kernels.draw_lit(canvas, vertices, triangles, self._light(), origin)
            return
        colors = self.light(np.subtract(vertices, (*origin, 0)), triangles)
        if texture is not None:
            colors = colors * texture
        if channels == 1:
            colors = colors.mean(axis=1, keepdims=True)
        elif channels == 4:
            colors = np.concatenate([colors, np.ones((len(colors), 1))], axis=1)
        draw(canvas, vertices, triangles, colors, origin)

    def _light(self) -> kernels.Light:
        return kernels.Light(**self._lighting)
