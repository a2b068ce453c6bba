"""Sinks: what was written is read again, with its sound, whole or not at all."""

from __future__ import annotations

import os
import wave

import numpy as np
import pytest
from conftest import noise

from utils.errors import OutputError
from utils.footage import Sound, open_footage
from utils.io import WholeFiles
from utils.sinks import is_sink, open_sink

av = pytest.importorskip(
    "av", reason="PyAV is not installed: pip install -r requirements-video.txt"
)

RATE = 48_000  # samples per second
BEEPS = (0.5, 1.25)  # seconds


@pytest.fixture(scope="module")
def beeps(tmp_path_factory):
    """A WAV file of two seconds with short beeps."""
    samples = np.zeros(2 * RATE)
    for beep in BEEPS:
        place = round(beep * RATE)
        samples[place : place + 2400] = np.sin(np.arange(2400) * 0.1)
    path = tmp_path_factory.mktemp("sound") / "beeps.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((20_000 * samples).astype("<i2").tobytes())
    return path


def write(path, count=50, fps=25.0, size=(64, 48), **options):
    with WholeFiles() as files, open_sink(path, fps, files, **options) as sink:
        for number in range(count):
            sink.write(noise(size[1], size[0], number % 5), number / fps)
    return path


def heard(path):
    """Where the beeps of a file begin, seconds by its own clock."""
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


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_sound_stays_in_step_when_it_is_encoded_and_when_it_is_copied(tmp_path, beeps, suffix):
    first = write(tmp_path / f"a{suffix}", sound=Sound(str(beeps)))
    assert heard(first) == pytest.approx(BEEPS, abs=0.02)
    with open_footage(first) as footage:
        assert footage.sound == Sound(str(first))
        second = write(tmp_path / f"b{suffix}", sound=footage.sound)
    assert heard(second) == pytest.approx(heard(first), abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_sound_is_trimmed_with_the_pictures(tmp_path, beeps, suffix):
    whole = write(tmp_path / f"a{suffix}", sound=Sound(str(beeps)))
    with open_footage(whole, trim=(0.6, 1.6)) as footage:
        assert footage.count == 25
        part = write(tmp_path / f"b{suffix}", 25, sound=footage.sound)
    assert heard(part) == pytest.approx([BEEPS[1] - 0.6], abs=0.025)
    with open_footage(part) as footage:
        frames = list(footage)
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(25) / 25, abs=0.001)


@pytest.mark.parametrize("fps", [12.5, 25.0, 30000 / 1001, 59.94])
def test_size_rate_and_count_survive(tmp_path, fps):
    path = write(tmp_path / "new" / "größe.mp4", 7, fps)
    with open_footage(path) as footage:
        assert (footage.size, footage.count) == ((64, 48), 7)
        assert footage.fps == pytest.approx(fps, rel=1e-4)
        seconds = [frame.seconds for frame in footage]
    assert seconds == pytest.approx(np.arange(7) / fps, abs=2e-5)


def test_pictures_keep_their_colours(tmp_path):
    colours = noise(8, 8, 3)
    img = np.repeat(np.repeat(colours, 16, axis=0), 16, axis=1)
    with WholeFiles() as files, open_sink(tmp_path / "a.mp4", 25, files, quality=100) as sink:
        for number in range(3):
            sink.write(img, number / 25)
    with open_footage(tmp_path / "a.mp4") as footage:
        error = np.abs(list(footage)[-1].img.astype(int) - img)
    assert error.mean() < 2.5


def test_odd_sizes_lose_a_line(tmp_path):
    with open_footage(write(tmp_path / "a.mp4", 3, size=(65, 49))) as footage:
        assert footage.size == (64, 48)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ArithmeticError), WholeFiles() as files, open_sink(path, 24, files) as sink:
        sink.write(noise(48, 64), 0.0)
        raise ArithmeticError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.doc", {}),  # no ending of ours
        ("a", {}),  # no ending
        ("file/a.mp4", {}),  # below a file
    ],
)
def test_places_that_cannot_be_written(tmp_path, name, options):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), WholeFiles() as files:
        open_sink(tmp_path / name, 24, files, **options)
    assert os.listdir(tmp_path) == ["file"]


def test_names_of_sinks():
    assert is_sink("a.MP4") and not is_sink("a.jpg")
