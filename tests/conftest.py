"""Fixtures shared by all tests.

Tests that need the original's weights look for a 3DDFA_V2 checkout in
FACE_REENACTMENT_ASSETS, else in ../shared/assets/3ddfa_v2 or ../shared/assets beside the
repository; golden outputs in FACE_REENACTMENT_GOLDENS, else in ../shared/goldens. Without
them those tests are skipped; all others run on a small synthetic 3DMM and network.

Nothing heavy is imported here: `make sanitize` loads this file, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

REPO = Path(__file__).resolve().parent.parent
PICTURES = ("JianzhuGuo", "emma", "trump_hillary")
ENGINES = ("onnx", "torch")

needs_av = pytest.mark.skipif(
    find_spec("av") is None, reason="PyAV is not installed: pip install -r requirements-video.txt"
)

settings.register_profile("quick", max_examples=40, deadline=None, derandomize=True, database=None)
settings.register_profile("thorough", max_examples=500, deadline=None, database=None)
settings.load_profile("quick")


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitize: runs under the sanitizers (make sanitize)")


def _first_folder(variable, default_places, landmark):
    """The folder that `variable` names, if set, else the first default that holds `landmark`."""
    named = os.environ.get(variable)
    places = [Path(named)] if named else default_places
    return next((p.resolve() for p in places if (p / landmark).is_file()), None)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep ONNX exports of this session out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def assets():
    """A 3DDFA_V2 checkout."""
    shared = REPO.parent / "shared" / "assets"
    folder = _first_folder(
        "FACE_REENACTMENT_ASSETS", [shared / "3ddfa_v2", shared], "configs/bfm_noneck_v3.pkl"
    )
    if folder is None:
        pytest.skip("no 3DDFA_V2 checkout: set FACE_REENACTMENT_ASSETS")
    return folder


@pytest.fixture(scope="session")
def goldens():
    """The folder of the original's outputs."""
    default = REPO.parent / "shared" / "goldens"
    folder = _first_folder("FACE_REENACTMENT_GOLDENS", [default], "JianzhuGuo.npz")
    if folder is None:
        pytest.skip("no golden outputs: set FACE_REENACTMENT_GOLDENS")
    return folder


@pytest.fixture(scope="session")
def golden(goldens):
    """A function from a name to the arrays of goldens/<name>.npz."""

    @cache
    def load(name):
        with np.load(goldens / f"{name}.npz") as archive:
            return dict(archive)

    return load


@pytest.fixture(scope="session")
def picture(assets):
    """A function from a name to the example picture, read-only."""
    from utils.image import read_image

    @cache
    def read(name):
        img = read_image(assets / "examples" / "inputs" / f"{name}.jpg")
        img.setflags(write=False)
        return img

    return read


@pytest.fixture(scope="session")
def state_dicts(assets):
    """Names and shapes of the published networks' tensors."""
    path = assets.parent / "state_dicts.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def torch():
    """The torch module: exporting and building networks needs it."""
    pytest.importorskip("onnx", reason="onnx is not installed: no network can be exported")
    return pytest.importorskip("torch", reason="torch is not installed: no .pth can be read")


@pytest.fixture(scope="session")
def open_tddfa(assets, torch):
    """A function from an engine to TDDFA with the published mb05 weights."""
    from TDDFA import TDDFA
    from utils.config import load_config

    config = load_config(REPO / "configs" / "mb05_120x120.yml")
    return lru_cache(maxsize=None)(lambda engine: TDDFA(assets=assets, engine=engine, **config))


@pytest.fixture(scope="session", params=ENGINES)
def tddfa(request, open_tddfa):
    """TDDFA with the published mb05 weights, on each engine."""
    return open_tddfa(request.param)


@pytest.fixture(scope="session", params=ENGINES)
def detector(request, assets, torch):
    """FaceBoxes with the published weights, on each engine."""
    from FaceBoxes import FaceBoxes

    return FaceBoxes(engine=request.param, assets=assets)


@pytest.fixture(params=[pytest.param("av", marks=needs_av), "opencv"])
def video_engine(request, monkeypatch):
    """What reads and writes videos: PyAV, or OpenCV where that is missing."""
    if request.param == "opencv":
        for module in ("footage", "sinks"):
            monkeypatch.setattr(f"utils.{module}.opening.find_spec", lambda name: None)
    return request.param


@pytest.fixture(scope="module")
def one_torch_thread(torch):
    """Networks this small gain nothing from several threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def heavy_modules_after(program):
    """Which heavy modules are loaded once `program` (lines of Python) has run in a new process."""
    program += "\nimport sys\n"
    program += "print([m for m in ('torch', 'onnx', 'matplotlib') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def grid_mesh(rows, columns):
    """A flat grid with unit cells: vertices (n, 3) float32, triangles (m, 3), normals +z."""
    y, x = np.mgrid[:rows, :columns]
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3).astype(np.float32)
    corner = (y * columns + x)[:-1, :-1].ravel()
    upper = np.stack([corner, corner + 1, corner + columns], axis=1)
    lower = np.stack([corner + 1, corner + columns + 1, corner + columns], axis=1)
    return vertices, np.concatenate([upper, lower]).astype(np.int32)


def face_arrays(seed=0, shape_dim=8, exp_dim=5):
    """The arrays of a small 3DMM: a bulging grid of 12 x 10 vertices, 160 mm high."""
    rng = np.random.default_rng(seed)
    vertices, tri = grid_mesh(12, 10)
    x, y = vertices[:, 0] / 9 - 0.5, vertices[:, 1] / 11 - 0.5
    mean = 160_000 * np.stack([x, -y, 0.5 - x**2 - y**2], axis=1)
    landmarks = np.sort(rng.choice(len(mean), 68, replace=False))
    return {
        "u": mean.reshape(-1, 1).astype(np.float32),
        "w_shp": rng.normal(0, 2000, (mean.size, shape_dim)).astype(np.float32),
        "w_exp": rng.normal(0, 2000, (mean.size, exp_dim)).astype(np.float32),
        "keypoints": (3 * landmarks[:, None] + np.arange(3)).ravel(),
        "tri": tri,  # normals to the viewer in image pixels, y down, as the published ones
        "uv": np.stack([x + 0.5, 0.5 - y], axis=1).astype(np.float32),
    }


def save_arrays(path, arrays):
    """Write arrays to `.npz` or `.pkl` and return the path."""
    import pickle

    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays))
    return path


def random_module(torch, build, seed=0, scale=1.0):
    """A network with seeded weights, its batch norms fitted to noise of that scale.

    So its outputs depend on its input, and are of the size that trained ones have.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        module = build()
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
        module.train()(scale * torch.randn(3, 3, 96, 96))
    return module.eval()


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory, torch):
    """The config of a tiny TDDFA with random weights: 12 + 6 + 4 parameters, 48 px crops."""
    from models import mobilenet

    folder = tmp_path_factory.mktemp("tiny")
    scale = 30 / 160_000  # the face is 30 px high in the 48 px crop
    mean = np.zeros(22, np.float32)
    mean[:12] = np.hstack([scale * np.eye(3), [[24], [24], [0]]]).ravel()
    std = np.ones(22, np.float32)
    std[:12] = np.array([0.05 * scale, 0.05 * scale, 0.05 * scale, 0.5] * 3)
    np.savez(folder / "mean_std.npz", mean=mean, std=std)
    module = random_module(torch, lambda: mobilenet(widen_factor=0.125, num_classes=22))
    torch.save(module.state_dict(), folder / "tiny.pth")
    return {
        "arch": "mobilenet",
        "widen_factor": 0.125,
        "checkpoint_fp": str(folder / "tiny.pth"),
        "bfm_fp": str(save_arrays(folder / "bfm.npz", face_arrays())),
        "param_mean_std_fp": str(folder / "mean_std.npz"),
        "size": 48,
        "num_params": 22,
        "shape_dim": 6,
        "exp_dim": 4,
    }


@pytest.fixture(scope="session", params=ENGINES)
def tiny_tddfa(request, tiny_config):
    """TDDFA on the tiny config, on each engine."""
    from TDDFA import TDDFA

    return TDDFA(**tiny_config, engine=request.param)


def noise(height=90, width=120, seed=0):
    """A colourful picture without sharp pixels, uint8 BGR."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
