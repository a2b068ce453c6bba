"""Videos: streaming through three threads, files whole or not at all, demo_video.py."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from functools import partial

import cv2
import numpy as np
import pytest
from conftest import REPO, noise

import demo_video
from bfm.bfm import PROVISIONED_MODEL
from reenactment.options import INTERRUPTED
from utils.errors import InputError, OutputError
from utils.video import AHEAD, BEHIND, DEFAULT_FPS, VideoReader, stream, video_writer

SIZE = (320, 240)  # of the clips, pixels
FACES = {"astronaut.png": (225, 110), "grace_hopper.jpg": (265, 200)}  # pixels


def write_clip(path, frames, fps=24.0):
    with video_writer(path, fps, frames[0].shape[1::-1]) as append:
        for frame in frames:
            append(frame)
    return path


def read_clip(path):
    frames = []
    with VideoReader(path) as reader:
        while (frame := reader.read()) is not None:
            frames.append(frame)
    return frames


def camera(name, zoom, place, count, move=(0, 0)):
    """Frames that show the face of an example picture at `place`, moving by `move` a frame."""
    img = cv2.imread(str(REPO / "examples" / "inputs" / name))
    offsets = [place - zoom * np.array(FACES[name]) + np.multiply(move, i) for i in range(count)]
    return [
        cv2.warpAffine(img, np.float64([[zoom, 0, x], [0, zoom, y]]), SIZE) for x, y in offsets
    ]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith(("decoder", "encoder"))]


@pytest.fixture
def plain_clip(tmp_path):
    """Twelve frames without a face."""
    frames = [noise(240, 320, seed) for seed in range(12)]
    return write_clip(tmp_path / "plain.mp4", frames)


# --- streaming


class Steps:
    """Numbered frames for `stream`; remembers which buffers were in use."""

    def __init__(self, count):
        self.left = iter(range(count))
        self.buffers, self.written = {}, []

    def read(self, buffer):
        number = next(self.left, None)
        if number is None:
            return None
        buffer = np.zeros(1, int) if buffer is None else buffer
        self.buffers[id(buffer)] = buffer
        buffer[:] = number
        return buffer

    def write(self, frame):
        self.written.append(int(frame[0]))
        return frame


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + BEHIND, 50])
def test_every_frame_once_in_order_in_few_buffers(count):
    def edit(frame):
        frame += 100
        return frame

    steps = Steps(count)
    assert stream(steps.read, edit, steps.write) == count
    assert steps.written == list(range(100, 100 + count))
    assert len(steps.buffers) <= AHEAD + BEHIND + 1


def test_decoding_and_encoding_overlap_the_work():
    """The second frame is edited only when the third is read and the first being written."""
    third_read, first_written, steps = threading.Event(), threading.Event(), Steps(5)

    def read(buffer):
        frame = steps.read(buffer)
        if frame is not None and frame[0] == 2:
            third_read.set()
        return frame

    def edit(frame):
        if frame[0] == 1:
            assert third_read.wait(20) and first_written.wait(20)
        return frame

    def write(frame):
        first_written.set()
        return steps.write(frame)

    assert stream(read, edit, write) == 5


@pytest.mark.parametrize("failing", ["read", "edit", "write"])
def test_an_error_of_any_step_ends_all(failing):
    steps = Steps(1000)

    def fail(frame):
        raise ArithmeticError(failing)

    chosen = {"read": steps.read, "edit": lambda frame: frame, "write": steps.write, failing: fail}
    with pytest.raises(ArithmeticError, match=failing):
        stream(**chosen)
    assert len(steps.written) < 100


# --- files


@pytest.mark.parametrize("fps", [12.5, 25.0, 29.97, 59.94])
def test_size_rate_and_count_survive(tmp_path, fps):
    path = write_clip(tmp_path / "new" / "größe.mp4", [noise(48, 64)] * 7, fps)
    with VideoReader(path) as reader:
        assert (reader.size, reader.frame_count) == ((64, 48), 7)
        assert reader.fps == pytest.approx(fps)
    assert len(read_clip(path)) == 7


def test_frames_are_decoded_into_the_given_buffer(plain_clip):
    with VideoReader(plain_clip) as reader:
        first = reader.read()
        copy = first.copy()
        assert reader.read(first) is first
        assert (first != copy).any()
        assert reader.read(np.zeros((2, 2, 3), np.uint8)).shape == first.shape


def test_odd_sizes_lose_a_line(tmp_path):
    assert read_clip(write_clip(tmp_path / "odd.mp4", [noise(49, 65)] * 3))[0].shape == (48, 64, 3)


def test_a_picture_is_a_video_of_one_frame():
    assert len(read_clip(REPO / "examples" / "inputs" / "astronaut.png")) == 1


def test_a_rate_that_cannot_be_is_replaced(plain_clip, monkeypatch):
    class Clock:
        def __init__(self, path):
            capture = opened(path)
            self.grab, self.retrieve = capture.grab, capture.retrieve

        def get(self, prop):
            return 90000.0

        def release(self):
            pass

    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Clock)
    with VideoReader(plain_clip) as reader:
        assert reader.fps == DEFAULT_FPS


@pytest.mark.parametrize("content", [None, b"", b"no video" * 100, "cut"])
def test_unreadable_videos(tmp_path, plain_clip, content):
    path = tmp_path / "bad.mp4"
    if content == "cut":  # a download that broke off, before the index
        content = plain_clip.read_bytes()[:2000]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mp4"):
        VideoReader(path)


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
    ],
)
def test_frames_that_cannot_be_decoded_are_replaced_and_counted(tmp_path, numbers):
    path = moving_clip(tmp_path / "a.avi")
    whole = read_clip(path)
    with VideoReader(spoiled(path, numbers)) as reader:
        frames, buffer = [], np.empty_like(whole[0])
        while (frame := reader.read(buffer)) is not None:
            frames.append(frame.copy())
        assert reader.read() is None
    assert (len(frames), reader.frames, reader.damaged) == (40, 40, len(numbers))
    assert reader.shortfall == f"{len(numbers)} of 40 frames could not be decoded"
    assert np.array_equal(frames[: min(numbers)], whole[: min(numbers)])
    for number in numbers:
        following = next(i for i in range(number, 40) if i not in numbers)
        assert np.array_equal(frames[number], frames[following])
        assert not np.array_equal(frames[following], frames[following + 1])


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_cut_file_is_read_to_its_end_and_said_to_be_cut(tmp_path, suffix):
    path = moving_clip(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with VideoReader(path) as reader:
        while reader.read() is not None:
            pass
    assert 10 < reader.frames < 40 and reader.damaged == 0
    assert reader.shortfall == f"it announces 40 frames and ends after {reader.frames}"


@pytest.mark.parametrize(("announced", "said"), [(0, ""), (11, ""), (12, ""), (13, ""),
                                                 (14, "it announces 14"), (5, "")])  # fmt: skip
def test_announced_counts_may_be_wrong(plain_clip, announced, said):
    with VideoReader(plain_clip) as reader:
        reader.frame_count = announced
        while reader.read() is not None:
            pass
    assert reader.frames == 12
    assert reader.shortfall.startswith(said) and bool(reader.shortfall) == bool(said)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe"):
        VideoReader(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["", "nul\0.mp4", "x" * 300])
def test_names_that_cannot_be_videos(tmp_path, name):
    with pytest.raises(InputError, match="cannot read") as caught:
        VideoReader(f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ArithmeticError), video_writer(path, 24, (64, 48)) as append:
        append(noise(48, 64))
        raise ArithmeticError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        "a.webm",  # holds other codecs only
        "a.gif",  # OpenCV would write numbered pictures
        "a",  # no ending
        "file/a.mp4",  # below a file
    ],
)
def test_places_that_cannot_be_written(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), video_writer(tmp_path / name, 24, (64, 48)):
        pytest.fail("it was opened")
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_noticed(tmp_path):
    program = """
import resource, sys
import numpy as np
from utils.errors import OutputError
from utils.image import silence_opencv
from utils.video import silence_ffmpeg, video_writer
silence_opencv()
silence_ffmpeg()
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
frames = np.random.default_rng(0).integers(0, 256, (20, 240, 320, 3), np.uint8)
try:
    with video_writer(sys.argv[1], 24, (320, 240)) as append:
        for frame in frames:
            append(frame)
except OutputError as error:
    print(error)
"""
    pytest.importorskip("resource", reason="only Unix can limit the size of files")
    command = [sys.executable, "-c", program, str(tmp_path / "a.mp4")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert "full" in done.stdout and done.stderr == ""
    assert not list(tmp_path.iterdir())


# --- the program


@pytest.fixture(scope="module")
def face_clip(tmp_path_factory):
    """Astronaut for 8 frames, nobody for 4, then, after a cut, grace_hopper for 6."""
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    frames = camera("astronaut.png", 1.0, (100, 120), 8, move=(4, 1))
    frames += [noise(240, 320, seed) for seed in range(4)]
    frames += camera("grace_hopper.jpg", 0.7, (200, 110), 6)
    return write_clip(tmp_path_factory.mktemp("clip") / "talk.mp4", frames)


@pytest.fixture
def demo(capsys, monkeypatch):
    """Run the program in this process: arguments to (exit code, its line on stdout or stderr)."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments):
        try:
            code = demo_video.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        printed = capsys.readouterr()
        assert (printed.out == "") == (code != 0) and (printed.err == "") == (code == 0)
        line = printed.out or printed.err
        assert line.count("\n") == 1
        return code, line

    return run


def changed(before, after):
    """Where two frames differ by more than compression makes them."""
    return np.abs(cv2.blur(before, (5, 5)).astype(int) - cv2.blur(after, (5, 5))).max(axis=2) > 12


@pytest.mark.parametrize("opt", demo_video.OPTIONS)
def test_faces_are_drawn_and_other_frames_pass(demo, face_clip, tmp_path, opt):
    out = tmp_path / "new" / "out.mp4"
    code, line = demo("-f", face_clip, "-o", opt, "--output_fp", out)
    assert code == 0 and "18 frames, 4 of them without a face" in line
    with VideoReader(out) as reader:
        assert (reader.size, reader.fps, reader.frame_count) == (SIZE, 24.0, 18)
    areas = [changed(*pair) for pair in zip(read_clip(face_clip), read_clip(out))]
    assert len(areas) == 18
    for i, area in enumerate(areas):
        if 8 <= i < 12:
            assert area.mean() < 0.002
            continue
        y, x = np.argwhere(area).mean(axis=0)
        expected = (100 + 4 * i, 120 + i) if i < 8 else (200, 110)
        assert np.hypot(x - expected[0], y - expected[1]) < 40
        assert 0.003 < area.mean() < 0.35
    assert os.listdir(tmp_path / "new") == ["out.mp4"]


def test_default_names(demo, face_clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo("-f", face_clip, "--onnx")[0] == 0
    assert (tmp_path / "examples/results/videos/talk_2d_sparse.mp4").is_file()
    assert demo("-f", face_clip, "--mode", "cpu", "--output_fp", tmp_path)[0] == 0
    assert (tmp_path / "talk_2d_sparse.mp4").is_file()


def test_its_own_input_is_not_replaced(demo, face_clip, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(face_clip.read_bytes())
    code, line = demo("-f", path, "--output_fp", path)
    assert code == 2 and "a.mp4" in line
    assert path.read_bytes() == face_clip.read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--opt", "hologram"), 2, "hologram"),  # no such kind
        (("--config", "none.yml"), 2, "none.yml"),  # no such config
        (("--frobnicate",), 2, "--frobnicate"),  # no such option
        (("-f", "absent.mp4"), 3, "absent.mp4"),  # no such video
        (("-f", REPO / "README.md"), 3, "README.md"),  # no video
        ((), 4, "plain.mp4"),  # no face in any frame
        (("--output_fp", "a.webm"), 6, "a.webm"),  # no ending of ours
        (("--output_fp", REPO / "README.md" / "a.mp4"), 6, "a.mp4"),  # below a file
    ],
)
def test_failures_are_one_line_and_leave_nothing(
    demo, plain_clip, tmp_path, monkeypatch, options, code, word
):
    if code in (4, 6) and not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    found, line = demo("-f", plain_clip, "--output_fp", "out.mp4", *options)
    assert (found, line[:7]) == (code, "error: ") and word in line
    assert not list(folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing(face_clip, tmp_path, stop):
    clip = write_clip(tmp_path / "long.mp4", read_clip(face_clip)[:8] * 60)
    out = tmp_path / "out" / "out.mp4"
    command = [sys.executable, "demo_video.py", "-f", clip, "--output_fp", out]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs us may ignore it
    with subprocess.Popen(
        command, cwd=REPO, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        while process.poll() is None and not (out.parent.is_dir() and os.listdir(out.parent)):
            time.sleep(0.01)  # until it has begun to write
        process.send_signal(stop)
        _, error = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, error
    assert error.startswith("error: stopped") and error.count("\n") == 1
    assert not os.listdir(out.parent)
