"""Colour as levels of 0 to 255, and in linear light: (..., 3) BGR in [0, 1]."""

from __future__ import annotations

import cv2
import numpy as np

from reenactment.photo.field import Box
from reenactment.photo.head import Head, quantile

_GAMMA = 2.2  # of the picture's levels
_LUMINANCE = np.array([0.07, 0.72, 0.21], np.float32)  # of linear blue, green and red
# Cheeks and chin: mm from the mouth's line, to the side, and the heights in the model's frame.
_OFF_MOUTH, _OFF_SIDE, _LOW, _HIGH, _WIDE = 14.0, 32.0, -75.0, -5.0, 45.0


def as_levels(picture: np.ndarray) -> np.ndarray:
    """A picture of any kind as (h, w, 4) float32 levels of 0 to 255: BGR and alpha."""
    pixels = picture if picture.ndim == 3 else picture[..., None]
    if pixels.shape[2] != 4:
        code = cv2.COLOR_GRAY2BGRA if pixels.shape[2] == 1 else cv2.COLOR_BGR2BGRA
        pixels = cv2.cvtColor(pixels, code)
    levels = pixels.astype(np.float32)
    if picture.dtype == np.uint16:
        levels /= 257
    return levels


def put_levels(levels: np.ndarray, pixels: np.ndarray, where: np.ndarray | None = None) -> None:
    """Round and clip levels (h, w, 4) into a picture's pixels of any kind; `where` (h, w) bool."""
    scale, depth = (257, cv2.CV_16U) if pixels.dtype == np.uint16 else (1, cv2.CV_8U)
    new = np.asarray(cv2.addWeighted(levels, scale, levels, 0, 0, dtype=depth))
    if pixels.ndim == 2:
        new = new[..., 0]
    elif pixels.shape[2] == 3:
        new = cv2.cvtColor(new, cv2.COLOR_BGRA2BGR)
    else:
        new = new[..., : pixels.shape[2]]
    if where is None:
        pixels[:] = new
    else:
        np.copyto(pixels, new, where=where.reshape(where.shape + (1,) * (pixels.ndim - 2)))


def to_linear(levels: np.ndarray) -> np.ndarray:
    """Levels of 0 to 255 as light in [0, 1]."""
    return (np.clip(levels, 0, 255).astype(np.float32) / np.float32(255)) ** np.float32(_GAMMA)


def to_levels(light: np.ndarray) -> np.ndarray:
    """Light in [0, 1] as levels of 0 to 255."""
    return 255 * np.clip(light, 0, 1) ** np.float32(1 / _GAMMA)


def luminance(light: np.ndarray) -> np.ndarray:
    return light @ _LUMINANCE


def vertex_light(
    head: Head, vertices: np.ndarray, pixels: np.ndarray, box: Box
) -> tuple[np.ndarray, np.ndarray]:
    """What a picture of any kind shows at some vertices (k,) of a head.

    Parameters
    ----------
    pixels (height, width[, channels]) : a part of the picture, which is at `box`.

    Returns
    -------
    Those of the vertices (j,) that are in it, and their light (j, 3), linear BGR.
    """
    column, row = np.rint(head.vertices[vertices, :2] - (box.left, box.top)).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < box.width) & (row < box.height)
    if not inside.any():
        return vertices[inside], np.zeros((0, 3), np.float32)
    levels = as_levels(pixels[row[inside], column[inside]][None])[0, :, :3]
    return vertices[inside], to_linear(levels)


def skin_tone(head: Head, pixels: np.ndarray, box: Box) -> np.ndarray:
    """The median colour (3,) of cheeks and chin, linear, not quite black; see `vertex_light`."""
    x, y, _ = head.surface.T
    lower_face = (np.abs(head.bfm.topology.slit) > _OFF_MOUTH) | (np.abs(x) > _OFF_SIDE)
    lower_face &= (y > _LOW) & (y < _HIGH) & (np.abs(x) < _WIDE) & head.seen
    vertices, light = vertex_light(head, np.flatnonzero(lower_face), pixels, box)
    if not len(vertices):
        return np.full(3, 0.2, np.float32)
    return np.maximum(quantile(light, 0.5, axis=0), 2e-3)


def saturation(tone: np.ndarray) -> float:
    """How colourful a tone (3,) is, 0 for grey ones."""
    return float((tone.max() - tone.min()) / tone.max())
