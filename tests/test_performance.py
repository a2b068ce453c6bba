"""What gives an expression at any moment, and who drives whom."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from reenactment.faces import Face, FrameInfo
from reenactment.moving import Live, Played
from reenactment.performance import Cast, Still
from reenactment.track import Track
from utils.errors import NoFaceError
from utils.footage import Footage, Frame

ROI = [0.0, 0.0, 120.0, 120.0]


def a_face(number: int = 0, seconds: float = 0.0, smile: float = 0.0) -> Face:
    frame = FrameInfo("talk.mp4", (64, 48), number, seconds)
    pose = np.eye(3, 4, dtype=np.float32)
    return Face(frame, ROI, pose, np.zeros(40, np.float32), np.full((1, 12), smile, np.float32))


def picture(number: int) -> np.ndarray:
    return np.full((48, 64, 3), number, np.uint8)


@dataclass
class Tape:
    """Footage that counts how often it begins, and how many frames were taken."""

    count: int
    fps: float = 10.0
    sound: None = None
    age: None = None
    begun: int = 0
    taken: list[int] = field(default_factory=list)

    def __iter__(self):
        self.begun += 1
        for number in range(self.count):
            self.taken.append(number)
            yield Frame(picture(number), number, number / self.fps)


def played(tape: Tape, loop: bool = False) -> Played:
    faces = [a_face(n, n / tape.fps, float(n)) for n in range(tape.count)]
    times = [face.frame.seconds for face in faces]
    return Played(Track.of(faces, duration=tape.count / tape.fps), times, tape, loop)


def test_a_still_is_the_same_at_any_moment():
    face = a_face()
    still = Still(face, picture(7))
    for seconds in (0.0, 3.5):
        assert still.at(seconds).face is face
        np.testing.assert_array_equal(still.at(seconds).sight(), picture(7))
    assert list(still.times) == [0.0]


def test_expressions_lie_between_frames_and_pictures_on_the_nearer_one():
    driver = played(Tape(5)).at(0.17)
    np.testing.assert_allclose(driver.face.expression, 1.7, rtol=1e-5)
    np.testing.assert_array_equal(driver.sight(), picture(2))


def test_a_shorter_source_holds_or_begins_again():
    for loop, number in ((False, 4), (True, 1)):
        driver = played(Tape(5), loop).at(0.6)
        np.testing.assert_allclose(driver.face.expression, number, rtol=1e-5)
        np.testing.assert_array_equal(driver.sight(), picture(number))


def test_looping_leaves_no_reader_behind():
    readers = []

    def read(start, tally):
        readers.append(True)
        place = len(readers) - 1
        try:
            for number in range(40):
                yield Frame(picture(number), number, number / 10)
        finally:
            readers[place] = False

    with Footage("talk.mp4", (64, 48), 10.0, read) as footage:
        track = Track.of([a_face(n, n / 10) for n in range(5)], duration=0.5)
        performance = Played(track, track.seconds.tolist(), footage, loop=True)
        for moment in range(23):
            performance.at(moment / 10).sight()
        assert readers == [False] * 4 + [True]
    assert not any(readers)


def test_pictures_are_read_in_order_and_only_where_looked_at():
    tape = Tape(6)
    performance = played(tape)
    performance.at(0.5)
    assert not tape.taken
    for number in (1, 1, 3):
        np.testing.assert_array_equal(performance.at(number / 10).sight(), picture(number))
    assert tape.taken == [0, 1, 2, 3]
    assert tape.begun == 1
    np.testing.assert_array_equal(performance.at(0.0).sight(), picture(0))
    assert tape.begun == 2


def test_a_camera_gives_the_frame_of_its_times_and_else_the_newest():
    smiles = {number: float(number) for number in range(5)}
    live = Live(Tape(5), lambda frame: [a_face(frame.number, frame.seconds, smiles[frame.number])])
    times = iter(live.times)
    assert live.at(next(times)).face.expression[0, 0] == 0
    assert live.at(next(times)).face.expression[0, 0] == 1
    assert live.at(9.9).face.expression[0, 0] == 2  # nobody asked for times: the newest
    np.testing.assert_array_equal(live.at(9.9).sight(), picture(3))


def test_a_camera_keeps_the_last_face_and_waits_for_the_first():
    live = Live(Tape(5), lambda frame: [a_face(smile=5)] if frame.number == 2 else [])
    assert live.at(0.0).face.expression[0, 0] == 5
    assert live.at(0.3).face.expression[0, 0] == 5
    with pytest.raises(NoFaceError, match="no face"):
        Live(Tape(3), lambda frame: []).at(0.0)


def test_everybody_is_driven_by_the_first_or_by_his_own():
    people = {2: Still(a_face(smile=2)), 5: Still(a_face(smile=5))}
    cast = Cast(people, "two people")
    assert cast.at(0.0, 1).face is people[2].face
    assert cast.at(0.0, 2).face is people[2].face
    paired = cast.paired({1: 5, 3: 2}, "a.mp4")
    assert paired.at(0.0, 1).face is people[5].face
    assert paired.at(0.0, 3).face is people[2].face
    with pytest.raises(NoFaceError, match=r"no face 4 in a\.mp4"):
        cast.paired({1: 4}, "a.mp4")


def test_all_targets_of_a_moment_share_a_driver():
    cast = Cast({1: played(Tape(5))}, "")
    assert cast.at(0.1, 1).face is cast.at(0.1, 2).face
    assert cast.at(0.2, 1).face is not cast.at(0.1, 1).face


def test_without_people_nobody_drives():
    cast = Cast({}, "")
    assert cast.at(0.0, 1).face is None
    assert cast.at(0.0, 1).sight() is None
    assert cast.lead is None
