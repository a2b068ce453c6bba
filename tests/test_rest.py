"""reenactment.rest: who is at rest is sure, faces the camera, and has open eyes and shut lips."""

from __future__ import annotations

import numpy as np
import pytest

from reenactment.faces import Face, FrameInfo
from reenactment.rest import awake_of, rest_of
from reenactment.track import Track

RATE, COUNT = 30.0, 300


class Mouths:
    """Openings of faces whose expression is: how open eyes and lips are, and a smile."""

    def eyes(self, face):
        return face.expression[0, [0, 0]]

    def lips(self, face):
        return np.full(40, face.expression[0, 1])


def turned(degrees):
    angle = np.radians(degrees)
    pose = np.zeros((3, 4), np.float32)
    pose[:, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    return pose


def track(eyes=1.0, lips=0.0, smile=0.0, turn=0.0, error=1.0):
    """Somebody of whom each is told for every frame, or for all."""
    told = (np.broadcast_to(values, COUNT) for values in (eyes, lips, smile, turn, error))
    return Track.of([
        Face(FrameInfo("a.mp4", (9, 9), k, k / RATE), [0, 0, 9, 9], turned(away),
             np.zeros(3, np.float32), np.array([expression], np.float32), error=float(miss))
        for k, (*expression, away, miss) in enumerate(zip(*told))
    ])  # fmt: skip


TIMES = np.arange(COUNT) / RATE
PAUSE = (TIMES > 6) & (TIMES < 7)
TALK = np.where(PAUSE, 0.2, 4 + 4 * np.sin(12 * TIMES) + np.sin(31 * TIMES))  # mm


def test_without_openings_the_rest_is_what_moves_least():
    rest = rest_of(track(smile=np.where(PAUSE, 0.3, np.sin(20 * TIMES))))
    assert PAUSE[rest.frame.number]
    assert rest.expression[0, 2] == pytest.approx(0.3)


def test_lips_that_talk_are_not_at_rest():
    """Those that are shut for a moment only are not, either."""
    rest = rest_of(track(lips=TALK, smile=np.where(PAUSE, np.sin(TIMES), 1.0)), Mouths())
    assert PAUSE[rest.frame.number]
    assert rest.expression[0, 1] == pytest.approx(0.2)


@pytest.mark.parametrize("unrest", [
    {"eyes": np.where(TIMES % 1 < 0.3, 0.2, 1.0)},  # blinks
    {"eyes": np.where(TIMES % 1 < 0.2, 1.7, 1.0)},  # wide
    {"turn": np.where(TIMES % 1 < 0.1, 40.0, 5.0)},
    {"error": np.where(TIMES % 1 < 0.1, 6.0, 1.0)},
], ids=str)  # fmt: skip
def test_the_rest_is_open_eyed_facing_and_sure(unrest):
    (usual,) = (np.median(values) for values in unrest.values())
    (values,) = unrest.values()
    smile = np.where(values == usual, 0.1, 0.9)
    rest = rest_of(track(**unrest, smile=smile), Mouths())
    assert values[rest.frame.number] == usual
    assert rest.expression[0, 2] == pytest.approx(0.1)


def test_among_equals_the_last_count_like_the_first():
    late = TIMES >= 9
    assert late[rest_of(track(lips=np.where(late, 0.0, 5.0)), Mouths()).frame.number]


def test_who_is_awake_has_open_eyes_is_sure_and_facing():
    eyes = np.where(TIMES % 1 < 0.3, 0.1, 1.0)
    eyes[::50] = 2.5  # what the network takes for wide eyes, now and then
    turn, error = np.where(TIMES < 0.5, 50, 0), np.where(TIMES > 9.5, 6.0, 1.0)
    awake = awake_of(track(eyes=eyes, turn=turn, error=error), Mouths())
    assert 0.5 <= awake.frame.seconds < 9.5 and awake.expression[0, 0] == 1.0
    assert awake_of(track().part(slice(0, 1)), Mouths()).frame.number == 0


def test_a_track_of_one_frame_is_at_rest():
    whole = track(smile=3.0).part(slice(1))
    np.testing.assert_allclose(rest_of(whole, Mouths()).expression[0], [1, 0, 3])
