"""Head pose: angles from parameters, and a box that shows it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import asin, atan2, cos, degrees, pi

import cv2
import numpy as np

from bfm.params import POSE_DIM
from utils.image import as_bgr, emit
from utils.io import PathLike
from utils.roi import calc_hypotenuse

_GIMBAL_LIMIT = 0.998  # |sin yaw| beyond which pitch and roll cannot be told apart
_BOX_COLOR = (40, 255, 0)
_FRONT_TO_REAR = 4 / 3  # the box's front face is this much larger and this far away

logger = logging.getLogger(__name__)


def decompose_pose(pose: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Split a pose matrix `[sR | t]` (3, 4).

    Returns
    -------
    s, the rotation R (3, 3), t (3,). The third row of R is rebuilt from the other two.
    """
    pose = np.asarray(pose)
    norms = np.linalg.norm(pose[:2, :3], axis=1)
    first, second = pose[:2, :3] / norms[:, None]
    return float(norms.mean()), np.stack([first, second, np.cross(first, second)]), pose[:, 3]


def rotation_angles(rotation: np.ndarray) -> list[float]:
    """Yaw, pitch and roll in degrees of a rotation matrix (3, 3).

    Source: G. Slabaugh, "Computing Euler angles from a rotation matrix" (1999); at the
    gimbal lock, roll is set to 0.
    """
    sine = float(rotation[2, 0])
    if abs(sine) > _GIMBAL_LIMIT:
        yaw, roll = (pi / 2 if sine > 0 else -pi / 2), 0.0
        sign = -1 if sine > 0 else 1
        pitch = atan2(sign * rotation[0, 1], sign * rotation[0, 2])
    else:
        yaw = asin(sine)
        pitch = atan2(rotation[2, 1] / cos(yaw), rotation[2, 2] / cos(yaw))
        roll = atan2(rotation[1, 0] / cos(yaw), rotation[0, 0] / cos(yaw))
    return [degrees(angle) for angle in (yaw, pitch, roll)]


def calc_pose(param: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The pose in a parameter vector.

    Returns
    -------
    (3, 4) matrix `[R | t]`, R without the scale, and [yaw, pitch, roll] in degrees.
    """
    _, rotation, translation = decompose_pose(np.asarray(param)[:POSE_DIM].reshape(3, 4))
    matrix = np.concatenate([rotation, translation.reshape(3, 1)], axis=1)
    return matrix, rotation_angles(rotation)


def _camera_box(rear: float) -> np.ndarray:
    """Corners (10, 3) of a frustum: the rear square, then the front one, each closed."""
    front = int(_FRONT_TO_REAR * rear)
    corners = [(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)]
    return np.array(
        [(x * rear, y * rear, 0) for x, y in corners]
        + [(x * front, y * front, front) for x, y in corners],
        np.float64,
    )


def _draw_box(img: np.ndarray, matrix: np.ndarray, ver: np.ndarray) -> None:
    """Draw the pose box into `img`, its rear face centred on the 68 landmarks' brows and jaw."""
    corners = _camera_box(calc_hypotenuse(ver)) @ matrix[:2, :3].T
    corners[:, 1] *= -1  # the model's y is up
    corners += ver[:2, :27].mean(axis=1) - corners[:4].mean(axis=0)
    points = np.nan_to_num(corners).clip(-30000, 30000).astype(np.int32)
    cv2.polylines(img, [points], True, _BOX_COLOR, 2, cv2.LINE_AA)
    for rear, front in ((1, 6), (2, 7), (3, 8)):
        ends = tuple(points[rear].tolist()), tuple(points[front].tolist())
        cv2.line(img, *ends, _BOX_COLOR, 2, cv2.LINE_AA)


def viz_pose(
    img: np.ndarray,
    param_lst: Sequence[np.ndarray],
    ver_lst: Sequence[np.ndarray],
    show_flag: bool = False,
    wfp: PathLike | None = None,
) -> np.ndarray:
    """Draw a box around every head that turns with it, on a copy of `img`.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR.
    param_lst, ver_lst : the parameters and the 68 landmarks (3, 68), pixels, of each face.

    Returns
    -------
    The picture with the boxes.
    """
    drawn = as_bgr(img).copy()
    for param, ver in zip(param_lst, ver_lst):
        matrix, angles = calc_pose(param)
        logger.info("yaw %.1f, pitch %.1f, roll %.1f degrees", *angles)
        _draw_box(drawn, matrix, ver)
    return emit(drawn, wfp, show_flag)
