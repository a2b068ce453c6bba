"""reenactment.blinks: eyes that are seen as all but shut are shut."""

from __future__ import annotations

import numpy as np
import pytest

from reenactment.blinks import UsualEyes, shut, usual_of

USUAL = np.array([1.2, 0.5])  # of wide and of narrow eyes
OPENINGS = np.where(np.arange(200)[:, None] % 20 < 3, 0.2, 1.0) * USUAL  # blinks, both at once


def test_shut_eyes_shut_and_open_ones_stay():
    shares = np.linspace(-0.1, 1.5, 161)[:, None]
    made = shut(shares * USUAL, USUAL) / USUAL
    np.testing.assert_allclose(made[shares[:, 0] < 0.3], 0)
    np.testing.assert_allclose(made[shares[:, 0] > 0.65], np.tile(shares[shares > 0.65], (2, 1)).T)
    assert (np.diff(made, axis=0) >= 0).all() and (np.diff(made, axis=0) < 0.03).all()


def test_an_eye_that_winks_is_alone():
    np.testing.assert_allclose(shut(USUAL * [0.2, 1.0], USUAL), USUAL * [0.0, 1.0])


def test_who_never_opens_an_eye_has_it_left_alone():
    eyes = np.full((9, 2), 0.3)
    np.testing.assert_array_equal(shut(eyes, usual_of(eyes)), eyes)


def test_the_usual_is_without_blinks():
    np.testing.assert_allclose(usual_of(OPENINGS), USUAL)


@pytest.mark.parametrize("first", [3, 0])  # an open eye, or a shut one
def test_the_usual_comes_to_be_known(first):
    usual = UsualEyes()
    known = [usual.add(eyes) for eyes in OPENINGS[first:]]
    np.testing.assert_allclose(known[0], OPENINGS[first])
    np.testing.assert_allclose(known[-1], USUAL, rtol=0.02)
