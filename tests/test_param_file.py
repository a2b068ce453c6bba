"""reenactment.param_file: parameters written, read back, adapted, and refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bfm.params import ParamLayout
from bfm.regions import REGIONS
from reenactment.faces import Face, FrameInfo
from reenactment.param_file import FORMAT, encode_params, is_param_file, load_source
from utils.errors import InputError
from utils.pose import calc_pose

LAYOUT = ParamLayout(6, 4)
CONFIG = {"arch": "mobilenet", "size": 48, "onnx_fp": None, "gpu_mode": False}


def face(seed):
    rng = np.random.default_rng(seed)
    pose, shape, expression = (
        rng.normal(0, 1, shape).astype(np.float32) for shape in ((3, 4), (6,), (1, 4))
    )
    roi_box = rng.uniform(0, 99, 4) + [0, 0, 99, 99]
    frame = FrameInfo(f"größe {seed}.png", (640, 480))
    return Face(frame, roi_box.tolist(), pose, shape, expression)


SOURCE, TARGETS, RESULTS = face(0), [face(1), face(2)], [face(3), face(4)]


def write(path):
    path.write_bytes(encode_params(path.suffix, CONFIG, SOURCE, TARGETS, RESULTS))
    return path


@pytest.mark.parametrize("suffix", [".json", ".npz", ".JSON"])
def test_round_trip(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    assert is_param_file(path)
    loaded = load_source(path, LAYOUT)
    for part, written in zip(loaded.parts, SOURCE.parts):
        assert np.array_equal(part, written)
        assert part.dtype == np.float32
    assert loaded.frame == SOURCE.frame
    assert loaded.roi_box == SOURCE.roi_box


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_rows_by_region(tmp_path, suffix):
    rows = np.random.default_rng(7).normal(size=(len(REGIONS), 4)).astype(np.float32)
    mixed = replace(SOURCE, expression=rows)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_params(suffix, CONFIG, mixed, TARGETS, RESULTS))
    assert np.array_equal(load_source(path, LAYOUT).expression, rows)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_what_is_known_of_some_faces(tmp_path, suffix):
    scores = np.random.default_rng(8).uniform(size=52)
    seen = replace(SOURCE, box=[1, 2, 3, 4, 0.75], scores=scores)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode_params(suffix, CONFIG, seen, TARGETS, RESULTS))
    np.testing.assert_array_equal(load_source(path, LAYOUT).scores, scores)
    if suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        assert content["source"]["confidence"] == 0.75
        assert "confidence" not in content["target"][0] and "scores" not in content["target"][0]


def test_files_of_the_first_format(tmp_path):
    path = write(tmp_path / "a.json")
    path.write_text(path.read_text(encoding="utf-8").replace(FORMAT, FORMAT[:-1] + "1"),
                    encoding="utf-8")
    assert np.array_equal(load_source(path, LAYOUT).expression, SOURCE.expression)


@pytest.mark.parametrize("layout", [ParamLayout(9, 2), ParamLayout(3, 7)])
def test_adaptation_to_another_layout(tmp_path, layout):
    loaded, stored = load_source(write(tmp_path / "a.json"), layout).parts, SOURCE.parts
    assert np.array_equal(loaded.pose, stored.pose)
    pairs = (loaded.shape, stored.shape), (loaded.expression[0], stored.expression[0])
    for mine, theirs in pairs:
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
            assert np.array_equal(np.float32(entry["expression"]), original.expression[0])
            assert np.array_equal(np.float32(entry["pose"]), original.pose)
            angles = [entry[k] for k in ("yaw", "pitch", "roll")]
            assert angles == calc_pose(original.pose.ravel())[1]


def test_npz_names_everything(tmp_path):
    with np.load(write(tmp_path / "a.npz"), allow_pickle=False) as archive:
        assert np.array_equal(np.float32(archive["result/1/shape"]), RESULTS[1].shape)
        assert archive["config/size"] == 48
        assert str(archive["format"]) == FORMAT


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
        set_source(pose=np.zeros((3, 4)).tolist()),  # no rotation: its angles are not numbers
        set_source(pose=np.ones((3, 4)).tolist()),  # flattens the face to a line
        set_source(pose=np.full((3, 4), 1e30).tolist()),  # beyond any picture
        set_source(roi_box=[1, 2, 3]),  # too short
        set_source(roi_box=[5, 5, 5, 9]),  # no pixel wide
        set_source(image_size=5),  # no pair
        set_source(regions=["ears"]),  # of no face
        set_source(regions=5),  # no list
        set_source(regions=list(REGIONS)),  # and a single row
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


def test_coefficients_may_be_as_large_as_networks_say(tmp_path):
    """The Basel model's shape coefficients have deviations of up to a million."""
    path, shape = tmp_path / "a.json", np.full(6, -7e6, np.float32)
    far = replace(SOURCE, shape=shape)
    path.write_bytes(encode_params(".json", CONFIG, far, TARGETS, RESULTS))
    assert np.array_equal(load_source(path, LAYOUT).shape, shape)
