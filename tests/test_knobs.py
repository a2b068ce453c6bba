"""reenactment.knobs: what people write, and what becomes of it."""

from __future__ import annotations

import numpy as np
import pytest

from bfm.regions import REGIONS, rows_of
from reenactment.knobs import make_transfer, parse_gains, parse_settings
from utils.errors import UsageError

MOUTH, EYES = rows_of("mouth"), rows_of("eyes")


def test_settings():
    assert parse_settings("a=1, b = -0.5,c=.25", 2) == {"a": 1, "b": -0.5, "c": 0.25}
    assert parse_settings("", 2) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mouth", "NAME=NUMBER"),  # no number
        ("mouth=", "NAME=NUMBER"),
        ("=1", "NAME=NUMBER"),
        ("mouth=1,", "NAME=NUMBER"),
        ("mouth=big", "mouth: expected a number"),
        ("mouth=nan", "mouth: expected a number"),
        ("mouth=11", "up to 10"),
        ("mouth=1,mouth=2", "twice"),
        ("ears=1", "unknown region 'ears'"),
    ],
)
def test_refused_gains(text, message):
    with pytest.raises(UsageError, match=message):
        parse_gains(text)


@pytest.mark.parametrize("text", ["mouth=2,jaw=0.5,all=3", "all=3,jaw=0.5,mouth=2"])
def test_the_narrower_name_decides(text):
    gains = parse_gains(text)
    assert gains[rows_of("jaw")] == 0.5
    assert (gains[rows_of("lips")] == 2).all() and (gains[EYES] == 3).all()


def test_a_whole_face_needs_no_rows():
    transfer = make_transfer(exp_gain=1.5, gain="all=2")
    assert (transfer.keep, transfer.gain) == (0, 3)


def test_regions_left_alone_keep_what_they_have():
    transfer = make_transfer("mouth", 2, "jaw=0.5")
    chosen = np.isin(np.arange(len(REGIONS)), MOUTH)
    np.testing.assert_array_equal(transfer.keep, ~chosen)
    np.testing.assert_array_equal(transfer.gain[~chosen], 0)
    np.testing.assert_array_equal(transfer.gain[rows_of("lips")], 2)
    np.testing.assert_array_equal(transfer.gain[rows_of("jaw")], 1)
