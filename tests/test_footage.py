"""Footage: frames with their times, as often as wanted, from whatever moves."""

from __future__ import annotations

import os
import struct
import threading
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import REPO, needs_av, noise

from utils.errors import InputError
from utils.footage import Footage, Frame, is_footage, open_footage
from utils.footage.frames import AHEAD, DEFAULT_FPS, Announced, ahead
from utils.footage.times import at_rate, trimmed
from utils.image import write_image
from utils.io import WholeFiles
from utils.sinks import open_sink


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith(("decoder", "encoder", "camera"))]


def marked(number, size=(64, 48)):
    """A picture that tells its number in black and white."""
    bits = np.array([255 * (number >> bit & 1) for bit in range(8)], np.uint8)
    img = cv2.resize(bits[None], size, interpolation=cv2.INTER_NEAREST)
    return np.repeat(img[..., None], 3, axis=2)


def number_of(img):
    """What `marked` wrote into a picture."""
    cells = cv2.resize(img, (8, 1), interpolation=cv2.INTER_AREA)[0, :, 1]
    return sum(int(cell > 127) << bit for bit, cell in enumerate(cells))


def write_clip(path, frames, fps=25.0, times=None):
    with WholeFiles() as files, open_sink(path, fps, files) as sink:
        for number, frame in enumerate(frames):
            sink.write(frame, number / fps if times is None else times[number])
    return path


def read_clip(path):
    with open_footage(path) as footage:
        return [frame.img for frame in footage]


def plain(times, fps=10.0):
    """Footage that needs no file."""

    def read(start, tally):
        for number, seconds in enumerate(times):
            yield Frame(marked(number), number, seconds)

    return Footage("plain", (64, 48), fps, read, len(times))


def told(footage):
    """The numbers in a footage's frames, and their times."""
    frames = list(footage)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    return [(number_of(frame.img), round(frame.seconds, 3)) for frame in frames]


TIMES = [0, 0.1, 0.15, 0.4, 0.5, 0.9]


# --- times


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_times_that_vary_are_kept_and_reading_begins_anew(tmp_path, suffix):
    path = write_clip(tmp_path / f"a{suffix}", map(marked, range(6)), 7.0, TIMES)
    with open_footage(path) as footage:
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


def test_a_part_far_into_a_file(tmp_path, video_engine):
    path = write_clip(tmp_path / "a.mp4", map(marked, range(200)))
    with open_footage(path, trim=(6.0, 6.2)) as footage:
        for _ in range(2):
            assert told(footage) == [(150 + i, i / 25) for i in range(5)]
        assert footage.count == 5 and footage.shortfall == ""
    with open_footage(path, trim=(7.99, None)) as footage:
        assert footage.count == 1 and told(footage) == [(199, 0)]
    with pytest.raises(InputError, match="ends before second 8"):
        open_footage(path, trim=(8.0, None))


def test_a_constant_rate_shows_the_frame_of_each_time():
    assert told(at_rate(plain(TIMES), 10)) == [
        (0, 0), (1, 0.1), (2, 0.2), (2, 0.3), (3, 0.4), (4, 0.5), (4, 0.6), (4, 0.7), (4, 0.8),
        (5, 0.9),
    ]  # fmt: skip
    assert told(at_rate(plain([0, 0.1, 0.2, 0.3]), 5)) == [(0, 0), (2, 0.2)]


@pytest.mark.parametrize(("fps", "frames"), [(5, 4), (10, 8), (24, 19), (25, 20), (50, 40)])
def test_another_rate_lasts_as_long(fps, frames):
    assert len(told(at_rate(plain([number / 25 for number in range(20)], 25), fps))) == frames


def held(frame, lasts):
    return replace(frame, read=lambda start, tally: (
        shown._replace(lasts=lasts if shown.number == len(TIMES) - 1 else None)
        for shown in frame.read(start, tally)
    ))  # fmt: skip


def test_what_lasts_does_so_in_a_part_and_at_a_constant_rate():
    whole = held(plain(TIMES), 0.35)
    longer = [(5, 1.0), (5, 1.1), (5, 1.2)]
    assert told(at_rate(whole, 10)) == [*told(at_rate(plain(TIMES), 10)), *longer]
    assert [*trimmed(whole, 0.0, None)][-1].lasts == pytest.approx(0.35)
    assert [*trimmed(whole, 0.0, TIMES[-1] + 0.2)][-1].lasts == pytest.approx(0.2)
    (last,) = trimmed(whole, TIMES[-1] + 0.1, None)
    assert (last.seconds, last.lasts) == (0, pytest.approx(0.25))


@needs_av
def test_frames_of_older_pyav_do_not_tell_how_long_they_are_seen():
    from utils.footage.by_av import _lasts

    tick = Fraction(1, 25)
    assert _lasts(SimpleNamespace(time_base=tick)) is None
    assert _lasts(SimpleNamespace(time_base=tick, duration=0)) is None
    assert _lasts(SimpleNamespace(time_base=tick, duration=5)) == pytest.approx(0.2)


def test_readings_at_the_same_time_have_numbers_of_their_own(tmp_path, video_engine):
    path = write_clip(tmp_path / "a.avi", map(marked, range(6)))
    with open_footage(path) as footage:
        pairs = [*zip(footage, footage)]
        assert [(a.number, b.number) for a, b in pairs] == [(k, k) for k in range(6)]
        assert all(np.array_equal(a.img, b.img) for a, b in pairs)


# --- the thread that decodes


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


def test_decoding_overlaps_the_work():
    """The second frame is there only once the third is being decoded."""
    third = threading.Event()

    def frames():
        for number in range(3):
            if number == 2:
                third.set()
            yield Frame(marked(0), number, number / 10)

    for frame in ahead(frames()):
        assert frame.number == 0 or third.wait(20)


def test_an_error_in_decoding_comes_where_its_frame_would():
    def frames():
        yield Frame(marked(0), 0, 0.0)
        raise ArithmeticError

    running = ahead(frames())
    assert next(running).number == 0
    with pytest.raises(ArithmeticError):
        next(running)


# --- files


@pytest.mark.parametrize("fps", [12.5, 25.0, 29.97, 59.94])
def test_size_rate_and_count_survive(tmp_path, video_engine, fps):
    path = write_clip(tmp_path / "new" / "größe.mp4", [noise(48, 64)] * 7, fps)
    with open_footage(path) as footage:
        assert (footage.size, footage.count) == ((64, 48), 7)
        assert footage.fps == pytest.approx(fps, rel=1e-4)
        seconds = [frame.seconds for frame in footage]
    assert seconds == pytest.approx(np.arange(7) / fps, abs=1e-4)


def test_odd_sizes_lose_a_line(tmp_path, video_engine):
    assert read_clip(write_clip(tmp_path / "odd.mp4", [noise(49, 65)] * 3))[0].shape == (48, 64, 3)


def test_a_rate_that_cannot_be_is_replaced(tmp_path, monkeypatch):
    class Clock:
        def __init__(self, path):
            capture = opened(path)
            self.grab, self.retrieve, self.release = (
                capture.grab, capture.retrieve, capture.release
            )  # fmt: skip

        def get(self, prop):
            return 90000.0

    monkeypatch.setattr("utils.footage.opening.find_spec", lambda name: None)
    path = write_clip(tmp_path / "a.avi", [noise(48, 64)] * 3)
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Clock)
    with open_footage(path) as footage:
        assert footage.fps == DEFAULT_FPS
        assert [frame.seconds for frame in footage] == pytest.approx(np.arange(3) / DEFAULT_FPS)


@pytest.mark.parametrize("content", [None, b"", b"no video" * 100, "cut"])
def test_unreadable_videos(tmp_path, video_engine, content):
    path = tmp_path / "bad.mp4"
    if content == "cut":  # a download that broke off, before the index
        write_clip(tmp_path / "whole.avi", [noise(48, 64)] * 7)
        content = (tmp_path / "whole.avi").read_bytes()[:2000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mp4") as caught:
        open_footage(path)
    assert "\n" not in str(caught.value)


def moving_clip(path, count=40):
    """Frames none of which looks like another."""
    return write_clip(path, [np.roll(noise(96, 128), 5 * i, axis=1) for i in range(count)])


def packets(avi):
    """Where the frames' packets lie in an AVI file: the start and the end of each."""
    found, place = [], avi.index(b"movi")
    while (place := avi.find(b"00dc", place, avi.rindex(b"idx1"))) >= 0:
        length = struct.unpack_from("<I", avi, place + 4)[0]
        place += 8 + length
        if length:
            found.append((place - length, place))
    return found


def spoiled(path, numbers):
    """The clip with the bits of some packets flipped."""
    data = bytearray(path.read_bytes())
    for number in numbers:
        start, end = packets(data)[number]
        data[start:end] = bytes(value ^ 0xFF for value in data[start:end])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "numbers",
    [
        [13],  # one of forty
        [5, 13, 30],  # several
        range(10, 20),  # many in a row
        [0],  # the first
    ],
)
def test_frames_that_cannot_be_decoded_are_replaced_and_counted(tmp_path, video_engine, numbers):
    path = moving_clip(tmp_path / "a.avi")
    whole = read_clip(path)
    with open_footage(spoiled(path, numbers)) as footage:
        frames = list(footage)
        assert footage.tally.damaged == len(numbers)
        assert footage.shortfall == f"{len(numbers)} of 40 frames could not be decoded"
    assert [frame.number for frame in frames] == list(range(40))
    seconds = [frame.seconds for frame in frames]
    assert seconds == pytest.approx(np.arange(40) / 25, abs=1.01 / 25)
    assert np.diff(seconds).min() > 0.005
    images = [frame.img for frame in frames]
    assert np.array_equal(images[: min(numbers)], whole[: min(numbers)])
    for number in numbers:
        following = next(i for i in range(number, 40) if i not in numbers)
        assert np.array_equal(images[number], images[following])
        assert not np.array_equal(images[following], images[following + 1])


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_cut_file_is_read_to_its_end_and_said_to_be_cut(tmp_path, video_engine, suffix):
    path = moving_clip(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with open_footage(path) as footage:
        count = sum(1 for _ in footage)
        assert 10 < count < 40 and footage.tally.damaged <= 1
        frames = f"it announces 40 frames and ends after {count}"
        seconds = f"it announces 1.6 s and ends after {count / 25:.1f}"
        assert any(said in footage.shortfall for said in (frames, seconds))


@pytest.mark.parametrize(("announced", "said"), [(0, ""), (11, ""), (12, ""), (13, ""),
                                                 (14, "it announces 14"), (5, "")])  # fmt: skip
def test_announced_counts_may_be_wrong(tmp_path, announced, said):
    with open_footage(write_clip(tmp_path / "a.avi", [noise(48, 64)] * 12)) as footage:
        footage.announced = Announced(frames=announced)
        assert len(list(footage)) == 12
    assert footage.shortfall.startswith(said) and bool(footage.shortfall) == bool(said)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="pipe"):
        open_footage(tmp_path / "pipe.mp4")


@pytest.mark.parametrize("name", ["", "nul\0.mp4", "x" * 300])
def test_names_that_cannot_be_videos(tmp_path, name):
    with pytest.raises(InputError, match="cannot read") as caught:
        open_footage(f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()


# --- what is no video file


@pytest.fixture
def numbered(tmp_path):
    """A folder of pictures whose numbers do not sort like words, and other files."""
    folder = tmp_path / "frames"
    for number in (8, 9, 10, 11):
        write_image(folder / f"f{number}.png", marked(number))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".f1.png").write_text("hidden")
    return folder


@pytest.mark.parametrize("pattern", ["", "*.png", "f%d.png", "f%02d.png", "f[0-9]*.png"])
def test_pictures_by_their_numbers(numbered, pattern):
    path = numbered / pattern if pattern else numbered
    assert is_footage(path)
    with open_footage(path, fps=10) as footage:
        assert (footage.size, footage.fps, footage.sound) == ((64, 48), 10, None)
        expected = [(8, 0.0), (9, 0.1), (10, 0.2), (11, 0.3)]
        if pattern == "f%02d.png":
            expected = [(10, 0.0), (11, 0.1)]
        assert told(footage) == expected and footage.count == len(expected)


def test_pictures_of_other_shapes_are_not_squeezed(tmp_path):
    for number, size in enumerate(((64, 48), (32, 48), (128, 48))):
        write_image(tmp_path / f"{number}.png", np.full((*size[::-1], 3), 200, np.uint8))
    with open_footage(tmp_path) as footage:
        first, narrow, wide = (frame.img[..., 0] for frame in footage)
    assert (first == 200).all()
    assert (narrow[:, 16:48] == 200).all() and not narrow[:, :16].any() and not narrow[:, 48:].any()
    assert (wide[12:36] == 200).all() and not wide[:12].any() and not wide[36:].any()


def test_pictures_that_cannot_be_read_are_stood_in_for(numbered):
    (numbered / "f9.png").write_bytes(b"damaged")
    write_image(numbered / "f11.png", marked(11, (128, 96)))
    with open_footage(numbered) as footage:
        assert [number for number, _ in told(footage)] == [8, 10, 10, 11]
        assert footage.shortfall == "1 of 4 frames could not be decoded"


@pytest.mark.parametrize("name", ["empty", "none%05d.png", "no/where%05d.png", "no*.png"])
def test_names_of_no_pictures(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture"):
        open_footage(tmp_path / name)


def test_a_file_plays_like_a_camera_the_newest_frame_first(tmp_path):
    path = write_clip(tmp_path / "a.avi", map(marked, range(20)), 50.0)
    with open_footage(f"camera:{path}") as footage:
        assert (footage.live, footage.count, footage.size) == (True, None, (64, 48))
        frames, numbers = [], []
        for frame in footage:
            assert footage.age() >= 0
            frames.append(frame)
            numbers.append(number_of(frame.img))
            time.sleep(0.1 if len(frames) < 3 else 0)  # for five frames
        assert footage.tally.dropped + len(frames) == 20
    assert numbers[-1] == 19 and len(frames) < 20
    assert numbers == sorted(set(numbers))
    assert [frame.number for frame in frames] == list(range(len(frames)))
    seconds = [frame.seconds for frame in frames]
    assert seconds[0] == 0 and seconds == sorted(seconds)


def test_a_camera_can_be_left_at_any_time(tmp_path):
    path = write_clip(tmp_path / "a.avi", map(marked, range(250)))
    with open_footage(f"camera:{path}") as footage:
        assert next(iter(footage)).number == 0


def test_a_camera_that_is_not_there():
    with pytest.raises(InputError, match="camera:99"):
        open_footage("camera:99")


def animated(path, times):
    """The pictures of `times`, written as OpenCV does."""
    animation = cv2.Animation()
    animation.frames = [marked(number) for number in range(len(times))]
    animation.durations = [round(1000 * length) for length in np.diff([*times, times[-1] + 0.1])]
    cv2.imwriteanimation(str(path), animation)
    return path


@pytest.mark.skipif(not hasattr(cv2, "imwriteanimation"), reason="OpenCV is older than 4.11")
@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_animated_pictures(tmp_path, suffix):
    times = [0, 0.1, 0.15, 0.4]
    try:
        path = animated(tmp_path / f"a{suffix}", times)
    except cv2.error:
        pytest.skip(f"this release of OpenCV writes no animated {suffix}")
    assert is_footage(path)
    with open_footage(path) as footage:
        assert told(footage) == [*enumerate(times)] == told(footage)


@needs_av
def test_a_gif_of_large_pictures_is_footage(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (300, 400, 3), np.uint8) for _ in range(2)]
    path = write_clip(tmp_path / "a.gif", pictures, 10.0)
    assert is_footage(path) and path.stat().st_size > 200_000


@needs_av
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_irregular_times_are_no_missing_frames(tmp_path, suffix):
    times = [0, 0.04, 0.08, 0.5, 0.9, 1.9]
    path = write_clip(tmp_path / f"a{suffix}", map(marked, range(6)), 25.0, times)
    with open_footage(path) as footage:
        assert len([*footage]) == 6 and not footage.shortfall


def test_an_animated_gif_is_footage_and_a_still_one_is_not(tmp_path):
    times = [0, 0.1, 0.15, 0.4]
    moving = write_clip(tmp_path / "a.gif", map(marked, range(4)), 10.0, times)
    still = write_clip(tmp_path / "b.gif", [marked(1)])
    assert is_footage(moving) and not is_footage(still)
    with open_footage(moving) as footage:
        assert told(footage) == [*enumerate(times)]


@pytest.mark.parametrize(("name", "expected"), [
    ("a.MP4", True), ("b/c.webm", True), ("camera:0", True), ("camera:a.jpg", True),
    ("a*.jpg", True), ("f/%05d.png", True), ("a.jpg", False), ("a", False), ("a.gif", False),
    ("s3://bucket/a*.jpg", False), (REPO / "examples", True),
    (REPO / "examples" / "inputs" / "astronaut.png", False),
])  # fmt: skip
def test_names_of_footage(name, expected):
    assert is_footage(name) == expected
