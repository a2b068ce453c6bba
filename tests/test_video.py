"""Videos: demo_video.py."""

from __future__ import annotations

import os
import re
import signal
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
from utils.footage import open_footage
from utils.io import WholeFiles
from utils.sinks import open_sink

SIZE = (320, 240)  # of the clips, pixels
FACES = {"astronaut.png": (225, 110), "grace_hopper.jpg": (265, 200)}  # pixels


def write_clip(path, frames, fps=24.0):
    with WholeFiles() as files, open_sink(path, fps, files, quality=90) as sink:
        for number, frame in enumerate(frames):
            sink.write(frame, number / fps)
    return path


def read_clip(path):
    with open_footage(path) as footage:
        return [frame.img for frame in footage]


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
    with open_footage(out) as footage:
        assert (footage.size, footage.fps, footage.count) == (SIZE, 24.0, 18)
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
        (("--output_fp", "a.doc"), 6, "a.doc"),  # no ending of ours
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
def test_a_stopped_run_leaves_a_file_of_what_there_is(face_clip, tmp_path, stop):
    clip = write_clip(tmp_path / "long.mp4", read_clip(face_clip)[:8] * 60)
    out = tmp_path / "out" / "out.mp4"
    command = [sys.executable, "demo_video.py", "-f", clip, "--output_fp", out]
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs us may ignore it
    with subprocess.Popen(
        command, cwd=REPO, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        while process.poll() is None and not has_content(out.parent):
            time.sleep(0.01)  # until some frames are written
        process.send_signal(stop)
        _, error = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, error
    assert error.startswith("error: stopped") and error.count("\n") == 1
    assert os.listdir(out.parent) == ["out.mp4"]
    with open_footage(out) as footage:
        frames = sum(1 for _ in footage)
    said = re.search(r"wrote .*out\.mp4: (\d+) frames, 0 of them without a face", error)
    assert said and 0 <= frames - int(said[1]) <= 1 and 0 < frames < 480


def has_content(folder):
    return folder.is_dir() and any(path.stat().st_size for path in folder.iterdir())
