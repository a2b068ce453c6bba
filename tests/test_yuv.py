"""Brightness and colours of pictures, as BT.709 defines them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import noise

from utils.sinks.yuv import as_i420


@pytest.mark.parametrize(
    ("bgr", "yuv"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (32, 240, 118)),  # blue (ITU-R BT.709, 8 bits)
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (63, 102, 240)),
    ],
)
def test_colours_have_their_standard_s_values(bgr, yuv):
    planes = as_i420(np.full((4, 6, 3), bgr, np.uint8))
    assert planes.shape == (6, 6)
    assert (planes[:4] == yuv[0]).all()
    assert (planes[4] == yuv[1]).all() and (planes[5] == yuv[2]).all()


def test_colours_are_averages_of_four_pixels():
    img = noise(40, 60)
    fine, coarse = as_i420(img), as_i420(np.repeat(np.repeat(img, 2, axis=0), 2, axis=1))
    full = coarse[80:].reshape(2, 40, 60).astype(float)
    averages = full.reshape(2, 20, 2, 30, 2).mean(axis=(2, 4))
    assert np.abs(fine[40:].reshape(2, 20, 30) - averages).max() <= 1
    assert (coarse[:80:2, ::2] == fine[:40]).all()


def test_the_picture_is_not_changed():
    img = noise(40, 60)
    before = img.copy()
    as_i420(img)
    assert (img == before).all()
