"""reenactment.following: everybody in a video, on spots that stand for faces."""

from __future__ import annotations

import pytest
from conftest import noise
from test_tracking import Frame, Spots, spot_frame, sure

from reenactment import following
from reenactment.following import follow
from reenactment.tracking import LOST_ERROR, SURE_ERROR

SIZE = spot_frame().nbytes
SMALL = 190  # pixels: the second spot of a frame has fewer


def video(*scenes):
    """A video of as many equal frames as each scene tells."""
    imgs = [img for count, img in scenes for _ in range(count)]
    return [Frame(img, number, number / 10) for number, img in enumerate(imgs)]


def test_follow_gives_everybody_from_left_to_right():
    frames = video((4, spot_frame((200, 100))), (12, spot_frame((200, 100), (60, 100))))
    left, right = follow(Spots(sure), frames, "two.mp4")
    assert (left.number, right.number) == (1, 2) and left.name == "two.mp4"
    assert len(right) == 16 and right.duration == pytest.approx(1.6)
    assert left.face(15).pose[0, 3] == pytest.approx(60, abs=0.1)
    assert left.face(3) is None and right.face(3).track == 2


def test_follow_tells_by_whole_tracks_who_returns():
    """At first sight a shape is off by more than people differ; then somebody else is there."""
    imgs = [spot_frame((60, 100))] * 5 + [spot_frame()] * 12
    imgs += [spot_frame((200, 100), people=(220,))] + [spot_frame((200, 100))] * 5
    imgs += [spot_frame((200, 100), people=(210,), background=200)] * 5
    tracks = follow(Spots(sure), [Frame(img, k, k / 10) for k, img in enumerate(imgs)], "a.mp4")
    assert sorted(len(track) for track in tracks) == [5, 11]


def test_follow_finds_nobody_in_noise():
    class Nobody(Spots):
        def detect(self, img):
            return []

    assert follow(Nobody(sure), [Frame(noise(seed=k), k, k / 10) for k in range(3)], "") == []


ALONE, BOTH = spot_frame((60, 100)), spot_frame((60, 100), (200, 100))


@pytest.mark.parametrize(("kept", "seen"), [
    (100, range(16, 45)),  # back to where she came
    (3, range(22, 45)),  # as far as frames are kept
    (0, range(25, 45)),  # no further than she was found
])
def test_who_is_found_late_is_followed_back(monkeypatch, kept, seen):
    monkeypatch.setattr(following, "_KEPT", kept * SIZE)
    frames = video((16, ALONE), (29, BOTH))
    him, her = follow(Spots(sure), frames, "two.mp4")
    assert him.frames.tolist() == [*range(45)]
    assert her.frames.tolist() == [*seen]


def test_nobody_is_followed_back_into_another_scene_or_onto_another_face():
    dark, bright = (spot_frame((60, 100), (200, 100), background=b) for b in (0, 200))
    tracks = follow(Spots(sure), video((5, spot_frame((200, 100))), (5, bright), (5, dark)), "")
    assert sorted(len(track) for track in tracks) == [10, 15]
    # he walks to where she will be, and is gone when she comes
    walk = [spot_frame((60 + 14 * k, 100)) for k in range(11)]
    frames = [Frame(img, k, k / 10) for k, img in enumerate(walk)]
    frames += [Frame(spot_frame((200, 100), people=(50,)), k, k / 10) for k in range(11, 20)]
    assert sorted(len(track) for track in follow(Spots(sure), frames, "")) == [9, 11]


@pytest.mark.parametrize(("count", "error", "people"), [
    (12, SURE_ERROR + 1, 2),  # seen for a while
    (4, SURE_ERROR + 1, 1),  # fleeting and doubtful
    (4, SURE_ERROR - 1, 2),  # surely seen
    (12, LOST_ERROR - 1, 1),  # for a while, but very doubtful
    (12, LOST_ERROR, 1),  # no face
])
def test_a_fleeting_face_of_which_nobody_is_sure_is_none(count, error, people):
    spots = Spots(lambda spot: error if spot < SMALL else sure(spot))
    frames = video((22, ALONE), (count, BOTH), (20, ALONE))
    assert len(follow(spots, frames, "a.mp4")) == people
    assert len(follow(spots, frames[:22], "a.mp4")) == 1


def test_what_is_doubtful_is_kept_where_the_video_is_as_short():
    spots = Spots(lambda spot: SURE_ERROR + 1)
    (track,) = follow(spots, video((4, ALONE)), "a.gif")
    assert len(track) == 4
