"""utils.param_file: parameters written, read back, adapted, and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bfm.params import ParamLayout
from utils.errors import InputError, OutputError, UsageError
from utils.faces import Face
from utils.param_file import FORMAT, is_param_file, load_source, save_params
from utils.pose import calc_pose

LAYOUT = ParamLayout(6, 4)
CONFIG = {"arch": "mobilenet", "size": 48, "onnx_fp": None, "gpu_mode": False}


def face(seed):
    rng = np.random.default_rng(seed)
    param = rng.normal(0, 1, LAYOUT.num_params).astype(np.float32)
    return Face(f"größe {seed}.png", (640, 480), rng.normal(0, 99, 4).tolist(), param)


SOURCE, TARGETS, RESULTS = face(0), [face(1), face(2)], [face(3), face(4)]


def write(path):
    return save_params(path, LAYOUT, CONFIG, SOURCE, TARGETS, RESULTS)


@pytest.mark.parametrize("suffix", [".json", ".npz", ".JSON"])
def test_round_trip(tmp_path, suffix):
    path = write(tmp_path / "new" / f"a{suffix}")
    assert is_param_file(path)
    loaded = load_source(path, LAYOUT)
    assert np.array_equal(loaded.param, SOURCE.param)
    assert loaded.param.dtype == np.float32
    assert (loaded.image, loaded.image_size) == (SOURCE.image, SOURCE.image_size)
    assert loaded.roi_box == SOURCE.roi_box


@pytest.mark.parametrize("layout", [ParamLayout(9, 2), ParamLayout(3, 7)])
def test_adaptation_to_another_layout(tmp_path, layout):
    loaded = layout.split(load_source(write(tmp_path / "a.json"), layout).param)
    stored = LAYOUT.split(SOURCE.param)
    assert np.array_equal(loaded.pose, stored.pose)
    for mine, theirs in ((loaded.shape, stored.shape), (loaded.expression, stored.expression)):
        common = min(len(mine), len(theirs))
        assert np.array_equal(mine[:common], theirs[:common])
        assert not mine[common:].any()


def test_json_names_everything(tmp_path):
    content = json.loads(write(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["format"] == FORMAT
    assert content["config"] == CONFIG
    assert content["version"]
    for stored, faces in ((content["target"], TARGETS), (content["result"], RESULTS)):
        assert len(stored) == 2
        for entry, original in zip(stored, faces):
            parts = LAYOUT.split(original.param)
            assert np.array_equal(np.float32(entry["expression"]), parts.expression)
            assert np.array_equal(np.float32(entry["pose"]), parts.pose)
            assert [entry[k] for k in ("yaw", "pitch", "roll")] == calc_pose(original.param)[1]


def test_npz_names_everything(tmp_path):
    with np.load(write(tmp_path / "a.npz"), allow_pickle=False) as archive:
        parts = LAYOUT.split(RESULTS[1].param)
        assert np.array_equal(np.float32(archive["result/1/shape"]), parts.shape)
        assert archive["config/size"] == 48
        assert str(archive["format"]) == FORMAT


def test_unwritable(tmp_path):
    with pytest.raises(UsageError, match=r"\.json or \.npz"):
        write(tmp_path / "a.txt")
    with pytest.raises(OutputError):
        write(tmp_path / "a.json" / ".." / ("x" * 300 + ".json"))
    assert not any(tmp_path.rglob("*.txt"))


def damaged(change):
    """The JSON of a good file after `change`, as bytes."""

    def make(tmp_path):
        content = json.loads(write(tmp_path / "good.json").read_text(encoding="utf-8"))
        change(content)
        return json.dumps(content).encode()

    return make


def set_source(**values):
    return damaged(lambda content: content["source"].update(values))


@pytest.mark.parametrize(
    "make",
    [
        lambda _: b"",  # empty
        lambda _: b"{",  # cut
        lambda _: b"\xff\xfe\x00\x01",  # no text
        lambda _: b"[" * 100_000,  # nested beyond reason
        lambda _: b"[1]",  # a list
        lambda _: b'{"format": "other"}',  # another program's
        lambda _: json.dumps({"format": FORMAT, "source": 3}).encode(),  # no face
        damaged(lambda content: content.pop("source")),  # no source
        damaged(lambda content: content["source"].pop("pose")),  # no pose
        damaged(lambda content: content["source"].pop("image")),  # no name
        set_source(pose=[1, 2, 3]),  # wrong shape
        set_source(pose=[[1, 2], [3]]),  # ragged
        set_source(expression=[]),  # nothing to transfer
        set_source(expression=["a"]),  # text
        set_source(expression=[1, None]),  # gap
        set_source(expression=[float("nan")]),  # not a number
        set_source(expression={"a": 1}),  # a dict
        set_source(shape=[1e400]),  # infinite
        set_source(roi_box=[1, 2, 3]),  # too short
        set_source(image_size=5),  # no pair
        set_source(expression=[10**400]),  # beyond floats
        set_source(expression=[1e300]),  # beyond float32
    ],
)
def test_damaged_json(tmp_path, make):
    path = tmp_path / "bad.json"
    path.write_bytes(make(tmp_path))
    with pytest.raises(InputError, match="bad.json") as caught:
        load_source(path, LAYOUT)
    assert "\n" not in str(caught.value)


def test_damaged_npz(tmp_path):
    data = write(tmp_path / "good.npz").read_bytes()
    path = tmp_path / "bad.npz"
    for content in (b"", b"text", data[:200], data[:-30]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="bad.npz"):
            load_source(path, LAYOUT)
    np.savez(path, format=FORMAT)
    with pytest.raises(InputError, match="pose"):
        load_source(path, LAYOUT)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(InputError, match="--save_params"):
        load_source(path, LAYOUT)


@pytest.mark.parametrize("name", ["absent.json", "absent.npz"])
def test_missing(tmp_path, name):
    with pytest.raises(InputError, match=name):
        load_source(tmp_path / name, LAYOUT)
