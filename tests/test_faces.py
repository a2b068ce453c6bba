"""reenactment.faces: choosing among the faces of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import noise

from reenactment.faces import (
    ORDERS,
    Face,
    FrameInfo,
    choose_faces,
    is_usable,
    parse_choice,
    parse_pairs,
    sort_faces,
    turned_back,
)
from utils.errors import NoFaceError, UsageError

BOXES = [  # best score first, as detectors give them
    [50, 0, 60, 10, 0.9],  # small, in the middle, at the top
    [80, 20, 110, 50, 0.8],  # large, to the right
    [0, 70, 20, 90, 0.7],  # to the left, at the bottom
]


@pytest.mark.parametrize(
    ("choice", "picked"),
    [
        ("largest", [1]),
        ("large-small", [1]),
        ("small-large", [0]),
        ("best", [0]),
        ("best-worst", [0]),
        ("worst-best", [2]),
        ("left-right", [2]),
        ("right-left", [1]),
        ("top-bottom", [0]),
        ("bottom-top", [2]),
        ("all", [2, 0, 1]),  # from left to right
        ("many", [2, 0, 1]),
        ("1", [2]),
        ("03", [1]),
    ],
)
def test_choices(choice, picked):
    assert choose_faces(BOXES, choice, "a.png") == picked


def test_numbers_count_as_the_order_from_left_to_right_does_in_ties():
    twins = [[0, 0, 10, 10, 0.9], [0, 5, 10, 15, 0.8], [-5, 0, 5, 10, 0.7]]
    assert sort_faces(twins, "left-right") == [2, 0, 1]
    assert [choose_faces(twins, str(n), "a")[0] for n in (1, 2, 3)] == [2, 0, 1]


def test_opposite_orders_are_opposite():
    for order in ORDERS:
        opposite = "-".join(reversed(order.split("-")))
        assert sort_faces(BOXES, order) == sort_faces(BOXES, opposite)[::-1]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "leftmost", "²", "largest,best"])
def test_what_is_no_choice(text):
    with pytest.raises(UsageError, match="left-right"):
        parse_choice(text)


@pytest.mark.parametrize(
    ("boxes", "choice", "words"),
    [
        ([], "all", "no face found in a.png"),
        (BOXES, "4", "no face 4 in a.png: it shows 3 faces"),
        (BOXES[:1], "99999999999999999999", "it shows 1 face$"),
    ],
)
def test_faces_that_are_not_there(boxes, choice, words):
    with pytest.raises(NoFaceError, match=words):
        choose_faces(boxes, choice, "a.png")


@pytest.mark.parametrize(
    ("box", "usable"),
    [
        (BOXES[0], True),
        ([0, 0, 0.4, 9, 0.9], False),  # thinner than a pixel
        ([5, 0, 4, 9, 0.9], False),  # inside out
        ([0, 0, float("nan"), 9, 0.9], False),
    ],
)
def test_boxes_that_a_crop_can_be_made_of(box, usable):
    assert is_usable(box) == usable


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_of_a_turned_picture_lies_where_it_was(tiny_tddfa, quarters):
    """Its vertices are those of the turned picture, turned back."""
    img = noise(90, 120)
    turned = np.ascontiguousarray(np.rot90(img, quarters))
    height, width = turned.shape[:2]
    (param,), (roi_box,) = tiny_tddfa(turned, [[20, 10, 70, 60]])
    pose, shape, expression = tiny_tddfa.layout.split(param)
    face = Face(FrameInfo.of(img), roi_box, pose, shape, expression[None], [20, 10, 70, 60, 0.9])
    back = turned_back(face, (height, width), quarters, tiny_tddfa.size)
    (seen,), (found,) = (
        tiny_tddfa.reconstruct([f.parts], [f.roi_box], dense=True) for f in (face, back)
    )
    x, y = seen[:2]
    for _ in range(quarters):  # as np.rot90 is undone
        x, y = height - 1 - y, x
        height, width = width, height
    np.testing.assert_allclose(found[:2], [x, y], atol=1e-3)
    np.testing.assert_allclose(found[2], seen[2], atol=1e-3)
    assert back.box[4] == 0.9 and back.box[2] - back.box[0] == 50


def test_confidence():
    def sure(error):
        face = Face(FrameInfo("a", (9, 9)), [0, 0, 9, 9], *np.zeros((3, 1, 1)), error=error)
        return face.confidence

    assert sure(None) is None
    assert [sure(error) for error in (0, 2.5, 10, 1e9)] == [1, 0.75, 0, 0]


def test_pairs_say_who_drives_whom():
    assert parse_pairs("1:2, 2:1") == {2: 1, 1: 2}
    assert parse_pairs("3:1") == {1: 3}
    assert parse_pairs("") == {}


@pytest.mark.parametrize("text", ["1", "1:", "0:1", "a:b", "1:2:3", "1:1,2:1", ","])
def test_pairs_that_cannot_be(text):
    with pytest.raises(UsageError):
        parse_pairs(text)
