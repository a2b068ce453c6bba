"""The square region of interest (ROI) of a face and its crop.

An ROI is `[x0, y0, x1, y1]` in image pixels, float; it may reach outside the image.
The constants are those the 3DDFA_V2 networks were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The network sees 1.58 times the detector's box, moved down by 14% of it, so that
# forehead and chin lie inside.
BOX_ENLARGEMENT = 1.58
BOX_SHIFT_DOWN = 0.14


def parse_roi_box_from_bbox(bbox: Sequence[float]) -> list[float]:
    """Turn a detector box `[xmin, ymin, xmax, ymax, ...]` (pixels) into an ROI."""
    left, top, right, bottom = bbox[:4]
    if not np.isfinite(bbox[:4]).all():
        raise ValueError(f"bbox: expected four finite numbers, got {list(bbox[:4])}")
    old_size = (right - left + bottom - top) / 2
    center_x = right - (right - left) / 2.0
    center_y = bottom - (bottom - top) / 2.0 + old_size * BOX_SHIFT_DOWN
    size = int(old_size * BOX_ENLARGEMENT)
    x0, y0 = center_x - size / 2, center_y - size / 2
    return [x0, y0, x0 + size, y0 + size]


def _landmark_square(pts: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and side (pixels) of the square around landmarks `pts` (2 or 3, n)."""
    low, high = pts[:2].min(axis=1), pts[:2].max(axis=1)
    return (low + high) / 2, float((high - low).max())


def parse_roi_box_from_landmark(pts: np.ndarray) -> list[float]:
    """Turn landmarks `pts` (2 or 3, n), in pixels, into an ROI.

    The ROI's side is the diagonal of the square around the landmarks.
    """
    center, side = _landmark_square(np.asarray(pts))
    half = side * np.sqrt(2) / 2
    return [*(center - half), *(center + half)]


def calc_hypotenuse(pts: np.ndarray) -> float:
    """A third of the diagonal (pixels) of the square around landmarks `pts` (2 or 3, n)."""
    return _landmark_square(np.asarray(pts))[1] * np.sqrt(2) / 3


def crop_img(img: np.ndarray, roi_box: Sequence[float]) -> np.ndarray:
    """Cut the ROI, rounded to whole pixels, out of `img` (H, W[, C]); outside is zero.

    Raises
    ------
    ValueError : the ROI is not finite or holds no pixel.
    """
    if not np.isfinite(roi_box).all():
        raise ValueError(f"roi_box: expected four finite numbers, got {list(roi_box)}")
    x0, y0, x1, y1 = (int(round(float(value))) for value in roi_box)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"roi_box: expected x0 < x1 and y0 < y1, got {list(roi_box)}")
    height, width = img.shape[:2]
    crop = np.zeros((y1 - y0, x1 - x0) + img.shape[2:], dtype=img.dtype)
    left, right = max(x0, 0), min(x1, width)
    top, bottom = max(y0, 0), min(y1, height)
    if left < right and top < bottom:
        crop[top - y0 : bottom - y0, left - x0 : right - x0] = img[top:bottom, left:right]
    return crop
