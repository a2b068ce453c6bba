"""bfm.sliders and what people make of them: names, presets, refusals, and where they move."""

from __future__ import annotations

import numpy as np
import pytest

from bfm.regions import REGIONS, rows_of
from bfm.sliders import SHAPES, Sliders, fitted_as, regions_of, shapes_of, split_side, why_not
from reenactment.faces import Face, FrameInfo
from reenactment.knobs import parse_knobs, preset, preset_names
from reenactment.transfer import Transfer
from utils.errors import UsageError

SLIDERS = Sliders.load()
EXP_DIM = SLIDERS.rest.shape[1]
SHOWN = [shape for shape in SHAPES if why_not(shape) is None]


def test_there_are_the_52_shapes_of_arkit():
    assert len(SHAPES) == len(set(SHAPES)) == 52
    assert SHAPES[0] == "eyeBlinkLeft" and SHAPES[-1] == "tongueOut"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mouthSmileLeft", {"mouthSmileLeft"}),
        ("MouthSmileLeft", {"mouthSmileLeft"}),  # as recordings have it
        ("mouth_smile_left", {"mouthSmileLeft"}),
        ("mouthSmile", {"mouthSmileLeft", "mouthSmileRight"}),
        ("smile", {"mouthSmileLeft", "mouthSmileRight"}),
        ("smile_right", {"mouthSmileRight"}),
        ("blink_left", {"eyeBlinkLeft"}),
        ("jaw_open", {"jawOpen"}),
        ("jaw_left", {"jawLeft"}),
        ("mouthLeft", {"mouthLeft"}),
        ("brow_up", {"browInnerUp", "browOuterUpLeft", "browOuterUpRight"}),
        ("brow_up_left", {"browInnerUp", "browOuterUpLeft"}),
        ("brow_down", {"browDownLeft", "browDownRight"}),
    ],
)
def test_names(name, expected):
    assert set(shapes_of(name)) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tongueOut", "no tongue"),
        ("tongue_out", "no tongue"),
        ("eyeLookUpLeft", "no eyeballs"),
        ("cheekPuff", "hardly any picture"),
        ("noseSneer", "hardly any picture"),
        ("ears", "unknown slider"),
        ("", "unknown slider"),
    ],
)
def test_refused(name, reason):
    with pytest.raises(UsageError, match=reason):
        shapes_of(name)


@pytest.mark.parametrize("shape", SHOWN)
def test_every_shape_moves_its_own_regions_only(shape):
    rows = SLIDERS.rows({shape: 1.0})
    share = regions_of(shape)
    assert rows.dtype == np.float32 and rows.shape == (len(REGIONS), EXP_DIM)
    assert np.abs(rows[share > 0]).max() > 0.05 and not rows[share == 0].any()
    allowed = rows_of({"e": "eyes", "b": "brows"}.get(shape[0], "lower-face"))
    assert set(np.flatnonzero(share)) <= set(allowed)


@pytest.mark.parametrize("shape", [s for s in SHOWN if split_side(s)[1] == "Left"])
def test_halves_make_the_whole(shape):
    other = shape.replace("Left", "Right")
    both = SLIDERS.rows({shape: 1.0, other: 1.0})
    direction = SLIDERS.directions[fitted_as(shape)[0]]
    moved = np.abs(both).max(axis=1) > 0
    np.testing.assert_allclose(both[moved], np.tile(direction, (moved.sum(), 1)), atol=1e-6)


def test_left_and_right_are_opposite():
    np.testing.assert_array_equal(
        SLIDERS.rows({"mouthLeft": 0.4}), -SLIDERS.rows({"mouthRight": 0.4})
    )


def test_what_cannot_be_shown_adds_nothing():
    assert not SLIDERS.rows({"tongueOut": 1.0, "eyeLookUpLeft": 1.0}).any()


def test_models_of_other_sizes():
    wide = Sliders.load(20)
    assert wide.rest.shape == (1, 20) and not wide.rest[:, EXP_DIM:].any()
    np.testing.assert_array_equal(wide.rows({"jawOpen": 1.0})[:, :EXP_DIM],
                                  SLIDERS.rows({"jawOpen": 1.0}))
    with pytest.raises(UsageError, match=f"10 of their {EXP_DIM}"):
        Sliders.load(10)


def smiling():
    rows = np.full((1, EXP_DIM), 0.5, np.float32)
    return Face(FrameInfo("a", (9, 9)), [0, 0, 9, 9], np.eye(3, 4), np.zeros(40), rows)


def turned(transfer=None, **texts):
    return parse_knobs(**texts).turn(transfer or Transfer(1, 0), SLIDERS)


def test_sliders_go_on_top_of_what_there_is():
    face = smiling()
    moved = turned(settings="smile=0.6,blink_left=1")(None, face).expression
    added = SLIDERS.rows({"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "eyeBlinkLeft": 1.0})
    np.testing.assert_allclose(moved, face.expression + added, atol=1e-6)
    source = smiling()
    on_a_source = turned(Transfer(gain=2), settings="smile=0.6")(source, face).expression
    np.testing.assert_allclose(on_a_source, moved * 0 + 1 + SLIDERS.rows(
        {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}), atol=1e-6)


def test_a_face_at_rest():
    result = turned(neutralise=True)(None, smiling()).expression
    np.testing.assert_allclose(result, np.tile(SLIDERS.rest, (len(result), 1)), atol=1e-6)


def test_a_source_at_rest_leaves_a_neutralised_target_neutral():
    source = smiling()
    transfer = turned(Transfer().from_rest(source), neutralise=True)
    result = transfer(source, smiling()).expression
    np.testing.assert_allclose(result, np.tile(SLIDERS.rest, (len(result), 1)), atol=1e-6)


def test_a_preset_takes_over_what_it_moves():
    face, left = smiling(), REGIONS.index("eye_left")
    winking = turned(presets="wink_left")(None, face).expression
    others = np.arange(len(REGIONS)) != left
    np.testing.assert_allclose(winking[others], np.tile(face.expression, (others.sum(), 1)))
    expected = SLIDERS.rest[0] + SLIDERS.rows({"eyeBlinkLeft": 1.0})[left]
    np.testing.assert_allclose(winking[left], expected, atol=1e-6)


def test_presets_are_sliders_and_add_up():
    assert set(preset_names()) >= {
        "neutral", "smile", "laugh", "surprise", "sad", "angry", "disgust", "wink_left",
        "wink_right", "kiss", "shout",
    }
    for name in preset_names():
        assert parse_knobs(presets=name) is not None
    both = parse_knobs("smile=0.1", "smile,wink_left").weights
    assert both["eyeBlinkLeft"] == 1.0
    assert both["mouthSmileLeft"] == pytest.approx(preset("smile")["smile"] + 0.1)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"settings": "smile=3"}, "up to 2"),
        ({"settings": "smile"}, "NAME=NUMBER"),
        ({"settings": "tongueOut=1"}, "no tongue"),
        ({"presets": "grin"}, "unknown preset 'grin'"),
        ({"presets": "smile,"}, "unknown preset ''"),
    ],
)
def test_refused_knobs(texts, message):
    with pytest.raises(UsageError, match=message):
        parse_knobs(**texts)


def test_nothing_asked_for():
    assert parse_knobs() is None
