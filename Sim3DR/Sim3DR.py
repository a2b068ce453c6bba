"""The checked layer over the native kernels. Only `draw` writes to an argument.

Vertices are (n, 3) x, y, z in pixels, x right, y down, larger z nearer, pixel centres
at integers; triangles are (m, 3) vertex numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from Sim3DR.lib import kernels


def as_floats(name: str, array: np.ndarray, columns: int | None = 3) -> np.ndarray:
    """A float32 array of so many columns, in whatever memory order `array` has.

    Raises
    ------
    ValueError : it has other columns, or no numbers.
    """
    array = np.asarray(array)
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"{name}: expected shape (n, {columns or 'channels'}), got {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected numbers, got {array.dtype}")
    return np.require(array, np.float32, "A")


def as_triangles(triangles: np.ndarray, vertex_count: int) -> np.ndarray:
    """(m, 3) int32, row by row.

    Raises
    ------
    ValueError : other shapes or types, or vertices that are not there.
    """
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


def as_canvas(name: str, image: np.ndarray) -> np.ndarray:
    """An (H, W, c) view of a picture that can be drawn into.

    Raises
    ------
    ValueError : it is no picture, read-only, or the pixels of a row do not lie side by side.
    """
    if image.ndim not in (2, 3) or image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"{name}: expected (H, W[, c]) uint8 or float32, got {image.shape} of {image.dtype}"
        )
    canvas = image[..., None] if image.ndim == 2 else image
    if not canvas.flags.writeable or not canvas[:1].flags.c_contiguous:
        raise ValueError(f"{name}: expected writeable rows of adjacent pixels")
    return canvas


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
    vertices = as_floats("vertices", vertices)
    triangles = as_triangles(triangles, len(vertices))
    normals = np.zeros(vertices.shape, np.float32)
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
    if bg is None:
        if height is None or width is None or channel is None:
            raise ValueError("bg or all of height, width and channel must be given")
        bg = np.zeros((height, width, channel), np.uint8)
    image = np.array(bg, order="C")
    colors = as_floats("colors", colors, as_canvas("bg", image).shape[2])
    draw(image[::-1] if reverse else image, vertices, triangles, colors)
    return image


def draw(
    image: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    colors: np.ndarray,
    origin: Sequence[float] = (0, 0),
) -> None:
    """`rasterize` into `image` itself, in whatever memory order the vertices are.

    Parameters
    ----------
    image (H, W, c) or (H, W) : uint8 or float32, also a rectangle of a larger picture.
    vertices (n, 3), triangles (m, 3).
    colors (n, c), or (n, 1) for all channels alike.
    origin : x, y of the first pixel of `image` among the vertices.
    """
    canvas = as_canvas("image", image)
    vertices = as_floats("vertices", vertices)
    triangles = as_triangles(triangles, len(vertices))
    colors = np.ascontiguousarray(as_floats("colors", colors, columns=None))
    if len(colors) != len(vertices) or colors.shape[1] not in (1, canvas.shape[2]):
        raise ValueError(
            f"colors: expected ({len(vertices)}, {canvas.shape[2]}), a colour for every vertex "
            f"in the picture's channels, got {colors.shape}"
        )
    if triangles.size and canvas.size:
        kernels.rasterize(canvas, vertices, triangles, colors, origin)


def sample(image: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The picture under the vertices, between pixels bilinear, clamped to its border.

    Parameters
    ----------
    image (H, W, c) : uint8.
    vertices (n, 3).

    Returns
    -------
    (n, c) float32 in [0, 1].
    """
    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image: expected (H, W, c) uint8, got {image.shape} of {image.dtype}")
    vertices = as_floats("vertices", vertices)
    colors = np.zeros((len(vertices), image.shape[2]), np.float32)
    if colors.size:
        kernels.sample_bilinear(np.ascontiguousarray(image), vertices, colors)
    return colors
