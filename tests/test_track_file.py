"""reenactment.track_file: tracks written, read back, adapted, and refused."""

from __future__ import annotations

import csv
import json
from dataclasses import fields, replace

import numpy as np
import pytest

from bfm.params import ParamLayout
from bfm.regions import REGIONS
from reenactment.param_file import encode_params, is_param_file
from reenactment.track import Track
from reenactment.track_file import (
    COLUMNS,
    FORMAT,
    SUFFIXES,
    encode_tracks,
    is_track_file,
    load_tracks,
)
from reenactment.weights import is_weights_file
from utils.errors import InputError

LAYOUT = ParamLayout(6, 4)


def make_track(number=1, count=5, rows=1, known=True):
    rng = np.random.default_rng(number)
    corners = rng.uniform(0, 99, (count, 2))
    return Track(
        number=number,
        name="größe, 1.mp4",
        size=(640, 480),
        duration=count / 30,
        frames=np.cumsum(rng.integers(1, 3, count)),
        seconds=np.cumsum(rng.uniform(0.01, 0.1, count)),
        roi_boxes=np.concatenate([corners, corners + 100], axis=1),
        poses=rng.normal(size=(count, 3, 4)).astype(np.float32),
        shapes=(1e5 * rng.normal(size=(count, 6))).astype(np.float32),
        expressions=rng.normal(size=(count, rows, 4)).astype(np.float32),
        scores=rng.uniform(size=(count, 52)).astype(np.float32) if known else None,
        errors=rng.uniform(1, 2, count).astype(np.float32) if known else None,
    )


def write(path, *tracks):
    path.write_bytes(encode_tracks(path.suffix, tracks))
    return path


def assert_same(read, written):
    for field in fields(Track):
        one, other = getattr(read, field.name), getattr(written, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == pytest.approx(other) if field.name == "duration" else one == other


every_suffix = pytest.mark.parametrize("suffix", [*SUFFIXES, ".JSON"])


@every_suffix
@pytest.mark.parametrize(
    "tracks",
    [
        [make_track()],
        [make_track(1), make_track(2, 9)],  # two people, not in the same frames
        [make_track(1, 1)],  # a single frame
        [make_track(rows=len(REGIONS))],  # an expression for each region
        [make_track(known=False)],  # a network that tells neither scores nor errors
        [make_track(1), make_track(2, known=False)],  # only of one of them
    ],
)
def test_round_trip(tmp_path, suffix, tracks):
    path = write(tmp_path / f"a{suffix}", *tracks)
    assert is_track_file(path)
    read = load_tracks(path, LAYOUT)
    assert len(read) == len(tracks)
    for one, other in zip(sorted(read, key=lambda track: track.number), tracks):
        assert_same(one, other)


@every_suffix
def test_a_shape_that_is_always_the_same_is_kept_once(tmp_path, suffix):
    raw = make_track(count=40)
    steady = replace(raw, shapes=np.broadcast_to(raw.shapes[0], raw.shapes.shape))
    path = write(tmp_path / f"a{suffix}", steady)
    assert_same(load_tracks(path, LAYOUT)[0], steady)
    if suffix == ".json":
        assert len(json.loads(path.read_bytes())["tracks"][0]["shape"]) == 1


@pytest.mark.parametrize("layout", [ParamLayout(9, 2), ParamLayout(3, 7)])
def test_adaptation_to_another_layout(tmp_path, layout):
    stored = make_track()
    loaded = load_tracks(write(tmp_path / "a.npz", stored), layout)[0]
    assert loaded.shapes.shape[1] == layout.shape_dim
    for mine, theirs in ((loaded.shapes, stored.shapes), (loaded.expressions, stored.expressions)):
        common = min(mine.shape[-1], theirs.shape[-1])
        assert np.array_equal(mine[..., :common], theirs[..., :common])
        assert not mine[..., common:].any()


def test_a_csv_has_a_row_for_every_frame_and_person(tmp_path):
    one, other = make_track(1), make_track(2, known=False)
    path = write(tmp_path / "a.csv", one, other)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10 and tuple(rows[0])[: len(COLUMNS)] == COLUMNS
    assert [int(row["frame"]) for row in rows] == sorted([*one.frames, *other.frames])
    mine = [row for row in rows if row["number"] == "1"]
    np.testing.assert_array_equal(np.float32([row["pose_1_3"] for row in mine]), one.poses[:, 1, 3])
    assert {row["error"] == "" for row in rows if row["number"] == "2"} == {True}


def test_columns_may_come_in_any_order(tmp_path):
    path = write(tmp_path / "a.csv", make_track())
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [*COLUMNS, *sorted(set(rows[0]) - set(COLUMNS), reverse=True)]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    assert_same(load_tracks(path, LAYOUT)[0], make_track())


def test_other_files_are_told_apart(tmp_path):
    face = make_track()[0]
    (tmp_path / "a.json").write_bytes(encode_params(".json", {}, face, [face], [face]))
    (tmp_path / "a.npz").write_bytes(encode_params(".npz", {}, face, [face], [face]))
    (tmp_path / "b.csv").write_text("Timecode,BlendShapeCount,jawOpen\n")
    (tmp_path / "b.json").write_text('{"jawOpen": 1}')
    (tmp_path / "c.json").write_bytes(b"[" * 100_000)
    (tmp_path / "c.npz").write_bytes(b"no archive")
    (tmp_path / "a.png").write_bytes(b"")
    assert not [path for path in tmp_path.iterdir() if is_track_file(path)]
    assert not is_track_file(tmp_path / "absent.json")
    path = write(tmp_path / "d.json", make_track())
    assert is_param_file(path) and not is_weights_file(path)


def test_a_track_is_told_by_what_it_says_alone(tmp_path, monkeypatch):
    path = write(tmp_path / "a.json", make_track())
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=2))
    monkeypatch.setattr(json, "loads", None)  # nothing is parsed twice
    assert is_track_file(path)


def damaged(change):
    """The JSON of a good file after `change` of its track, as bytes."""

    def make():
        content = json.loads(encode_tracks(".json", [make_track()]))
        change(content["tracks"][0])
        return json.dumps(content).encode()

    return make


def entry(**values):
    return damaged(lambda track: track.update(values))


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",  # empty
        lambda: b"{",  # cut
        lambda: b"[" * 100_000,  # nested beyond reason
        lambda: b"[1]",  # a list
        lambda: json.dumps({"format": FORMAT}).encode(),  # no tracks
        lambda: json.dumps({"format": FORMAT, "tracks": []}).encode(),  # nobody
        lambda: json.dumps({"format": FORMAT, "tracks": [3]}).encode(),  # no person
        lambda: json.dumps({"format": "other", "tracks": [{}]}).encode(),  # another program's
        damaged(lambda track: track.pop("pose")),  # no pose
        damaged(lambda track: track["pose"].pop()),  # of too few frames
        damaged(lambda track: track["frames"].reverse()),  # backwards
        entry(frames=[1, 1, 2, 3, 4]),  # twice the same
        entry(seconds=[0, 1, 2, 1, 4]),  # back in time
        entry(seconds=[]),  # no frames
        entry(seconds=[0, 1, 2, 3, float("nan")]),  # not a number
        entry(pose=np.zeros((5, 3, 4)).tolist()),  # no rotation
        entry(roi_box=[[5, 5, 5, 9]] * 5),  # no pixel wide
        entry(shape=[[1e300] * 6]),  # beyond float32
        entry(shape=[[1, 2], [3]]),  # ragged
        entry(expression=[["a"] * 4] * 5),  # text
        entry(expression=[[]] * 5),  # nothing
        entry(regions=["ears"]),  # of no face
        entry(scores=[[1, 2]] * 5),  # too few
        entry(number="one"),  # no number
        entry(duration=None),  # none
        entry(size=5),  # no pair
    ],
)
def test_damaged_json(tmp_path, make):
    path = tmp_path / "bad.json"
    path.write_bytes(make())
    with pytest.raises(InputError, match="bad.json") as caught:
        load_tracks(path, LAYOUT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("pose_0_0", "pose_9_9"),  # a gap
        lambda text: text[: len(text) // 2],  # cut in a row
        lambda text: "\n".join(text.splitlines()[:1]),  # no rows
        lambda text: "a,b\n1,2",  # another table
        lambda text: text.replace("number,", "n,"),  # nobody has a number
        lambda text: text + "1" * 200_000,  # longer than a field may be
    ],
)
def test_damaged_csv(tmp_path, change):
    path = write(tmp_path / "bad.csv", make_track())
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match="bad.csv"):
        load_tracks(path, LAYOUT)


def test_damaged_npz(tmp_path):
    data = write(tmp_path / "good.npz", make_track()).read_bytes()
    path = tmp_path / "bad.npz"
    for content in (b"", b"text", data[:200], data[:-30]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="bad.npz"):
            load_tracks(path, LAYOUT)
    np.savez(path, format=FORMAT, **{"tracks/0/pose": np.zeros(3)})
    with pytest.raises(InputError, match="bad.npz"):
        load_tracks(path, LAYOUT)


@every_suffix
def test_missing(tmp_path, suffix):
    with pytest.raises(InputError, match=f"absent{suffix}"):
        load_tracks(tmp_path / f"absent{suffix}", LAYOUT)
