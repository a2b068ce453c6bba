"""reenactment.transfer: e = keep * target + gain * (source - neutral), row by row."""

from __future__ import annotations

import numpy as np
import pytest

from reenactment.faces import Face, FrameInfo
from reenactment.transfer import Transfer


def face(*rows):
    expression = np.array(rows, np.float32)
    return Face(FrameInfo("a", (9, 9)), [0, 0, 9, 9], np.eye(3, 4), np.zeros(2), expression)


SOURCE, TARGET, REST = face([4, 8]), face([1, -2]), face([3, 3])


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (Transfer(), [[4, 8]]),  # absolute
        (Transfer(gain=1.5), [[6, 12]]),
        (Transfer(gain=2).from_rest(REST), [[1 + 2 * 1, -2 + 2 * 5]]),  # relative
        (Transfer().from_rest(SOURCE), [[1, -2]]),  # from its own rest, nothing moves
        (Transfer(keep=1, gain=0), [[1, -2]]),  # left alone
        (Transfer(keep=0, gain=0), [[0, 0]]),  # at rest
        (Transfer(extra=np.float32([[1, 1]])), [[5, 9]]),  # and some more
        (Transfer().onto(np.float32([[7, 7]]), np.array([True])), [[4, 8]]),  # kept nothing anyway
        (Transfer(keep=1).onto(np.float32([[7, 7]]), np.array([True])), [[11, 15]]),
        (Transfer(np.array([0, 1]), np.array([1, 0])), [[4, 8], [1, -2]]),  # one region of two
    ],
)
def test_the_formula(transfer, expected):
    result = transfer(SOURCE, TARGET)
    np.testing.assert_array_equal(result.expression, np.float32(expected))
    assert result.expression.dtype == np.float32
    assert result.shape is TARGET.shape and result.pose is TARGET.pose


def test_rows_meet_rows():
    """Sources and targets may have a row for every region, or one for all."""
    source, target = face([1, 2], [3, 4]), face([10, 20])
    half = Transfer(keep=np.array([1, 0.5]), gain=np.array([0, 2]))
    np.testing.assert_array_equal(half(source, target).expression, [[10, 20], [11, 18]])


def test_absolute_transfer_is_exact():
    source, target = face(np.random.default_rng(0).normal(size=12)), face(np.linspace(-9, 9, 12))
    assert np.array_equal(Transfer()(source, target).expression, source.expression)


def test_without_a_source():
    result = Transfer(keep=1).adding(np.float32([[0, 1], [2, 0]]))(None, TARGET)
    np.testing.assert_array_equal(result.expression, [[1, -1], [3, -2]])
