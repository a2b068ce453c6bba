"""reenactment.linking: tracks of the same shape are one person, unless they share a frame."""

from __future__ import annotations

import numpy as np

from reenactment.faces import Face, FrameInfo
from reenactment.linking import UNLIKE, link
from reenactment.track import Track

SPREAD = np.array([2.0, 1.0, 0.5, 1.0])
LIKENESS = np.diag(1 / SPREAD)
PEOPLE = {"a": np.zeros(4), "b": 0.8 * SPREAD, "c": -0.9 * SPREAD}


def track(person, first, count=10, seed=0):
    """A person from a frame on, whose shape trembles by more than people differ."""
    rng = np.random.default_rng(seed + first)
    shapes = PEOPLE[person] + 0.7 * SPREAD * rng.normal(size=(count, 4))
    shapes += PEOPLE[person] - np.median(shapes, axis=0)
    return Track.of([
        Face(FrameInfo("a.mp4", (9, 9), first + k, (first + k) / 10), [0, 0, 9, 9],
             np.eye(3, 4, dtype=np.float32), np.float32(shape), np.zeros((1, 2), np.float32))
        for k, shape in enumerate(shapes)
    ])  # fmt: skip


def spans(tracks):
    """The frames of each person."""
    return sorted(sorted(t.frames.tolist()) for t in tracks)


def frames(*starts, count=10):
    return [first + k for first in sorted(starts) for k in range(count)]


def test_who_returns_is_known():
    tracks = [track("a", 0), track("b", 0), track("a", 20), track("c", 20), track("b", 40)]
    linked = link(tracks, LIKENESS)
    assert spans(linked) == sorted([frames(0, 20), frames(0, 40), frames(20)])
    assert all((np.diff(one.frames) > 0).all() for one in linked)


def test_nobody_is_in_two_places():
    """Twins, and their order in time does not matter."""
    tracks = [track("a", 30), track("a", 5), track("a", 0)]
    linked = link(tracks, LIKENESS)
    assert len(linked) == 2
    assert all((np.diff(one.frames) > 0).all() for one in linked)


def test_the_limit():
    for share, people in ((0.95, 1), (1.05, 2)):
        PEOPLE["d"] = share * UNLIKE * SPREAD
        assert len(link([track("a", 0), track("d", 20)], LIKENESS)) == people


def test_only_what_tells_people_apart_counts():
    """Of "a" and "b", who differ alike in all coefficients, three tell nothing."""
    tracks = [track("a", 0), track("b", 20)]
    for told, people in ((0.5, 1), (1.0, 2)):  # 0.4 and 0.8 apart
        direction = told * LIKENESS[:, 1:2]
        assert len(link(tracks, direction)) == people


def test_nobody():
    assert link([], LIKENESS) == []
