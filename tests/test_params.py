"""bfm.params: layouts, split, join, splice, adapt."""

from __future__ import annotations

import numpy as np
import pytest

from bfm.params import FaceParams, ParamLayout
from utils.errors import UsageError

LAYOUTS = (ParamLayout(40, 10), ParamLayout(40, 20), ParamLayout(100, 29), ParamLayout(7, 3))


def vector(layout, *leading):
    """0, 1, 2, …: every number tells its place."""
    return np.arange(np.prod(leading + (layout.num_params,)), dtype=np.float32).reshape(
        leading + (-1,)
    )


@pytest.mark.parametrize(
    "declared, dims",
    [
        ((None, None, None), (40, 10)),  # nothing declared: the published 62
        ((62, None, None), (40, 10)),  # 62
        ((72, None, None), (40, 20)),  # 72
        ((141, None, None), (100, 29)),  # 141
        ((62, 30, None), (30, 20)),  # length and shape
        ((20, None, 3), (5, 3)),  # length and expression
        ((None, 5, 3), (5, 3)),  # both parts
        ((None, None, 7), (40, 7)),  # expression alone
        ((20, 5, 3), (5, 3)),  # everything, consistent
    ],
)
def test_resolve(declared, dims):
    layout = ParamLayout.resolve(*declared)
    assert (layout.shape_dim, layout.exp_dim) == dims
    assert layout.num_params == 12 + sum(dims)


@pytest.mark.parametrize(
    "declared",
    [
        (63, None, None),  # unknown length alone
        (62, 40, 11),  # parts too long
        (61, 40, 10),  # length too short
        (13, None, 1),  # no shape left
        (None, 40, 0),  # no expression
        (None, -1, 10),  # negative
        (0, None, None),  # empty vector
    ],
)
def test_resolve_refuses(declared):
    with pytest.raises(UsageError):
        ParamLayout.resolve(*declared)


def test_published_expression_place():
    """SPEC section 3: the expression is param[52:62], ten numbers."""
    assert ParamLayout.of(np.zeros(62)).expression == slice(52, 62)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])  # one vector, a batch, a stack of batches
def test_split_places_and_join_inverts(layout, leading):
    params = vector(layout, *leading)
    parts = layout.split(params)
    first = params.reshape(-1, layout.num_params)[0]
    assert np.array_equal(parts.pose.reshape(-1, 12)[0], first[:12])
    assert np.array_equal(parts.pose[..., 1, 3], params[..., 7])  # row-major
    assert parts.shape.shape == leading + (layout.shape_dim,)
    assert parts.expression.shape == leading + (layout.exp_dim,)
    assert np.array_equal(parts.expression[..., -1], params[..., -1])
    joined = layout.join(parts)
    assert joined.dtype == np.float32
    assert np.array_equal(joined, params)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splice_changes_the_whole_expression_only(layout):
    target = vector(layout)
    before = target.copy()
    expression = np.full(layout.exp_dim, -1, np.float32)
    spliced = layout.splice(target, expression)
    changed = np.flatnonzero(spliced != target)
    assert changed.tolist() == list(range(12 + layout.shape_dim, layout.num_params))
    assert np.array_equal(layout.split(spliced).expression, expression)
    assert np.array_equal(target, before)


@pytest.mark.parametrize("own", LAYOUTS)
@pytest.mark.parametrize("foreign", LAYOUTS)
def test_adapt_keeps_leading_coefficients(own, foreign):
    parts = foreign.split(vector(foreign))
    adapted = own.adapt(parts)
    assert np.array_equal(adapted.pose, parts.pose)
    for mine, theirs in ((adapted.shape, parts.shape), (adapted.expression, parts.expression)):
        common = min(len(mine), len(theirs))
        assert np.array_equal(mine[:common], theirs[:common])
        assert not mine[common:].any()


def test_adapt_keeps_rows():
    rows = np.arange(12.0).reshape(3, 4)
    adapted = ParamLayout(2, 3).adapt(FaceParams(np.eye(3, 4), np.ones(2), rows))
    assert np.array_equal(adapted.expression, rows[:, :3])
    assert {part.dtype for part in adapted} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "call",
    [
        lambda layout: layout.split(np.zeros(61)),  # too short
        lambda layout: layout.split(np.zeros((62, 1))),  # a column
        lambda layout: layout.split(np.float32(0)),  # a scalar
        lambda layout: layout.splice(np.zeros(72), np.zeros(10)),  # another layout's vector
        lambda layout: layout.splice(np.zeros(62), np.zeros(20)),  # another layout's expression
        lambda layout: layout.join(FaceParams(np.eye(3, 4), np.zeros(40), np.zeros(9))),  # parts
    ],
)
def test_wrong_lengths(call):
    with pytest.raises(ValueError):
        call(ParamLayout(40, 10))
