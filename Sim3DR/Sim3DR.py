"""The checked layer over the native kernels. No argument is ever written to.

Vertices are (n, 3) x, y, z in pixels, x right, y down, larger z nearer, pixel centres
at integers; triangles are (m, 3) vertex numbers.
"""

from __future__ import annotations

import numpy as np

from Sim3DR.lib import kernels


def _as_floats(name: str, array: np.ndarray, columns: int | None = 3) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"{name}: expected shape (n, {columns or 'channels'}), got {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    return np.ascontiguousarray(array, np.float32)


def _as_triangles(triangles: np.ndarray, vertex_count: int) -> np.ndarray:
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise ValueError(
            f"triangles: expected (m, 3) integers, got {triangles.shape} of {triangles.dtype}"
        )
    if triangles.size and not (triangles.min() >= 0 and triangles.max() < vertex_count):
        raise ValueError(
            f"triangles: expected vertex numbers from 0 to {vertex_count - 1}, got "
            f"{triangles.min()} to {triangles.max()}"
        )
    return np.ascontiguousarray(triangles, np.int32)


def get_normal(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit vertex normals: the normalised sum of (v1 - v0) x (v2 - v0) of adjacent triangles.

    Parameters
    ----------
    vertices (n, 3), triangles (m, 3).

    Returns
    -------
    (n, 3) float32; zero for a vertex without a proper triangle.

    Raises
    ------
    ValueError : wrong shapes, or triangle indices out of range.
    """
    vertices = _as_floats("vertices", vertices)
    triangles = _as_triangles(triangles, len(vertices))
    normals = np.zeros_like(vertices)
    if triangles.size:
        kernels.vertex_normals(vertices, triangles, normals)
    return normals


def rasterize(
    vertices: np.ndarray,
    triangles: np.ndarray,
    colors: np.ndarray,
    bg: np.ndarray | None = None,
    height: int | None = None,
    width: int | None = None,
    channel: int | None = None,
    reverse: bool = False,
) -> np.ndarray:
    """Draw a mesh with interpolated vertex colours, hidden surfaces removed.

    Parameters
    ----------
    vertices (n, 3), triangles (m, 3).
    colors (n, c) : in [0, 1] for a uint8 picture (clamped, truncated after ·255); for a
        float32 picture in whatever unit it has.
    bg (H, W, c) or (H, W) : uint8 or float32 picture to draw over, left as it is; by
        default a black uint8 one of `height` x `width` x `channel`.
    reverse : count rows from the bottom.

    Returns
    -------
    A new picture of the background's shape and type.

    Raises
    ------
    ValueError : wrong shapes or types, or triangle indices out of range.
    """
    vertices = _as_floats("vertices", vertices)
    triangles = _as_triangles(triangles, len(vertices))
    colors = _as_floats("colors", colors, columns=None)
    if bg is None:
        if height is None or width is None or channel is None:
            raise ValueError("bg or all of height, width and channel must be given")
        bg = np.zeros((height, width, channel), np.uint8)
    image = np.array(bg, order="C")
    if image.ndim not in (2, 3) or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"bg: expected (H, W[, c]) uint8 or float32, got {image.shape} of {image.dtype}"
        )
    canvas = image[..., None] if image.ndim == 2 else image
    if colors.shape != (len(vertices), canvas.shape[2]):
        raise ValueError(
            f"colors: expected ({len(vertices)}, {canvas.shape[2]}), a colour for every vertex "
            f"in the picture's channels, got {colors.shape}"
        )
    if triangles.size and canvas.size:
        kernels.rasterize(canvas, vertices, triangles, colors, bool(reverse))
    return image
