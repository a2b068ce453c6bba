"""The checked layer over the field kernels: moving pixels, and extending what moves them."""

from __future__ import annotations

import numpy as np

from Sim3DR.lib import fields


def sample_lanczos(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A picture between its pixels, by a Lanczos window of three pixels' radius.

    Parameters
    ----------
    picture (H, W, 4) : float32, any unit; beyond its border it continues as it ends there.
    places (..., 2) : x, y in pixels, centres at integers; no number counts as 0.

    Returns
    -------
    (..., 4) float32. At whole pixels it is the picture's own value, elsewhere it can overshoot.

    Raises
    ------
    ValueError : wrong shapes or types.
    """
    if places.ndim < 1 or places.shape[-1] != 2:
        raise ValueError(f"places: expected (..., 2), got {places.shape}")
    picture, out = _checked(picture), np.zeros((*places.shape[:-1], 4), np.float32)
    if out.size and picture.size:
        flat = np.ascontiguousarray(places, np.float32).reshape(-1, 2)
        fields.sample_lanczos(picture, flat, out.reshape(-1, 4))
    return out


def sample_moved(
    picture: np.ndarray, moves: np.ndarray, corner: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """`sample_lanczos` at each pixel's own place plus what a field says.

    Parameters
    ----------
    moves (h, w, 2) : pixels; corner : x, y in the picture of the field's first pixel.

    Returns
    -------
    (h, w, 4) float32.
    """
    if moves.ndim != 3 or moves.shape[2] != 2:
        raise ValueError(f"moves: expected (h, w, 2), got {moves.shape}")
    picture, out = _checked(picture), np.zeros((*moves.shape[:2], 4), np.float32)
    if out.size and picture.size:
        fields.sample_moved(picture, np.ascontiguousarray(moves, np.float32), *corner, out)
    return out


def _checked(picture: np.ndarray) -> np.ndarray:
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.float32:
        raise ValueError(
            f"picture: expected (H, W, 4) float32, got {picture.shape} of {picture.dtype}"
        )
    return np.ascontiguousarray(picture)


def extend(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A field that is smooth where it was not known: a solution of Laplace's equation there.

    Parameters
    ----------
    values (channels, H, W) : what is not known may be anything.
    known (H, W) bool.

    Returns
    -------
    (channels, H, W) float32; zeros where nothing is known.

    Raises
    ------
    ValueError : the shapes do not fit.
    """
    if values.ndim != 3 or values.shape[1:] != known.shape:
        raise ValueError(f"known: expected {values.shape[1:]}, got {known.shape}")
    extended = np.array(values, np.float32, order="C")
    if extended.size:
        fields.extend(extended, np.ascontiguousarray(known, bool).view(np.uint8))
    return extended
