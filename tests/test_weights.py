"""reenactment.weights: faces to ARKit's weights, to files, and back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from conftest import REPO

from bfm import BFMModel
from bfm.bfm import PROVISIONED_MODEL
from bfm.sliders import SHAPES, Sliders, why_not
from reenactment.faces import FrameInfo
from reenactment.openings import Openings
from reenactment.transfer import Transfer
from reenactment.weights import (
    ACTION_UNITS,
    ANGLES,
    FORMAT,
    TEXTS,
    describe,
    face_of,
    facs,
    is_weights_file,
    load_weights,
    parse_timecode,
    timecode,
    weights_of,
)
from utils.errors import InputError

SLIDERS = Sliders.load()
SHOWN = np.array([why_not(shape) is None for shape in SHAPES])


@cache
def model():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return BFMModel(REPO / PROVISIONED_MODEL, 40, SLIDERS.rest.shape[1])


def posed(seconds=0.0, **weights):
    face = face_of(weights, SLIDERS, 40, "a")
    return replace(face, frame=FrameInfo("a", (120, 120), round(60 * seconds), seconds))


def by_name(face):
    return dict(zip(SHAPES, weights_of(face, model())))


@pytest.mark.parametrize(
    "shape", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight", "browInnerUp", "mouthPucker"]
)
def test_what_a_shape_moves_scores_on_it(shape):
    weak, strong = by_name(posed(**{shape: 0.1})), by_name(posed(**{shape: 0.9}))
    assert strong[shape] > weak[shape] + 0.2
    assert all(0 <= weight <= 1 for weight in strong.values())


@pytest.mark.parametrize("seed", range(6))
def test_a_face_comes_back_from_its_weights(seed):
    """Openings of mouth and eyes within 10 %, or half a millimetre."""
    openings = Openings(model(), SLIDERS.rest)
    rng = np.random.default_rng(seed)
    used = rng.choice(np.flatnonzero(SHOWN), 8, replace=False)
    face = posed(**{"jawOpen": 0.3, **{SHAPES[k]: rng.uniform(0, 0.8) for k in used}})
    plain = replace(face, expression=face.expression.mean(axis=0, keepdims=True))
    source = face_of(by_name(plain), SLIDERS, 40, "a")
    result = openings.carry(Transfer(), source, plain, Transfer()(source, plain))
    mouth, again = (openings.lips(f)[18:31].mean() for f in (plain, result))
    assert abs(again - mouth) < max(0.1 * mouth, 0.5)
    np.testing.assert_allclose(openings.eyes(result), openings.eyes(plain), atol=0.1)


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_files_read_back(tmp_path, suffix):
    described = describe([posed(1.0, jawOpen=0.5), posed(1.5, mouthSmileLeft=0.7)], model())
    path = tmp_path / f"w{suffix}"
    path.write_bytes(TEXTS[suffix].encode(described))
    assert is_weights_file(path)
    for at, number in ((0, 0), (0.2, 0), (0.4, 1), (9, 1)):
        loaded = load_weights(path, at)
        assert loaded == pytest.approx(described[number]["weights"], abs=1e-7)


def test_the_layout_of_live_link_face():
    content = TEXTS[".csv"].encode(describe([posed(61.5)], model())).decode()
    (row,) = csv.DictReader(io.StringIO(content))
    names = list(row)
    assert names[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]
    assert names[53:] == ["TongueOut", *ANGLES] and len(names) == 63
    assert (row["Timecode"], row["BlendShapeCount"]) == ("00:01:01:30.000", "61")
    assert all(np.isfinite(float(row[name])) for name in names[2:])


@pytest.mark.parametrize("suffix", TEXTS)
def test_a_document_of_nobody_is_one(suffix):
    content = TEXTS[suffix].encode([]).decode()
    if suffix == ".json":
        assert json.loads(content)["faces"] == []
    else:
        assert [*csv.DictReader(io.StringIO(content))] == []


def test_json_tells_head_and_trust():
    content = json.loads(TEXTS[".json"].encode(describe([posed()], model())))
    (face,) = content["faces"]
    assert set(face["weights"]) == set(SHAPES) == set(content["reliability"])
    assert set(face["head"]) == {"yaw", "pitch", "roll"}
    assert content["reliability"]["mouthSmileLeft"] > 0.8 > content["reliability"]["tongueOut"] == 0


def test_scores_of_the_network_decide_what_cannot_be_shown():
    scores = np.zeros(52, np.float32)
    scores[SHAPES.index("tongueOut")] = 0.75
    assert by_name(replace(posed(), scores=scores))["tongueOut"] == 0.75


@pytest.mark.parametrize("seconds", [0.0, 0.016, 59.999, 3599.5, 86000.25])
def test_timecodes(seconds):
    assert parse_timecode(timecode(seconds)) == pytest.approx(seconds, abs=1e-5)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", {"jawOpen": 0.25, "MOUTHPUCKER": 0.5}),  # an animator's
        ("a.json", {"jawOpen": 25, "mouthPucker": 50.0}),  # percents
        ("a.json", [{"categoryName": "_neutral", "score": 0.1},
                    {"categoryName": "mouthPucker", "score": 0.5},
                    {"categoryName": "jawOpen", "score": 0.25}]),  # MediaPipe's
        ("a.csv", "MouthPucker,JawOpen,HeadYaw\n0.5,0.25,0.1\n"),  # another order, no times
        ("a.csv", "\ufeffTimecode,BlendShapeCount,JawOpen,MouthPucker\n1:2:3:4.5,61,25,50\n"),
    ],
)
def test_what_others_write(tmp_path, name, content):
    path = write(tmp_path / name, content)
    assert is_weights_file(path)
    assert load_weights(path) == {"jawOpen": 0.25, "mouthPucker": 0.5}


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.json", {"jawOpen": 0.1, "earsUp": 0.5}, "earsUp"),
        ("a.json", {"jawOpen": 1000}, "jawOpen"),
        ("a.json", {"jawOpen": "wide"}, "wide"),
        ("a.json", '{"jawOpen": NaN}', "jawOpen"),
        ("a.csv", "JawOpen,Ears\n0,0\n", "Ears"),
        ("a.csv", "JawOpen\n", "no rows"),
        ("a.csv", "", "no rows"),
        ("a.csv", "Timecode,JawOpen\nnoon,0\n", "noon"),
        ("a.csv", "JawOpen\n0,1\n", "a.csv"),
        ("a.json", {"format": FORMAT, "faces": [{"seconds": 0, "action_units": {"AU1": 1}}]},
         "action units; --opt arkit"),
    ],
)
def test_refused(tmp_path, name, content, word):
    with pytest.raises(InputError, match=word) as caught:
        load_weights(write(tmp_path / name, content))
    assert "\n" not in str(caught.value) and "a." in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1]", "{}", "3",
                                     '{"format": "face_reenactment parameters 2"}'])
def test_other_json_is_no_file_of_weights(tmp_path, content):
    assert not is_weights_file(write(tmp_path / "a.json", content))


def test_action_units():
    assert {shape for shapes in ACTION_UNITS.values() for shape in shapes} <= {
        shape for shape in SHAPES if why_not(shape) is None
    }
    described = describe([posed(mouthSmileLeft=0.8, mouthSmileRight=0.4)], model())
    units = facs(described)[0]["action_units"]
    weights = described[0]["weights"]
    assert units["AU12"] == pytest.approx(
        (weights["mouthSmileLeft"] + weights["mouthSmileRight"]) / 2
    )
