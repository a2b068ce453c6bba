"""utils.remote: inputs and outputs by fsspec's URLs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import REPO

import face_reenactment
from batch.ledger import describe, intact
from bfm.bfm import PROVISIONED_MODEL
from utils.errors import InputError, OutputError
from utils.footage import open_footage
from utils.image import read_image
from utils.io import WholeFiles, read_bytes, write_all
from utils.remote import is_url

INPUTS = REPO / "examples" / "inputs"


@pytest.fixture
def memory():
    """fsspec's storage in memory, empty."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    yield storage
    storage.store.clear()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("s3://bucket/a.jpg", True),
        ("memory://a", True),
        ("a.jpg", False),
        ("/a:b//c.jpg", False),
        ("C:\\a.jpg", False),
        ("odd name: //x://y", False),
    ],
)
def test_names(name, url):
    assert is_url(name) == url


def test_bytes_there_and_back(memory, tmp_path):
    local = str(tmp_path / "b.bin")
    contents = {"memory://new/folder/a.bin": b"far", local: b"near"}
    assert write_all(contents) == set()
    assert write_all(contents) == set(contents)
    assert [read_bytes(path) for path in contents] == [b"far", b"near"]


def test_nothing_near_is_replaced_where_the_far_fails(memory, tmp_path):
    local = tmp_path / "b.bin"
    local.write_bytes(b"old")
    with pytest.raises(OutputError, match="nowhere://a"):
        write_all({"nowhere://a": b"", str(local): b"new"})
    assert local.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_what_is_missing_or_unknown_is_one_line(memory):
    for url in ("memory://none.png", "nowhere://a.png"):
        with pytest.raises(InputError, match=url) as caught:
            read_image(url)
        assert "\n" not in str(caught.value)


def test_a_ledger_knows_far_outputs(memory):
    memory.pipe_file("/a.bin", b"12345")
    known = {"memory://a.bin": describe("memory://a.bin")}
    assert intact(known)
    memory.pipe_file("/a.bin", b"12346")
    assert not intact(known)
    memory.rm("/a.bin")
    assert not intact(known)


def test_the_program_reads_and_writes_urls(memory, tmp_path):
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    for name in ("astronaut.png", "grace_hopper.jpg"):
        memory.pipe_file(f"/in/{name}", (INPUTS / name).read_bytes())
    far = ["-s", "memory://in/astronaut.png", "-t", "memory://in/grace_hopper.jpg",
           "--opt", "3d,depth", "-o", "memory://out/r.png",
           "--save_params", "memory://out/p.json"]
    near = ["-s", str(INPUTS / "astronaut.png"), "-t", str(INPUTS / "grace_hopper.jpg"),
            "-o", str(tmp_path / "r.png")]
    assert face_reenactment.main(far) == 0 and face_reenactment.main(near) == 0
    assert sorted(memory.ls("/out", detail=False)) == [
        "/out/p.json", "/out/r_3d.png", "/out/r_depth.png"]
    same = read_image("memory://out/r_3d.png"), read_image(tmp_path / "r.png")
    assert np.array_equal(*same)
    assert json.loads(memory.cat_file("/out/p.json"))["source"]["image"] == "astronaut.png"
    replay = ["-s", "memory://out/p.json", "-t", near[3], "-o", str(tmp_path / "again.png")]
    assert face_reenactment.main(replay) == 0
    assert np.array_equal(read_image(tmp_path / "again.png"), same[0])


@pytest.mark.parametrize("name", ["http://a/b.mp4", "camera:http://a/b.mp4", "s3://a/b.mkv"])
def test_footage_from_afar_is_refused(name):
    with pytest.raises(InputError, match=r"cannot read \w+://a/b.*: .*; download it"):
        open_footage(name)


@pytest.mark.parametrize("ending", ["mp4", "json", "%03d.png"])
def test_what_moves_goes_to_no_url(tmp_path, monkeypatch, capsys, ending):
    monkeypatch.chdir(tmp_path)
    far, kind = f"memory://a.{ending}", "arkit" if ending == "json" else "3d"
    args = ["-s", INPUTS / "greeting.csv", "-t", INPUTS / "mona_lisa.jpg", "--opt", kind, "-o", far]
    assert face_reenactment.main([*map(str, args)]) == 6
    assert capsys.readouterr().err.startswith(f"error: cannot write {far}: ")
    with pytest.raises(OutputError), WholeFiles() as files:
        files.new(far)
    assert not list(tmp_path.iterdir())
