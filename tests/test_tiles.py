"""Faces that are small in very large pictures."""

from __future__ import annotations

import numpy as np
import pytest

from FaceBoxes.FaceBoxes import FULL_FRAME, shrink_factor
from FaceBoxes.tiles import find_in_tiles


class Seer:
    """Finds white blocks where they are whole, and cut ones with a smaller score."""

    def __init__(self, score=0.99):
        self.score, self.looks = score, 0

    def __call__(self, img):
        assert img.flags.c_contiguous and shrink_factor(img.shape, FULL_FRAME) >= 0.5
        self.looks += 1
        rows, columns = (np.flatnonzero((img[..., 0] == 255).any(axis=axis)) for axis in (1, 0))
        if not rows.size:
            return []
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        whole = rows.size == columns.size == 300
        return [[*map(float, box), self.score if whole else self.score - 0.02]]


@pytest.mark.parametrize("size", [(400, 8000), (8000, 400), (5000, 7000)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.5), (0.37, 0.81), (1.0, 1.0)])
def test_a_face_is_found_once_wherever_it_is(size, place):
    img = np.zeros((*size, 3), np.uint8)
    top, left = (round(share * (side - 300)) for share, side in zip(place, size))
    img[top : top + 300, left : left + 300] = 255
    assert find_in_tiles(Seer(), img) == [[left, top, left + 300, top + 300, 0.99]]


def test_what_may_be_no_face_is_none_among_many_looks():
    img = np.zeros((400, 8000, 3), np.uint8)
    img[50:350, 50:350] = 255
    assert find_in_tiles(Seer(0.9), img) == []


def test_smaller_pictures_have_been_seen_well_enough():
    seer = Seer()
    assert find_in_tiles(seer, np.full((1500, 2000, 3), 255, np.uint8)) == [] and not seer.looks
