"""reenactment.track: a face through time, chosen among people, and at rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reenactment.faces import Face, FrameInfo
from reenactment.track import SteadyShape, Track, choose_tracks, left_to_right
from utils.errors import NoFaceError


def face(number, seconds, value=0.0, x=100.0, side=50.0, scores=None, error=None):
    """A face whose expression is a value, at a place."""
    return Face(
        FrameInfo("a.mp4", (640, 480), number, seconds),
        [x, 100.0, x + side, 100.0 + side],
        np.eye(3, 4, dtype=np.float32) * (1 + number),
        np.full(3, number, np.float32),
        np.full((1, 2), value, np.float32),
        scores=scores,
        error=error,
    )


def track(values, rate=10.0, first=0, **place):
    faces = [face(first + k, k / rate, value, **place) for k, value in enumerate(values)]
    return Track.of(faces, duration=len(faces) / rate)


def test_faces_come_out_as_they_went_in():
    faces = [face(k, k / 10, k, scores=np.full(52, k / 10), error=float(k)) for k in (3, 4, 7)]
    whole = Track.of(faces, number=2)
    assert len(whole) == 3
    for one in faces:
        same = whole.face(one.frame.number)
        assert same.frame == one.frame and same.roi_box == one.roi_box and same.track == 2
        for mine, theirs in zip(same.parts, one.parts):
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_allclose(same.scores, one.scores)
        assert same.error == one.error
    assert [whole.face(number) for number in (0, 5, 8)] == [None] * 3


@pytest.mark.parametrize(
    ("seconds", "value", "number"),
    [
        (-1.0, 0.0, 0),  # before the start
        (0.0, 0.0, 0),
        (0.04, 4.0, 0),  # between two frames, nearer to the first
        (0.06, 6.0, 1),  # nearer to the second
        (0.15, 5.0, 2),  # down again
        (0.2, 0.0, 2),
        (9.0, 0.0, 2),  # after the end
    ],
)
def test_expressions_are_interpolated_and_places_are_of_the_nearest_frame(seconds, value, number):
    seen = track([0.0, 10.0, 0.0]).at(seconds)
    np.testing.assert_allclose(seen.expression, value, atol=1e-5)
    assert seen.frame.number == number or value == 5.0
    assert seen.pose[0, 0] == 1 + seen.frame.number


def test_a_loop_begins_anew_where_the_video_ends():
    values = track([1.0, 2.0, 3.0])
    for seconds, value in ((0.3, 1.0), (0.4, 2.0), (3.05, 1.5), (-0.1, 3.0)):
        np.testing.assert_allclose(values.at(seconds, loop=True).expression, value, atol=1e-4)
    np.testing.assert_allclose(values.at(5.0).expression, 3.0)


def test_people_are_chosen_by_place_and_by_how_much_the_video_shows_of_them():
    left = track([0.0] * 10, x=0)
    middle = track([0.0] * 20, x=100, side=60)
    right = track([0.0] * 2, x=200, side=100)  # large, but soon gone
    people = [right, left, middle]
    assert choose_tracks(people, "all", "a.mp4") == [left, middle, right]
    assert choose_tracks(people, "largest", "a.mp4") == [middle]
    assert choose_tracks(people, "right-left", "a.mp4") == [right]
    assert choose_tracks(people, "2", "a.mp4") == [middle]
    assert [t.number for t in left_to_right(people)] == [1, 2, 3]
    with pytest.raises(NoFaceError, match=r"no face 4 in a\.mp4: it shows 3"):
        choose_tracks(people, "4", "a.mp4")
    with pytest.raises(NoFaceError, match=r"no face found in a\.mp4; give a video"):
        choose_tracks([], "all", "a.mp4")


def test_the_best_is_the_one_that_the_network_is_surest_of():
    sure, unsure = (
        Track.of([face(k, k / 10, x=x, error=error) for k in range(3)])
        for x, error in ((200.0, 1.0), (0.0, 5.0))
    )
    assert sure.confidence == pytest.approx(0.9)
    assert choose_tracks([unsure, sure], "best", "a.mp4") == [sure]


def test_a_steady_shape_is_the_mean_and_is_not_thrown_by_one_bad_frame():
    rng, steady = np.random.default_rng(0), SteadyShape(np.ones(4))
    shapes = rng.normal(0, 0.05, (50, 4))
    for shape in shapes:
        mean = steady.add(shape)
    np.testing.assert_allclose(mean, shapes.mean(axis=0), atol=1e-6)
    moved = steady.add(np.full(4, 1e6)) - mean
    assert 0 < moved.max() < 0.5 / 50


def test_what_is_seen_within_some_seconds_begins_at_none():
    whole = track([1.0, 2.0, 3.0, 4.0])
    step = whole.seconds[1]
    part = whole.within(step, 2.5 * step)
    np.testing.assert_allclose(part.seconds, [0, step])
    np.testing.assert_array_equal(part.expressions, whole.expressions[1:3])
    assert part.duration == pytest.approx(1.5 * step)
    rest = whole.within(2 * step, None)
    assert len(rest) == 2 and rest.duration == pytest.approx(whole.duration - 2 * step)
    assert whole.within(100.0, None) is None


def test_parts_of_a_track_make_it_whole():
    whole = track([1.0, 2.0, 3.0, 4.0])
    again = whole.part(slice(0, 1)).then(whole.part(slice(1, 4)))
    np.testing.assert_array_equal(again.poses, whole.poses)
    np.testing.assert_array_equal(again.seconds, whole.seconds)
    assert again.scores is None and replace(again, number=3).number == 3
