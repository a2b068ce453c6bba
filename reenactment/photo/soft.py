"""Blurs whose cost grows with the picture alone, not with how wide they are, too."""

from __future__ import annotations

import cv2
import numpy as np

_ENOUGH = 4.0  # cells of a coarser grid, that a deviation needs to have


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A picture (h, w[, c]) float32 under a Gaussian of deviation `sigma`, pixels.

    From 8 pixels on it is blurred in cells of several pixels, and interpolated.
    """
    step = int(sigma / _ENOUGH)
    if step < 2:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    height, width = picture.shape[:2]
    cells = -(-width // step), -(-height // step)
    small = cv2.resize(picture, cells, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
