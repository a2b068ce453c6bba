"""utils.pose: angles from rotations, rotations from angles."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import PICTURES
from hypothesis import given
from hypothesis import strategies as st

from utils.pose import calc_pose, decompose_pose, rotation_angles


def rotation(yaw, pitch, roll):
    """The matrix whose angles (degrees) are those of SPEC section 5, from axis rotations."""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_y = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    return np.array(about_z) @ about_y @ about_x


def param_of(matrix, scale=1.0, translation=(0, 0, 0), length=62):
    param = np.zeros(length)
    param[:12] = np.column_stack([scale * matrix, translation]).ravel()
    return param


@given(st.floats(-85, 85), st.floats(-179, 179), st.floats(-179, 179), st.floats(1e-4, 10))
def test_angles_round_trip(yaw, pitch, roll, scale):
    matrix = rotation(yaw, pitch, roll)
    pose, angles = calc_pose(param_of(matrix, scale, (1, 2, 3)))
    np.testing.assert_allclose(angles, [yaw, pitch, roll], atol=1e-4)
    np.testing.assert_allclose(pose, np.column_stack([matrix, [1, 2, 3]]), atol=1e-9)


@pytest.mark.parametrize(
    "angles",
    [
        (0, 0, 0),  # frontal
        (30, 0, 0),  # yaw alone
        (0, -20, 0),  # pitch alone
        (0, 0, 45),  # roll alone
    ],
)
def test_plain_angles(angles):
    np.testing.assert_allclose(rotation_angles(rotation(*angles)), angles, atol=1e-9)


@given(st.sampled_from([90, -90]), st.floats(-179, 179), st.floats(-179, 179))
def test_gimbal_lock(yaw, pitch, roll):
    """Pitch and roll cannot be told apart, but the angles give the same rotation."""
    matrix = rotation(yaw, pitch, roll)
    angles = rotation_angles(matrix)
    assert angles[0] == yaw
    assert angles[2] == 0
    np.testing.assert_allclose(rotation(*angles), matrix, atol=1e-6)


def test_scale_is_the_mean_of_two_rows():
    pose = np.column_stack([np.diag([2.0, 4.0, 99.0]), [7, 8, 9]])
    scale, matrix, translation = decompose_pose(pose)
    assert scale == 3
    assert np.array_equal(matrix, np.eye(3))  # the third row is the cross product
    assert np.array_equal(translation, [7, 8, 9])


@pytest.mark.parametrize("length", [62, 72, 141])
def test_any_layout(length):
    param = param_of(rotation(10, 20, 30), 2, length=length)
    before = param.copy()
    np.testing.assert_allclose(calc_pose(param)[1], [10, 20, 30], atol=1e-9)
    assert np.array_equal(param, before)


@pytest.mark.parametrize("name", PICTURES)
def test_golden_angles(golden, name):
    arrays = golden(name)
    angles = [calc_pose(param)[1] for param in arrays["params"]]
    np.testing.assert_allclose(angles, arrays["pose"], atol=1e-2)
