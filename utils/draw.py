"""Drawing landmarks, dense points and pose boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from utils.image import as_bgr, emit
from utils.io import PathLike

Color = tuple[int, int, int]  # BGR

GREEN: Color = (0, 255, 0)
WHITE: Color = (255, 255, 255)
CYAN: Color = (255, 255, 0)
_SHIFT = 4  # OpenCV draws at sixteenths of a pixel with this

# First and last landmark of every line of the 68-point scheme, and whether it is closed:
# jaw, brows, nose ridge, nostrils, eyes, outer and inner lips.
LANDMARK_GROUPS = (
    (0, 16, False),
    (17, 21, False),
    (22, 26, False),
    (27, 30, False),
    (31, 35, False),
    (36, 41, True),
    (42, 47, True),
    (48, 59, True),
    (60, 67, True),
)


def _fixed_point(pts: np.ndarray) -> np.ndarray:
    """Pixels (2 or 3, n) as OpenCV's fixed-point coordinates (n, 2) int32.

    Points that no picture could hold are pulled in: OpenCV cannot clip them itself.
    """
    limited = np.nan_to_num(np.asarray(pts, np.float64)[:2]).clip(-30000, 30000)
    return np.rint(limited.T * (1 << _SHIFT)).astype(np.int32)


def draw_points(img: np.ndarray, pts: np.ndarray, color: Color, radius: float) -> None:
    """Draw filled discs of `radius` pixels at `pts` (2 or 3, n) into `img`."""
    for point in _fixed_point(pts).tolist():
        cv2.circle(img, point, round(radius * (1 << _SHIFT)), color, -1, cv2.LINE_AA, _SHIFT)


def _draw_lines(img: np.ndarray, pts: np.ndarray, color: Color, width: int) -> None:
    points = _fixed_point(pts)
    for first, last, closed in LANDMARK_GROUPS:
        group = [points[first : last + 1]]
        cv2.polylines(img, group, closed, color, width, cv2.LINE_AA, _SHIFT)


def draw_dense(img: np.ndarray, pts: np.ndarray) -> None:
    """Colour the pixel of `img` under every sixth of `pts`, so that the picture shines through."""
    columns, rows = np.rint(np.nan_to_num(pts[:2, ::6], nan=-1)).astype(np.int64)
    inside = (columns >= 0) & (columns < img.shape[1]) & (rows >= 0) & (rows < img.shape[0])
    img[rows[inside], columns[inside]] = CYAN


def draw_face(img: np.ndarray, pts: np.ndarray, style: str = "fancy") -> None:
    """Draw the landmarks `pts` (2 or 3, n) of one face into `img`; style as in `draw_landmarks`."""
    # line and dot sizes follow the face, so that small faces stay readable
    extent = min(float(np.ptp(np.nan_to_num(pts[:2]), axis=1).max()), max(img.shape))
    if style == "fancy" and np.shape(pts)[1] == 68:
        _draw_lines(img, pts, WHITE, max(1, round(extent / 250)))
    draw_points(img, pts, GREEN, max(1.0, extent / 150))


def draw_landmarks(
    img: np.ndarray,
    pts: Sequence[np.ndarray],
    style: str = "fancy",
    wfp: PathLike | None = None,
    show_flag: bool = False,
    dense_flag: bool = False,
) -> np.ndarray:
    """Draw the landmarks or dense vertices of all faces on a copy of `img`.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR.
    pts : a (2 or 3, n) array for each face, or one such array; pixels.
    style : 'fancy' joins the 68 landmarks by lines, 'simple' draws dots alone.
    wfp, show_flag : where to write the picture, whether to open a window.

    Returns
    -------
    The picture with the drawing.
    """
    if style not in ("fancy", "simple"):
        raise ValueError(f"style: expected 'fancy' or 'simple', got {style!r}")
    drawn = as_bgr(img).copy()
    faces = [pts] if isinstance(pts, np.ndarray) and pts.ndim == 2 else pts
    for face in faces:
        if dense_flag:
            draw_dense(drawn, face)
        else:
            draw_face(drawn, face, style)
    return emit(drawn, wfp, show_flag)


def cv_draw_landmark(
    img_ori: np.ndarray,
    pts: np.ndarray,
    box: Sequence[float] | None = None,
    color: Color = GREEN,
    size: int = 1,
) -> np.ndarray:
    """Draw the vertices `pts` (2 or 3, n) of one face, sparse or dense, as dots.

    Parameters
    ----------
    box : `[x0, y0, x1, y1]` to outline, too.
    size : the dots' radius, pixels.

    Returns
    -------
    A copy of the picture with the drawing.
    """
    drawn = as_bgr(img_ori).copy()
    draw_points(drawn, pts, color, size)
    if box is not None:
        x0, y0, x1, y1 = (round(float(value)) for value in box[:4])
        cv2.rectangle(drawn, (x0, y0), (x1, y1), GREEN, 1)
    return drawn
