"""models: the networks' tensors, loading checkpoints, exporting to ONNX and its cache."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import random_module

import models.export
from models import mobilenet, resnet22
from models.backends import OnnxBackend, TorchBackend
from models.checkpoints import load_model, read_state_dict
from models.export import NetworkSpec, export_onnx, open_export
from models.networks import open_network
from utils.errors import AssetError, UsageError

NETWORKS = {
    "mobilenet widen_factor=0.5": lambda: mobilenet(widen_factor=0.5),
    "mobilenet widen_factor=1.0": mobilenet,
    "resnet22": resnet22,
}


def build():
    return mobilenet(widen_factor=0.125, num_classes=7)


SPEC = NetworkSpec(build, (1, 3, 32, 32), ("params",))


@pytest.fixture
def weights(torch, tmp_path):
    """A checkpoint of a tiny network, in a folder of its own."""
    folder = tmp_path / "weights"
    folder.mkdir()
    return save(torch, folder / "tiny.pth", seed=0)


def save(torch, path, seed):
    torch.save(random_module(torch, build, seed).state_dict(), path)
    return path


@pytest.fixture
def no_export(monkeypatch):
    """Call to forbid exports from then on."""

    def fail(*_):
        raise AssertionError("exported again")

    return lambda: monkeypatch.setattr(models.export, "export_onnx", fail)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_tensors(torch, state_dicts, name):
    own = {
        key: list(tensor.shape)
        for key, tensor in NETWORKS[name]().state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert own == state_dicts[name]


@pytest.mark.parametrize(
    "name, millions",
    [
        ("mobilenet widen_factor=0.5", 0.85),  # 3DDFA_V2's README
        ("mobilenet widen_factor=1.0", 3.27),  # 3DDFA_V2's README
    ],
)
def test_parameter_counts(torch, name, millions):
    count = sum(parameter.numel() for parameter in NETWORKS[name]().parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("make", [mobilenet, resnet22])
def test_keyword_arguments(torch, make):
    """Unknown ones are passed over, as the original's callers pass some."""
    module = make(num_classes=9, widen_factor=0.25, size=120, mode="small").eval()
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 40, 40)).shape == (2, 9)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,  # plain
        lambda state: {"epoch": 3, "state_dict": state},  # checkpoint
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},  # parallel
        lambda state: {
            **{k.replace("fc.", "fc_param."): v for k, v in state.items()},
            "fc_lm.weight": state["fc.weight"],
            "fc_lm.bias": state["fc.bias"],
        },  # the original's two heads
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},  # old torch
    ],
)
def test_load_model(torch, tmp_path, wrap):
    source = random_module(torch, build, seed=1)
    torch.save(wrap(source.state_dict()), tmp_path / "a.pth")
    target = random_module(torch, build, seed=2)
    assert load_model(target, tmp_path / "a.pth") is target
    for name, parameter in source.named_parameters():
        assert torch.equal(parameter, target.get_parameter(name))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("bn1.weight"), "missing: bn1.weight"),  # one too few
        (lambda state: state.update(extra=state["fc.bias"]), "unknown: extra"),  # one too many
        (lambda state: state.update({"fc.bias": state["bn1.bias"]}), r"fc.bias \(4,\) instead of"),
        # a tensor of the wrong shape
    ],
)
def test_checkpoints_that_do_not_fit(torch, tmp_path, change, message):
    state = build().state_dict()
    change(state)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(AssetError, match=message) as caught:
        load_model(build(), tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["empty", "text", "pickle", "number", "gadget", "truncated"])
def test_files_that_are_no_checkpoints(torch, weights, content):
    path = weights.with_name("a.pth")
    if content == "number":
        torch.save(3, path)
    elif content == "gadget":
        torch.save({"x": Path(weights)}, path)
    else:
        bytes_of = {"empty": b"", "text": b"text", "pickle": pickle.dumps({"a": os.getcwd})}
        path.write_bytes(bytes_of.get(content, weights.read_bytes()[:5000]))
    with pytest.raises(AssetError, match="a.pth") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


def test_published_checkpoints_load(torch, assets):
    load_model(mobilenet(widen_factor=0.5), assets / "weights" / "mb05_120x120.pth")


@pytest.mark.parametrize("name", NETWORKS)
def test_export_gives_the_modules_numbers(torch, tmp_path, name):
    if name == "mobilenet widen_factor=1.0":
        pytest.skip("the same graph as at widen_factor 0.5")
    path = tmp_path / "a.pth"
    module = random_module(torch, NETWORKS[name])
    torch.save(module.state_dict(), path)
    spec = NetworkSpec(NETWORKS[name], (1, 3, 32, 32), ("params",))
    graph = tmp_path / "a.onnx"
    graph.write_bytes(export_onnx(spec, path))
    batch = np.random.default_rng(3).standard_normal((4, 3, 32, 32), dtype=np.float32)
    (ours,), (theirs,) = OnnxBackend(graph)(batch), TorchBackend(module)(batch)
    assert ours.shape == (4, 62)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert np.ptp(ours, axis=0).max() > 1e-3  # the outputs depend on the input


def test_export_is_kept_beside_the_weights(torch, weights, no_export):
    open_export(SPEC, weights)
    assert sorted(p.name for p in weights.parent.iterdir()) == ["tiny.export.onnx", "tiny.pth"]
    no_export()
    open_export(SPEC, weights)


def first_output(network):
    return network(np.ones((1, 3, 32, 32), np.float32))[0]


def test_changed_weights_are_exported_anew(torch, weights):
    before = first_output(open_export(SPEC, weights))
    save(torch, weights, seed=5)
    after = first_output(open_export(SPEC, weights))
    expected = first_output(TorchBackend(random_module(torch, build, seed=5)))
    np.testing.assert_allclose(after, expected, atol=1e-4)
    assert np.abs(after - before).max() > 1e-3


def test_another_input_size_is_exported_anew(torch, weights):
    """The same weights serve configs of different `size`."""
    for size in (32, 48):
        spec = replace(SPEC, example_shape=(1, 3, size, size))
        batch = np.ones(spec.example_shape, np.float32)
        assert open_export(spec, weights)(batch)[0].shape == (1, 7)


def test_damaged_export_is_replaced(torch, weights):
    place = weights.with_suffix(".export.onnx")
    place.write_bytes(b"damaged")
    expected = first_output(TorchBackend(random_module(torch, build)))
    network = open_export(SPEC, weights)
    np.testing.assert_allclose(first_output(network), expected, atol=1e-4)
    assert place.stat().st_size > 1000


def test_read_only_folder_falls_back_to_the_cache(torch, weights, tmp_path, monkeypatch, no_export):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights.parent.chmod(0o555)
    try:
        open_export(SPEC, weights)
        assert [p.name for p in weights.parent.iterdir()] == ["tiny.pth"]
        cached = list((tmp_path / "cache").rglob("*.export.onnx"))
        assert len(cached) == 1
        no_export()
        open_export(SPEC, weights)
        # found by content: a copy of the weights elsewhere uses the same export
        copy = shutil.copy(weights, tmp_path / "copy.pth")
        open_export(SPEC, Path(copy))
    finally:
        weights.parent.chmod(0o755)


@pytest.mark.parametrize("cache", ["no home", "no folder", "full"])
def test_no_place_to_keep_an_export(torch, weights, tmp_path, monkeypatch, caplog, cache):
    """Then it is opened from memory."""
    if cache == "no home":
        for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(Path, "home", raise_no_home)
    elif cache == "no folder":
        (tmp_path / "cache").write_bytes(b"in the way")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    else:
        monkeypatch.setattr("utils.cache.MAX_SIZE", 0)
    weights.parent.chmod(0o555)
    try:
        network = open_export(SPEC, weights)
    finally:
        weights.parent.chmod(0o755)
    expected = first_output(TorchBackend(random_module(torch, build)))
    np.testing.assert_allclose(first_output(network), expected, atol=1e-4)
    assert [p.name for p in weights.parent.iterdir()] == ["tiny.pth"]
    assert "made at every start" in caplog.text


def raise_no_home():
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_an_export_is_kept_beside_the_weights(torch, weights, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", raise_no_home)
    open_export(SPEC, weights)
    assert weights.with_suffix(".export.onnx").is_file()


def test_failed_check_leaves_no_export(torch, weights, monkeypatch):
    def disagree(*_):
        raise AssetError("off")

    monkeypatch.setattr(models.export, "check_same_numbers", disagree)
    with pytest.raises(AssetError, match="off"):
        open_export(SPEC, weights)
    assert [p.name for p in weights.parent.iterdir()] == ["tiny.pth"]


def test_check_notices_another_networks_graph(torch, weights):
    graph = export_onnx(SPEC, weights)
    with pytest.raises(AssetError, match="'params' is off by"):
        models.export.check_same_numbers(graph, random_module(torch, build, seed=9), SPEC)


def test_graphs_of_one_picture_at_a_time(torch, weights):
    """3DDFA_V2's own exports have a fixed batch of 1."""
    graph = weights.with_name("fixed.onnx")
    module = random_module(torch, build)
    torch.onnx.export(
        module,
        (torch.zeros(SPEC.example_shape),),
        str(graph),
        input_names=["input"],
        output_names=["params"],
        dynamo=False,
    )
    batch = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    (ours,), (theirs,) = open_network(SPEC, graph, "onnx")(batch), TorchBackend(module)(batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_open_network_errors(torch, weights, tmp_path):
    graph = tmp_path / "a.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(UsageError, match="tensorrt"):
        open_network(SPEC, weights, "tensorrt")
    with pytest.raises(AssetError, match="a.onnx"):
        open_network(SPEC, graph, "onnx")
    with pytest.raises(UsageError, match="torch checkpoint"):
        open_network(SPEC, graph, "torch")


@pytest.mark.parametrize("engine", ["auto", "onnx", "torch"])
def test_no_cuda(torch, weights, engine):
    from models.runtime import onnxruntime

    if torch.cuda.is_available() or "CUDA" in str(onnxruntime.get_available_providers()):
        pytest.skip("there is CUDA here")
    with pytest.raises(UsageError, match="no CUDA device is available to"):
        open_network(SPEC, weights, engine, gpu_id=0)


def test_convert_to_onnx(torch, tiny_config, tmp_path):
    from TDDFA import TDDFA
    from utils.onnx import convert_to_onnx

    checkpoint = shutil.copy(tiny_config["checkpoint_fp"], tmp_path / "a.pth")
    graph = convert_to_onnx(**{**tiny_config, "checkpoint_fp": str(checkpoint)})
    assert graph == str(tmp_path / "a.onnx")
    img, boxes = np.full((80, 80, 3), 99, np.uint8), [[10, 10, 60, 60]]
    exported = TDDFA(**{**tiny_config, "onnx_fp": graph})(img, boxes)[0][0]
    expected = TDDFA(**tiny_config, engine="torch")(img, boxes)[0][0]
    np.testing.assert_allclose(exported, expected, atol=1e-4)
