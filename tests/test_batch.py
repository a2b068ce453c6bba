"""Batches: rows, claims, the ledger, workers that die, and what is kept of pictures."""

from __future__ import annotations

import io
import os
import signal
from functools import partial

import cv2
import numpy as np
import pytest
from conftest import REPO

import face_reenactment
from batch.cache import Recent, RememberingReenactor, Sight, SightFolder
from batch.claims import count_distinct, distinct
from batch.ledger import Ledger, describe, intact, read_entries
from batch.manifest import Manifest, Pairs, Row
from batch.options import row_reader
from batch.pool import Died, run_tasks, usable_cores
from batch.run import Tally
from bfm.bfm import PROVISIONED_MODEL
from FaceBoxes.turned import Upright
from models.backends import OnnxBackend
from reenactment.faces import Face, FrameInfo
from reenactment.outputs import check_pattern, fill_pattern
from utils.errors import InputError, UsageError

INPUTS = REPO / "examples" / "inputs"

# --- rows


CSV = "\ufeffsource,target,exp_gain,who\na.png,b.png,1.5,\n\"c,d.png\",e.png,,Ann\n"
JSONL = '{"source": "a.png", "target": "b.png", "exp_gain": 1.5, "who": null}\n\n' \
        '{"source": "c,d.png", "target": "e.png", "who": "Ann"}\n'
CELLS = [{"source": "a.png", "target": "b.png"}, {"source": "c,d.png", "target": "e.png",
                                                 "who": "Ann"}]


def cells_of(rows):
    found = [dict(row.cells) for row in rows]
    assert float(found[0].pop("exp_gain")) == 1.5
    return found


@pytest.mark.parametrize(("name", "text"), [("m.csv", CSV), ("m.jsonl", JSONL), ("M.CSV", CSV)])
def test_manifests(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    rows = Manifest(str(path))
    assert cells_of(rows) == CELLS == cells_of(rows)  # it can be read again
    assert [row.number for row in rows] == [1, 2]


@pytest.mark.parametrize("text", [CSV[1:], JSONL])
def test_rows_from_stdin(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert cells_of(Manifest("-")) == CELLS


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    columns = {"source": ["a.png", "c,d.png"], "target": ["b.png", "e.png"],
               "exp_gain": [1.5, None], "who": [None, "Ann"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "m.parquet")
    assert cells_of(Manifest(str(tmp_path / "m.parquet"))) == CELLS
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"bad\.parquet"):
        list(Manifest(str(tmp_path / "bad.parquet")))


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("m.csv", "source,target\na,b,c\n", "2 columns"),  # a cell too many
        ("m.jsonl", '{"source": "a"\n', "JSON"),  # cut
        ("m.jsonl", "[1, 2]\n", "object"),  # no row
    ],
)
def test_a_row_that_cannot_be_read_is_only_that_row(tmp_path, name, text, word):
    good = {"m.csv": "x,y\n", "m.jsonl": '{"source": "x", "target": "y"}\n'}[name]
    path = tmp_path / name
    path.write_text(text + good)
    bad, fine = Manifest(str(path))
    assert word in bad.problem and not bad.cells
    assert fine.cells == {"source": "x", "target": "y"} and not fine.problem


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("m.txt", b"", UsageError),  # another ending
        ("m.csv", None, InputError),  # no such file
        ("m.csv", b"source,target\n\xff\xfe\n", InputError),  # no UTF-8
    ],
)
def test_manifests_that_are_none(tmp_path, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=name):
        list(Manifest(str(tmp_path / name)))


@pytest.fixture
def folders(tmp_path):
    for name in ("s/b.png", "s/a.JPG", "s/c.json", "s/notes.txt", "s/.hidden.png",
                 "t/1.png", "t/2.png", "t/3.png", "one/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "targets", "how", "pairs"),
    [
        ("s", "t", "zip", ["a1", "b2", "c3"]),
        ("s", "t", "product", ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]),
        ("one", "t", "one-to-many", ["x1", "x2", "x3"]),
        ("s/a.JPG", "t/*.png", "one-to-many", ["a1", "a2", "a3"]),
        ("*/a.JPG", "t/[12].png", "product", ["a1", "a2"]),
    ],
)
def test_pairs(folders, sources, targets, how, pairs):
    rows = Pairs(str(folders / sources), str(folders / targets), how)
    names = [os.path.basename(row.cells["source"])[0] + os.path.basename(row.cells["target"])[0]
             for row in rows]
    assert names == pairs


@pytest.mark.parametrize(
    ("sources", "targets", "how", "word"),
    [
        ("s", "one", "zip", "3 sources, but 1 targets"),
        ("s", "t", "one-to-many", "3 sources"),
        ("nothing*", "t", "product", "matches no picture"),
    ],
)
def test_what_cannot_be_paired(folders, sources, targets, how, word):
    with pytest.raises(UsageError, match=word):
        Pairs(str(folders / sources), str(folders / targets), how)


# --- names


def test_patterns():
    pattern = "out/{shard}/{index:06d}_{source_name}_{target_name}.{opt}.{ext}"
    check_pattern(pattern, ["3d", "obj"])
    filled = fill_pattern(pattern, ["3d", "obj"], "x/a b.png", "y/c.jpg", 12345)
    stem = "out/00012/012345_a b_c"
    assert filled == {"3d": f"{stem}.3d.jpg", "obj": f"{stem}.obj.obj"}


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("{index}_{sauce}.{ext}", "sauce"),  # unknown key
        ("{index", "expected"),  # no closing brace
        ("{index.real}.{opt}.{ext}.{0}", "known keys"),  # a number
        ("{opt}.{ext}", "all rows one name"),
        ("{index}.jpg", "all kinds one name"),
        ("{index}_{opt}.txt", "cannot hold"),
    ],
)
def test_bad_patterns(pattern, word):
    with pytest.raises(UsageError, match=word):
        check_pattern(pattern, ["3d", "depth"])


def rows_of(*cells):
    return [Row(number, cell) for number, cell in enumerate(cells, 1)]


def pair(source="a.png", target="b.png", **cells):
    return {"source": source, "target": target, **cells}


@pytest.mark.parametrize(
    ("pattern", "cells", "collide"),
    [
        ("{index}.{ext}", [pair(), pair()], False),
        ("{source_name}.{ext}", [pair(), pair("c.png")], False),
        ("{source_name}.{ext}", [pair(), pair("x/a.jpg")], True),  # one stem
        ("{index}.{ext}", [pair(output="o.jpg"), pair(output="./x/../o.jpg")], True),
        ("{index}.{ext}", [pair(output="o/"), pair("c.png", output="o/")], False),
        ("{index}.{ext}", [pair(output="o/"), pair(output="o/")], True),
        ("{index}.{ext}", [pair(save_params="p.json"), pair(save_params="p.json")], True),
        ("{source_name}.{ext}", [pair(), pair(target="c.png")], True),  # no name of a target
        ("{source_name}_{target_name}.{ext}", [pair(), pair("x_a.png", "y/b.jpg")], False),
        ("{target_name}.{ext}", [pair(), pair(target="b.mp4")], False),  # a picture, and a video
        ("{index}.{ext}", [pair(output="u.png", opt="photo,mask"),
                           pair(output="u_mask.png", opt="mask")], True),
        ("{index}.{ext}", [pair(output="u.png", opt="photo"), pair(output="link/u.png")], True),
        ("{index}.{ext}", [pair(output="u.xyz"), pair(output="u.xyz")], True),  # both will fail
        ("{index}.{ext}", [pair(opt="no such kind"), pair()], False),
        ("{index}.{ext}", [pair(output="c.png"), pair("c.png")], True),  # reads a result
        ("{index}.{ext}", [pair("c.png"), pair(output="link/c.png")], True),  # writes an input
        ("{source_name}.{ext}", [pair("c.jpg"), pair("x/d.jpg", "c.jpg")], True),
    ],
)
def test_a_row_is_in_the_way_of_another(pattern, cells, collide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    base = face_reenactment.make_parser().parse_args(["--batch", "m.csv"])
    base.output_pattern, rows = pattern, rows_of(*cells)
    problems = [bool(row.problem) for row in distinct(rows, base)]
    assert problems == [False, collide]
    if collide:
        with pytest.raises(UsageError, match="row 2: (writes|reads) .* row 1: "):
            count_distinct(rows, base)
    else:
        assert count_distinct(rows, base) == 2


# --- jobs


@pytest.fixture(scope="module")
def read():
    parser = face_reenactment.make_parser()
    base = parser.parse_args(["--batch", "m.csv", "--opt", "depth", "--alpha", "0.25"])
    return row_reader(parser, base, face_reenactment.make_job)


def test_cells_come_before_the_options_of_the_run(read):
    job, extra = read(Row(3, pair(**{"exp-gain": "1.5", "with_bg_flag": True, "who": "Ann"})))
    assert (job.source, job.target, job.exp_gain) == ("a.png", "b.png", 1.5)
    assert job.look.alpha == 0.25 and job.look.over_picture
    assert list(job.outputs) == ["depth"] and "3_a_to_b_depth.jpg" in job.outputs["depth"]
    assert extra == {"who": "Ann"}
    job, _ = read(Row(4, pair(opt="3d,ply", output="x.png", target="-odd name.png")))
    assert job.outputs == {"3d": "x_3d.png", "ply": "x_ply.ply"} and job.target == "-odd name.png"


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        ({"target": "b.png"}, "source_img_fp"),  # no source
        (pair(exp_gain="much"), "exp_gain"),  # no number
        (pair(opt="hologram"), "hologram"),  # unknown kind
        (pair(target_face="leftmost"), "target_face"),  # unknown choice
        (pair(config="other.yml"), "whole run"),  # the models are open
        (pair(workers=3), "whole run"),
        (pair(output="b.png"), "input"),  # would replace its target
    ],
)
def test_rows_that_ask_for_what_cannot_be(read, cells, word):
    with pytest.raises(UsageError, match=word):
        read(Row(1, cells))


# --- the ledger


def entry(number, **more):
    return {"digest": f"{number:016x}" + "0" * 48, "status": "done", "row": number, **more}


def test_the_last_entry_of_a_digest_counts(tmp_path):
    path = tmp_path / "new" / "l.jsonl"
    with Ledger(path) as ledger:
        for number in range(2000):
            ledger.append(entry(number, text="ü" * (number % 50), first=True))
        ledger.append(entry(7, first=False))
        assert ledger.last(entry(7)["digest"]) is None  # written by this run
    with Ledger(path, resume=True) as ledger:
        assert len(ledger) == 2001
        assert ledger.last(entry(7)["digest"]) == entry(7, first=False)
        assert ledger.last(entry(1999)["digest"])["first"]
        assert ledger.last(entry(2000)["digest"]) is None
        # the same head, another digest
        assert ledger.last(entry(7)["digest"][:-1] + "1") is None


def test_a_torn_last_line_is_passed_over(tmp_path):
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append(entry(1))
        ledger.append(entry(2))
    whole = path.read_bytes()
    for cut in range(len(whole) // 2 + 2, len(whole)):
        path.write_bytes(whole[:cut])
        with Ledger(path, resume=True) as ledger:
            assert ledger.last(entry(1)["digest"])
            ledger.append(entry(3))
        assert [e["row"] for e in read_entries(path)][-1] == 3
        assert {e["row"] for e in read_entries(path)} <= {1, 2, 3}


def test_ledgers_are_not_mixed_up(tmp_path):
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append(entry(1))
        with pytest.raises(UsageError, match="in use"):
            Ledger(path, resume=True)
    with pytest.raises(UsageError, match="--resume"):
        Ledger(path)
    path.write_text("source,target\n")
    with pytest.raises(InputError, match="no ledger"):
        Ledger(path, resume=True)


def test_outputs_that_were_changed_or_deleted_are_noticed(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    known = {str(path): describe(str(path))}
    assert intact(known)
    os.utime(path, ns=(1, 1))
    assert intact(known)  # touched, and the same
    path.write_bytes(b"12346")
    assert not intact(known)
    path.unlink()
    assert not intact(known)


def test_tally():
    tally = Tally()
    for row, code in enumerate((0, 0, 3, 3, 4, 99), 1):
        status = "failed" if code else "done"
        tally.count({"status": status, "code": code, "row": row, "message": f"code {code}"})
    tally.skip({"status": "done"})
    assert (tally.rows, tally.failed) == (7, 4)
    assert str(tally) == ("2 done, 1 done before, 2 failed (unreadable), 1 failed (no face), "
                          "1 failed (unexpected)")
    assert tally.first == "row 3: code 3"


# --- workers


def start_squares(folder):
    """Squares; a negative task kills its worker, -1 only the first one that has it."""

    def work(task):
        if task == -1 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task < -1:
            os._exit(7)
        return task * task

    return work


def fail_to_start():
    raise InputError("no model")


def test_every_task_once_and_dead_workers_replaced(tmp_path):
    taken = []

    def tasks():
        for task in [1, 2, -1, 3, -2, 4]:
            taken.append(task)
            yield task

    results, mourned = {}, []
    start = partial(start_squares, tmp_path)
    for task, result in run_tasks(tasks(), mourned.append, start, workers=2):
        assert task not in results
        results[task] = result
        assert len(taken) <= len(results) + 3  # no more than are at work
    died = results.pop(-2)
    assert sorted(mourned) == [-2, -2, -1]
    assert results == {1: 1, 2: 4, -1: 1, 3: 9, 4: 16}
    assert isinstance(died, Died) and "exit code 7" in str(died)
    assert "signal 9" in str(Died.with_code(-9))


def test_an_error_of_the_start_ends_the_run():
    with pytest.raises(InputError, match="no model"):
        list(run_tasks([1, 2, 3], print, fail_to_start, workers=1))


def test_no_tasks_start_no_workers():
    assert list(run_tasks([], print, fail_to_start, workers=2)) == []


def test_usable_cores():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


# --- what is kept


def test_recent():
    recent = Recent(10)
    for key in "abc":
        recent.put(key, key.upper(), 4)
    assert [recent.get(key) for key in "abc"] == [None, "B", "C"]
    recent.get("b")
    recent.put("d", "D", 4)
    assert [recent.get(key) for key in "bcd"] == ["B", None, "D"]
    recent.put("b", "B2", 6)
    recent.put("e", "E", 99)  # larger than all of it
    assert recent.get("e") is None


def sight():
    rng = np.random.default_rng(0)
    found = Sight(Upright(3, [[1.1, 2, 3, 4, 0.9], [5, 6, 7, 8, 0.8]]))
    pose, shape, expression = (
        rng.normal(size=size).astype(np.float32) for size in ((3, 4), (6,), (1, 4))
    )
    found.faces[(1,)] = [Face(FrameInfo("a", (9, 9)), [0.1, 0, 9, 9], pose, shape, expression)]
    return found


def test_sights_come_back_as_they_were():
    (face,), again = sight().faces[(1,)], Sight.decode(sight().encode())
    (copy,) = again.faces[(1,)]
    assert again.seen == sight().seen and copy.box is None
    assert copy.roi_box == face.roi_box
    for part, same in zip(face.parts, copy.parts):
        assert np.array_equal(part, same) and same.dtype == np.float32


def test_damaged_and_foreign_sights_are_as_if_not_there(tmp_path):
    folder = SightFolder(tmp_path, "models", limit=1e9)
    folder.put("key", sight())
    assert folder.get("key").seen == sight().seen
    assert folder.get("other") is None
    assert SightFolder(tmp_path, "other models").get("key") is None
    (file,) = tmp_path.glob("*/*.json")
    for damage in (b"", b"{", b"[]", b'{"format": 0}', file.read_bytes()[:-9]):
        file.write_bytes(damage)
        assert folder.get("key") is None


def test_the_cache_is_bounded_and_what_was_used_last_stays(tmp_path):
    folder = SightFolder(tmp_path, "models", limit=3.5 * len(sight().encode()))
    for number in range(6):
        folder.put(str(number), sight())
        os.utime(folder._place(str(number)), (number, number))
    folder.get("0")
    folder.prune()
    assert [number for number in range(6) if folder.get(str(number))] == [0, 4, 5]


@pytest.fixture
def network_calls(monkeypatch):
    shapes, call = [], OnnxBackend.__call__

    def counted(self, batch):
        shapes.append(batch.shape)
        return call(self, batch)

    monkeypatch.setattr(OnnxBackend, "__call__", counted)
    return shapes


def test_a_picture_is_looked_at_once(tmp_path, network_calls):
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    smile = cv2.imread(str(INPUTS / "astronaut.png"))
    group = str(tmp_path / "group.png")
    cv2.imwrite(group, np.hstack([smile, smile[:, ::-1]]))
    first = RememberingReenactor(folder=tmp_path / "cache")
    seen = first.look(group, "2")
    calls = len(network_calls)
    assert first.look(group, "2").found.faces[0].roi_box == seen.found.faces[0].roi_box
    assert len(network_calls) == calls
    both = first.look(group, "all")
    assert network_calls[calls:] == [(2, 3, 120, 120)]  # regressed anew, found once
    second = RememberingReenactor(folder=tmp_path / "cache")
    again = second.look(group, "all")
    assert len(network_calls) == calls + 1
    assert again.found.numbers == both.found.numbers == (1, 2)
    for face, same in zip(both.found.faces, again.found.faces):
        assert face.frame == same.frame == FrameInfo("group.png", (1024, 512))
        for part, kept in zip(face.parts, same.parts):
            assert np.array_equal(part, kept)
    plain = super(RememberingReenactor, first).look(group, "all")
    assert plain.found.numbers == (1, 2)
    assert np.array_equal(plain.found.faces[1].expression, again.found.faces[1].expression)


def test_another_picture_under_the_same_name_is_another(tmp_path):
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    path, reenactor = tmp_path / "a.png", RememberingReenactor()
    rois = []
    for name in ("astronaut.png", "grace_hopper.jpg"):
        cv2.imwrite(str(path), cv2.imread(str(INPUTS / name)))
        rois.append(reenactor.look(path).found.faces[0].roi_box)
    assert rois[0] != rois[1]
