"""What a run may cost, counted and not timed: modules, files, network calls, copies of frames."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from conftest import REPO

from benchmarks.scenes import scene
from benchmarks.startup import count_loads
from bfm.bfm import PROVISIONED_MODEL
from demo_video import Annotator
from face_reenactment import main
from models.backends import OnnxBackend
from reenactment import Reenactor
from reenactment.tracking import Tracker
from utils.render import render

INPUTS = REPO / "examples" / "inputs"
PAIR = ["-s", str(INPUTS / "astronaut.png"), "-t", str(INPUTS / "grace_hopper.jpg")]
MAX_MODULES, MAX_FILES = 400, 400
NOT_NEEDED = {"torch", "onnx", "scipy", "matplotlib", "tqdm", "pandas", "pytest", "Cython"}


@pytest.fixture(scope="module")
def models():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return Reenactor()


@pytest.fixture
def network_calls(monkeypatch):
    """The shapes of the batches that networks were given."""
    shapes, call = [], OnnxBackend.__call__

    def counted(self, batch):
        shapes.append(batch.shape)
        return call(self, batch)

    monkeypatch.setattr(OnnxBackend, "__call__", counted)
    return shapes


def test_a_default_run_loads_little(models, tmp_path):
    modules, files = count_loads([*PAIR, "-o", str(tmp_path / "out.jpg")])
    assert not NOT_NEEDED & {module.partition(".")[0] for module in modules}
    assert len(modules) <= MAX_MODULES
    assert files <= MAX_FILES


def test_a_pair_takes_two_looks_at_most_and_one_crop_of_each(models, network_calls, tmp_path):
    assert main([*PAIR, "-o", str(tmp_path / "out.jpg")]) == 0
    crops = [shape for shape in network_calls if shape[2:] == (120, 120)]
    looks = [shape for shape in network_calls if shape[2:] != (120, 120)]
    assert crops == [(1, 3, 120, 120)] * 2
    assert len(looks) <= 4


def test_faces_of_a_picture_go_through_the_network_together(models, network_calls):
    img = np.hstack([scene((320, 240), 120)] * 5)
    boxes = models.face_boxes(img)
    network_calls.clear()
    models.tddfa(img, boxes)
    assert network_calls == [(5, 3, 120, 120)]


def test_a_tracked_frame_takes_a_crop(models, network_calls):
    track, frame = Tracker(models), scene((1280, 720), 300)
    track(frame)
    network_calls.clear()
    for _ in range(5):
        track(frame)
    assert network_calls == [(1, 3, 120, 120)] * 5


def test_tracked_faces_go_through_the_network_together(models, network_calls):
    track, frame = Tracker(models, "all"), np.hstack([scene((640, 480), 200)] * 3)
    track(frame)
    network_calls.clear()
    for _ in range(10):
        track(frame)
    assert network_calls.count((3, 3, 120, 120)) == 10
    assert len(network_calls) <= 10 + 4  # looks for newcomers


def allocated(function):
    """The most memory, in bytes, that numpy and Python had allocated in a call beyond its start."""
    function()  # what is kept from the first call is no cost of the next ones
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("opt", "frames"),
    [
        ("2d_sparse", 0.25),  # drawn into the frame
        ("2d_dense", 0.25),
        ("3d", 0.75),  # the face's rectangle, and its vertices
    ],
)
def test_video_frames_are_not_copied(models, opt, frames):
    frame, annotate = scene((2560, 1440), 400), Annotator(models, opt)
    clean = iter([frame, frame.copy()])  # a face that is drawn over may be lost
    assert allocated(lambda: annotate(next(clean))) < frames * frame.nbytes


def test_an_overlay_copies_the_picture_once(models):
    img, tddfa = scene((2560, 1440), 300), models.tddfa
    ver_lst = tddfa.recon_vers(*tddfa(img, models.face_boxes(img)[:1]), dense_flag=True)
    assert allocated(lambda: render(img, ver_lst, tddfa.tri)) < 2 * img.nbytes
