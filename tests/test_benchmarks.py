"""The benchmarks: their arithmetic on made-up times, and each once, whatever its times."""

from __future__ import annotations

import importlib
import itertools
import json

import numpy as np
import pytest
from conftest import REPO

from benchmarks import harness, plain, scaling, scenes, startup
from benchmarks.harness import COLUMNS, QUICK, Effort, Reference, Report, Row
from bfm.bfm import PROVISIONED_MODEL


@pytest.fixture
def model():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")


ROW = Row("draw", "ms", [3.0, 2.0, 7.0], Reference("slowly", [9.0, 8.0]), Reference("copy", [0.5]),
          target=2.5, original=9.3)  # fmt: skip


class Clock:
    """Time that passes only in the functions timed."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def lasting(self, *seconds):
        steps = itertools.cycle(seconds)

        def function():
            self.now += next(steps)

        return function


def test_functions_are_timed_in_turn_after_one_run():
    clock, calls = Clock(), []
    functions = {"a": clock.lasting(9, 1, 2), "b": clock.lasting(3)}
    logged = {name: lambda n=name, f=f: (calls.append(n), f()) for name, f in functions.items()}
    times = harness.time_in_turn(logged, Effort(fewest=2, most=2), clock)
    assert times == {"a": [1000, 2000], "b": [3000, 3000]}
    assert calls == ["a", "b"] * 3


@pytest.mark.parametrize(
    ("effort", "rounds"),
    [
        (Effort(fewest=2, most=9, seconds=3.5), 4),  # until the time is over
        (Effort(fewest=5, most=9, seconds=3.5), 5),  # never fewer
        (Effort(fewest=1, most=3, seconds=99), 3),  # never more
        (QUICK, 1),
    ],
)
def test_effort(effort, rounds):
    clock = Clock()
    assert len(harness.time_in_turn({"a": clock.lasting(1)}, effort, clock)["a"]) == rounds


def test_summary_compares_the_least_of_each():
    assert ROW.summary() == {
        "name": "draw", "unit": "ms", "median": 3.0, "min": 2.0, "measurements": 3,
        "target": 2.5, "original": 9.3,
        "yardstick": {"what": "slowly", "min": 8.0, "ratio": 0.25},
        "limit": {"what": "copy", "min": 0.5, "ratio": 4.0},
    }  # fmt: skip
    assert "limit" not in Row("a", "ms", [1]).summary()
    assert Row("a", "ms", [1], limit=Reference("x", [0])).summary()["limit"]["ratio"] is None


def test_table_is_aligned():
    lines = harness.table([ROW, Row("a longer name", "MiB", [1234.5])]).splitlines()
    assert lines[0].split() == [title for column in COLUMNS for title in column.split()]
    assert " ".join(lines[1].split()) == "draw ms 3 2 8 slowly 0.25 0.5 copy 4 2.5 9.3"
    assert lines[2].split() == ["a", "longer", "name", "MiB", "1234", "1234"]
    assert lines[1].index(" 8 ") + 1 == lines[0].index("yardstick") + len("yardstick") - 1


def test_json_holds_rows_and_machine_but_no_names(tmp_path, capsys):
    path = tmp_path / "new" / "a.json"
    harness.main("fake", lambda quick: Report([ROW], [f"quick {quick}"]), ["--json", str(path)])
    content = json.loads(path.read_text())
    assert content["rows"] == [ROW.summary()] and content["notes"] == ["quick False"]
    assert {"cpu", "cpus", "python", "numpy", "opencv", "onnxruntime"} <= content["machine"].keys()
    printed = capsys.readouterr().out
    assert "another machine" in printed and "quick False" in printed
    assert "/" not in json.dumps(content["machine"])


def test_line_fit():
    assert scaling.fit_line([1, 2, 4], [5, 7, 11]) == pytest.approx((3, 2, 1))
    assert scaling.fit_line([0, 1, 2], [0, 3, 0]) == pytest.approx((1, 0, 0))
    assert scaling.fit_line([0, 1, 2], [4, 4, 4])[2] == 1


def test_a_process_is_measured_without_its_parent():
    wall, processor, memory = startup.spawn(["-c", "b = bytes(range(256)) * 200_000"])
    assert wall > 0 and processor >= 0
    assert 48 < memory < 48 + 40  # the bytes and a bare Python


def test_plain_ways_do_the_same_work(model):
    from FaceBoxes import FaceBoxes
    from TDDFA import TDDFA
    from utils.config import load_config
    from utils.render import render

    tddfa = TDDFA(**load_config("configs/reenact_mb05_120x120.yml"))
    img = scenes.scene((320, 240), 120)
    boxes = FaceBoxes(weights_fp=tddfa.config.detector_fp, fast=False)(img)
    found = plain.detect(plain.open_graph(tddfa.config.detector_fp), img)
    assert len(boxes) == len(found) == 1
    x, y, width, height = found[0][:4]
    np.testing.assert_allclose([x, y, x + width, y + height], boxes[0][:4], atol=0.1)
    params, rois = tddfa(img, boxes)
    np.testing.assert_allclose(plain.Regressor(tddfa.config)(img, boxes), params, rtol=0.02, atol=1)
    bfm, parts = tddfa.bfm, tddfa.layout.split(params[0])
    ver = tddfa.recon_vers(params, rois, dense_flag=True)[0]
    plainly = plain.reconstruct((bfm.u, bfm.w_shp, bfm.w_exp),
                                (parts.pose, parts.shape, parts.expression), rois[0], 120)
    assert np.abs((ver - plainly)[:2]).max() < 2  # without the shift by one pixel
    drawn = [render(img, [ver], tddfa.tri), plain.overlay(img, ver, tddfa.tri)]
    assert np.abs(drawn[0].astype(int) - drawn[1]).mean() < 4 < np.abs(drawn[0] - img).mean()


@pytest.mark.parametrize("name", ["startup", "stages", "photo", "video", "live", "scaling"])
def test_every_benchmark_runs(name, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("models.networks._installed", lambda module: False)  # torch starts slowly
    path = tmp_path / "out.json"
    module = importlib.import_module(f"benchmarks.{name}")
    harness.main(name, module.collect, ["--quick", "--json", str(path)])
    content, printed = json.loads(path.read_text()), capsys.readouterr().out
    assert content["benchmark"] == name and len(content["rows"]) >= 5
    for row in content["rows"]:
        assert 0 < row["min"] <= row["median"] and row["name"] in printed
    assert str(REPO) not in json.dumps(content)
    assert ("as there is no torch" in printed) == (name == "stages")
