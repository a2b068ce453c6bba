"""Sinks: what was written is read again, with its sound, whole or not at all."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import wave

import numpy as np
import pytest
from conftest import REPO, needs_av, noise
from test_footage import marked, number_of

from utils.errors import OutputError
from utils.footage import Sound, open_footage
from utils.io import WholeFiles
from utils.sinks import Sink, check_sink, is_sink, open_sink, opening
from utils.sinks.forms import FORMS, H264
from utils.sinks.sink import BEHIND

RATE = 48_000  # samples per second
BEEPS = (0.5, 1.25)  # seconds


def write(path, count=50, fps=25.0, size=(64, 48), **options):
    with WholeFiles() as files, open_sink(path, fps, files, **options) as sink:
        for number in range(count):
            sink.write(noise(size[1], size[0], number % 5), number / fps)
    return path


# --- the thread that encodes


class Steps:
    """An encoder of numbers."""

    def __init__(self, failing=None):
        self.added, self.failing, self.finished, self.abandoned = [], failing, 0, 0
        self.begun = threading.Event()

    def add(self, img, seconds, lasts):
        self.begun.set()
        if img == self.failing:
            raise ArithmeticError
        self.added.append((img, seconds))

    def finish(self):
        self.finished += 1

    def abandon(self):
        self.abandoned += 1


@pytest.mark.parametrize("count", [0, 1, BEHIND, 50])
def test_every_frame_once_in_order(count):
    steps = Steps()
    with Sink(steps) as sink:
        for number in range(count):
            sink.write(number, number / 10)
    assert steps.added == [(number, number / 10) for number in range(count)]
    sink.close()
    assert (steps.finished, steps.abandoned) == (1, 1)


def test_encoding_overlaps_the_work():
    steps = Steps()
    with Sink(steps) as sink:
        sink.write(0, 0.0)
        assert steps.begun.wait(20)


@pytest.mark.parametrize("failing", [0, 100, 998])
def test_an_error_of_encoding_is_raised_soon_and_ends_it(failing):
    steps, written = Steps(failing), 0
    with pytest.raises(ArithmeticError), Sink(steps) as sink:
        for number in range(999):
            sink.write(number, number / 10)
            written += 1
    assert written <= failing + BEHIND + 1 and len(steps.added) <= written
    assert (steps.finished, steps.abandoned) == (int(failing == 998), 1)


def test_an_error_of_the_work_ends_it():
    steps = Steps()
    with pytest.raises(ArithmeticError), Sink(steps) as sink:
        sink.write(0, 0.0)
        raise ArithmeticError
    assert (steps.finished, steps.abandoned) == (0, 1)


# --- sound


@pytest.fixture(scope="module")
def beeps(tmp_path_factory):
    """A WAV file of two seconds with short beeps."""
    samples = np.zeros(2 * RATE)
    for beep in BEEPS:
        place = round(beep * RATE)
        samples[place : place + 2400] = np.sin(np.arange(2400) * 0.1)
    path = tmp_path_factory.mktemp("sound") / "beeps.wav"
    return write_wave(path, (20_000 * samples).astype("<i2").tobytes())


def write_wave(path, samples, rate=RATE, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return path


def heard(path):
    """Where the beeps of a file begin, seconds by its own clock."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        pieces = []
        for frame in container.decode(audio=0):
            begin = round(float(frame.pts * frame.time_base) * RATE)
            for piece in resampler.resample(frame):
                pieces.append((begin, piece.to_ndarray().ravel()))
    loud = np.concatenate([begin + np.flatnonzero(abs(piece) > 0.1) for begin, piece in pieces])
    begins = loud[np.diff(loud, prepend=-RATE) > RATE // 5]
    return [round(begin / RATE, 3) for begin in begins]


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_sound_stays_in_step_when_it_is_encoded_and_when_it_is_copied(tmp_path, beeps, suffix):
    first = write(tmp_path / f"a{suffix}", sound=Sound(str(beeps)))
    assert heard(first) == pytest.approx(BEEPS, abs=0.02)
    with open_footage(first) as footage:
        assert footage.sound == Sound(str(first))
        second = write(tmp_path / f"b{suffix}", sound=footage.sound)
    assert heard(second) == pytest.approx(heard(first), abs=0.002)


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_copies_begin_with_the_first_sound(tmp_path, suffix):
    samples = np.zeros(RATE)
    samples[:2400] = np.sin(np.arange(2400) * 0.1)
    sound = write_wave(tmp_path / "a.wav", (20_000 * samples).astype("<i2").tobytes())
    with open_footage(write(tmp_path / f"b{suffix}", 25, sound=Sound(str(sound)))) as footage:
        copy = write(tmp_path / f"c{suffix}", 25, sound=footage.sound)
    assert heard(copy) == pytest.approx([0.0], abs=0.015)


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_sound_is_trimmed_with_the_pictures(tmp_path, beeps, suffix):
    whole = write(tmp_path / f"a{suffix}", sound=Sound(str(beeps)))
    with open_footage(whole, trim=(0.6, 1.6)) as footage:
        assert footage.count == 25
        part = write(tmp_path / f"b{suffix}", 25, sound=footage.sound)
    assert heard(part) == pytest.approx([BEEPS[1] - 0.6], abs=0.025)
    with open_footage(part) as footage:
        seconds = [frame.seconds for frame in footage]
    assert seconds == pytest.approx(np.arange(25) / 25, abs=0.001)


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_sound_ends_with_the_pictures_and_the_pictures_go_on_without_it(tmp_path, beeps, suffix):
    import av

    for name, count in (("short", 20), ("long", 75)):
        path = write(tmp_path / f"{name}{suffix}", count, sound=Sound(str(beeps)))
        with av.open(str(path)) as container:
            last = max(packet.pts * packet.time_base + packet.duration * packet.time_base
                       for packet in container.demux(audio=0) if packet.pts is not None)
        assert float(last) == pytest.approx(min(count / 25, 2.0), abs=0.05)
        with open_footage(path) as footage:
            assert sum(1 for _ in footage) == count


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("period", [1.0, 2.3])  # shorter, and longer than the sound
def test_sound_begins_again(tmp_path, beeps, suffix, period):
    path = write(tmp_path / f"a{suffix}", 125, sound=Sound(str(beeps), period=period))
    expected = [k * period + beep for k in range(5) for beep in BEEPS if beep < period]
    assert heard(path) == pytest.approx([b for b in expected if b < 4.9], abs=0.03)


@needs_av
def test_kinds_that_hold_no_sound_go_without_it(tmp_path, beeps):
    with open_footage(write(tmp_path / "a.gif", 3, sound=Sound(str(beeps)))) as footage:
        assert footage.sound is None


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize(
    ("rate", "channels", "length", "start"),
    [
        (7_000, 1, 2, 0),  # a rate that AAC does not have
        (96_000, 6, 1, 0),  # more than WebM's Opus takes
        (22_050, 2, 1, 100),  # it ends before the pictures begin
        (8_000, 1, 0, 0),  # nothing at all
    ],
)
def test_any_sound_is_carried_as_far_as_it_goes(tmp_path, suffix, rate, channels, length, start):
    path = write_wave(tmp_path / "a.wav", bytes(2 * rate * channels * length), rate, channels)
    with open_footage(write(tmp_path / f"b{suffix}", 10, sound=Sound(str(path), start))) as footage:
        assert sum(1 for _ in footage) == 10
        assert footage.sound or start or not length


# --- pictures


@needs_av
def test_pictures_keep_their_colours(tmp_path):
    img = np.repeat(np.repeat(noise(8, 8, 3), 16, axis=0), 16, axis=1)
    for name, bound in (("a.mp4", 2.5), ("a.webm", 4), ("a.gif", 2.5), ("a.webp", 3.5)):
        with WholeFiles() as files, open_sink(tmp_path / name, 25, files, quality=100) as sink:
            for number in range(3):
                sink.write(img, number / 25)
        with open_footage(tmp_path / name) as footage:
            error = np.abs(list(footage)[-1].img.astype(int) - img)
        assert error.mean() < bound, name


@needs_av
def test_webm_keeps_what_is_transparent_and_elsewhere_it_is_black(tmp_path):
    import av

    img = np.dstack([np.full((48, 64, 3), 200, np.uint8), np.zeros((48, 64), np.uint8)])
    img[:, 32:, 3] = 255
    for name in ("a.webm", "a.mp4"):
        with WholeFiles() as files, open_sink(tmp_path / name, 25, files) as sink:
            sink.write(img, 0.0)
    with av.open(str(tmp_path / "a.webm")) as container:
        decoder = av.codec.CodecContext.create("libvpx-vp9", "r")
        packet = next(container.demux(video=0))
        frames = decoder.decode(packet) + decoder.decode(None)
        clear = frames[0].to_ndarray(format="bgra")
    assert abs(clear[:, 4:28, 3].astype(int)).max() < 8 and clear[:, 36:60, 3].min() > 247
    with open_footage(tmp_path / "a.mp4") as footage:
        frame = next(iter(footage)).img
    assert frame[:, 4:28].max() < 12 and abs(frame[:, 36:60].astype(int) - 200).max() < 12


@needs_av
def test_a_gif_of_many_pictures_keeps_them_all(tmp_path):
    with WholeFiles() as files, open_sink(tmp_path / "a.gif", 20, files) as sink:
        for number in range(70):
            sink.write(marked(number), number / 20)
    with open_footage(tmp_path / "a.gif") as footage:
        frames = list(footage)
    assert [number_of(frame.img) for frame in frames] == list(range(70))
    assert [round(20 * frame.seconds, 3) for frame in frames] == list(range(70))


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".gif"])
@pytest.mark.parametrize("lasts", [None, 1.5])
def test_the_last_picture_is_seen_as_long_as_it_was(tmp_path, suffix, lasts):
    import av

    path = tmp_path / f"a{suffix}"
    with WholeFiles() as files, open_sink(path, 10, files) as sink:
        for number in range(6):
            sink.write(marked(number), number / 10, lasts if number == 5 else None)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(0.5 + (lasts or 0.1), abs=0.02)


@needs_av
def test_a_gif_leaves_out_what_comes_faster_than_its_clock(tmp_path):
    with WholeFiles() as files, open_sink(tmp_path / "a.gif", 400, files) as sink:
        for number in range(61):
            sink.write(marked(number), number / 400)
    with open_footage(tmp_path / "a.gif") as footage:
        frames = [(round(100 * frame.seconds), number_of(frame.img)) for frame in footage]
    assert [tick for tick, _ in frames] == list(range(16))
    assert all(abs(number - 4 * tick) <= 2 for tick, number in frames)


@needs_av
def test_quality_is_worth_its_bytes(tmp_path):
    for suffix in (".mp4", ".webm", ".webp"):
        sizes = [write(tmp_path / f"a{suffix}", 10, size=(160, 120), quality=quality).stat().st_size
                 for quality in (10, 50, 100)]
        assert sizes == sorted(set(sizes)), suffix
    assert H264.options_for(75)["crf"] == "20" and H264.options_for(None) == H264.options


@needs_av
def test_another_encoder(tmp_path):
    import av

    with av.open(str(write(tmp_path / "a.mp4", 5, encoder="mpeg4"))) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    for name in ("nonsense", "aac"):
        with pytest.raises(OutputError, match=name):
            check_sink(tmp_path / "b.mp4", name)


@needs_av
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shortest_clips_can_be_h265(tmp_path, count):
    import av

    if "libx265" not in av.codec.codecs_available:
        pytest.skip("this FFmpeg has no libx265")
    for number in range(8):  # left to itself it fails every other time
        path = write(tmp_path / f"{number}.mp4", count, encoder="libx265")
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "hvc1"
        with open_footage(path) as footage:
            assert len(list(footage)) == count


# --- files


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, video_engine):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ArithmeticError), WholeFiles() as files, open_sink(path, 24, files) as sink:
        sink.write(noise(48, 64), 0.0)
        raise ArithmeticError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_file_of_no_frames_is_none(tmp_path, video_engine):
    with pytest.raises(OutputError, match="no frame"):
        write(tmp_path / "a.mp4", 0)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "a.doc",  # no ending of ours
        "a",  # no ending
        "file/a.mp4",  # below a file
    ],
)
def test_places_that_cannot_be_written(tmp_path, video_engine, name):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), WholeFiles() as files:
        open_sink(tmp_path / name, 24, files)
    assert os.listdir(tmp_path) == ["file"]


def test_names_of_sinks():
    assert is_sink("a.MP4") and not is_sink("a.jpg")


def test_without_pyav_it_is_said_once_what_is_missing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    opening._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        for name in ("a.mp4", "b.mkv"):
            write(tmp_path / name, 3)
    assert len(caplog.messages) == 1 and "requirements-video.txt" in caplog.messages[0]
    for suffix in FORMS:
        if not FORMS[suffix].fourcc:
            with pytest.raises(OutputError, match=r"requirements-video\.txt"):
                check_sink(f"a{suffix}")
    with pytest.raises(OutputError, match=r"requirements-video\.txt"):
        check_sink("a.mp4", "libx264")


def test_opencv_keeps_time_at_a_constant_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    with WholeFiles() as files, open_sink(tmp_path / "a.avi", 10, files) as sink:
        for number, seconds in enumerate([0.0, 0.1, 0.14, 0.5]):
            sink.write(np.full((48, 64, 3), 80 * number, np.uint8), seconds)
    with open_footage(tmp_path / "a.avi") as footage:
        levels = [round(frame.img.mean() / 80) for frame in footage]
    assert levels == [0, 2, 2, 2, 2, 3]


FULL = """
import logging, resource, sys
import numpy as np
from utils.errors import OutputError
from utils.image import silence_opencv
from utils.io import WholeFiles
from utils.sinks import open_sink, opening
silence_opencv()
logging.disable()
if sys.argv[2] == "opencv":
    opening.find_spec = lambda name: None
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
frames = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), np.uint8)
written = 0
try:
    with WholeFiles() as files, open_sink(sys.argv[1], 24, files) as sink:
        for number, frame in enumerate(frames):
            sink.write(frame, number / 24)
            written += 1
except OutputError as error:
    print(written, error)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_full_disk_is_noticed(tmp_path, video_engine, suffix):
    pytest.importorskip("resource", reason="only Unix can limit the size of files")
    if video_engine == "opencv" and suffix == ".webm":
        pytest.skip("it depends on OpenCV's build")
    command = [sys.executable, "-c", FULL, str(tmp_path / f"a{suffix}"), video_engine]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert "full" in done.stdout and done.stderr == ""
    if video_engine == "av":
        assert int(done.stdout.split()[0]) < 40  # not only at the end
    assert not list(tmp_path.iterdir())
