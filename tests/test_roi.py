"""utils.roi: regions of interest and their crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.roi import (
    calc_hypotenuse,
    crop_img,
    parse_roi_box_from_bbox,
    parse_roi_box_from_landmark,
)


@pytest.mark.parametrize(
    "box, roi",
    [
        ([0, 0, 100, 100], [-29, -15, 129, 143]),  # centre (50, 50 + 14), side 158
        ([0, 0, 100, 100, 0.9], [-29, -15, 129, 143]),  # the score does not matter
        ([10, 20, 60, 170], [-44, 30, 114, 188]),  # mean of the sides
        ([0, 0, 1, 1], [0, 0.14, 1, 1.14]),  # side 1.58 truncated to 1
    ],
)
def test_roi_of_a_box(box, roi):
    np.testing.assert_allclose(parse_roi_box_from_bbox(box), roi, atol=1e-9)


@pytest.mark.parametrize("dims", [2, 3])  # with and without z
def test_roi_and_hypotenuse_of_landmarks(dims):
    """Extent 30 x 40 around (25, 40): the square's side is 40, its diagonal 40 sqrt 2."""
    points = np.array([[10.0, 40, 20], [20, 60, 30], [1e6, 0, -1e6]])[:dims]
    half = 20 * np.sqrt(2)
    expected = [25 - half, 40 - half, 25 + half, 40 + half]
    np.testing.assert_allclose(parse_roi_box_from_landmark(points), expected)
    assert calc_hypotenuse(points) == pytest.approx(40 * np.sqrt(2) / 3)


@given(
    st.lists(st.floats(-30, 40), min_size=2, max_size=2),
    st.lists(st.floats(1, 50), min_size=2, max_size=2),
    st.sampled_from([(), (1,), (3,)]),
)
def test_crop_is_a_slice_of_the_zero_padded_image(corner, extent, channels):
    img = np.random.default_rng(0).integers(1, 256, (12, 17) + channels, dtype=np.uint8)
    roi = [*corner, corner[0] + extent[0], corner[1] + extent[1]]
    x0, y0, x1, y1 = (int(round(value)) + 100 for value in roi)
    if x1 == x0 or y1 == y0:
        return
    padded = np.pad(img, [(100, 100), (100, 100)] + [(0, 0)] * len(channels))
    crop = crop_img(img, roi)
    assert np.array_equal(crop, padded[y0:y1, x0:x1])
    assert not np.shares_memory(crop, img)


@pytest.mark.parametrize(
    "roi",
    [
        [0, 0, np.nan, 5],  # not a number
        [0, 0, np.inf, 5],  # infinite
        [5, 0, 5, 5],  # no columns
        [0, 5, 5, 0],  # upside down
        [0.1, 0.1, 0.4, 0.4],  # rounds to nothing
    ],
)
def test_crop_refuses(roi):
    with pytest.raises(ValueError, match="roi_box"):
        crop_img(np.zeros((9, 9, 3), np.uint8), roi)
