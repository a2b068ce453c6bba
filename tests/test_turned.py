"""Faces in pictures that lie on their side or stand on their head."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import noise

from FaceBoxes.turned import Upright, boxes_before, find_upright


def marked(quarters):
    """A picture with a white mark that is at its top left after so many quarter turns."""
    img = np.minimum(noise(40, 60), 200)
    img[:10, :20] = 255
    return np.ascontiguousarray(np.rot90(img, -quarters))


def seen(img):
    """A detector that finds the mark where it is upright, at the top left and wider than high."""
    img = np.asarray(img)
    return [[0, 0, 20, 10, 0.9]] if (img[:10, :20] == 255).all() else []


@pytest.mark.parametrize("quarters", range(4))
def test_the_turn_that_shows_a_face_is_told(quarters):
    img = marked(quarters)
    before = img.copy()
    assert find_upright(seen, img) == Upright(quarters, [[0, 0, 20, 10, 0.9]])
    assert np.array_equal(img, before)


def test_what_is_found_at_once_is_not_turned():
    looks = []
    find_upright(lambda img: looks.append(img.shape) or seen(img), marked(0))
    assert looks == [(40, 60, 3)]


def test_the_best_score_decides_between_turns():
    scores = iter([None, 0.6, 0.9, 0.7])

    def detect(img):
        score = next(scores)
        return [] if score is None else [[0, 0, 5, 5, score]]

    assert find_upright(detect, marked(0)).quarters == 2


def test_no_face_on_any_side():
    looks = []
    assert find_upright(lambda img: looks.append(img.shape) or [], marked(0)) == Upright(0, [])
    assert looks == [(40, 60, 3), (60, 40, 3), (40, 60, 3), (60, 40, 3)]


@pytest.mark.parametrize("quarters", range(-1, 5))
def test_boxes_go_back_with_their_pixels(quarters):
    """A block of the turned picture is where its box says in the picture before."""
    img = noise(40, 60)
    turned = np.rot90(img, quarters)
    [[x1, y1, x2, y2, score]] = boxes_before([[3, 5, 14, 22, 0.7]], turned.shape[:2], quarters)
    assert np.array_equal(np.rot90(img[y1:y2, x1:x2], quarters), turned[5:22, 3:14])
    assert score == 0.7
