"""Footage: frames with their times, as often as wanted, from files and from edits of these."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from conftest import noise

from utils.errors import InputError
from utils.footage import Footage, Frame, held, is_footage, open_footage
from utils.footage.frames import AHEAD, ahead
from utils.footage.times import at_rate, trimmed
from utils.io import WholeFiles
from utils.sinks import open_sink

pytest.importorskip("av", reason="PyAV is not installed: pip install -r requirements-video.txt")


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith(("decoder", "encoder"))]


def marked(number, size=(64, 48)):
    """A picture that tells its number in black and white."""
    bits = np.array([255 * (number >> bit & 1) for bit in range(8)], np.uint8)
    img = cv2.resize(bits[None], size, interpolation=cv2.INTER_NEAREST)
    return np.repeat(img[..., None], 3, axis=2)


def number_of(img):
    """What `marked` wrote into a picture."""
    cells = cv2.resize(img, (8, 1), interpolation=cv2.INTER_AREA)[0, :, 1]
    return sum(int(cell > 127) << bit for bit, cell in enumerate(cells))


def write_marked(path, times, size=(64, 48)):
    with WholeFiles() as files, open_sink(path, len(times) / (times[-1] or 1), files) as sink:
        for number, seconds in enumerate(times):
            sink.write(marked(number, size), seconds)
    return path


def plain(times, fps=10.0):
    """Footage that needs no file."""

    def read(start):
        for number, seconds in enumerate(times):
            yield Frame(marked(number), number, seconds)

    return Footage("plain", (64, 48), fps, read, len(times))


def told(footage):
    """The numbers in a footage's frames, and their times."""
    frames = list(footage)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    return [(number_of(frame.img), round(frame.seconds, 4)) for frame in frames]


TIMES = [0, 0.1, 0.15, 0.4, 0.5, 0.9]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_times_that_vary_are_kept_and_reading_begins_anew(tmp_path, suffix):
    with open_footage(write_marked(tmp_path / f"a{suffix}", TIMES)) as footage:
        assert footage.size == (64, 48) and not footage.live and footage.sound is None
        for _ in range(2):
            assert told(footage) == [*enumerate(TIMES)]
            assert footage.shortfall == ""


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, None, [*enumerate(TIMES)]),  # all
        (0.15, None, [(2, 0), (3, 0.25), (4, 0.35), (5, 0.75)]),  # from a frame
        (0.2, 0.5, [(2, 0), (3, 0.2)]),  # within one, up to another, which is not seen
        (0.95, None, [(5, 0)]),  # behind the last frame, which is still seen
    ],
)
def test_a_part_begins_with_what_is_seen_there(start, end, expected):
    assert told(trimmed(plain(TIMES), start, end)) == expected


def test_a_constant_rate_shows_the_frame_of_each_time():
    assert told(at_rate(plain(TIMES), 10)) == [
        (0, 0), (1, 0.1), (2, 0.2), (2, 0.3), (3, 0.4), (4, 0.5), (4, 0.6), (4, 0.7), (4, 0.8),
        (5, 0.9),
    ]  # fmt: skip
    assert told(at_rate(plain([0, 0.1, 0.2, 0.3]), 5)) == [(0, 0), (2, 0.2)]


def test_a_picture_is_held_for_the_times_of_others():
    img = noise(30, 40)
    for times in (TIMES, plain(TIMES)):
        footage = held(img, "still", times)
        frames = list(footage)
        assert [frame.seconds for frame in frames] == TIMES
        assert (footage.size, footage.count) == ((40, 30), 6)
        assert all(np.array_equal(frame.img, img) for frame in frames)
        frames[0].img[:] = 0
        assert np.array_equal(next(iter(footage)).img, img)


def test_decoding_leads_by_few_frames_and_ends_with_its_reader():
    made, closed = [], threading.Event()

    def frames():
        try:
            for number in range(1000):
                made.append(number)
                yield Frame(marked(0), number, number / 10)
        finally:
            closed.set()

    running = ahead(frames())
    assert next(running).number == 0
    running.close()
    assert closed.is_set() and len(made) <= AHEAD + 1


def test_an_error_in_decoding_comes_where_its_frame_would():
    def frames():
        yield Frame(marked(0), 0, 0.0)
        raise ArithmeticError

    running = ahead(frames())
    assert next(running).number == 0
    with pytest.raises(ArithmeticError):
        next(running)


@pytest.mark.parametrize(("name", "expected"), [("a.MP4", True), ("b/c.webm", True),
                                                ("a.jpg", False), ("a", False)])  # fmt: skip
def test_names_of_footage(name, expected):
    assert is_footage(name) == expected


@pytest.mark.parametrize("content", [None, b"", b"no video" * 100])
def test_unreadable_videos(tmp_path, content):
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mp4"):
        open_footage(path)
