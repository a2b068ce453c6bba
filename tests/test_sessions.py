"""models.sessions: optimised graphs are kept, used, renewed, and never needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import REPO

from models import sessions
from models.sessions import OptimisedGraph, open_session
from utils.config import load_config

SHIPPED = REPO / "weights" / "reenact_mb05_120x120.onnx"
NUM_PARAMS = load_config(REPO / "configs" / "reenact_mb05_120x120.yml")["num_params"]
CROPS = np.random.default_rng(0).normal(size=(2, 3, 120, 120)).astype(np.float32)


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """A copy of a shipped graph, and an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(SHIPPED.read_bytes())
    return path


def outputs(session):
    return session.run(None, {session.get_inputs()[0].name: CROPS})[0]


def kept(tmp_path):
    return sorted((tmp_path / "cache" / "face_reenactment").iterdir())


def test_the_second_start_uses_what_the_first_one_kept(graph, tmp_path, monkeypatch):
    first = outputs(open_session(graph))
    (folder,) = kept(tmp_path)
    assert folder == OptimisedGraph(graph).folder
    monkeypatch.setattr(OptimisedGraph, "make", None)  # calling it would fail
    monkeypatch.setattr(graph.__class__, "read_bytes", None)
    np.testing.assert_allclose(outputs(OptimisedGraph(graph).open()), first, atol=1e-6)


def test_changed_weights_are_optimised_anew(graph, tmp_path):
    before = outputs(open_session(graph))
    content = bytearray(graph.read_bytes())
    place = content.rindex(b"") // 2  # amid the weights
    content[place : place + 400] = bytes(400)
    graph.write_bytes(content)
    after = outputs(open_session(graph))
    assert np.abs(after - before).max() > 1e-6
    assert OptimisedGraph(graph).folder in kept(tmp_path)
    np.testing.assert_allclose(outputs(open_session(graph)), after, atol=1e-6)


@pytest.mark.parametrize("name", ["graph.onnx", "weights.bin"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_ones_are_made_again(graph, name, damage):
    expected = outputs(open_session(graph))
    file = OptimisedGraph(graph).folder / name
    whole = file.stat().st_size
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.unlink()
    np.testing.assert_allclose(outputs(open_session(graph)), expected, atol=1e-6)
    assert file.stat().st_size == whole


@pytest.mark.parametrize("obstacle", ["file", "no home"])
def test_works_without_a_cache(graph, tmp_path, monkeypatch, obstacle):
    if obstacle == "file":
        (tmp_path / "cache").write_bytes(b"in the way")
    else:
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(variable, raising=False)

        def no_home():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", no_home)
    assert outputs(open_session(graph)).shape == (2, NUM_PARAMS)


def test_another_processor_gets_its_own(graph, monkeypatch):
    """Optimised graphs hold weights in the order that one kind of processor wants."""
    here = OptimisedGraph(graph).folder
    monkeypatch.setattr(sessions.cv2, "getCPUFeaturesLine", lambda: "SSE2")
    assert OptimisedGraph(graph).folder != here


def test_nothing_but_whole_folders_is_left(graph, tmp_path):
    open_session(graph)
    before = kept(tmp_path)
    graph.write_bytes(b"no graph")
    with pytest.raises(Exception, match="(?i)protobuf|fail"):
        open_session(graph)
    assert kept(tmp_path) == before


def test_another_machine_keeps_its_own(graph, tmp_path, monkeypatch):
    """Two kinds of processors that share a cache folder do not evict each other's graphs."""
    open_session(graph)
    with monkeypatch.context() as other:
        other.setattr(sessions.cv2, "getCPUFeaturesLine", lambda: "SSE2")
        open_session(graph)
    assert len(kept(tmp_path)) == 2
    monkeypatch.setattr(OptimisedGraph, "make", None)  # calling it would fail
    assert outputs(OptimisedGraph(graph).open()).shape == (2, NUM_PARAMS)


def test_opening_renews_the_age(graph):
    open_session(graph)
    folder = OptimisedGraph(graph).folder
    os.utime(folder, (0, 0))
    open_session(graph)
    assert time.time() - folder.stat().st_mtime < 60


def test_a_full_cache_keeps_no_more(graph, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.cache.MAX_SIZE", graph.stat().st_size - 1)
    assert outputs(open_session(graph)).shape == (2, NUM_PARAMS)
    assert kept(tmp_path) == []


def test_a_graph_in_memory(graph, tmp_path):
    expected = outputs(open_session(graph))
    np.testing.assert_allclose(outputs(open_session(graph.read_bytes())), expected, atol=1e-6)
    assert kept(tmp_path) == [OptimisedGraph(graph).folder]


@pytest.mark.parametrize(
    ("all_processors", "usable", "threads"),
    [
        (8, 8, 0),  # a machine of our own: onnxruntime chooses
        (8, 3, 3),  # a container that has been given three of eight
        (1, 1, 0),
        (None, 2, 0),  # unknown
    ],
)
def test_threads_keep_to_the_processors_we_may_use(monkeypatch, all_processors, usable, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: all_processors)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
    assert sessions._options().intra_op_num_threads == threads


REFUSE_AFFINITY = "int pthread_setaffinity_np() { return 22; }"


@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="no C compiler")
def test_onnxruntime_is_silent_where_threads_cannot_be_tied_to_processors(tmp_path):
    source, library = tmp_path / "refuse.c", tmp_path / "refuse.so"
    source.write_text(REFUSE_AFFINITY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    program = "import sys; from models.backends import OnnxBackend; OnnxBackend(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(SHIPPED)],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO), "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("version", "key"),
    [("1.12.1", "allow_spinning"), ("1.25.0", "allow_spinning"), ("1.26.0", "spin_duration_us"),
     ("2.0.0+cu13", "spin_duration_us")],
)  # fmt: skip
def test_threads_sleep_soon(version, key):
    """Either not waiting awake at all, or for a time that ends within the millisecond."""
    ((name, value),) = sessions._spinning(version).items()
    assert name == key
    assert int(value) < 1000
