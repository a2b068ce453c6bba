"""utils.config: what a config may hold."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import REPO

from utils.config import TDDFAConfig, load_config
from utils.errors import AssetError, UsageError

MINIMAL = {"checkpoint_fp": "w.pth"}


@pytest.mark.parametrize(
    "key, nearest",
    [
        ("checkpont_fp", "checkpoint_fp"),  # a letter dropped
        ("bmf_fp", "bfm_fp"),  # letters swapped
        ("Size", "size"),  # capital
        ("widen_facter", "widen_factor"),  # wrong vowel
        ("num_param", "num_params"),  # singular
        ("gpu_ids", "gpu_id"),  # plural
    ],
)
def test_misspelt_keys_name_the_nearest(key, nearest):
    with pytest.raises(UsageError, match=f"'{key}'.*'{nearest}'"):
        TDDFAConfig.from_mapping({**MINIMAL, key: 1})


@pytest.mark.parametrize("key", ["zzzz", 5, None])  # like nothing, a number, YAML's null
def test_strange_keys_list_the_known(key):
    with pytest.raises(UsageError, match="known: checkpoint_fp"):
        TDDFAConfig.from_mapping({**MINIMAL, key: 1})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": "120"}, "size must be int"),  # text for a number
        ({"size": 120.0}, "size must be int"),  # float for an int
        ({"size": True}, "size must be int"),  # bool for an int
        ({"size": None}, "size must be int"),  # null where there is none
        ({"widen_factor": True}, "widen_factor must be float"),  # bool for a float
        ({"gpu_mode": "true"}, "gpu_mode must be bool"),  # text for a bool
        ({"gpu_mode": 1}, "gpu_mode must be bool"),  # int for a bool
        ({"bfm_fp": 3}, "bfm_fp must be str"),  # number for a path
        ({"checkpoint_fp": ["a"]}, "checkpoint_fp must be str"),  # list for a path
        ({"arch": "mobilenet_2"}, "mobilenet, resnet22"),  # unknown network
        ({"engine": "tensorrt"}, "auto, onnx, torch"),  # unknown engine
        ({"checkpoint_fp": None}, "checkpoint_fp or onnx_fp"),  # no weights
        ({"size": 0}, "positive"),  # empty crop
        ({"widen_factor": -1.0}, "positive"),  # negative width
        ({"widen_factor": float("nan")}, "positive"),  # no width
        ({"num_params": 63}, "shape_dim and exp_dim"),  # length that tells no split
        ({"num_params": 62, "exp_dim": 11, "shape_dim": 40}, "make 63"),  # contradiction
        ({"exp_dim": 0}, "exp_dim 0"),  # no expression
    ],
)
def test_wrong_values(change, message):
    with pytest.raises(UsageError, match=message):
        TDDFAConfig.from_mapping({**MINIMAL, **change})


def test_defaults():
    """SPEC sections 1 and 6: 120 px, 40 + 10 coefficients, the CPU."""
    config = TDDFAConfig.from_mapping(MINIMAL)
    assert (config.size, config.gpu_mode, config.gpu_id) == (120, False, 0)
    assert (config.layout.shape_dim, config.layout.exp_dim) == (40, 10)
    assert config.bfm_fp == "configs/bfm_noneck_v3.pkl"
    assert config.mean_std_fp == "configs/param_mean_std_62d_120x120.pkl"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.size = 1


@pytest.mark.parametrize(
    "change, dims",
    [
        ({"num_params": 72}, (40, 20)),  # published length
        ({"num_params": 141}, (100, 29)),  # published length
        ({"num_params": 42, "exp_dim": 10}, (20, 10)),  # completed
        ({"shape_dim": 80, "exp_dim": 64}, (80, 64)),  # custom
    ],
)
def test_dimensions(change, dims):
    layout = TDDFAConfig.from_mapping({**MINIMAL, **change}).layout
    assert (layout.shape_dim, layout.exp_dim) == dims


@pytest.mark.parametrize("path", sorted((REPO / "configs").glob("*.yml")), ids=lambda p: p.name)
def test_shipped_configs(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # relative names do not depend on the current folder
    config = TDDFAConfig.from_mapping(load_config(f"configs/{path.name}"))
    assert config.checkpoint_fp or config.onnx_fp


def test_configs_of_the_checkout(assets):
    for path in (assets / "configs").glob("*.yml"):
        assert TDDFAConfig.from_mapping(load_config(path)).layout.num_params == 62


def test_types_are_those_of_the_annotations():
    @dataclasses.dataclass(frozen=True)
    class Wider(TDDFAConfig):
        frame: tuple[int, int] = (0, 0)

    assert Wider.from_mapping({**MINIMAL, "frame": (3, 4)}).frame == (3, 4)
    with pytest.raises(UsageError, match="frame must be tuple, got 3"):
        Wider.from_mapping({**MINIMAL, "frame": 3})
    with pytest.raises(UsageError, match="exp_dim must be int or null, got '10'"):
        Wider.from_mapping({**MINIMAL, "exp_dim": "10"})


@pytest.fixture
def checkout(tmp_path):
    """Empty files under the names of a 3DDFA_V2 checkout."""
    names = ("w.pth", "w.onnx", "detector.onnx", "mean.npz", "bfm.npz")
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


NAMED = {
    "checkpoint_fp": "w.pth",
    "onnx_fp": "w.onnx",
    "bfm_fp": "bfm.npz",
    "param_mean_std_fp": "mean.npz",
    "detector_fp": "detector.onnx",
}


def test_located_paths_are_absolute(checkout, monkeypatch, tmp_path_factory):
    config = TDDFAConfig.from_mapping({**NAMED, "size": 64})
    located = config.located(checkout)
    assert located == dataclasses.replace(
        config, **{key: str(checkout / name) for key, name in NAMED.items()}
    )
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert located.located() == located  # from then on, no folder matters


def test_an_engine_opens_its_own_kind_of_weights(checkout):
    engines = {"auto": "w.onnx", "onnx": "w.onnx", "torch": "w.pth"}
    for engine, name in engines.items():
        config = TDDFAConfig.from_mapping({**NAMED, "engine": engine})
        assert config.located(checkout).weights_fp == str(checkout / name)


@pytest.mark.parametrize("engine", ["auto", "onnx", "torch"])
def test_one_kind_of_weights_is_enough(checkout, engine):
    config = TDDFAConfig.from_mapping({**NAMED, "engine": engine})
    (checkout / "w.onnx").unlink()
    assert config.located(checkout).weights_fp == str(checkout / "w.pth")
    (checkout / "w.pth").unlink()
    with pytest.raises(AssetError, match=f"missing file {config.weights_fp}"):
        config.located(checkout)


@pytest.mark.parametrize("key", ["bfm_fp", "param_mean_std_fp", "detector_fp"])
def test_a_file_that_is_nowhere(checkout, key):
    (checkout / NAMED[key]).unlink()
    with pytest.raises(AssetError, match=f"missing file {NAMED[key]}"):
        TDDFAConfig.from_mapping(NAMED).located(checkout)


@pytest.mark.parametrize(
    "content",
    [
        b"",  # empty
        b"- a\n- b\n",  # a list
        b"just text",  # a scalar
        b"size: [",  # no YAML
        b"\xff\xfe\x00",  # no text
        b"checkpoint_fp: !!python/object/apply:os.getcwd []",  # code
        b"checkpoint_fp: w.pth\nsiez: 120\n",  # misspelt key
        b"checkpoint_fp: w.pth\nsize: big\n",  # wrong type
    ],
)
def test_bad_config_files(tmp_path, content):
    path = tmp_path / "bad.yml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="bad.yml") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_missing_config(tmp_path):
    with pytest.raises(UsageError, match="absent.yml"):
        load_config("configs/absent.yml", assets=tmp_path)
