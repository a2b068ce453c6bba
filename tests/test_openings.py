"""reenactment.openings: eyes and lips of results, on our model and on random people."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import REPO

from bfm import BFMModel
from bfm.bfm import LID_COLUMNS, PROVISIONED_MODEL
from bfm.sliders import Sliders
from reenactment.faces import Face, FrameInfo
from reenactment.knobs import make_transfer, parse_knobs
from reenactment.openings import Openings
from reenactment.transfer import Transfer

EYES_DISTANCE = 84  # mm
EXP_DIM = Sliders.load().rest.shape[1]


@cache
def openings():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return Openings(BFMModel(REPO / PROVISIONED_MODEL, 40, EXP_DIM), sliders().rest)


@cache
def sliders():
    return Sliders.load()


def person(seed, *rows):
    shape = np.random.default_rng(seed).normal(0, 1, 40) * 1e5 * np.linspace(2, 0.2, 40)
    expression = np.float32(rows) if rows else sliders().rest.copy()
    return Face(FrameInfo("a", (9, 9)), [0, 0, 9, 9], np.eye(3, 4), np.float32(shape), expression)


def posed(seed, settings):
    """A person at rest with sliders on top, nothing put right."""
    return parse_knobs(settings).turn(Transfer(1, 0), sliders())(None, person(seed))


def apply(transfer, source, target):
    return openings().carry(transfer, source, target, transfer(source, target))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("expression", ["", "smile=1", "frown=0.6", "pucker=0.8", "smile=0.5"])
def test_shut_lips_are_shut_on_every_target(seed, expression):
    """Within 0.005 of the eyes' distance of a mouth at rest, whoever gives and gets it."""
    source = posed(seed, expression) if expression else person(seed)
    result = apply(Transfer(), source, person(100 + seed))
    at_rest = openings().lips(person(100 + seed))
    excess = openings().lips(result) - at_rest
    assert excess[12:-12].max() < 0.005 * EYES_DISTANCE


@pytest.mark.parametrize("weight", [-0.5, 0.3, 0.6, 0.9])
def test_an_eye_opens_by_the_same_share(weight):
    source, target = posed(1, f"blink={weight}"), person(2)
    result = apply(Transfer(), source, target)
    np.testing.assert_allclose(openings().eyes(result), openings().eyes(source), atol=0.01)
    np.testing.assert_array_equal(result.expression, source.expression)  # it is kept beside


@pytest.mark.parametrize(
    "calm, own", [("blink=0.4", ""), ("", "blink=0.3"), ("wide=0.3", "wide=1")]
)
@pytest.mark.parametrize("shut", [0, 0.5, 1])
def test_a_relative_blink_goes_the_same_share_of_its_way(calm, own, shut):
    """From the source's face at rest: half shut is half shut, and shut is shut, of any eye."""
    neutral = posed(1, calm) if calm else person(1)
    target = posed(2, own) if own else person(2)
    blink = posed(1, "blink=0.1").expression - person(1).expression
    open_by = openings().eyes(posed(1, "blink=0.1")) - openings().eyes(person(1))
    share = shut * openings().eyes(neutral).mean() / open_by.mean()
    source = replace(neutral, expression=neutral.expression - share * blink)
    result = apply(Transfer().from_rest(neutral), source, target)
    left = openings().eyes(source) / openings().eyes(neutral)
    np.testing.assert_allclose(left, 1 - shut, atol=0.1)
    np.testing.assert_allclose(openings().eyes(result), openings().eyes(target) * left, atol=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_a_blink_shuts_the_eye_of_anybody(seed):
    knobs = parse_knobs("blink_left=1")
    result = apply(knobs.turn(Transfer(1, 0), sliders()), None, person(seed))
    right, left = openings().eyes(result)  # in the picture from left to right
    assert abs(left) < 0.06
    np.testing.assert_allclose(right, openings().eyes(person(seed))[0], atol=1e-3)


@pytest.mark.parametrize(
    "transfer", [Transfer(gain=4), Transfer(keep=1, gain=3), make_transfer("eyes,mouth", 5)]
)
@pytest.mark.parametrize("settings", ["blink=1", "wide=1", "pucker=1", "mouthPress=1,smile=-1"])
def test_gains_and_sums_fold_nothing(transfer, settings):
    source, target = posed(3, settings), posed(4, settings)
    result = apply(transfer, source, target)
    eyes = openings().eyes(result)
    assert (eyes > -1e-3).all() and (eyes < 1.81).all()
    overlap = openings().lips(result) - openings().lips(person(4))
    assert np.median(overlap) > -1.3


def test_what_is_left_alone_stays_as_it_is():
    source, target = posed(5, "smile=1,blink=1"), posed(6, "jaw_open=0.03")
    still = apply(Transfer(keep=1, gain=0), source, target)
    assert still.correction is None
    eyes_only = apply(make_transfer("eyes"), source, target)
    assert not eyes_only.correction[:, : LID_COLUMNS.start].any()


def test_an_open_mouth_stays_open():
    source, target = posed(7, "jaw_open=0.7"), person(8)
    result = apply(Transfer(), source, target)
    plain, put_right = openings().lips(Transfer()(source, target)), openings().lips(result)
    assert plain[24] > 5
    np.testing.assert_allclose(put_right, plain, atol=0.9)
