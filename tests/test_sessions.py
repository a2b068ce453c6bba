"""models.sessions: optimised graphs are kept, used, renewed, and never needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import sessions
from models.sessions import OptimisedGraph, open_session

SHIPPED = Path(__file__).parents[1] / "weights" / "reenact_mb05_120x120.onnx"
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
    assert kept(tmp_path) == [OptimisedGraph(graph).folder]  # the older one has gone
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
    assert outputs(open_session(graph)).shape == (2, 64)


def test_another_processor_gets_its_own(graph, monkeypatch):
    """Optimised graphs hold weights in the order that one kind of processor wants."""
    here = OptimisedGraph(graph).folder
    monkeypatch.setattr(sessions.cv2, "getCPUFeaturesLine", lambda: "SSE2")
    assert OptimisedGraph(graph).folder != here


def test_nothing_but_whole_folders_is_left(graph, tmp_path):
    open_session(graph)
    graph.write_bytes(b"no graph")
    with pytest.raises(Exception, match="(?i)protobuf|fail"):
        open_session(graph)
    assert kept(tmp_path) == []
