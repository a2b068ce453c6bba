"""utils.io: pickles of strangers, and writing whole files or none."""

from __future__ import annotations

import contextlib
import os
import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils import io
from utils.errors import AssetError, InputError, OutputError
from utils.io import (
    WholeFiles,
    _dump,
    _load,
    encode_npz,
    load_arrays,
    map_arrays,
    read_bytes,
    write_all,
    write_bytes,
)

PLAIN = {
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "scalar": np.float64(1.5),
    "bytes": b"\x00\xff",
    "nested": [1, (2.5, None, True), {"x"}, "text"],
}


class Call:
    """Pickles into a call of `function`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol))
    loaded = load_arrays(path)
    assert loaded.keys() == PLAIN.keys()
    for name in ("array", "fortran"):
        assert loaded[name].dtype == PLAIN[name].dtype
        assert np.array_equal(loaded[name], PLAIN[name])
    for name in ("scalar", "bytes", "nested"):
        assert loaded[name] == PLAIN[name]


def test_pickle_of_python_2(tmp_path):
    """Keys of a Python 2 str pickle, as the original's older files have, become text."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"(dp0\nS'mean'\np1\nI3\ns.")
    assert load_arrays(path) == {"mean": 3}


def malicious(victim):
    """Pickles that would create the file `victim`, by the way they try it."""
    code = f"open({str(victim)!r}, 'w')"
    gadget = np.empty(1, object)
    gadget[0] = Call(eval, code)
    return {
        "os.system": pickle.dumps(Call(os.system, f"touch {victim}")),
        "eval": pickle.dumps(Call(eval, code)),
        "exec, protocol 0": pickle.dumps(Call(exec, code), protocol=0),
        "open": pickle.dumps(Call(open, str(victim), "w")),
        "object array": pickle.dumps({"u": gadget}),
        "in a list": pickle.dumps([1, {"x": (Call(eval, code),)}]),
        "numpy function": pickle.dumps(Call(np.save, str(victim), np.zeros(1))),
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x94\x93.",
        "builtins.getattr": pickle.dumps(Call(getattr, {}, "clear")),
        "other codec": b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        "persistent id": b"Pevil\n.",
        "extension code": b"\x80\x02\x82\x01.",
        "instance": b"(ios\nsystem\n.",
    }


@pytest.mark.parametrize("way", malicious("x"))
def test_malicious_pickles(tmp_path, way):
    victim, path = tmp_path / "victim.npy", tmp_path / "a.pkl"
    path.write_bytes(malicious(victim)[way])
    with pytest.raises(AssetError, match="a.pkl"):
        load_arrays(path)
    assert not victim.exists()


def test_object_arrays_of_npy_and_npz(tmp_path):
    gadget = np.array([Call(os.system, f"touch {tmp_path / 'victim'}")], object)
    np.save(tmp_path / "a.npy", gadget, allow_pickle=True)
    np.savez(tmp_path / "a.npz", u=gadget)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(AssetError):
            load_arrays(tmp_path / name)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("suffix", [".pkl", ".npy", ".npz"])
def test_truncated_files(tmp_path, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".npz":
        np.savez(whole, x=np.arange(3))
    else:
        _dump(whole, np.arange(3))
    data = whole.read_bytes()
    load_arrays(whole)
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(AssetError):
            load_arrays(cut)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_pickles_fail_in_one_way(tmp_path, changes):
    data = bytearray(pickle.dumps({"u": np.arange(4, dtype=np.float32), "k": [1, "x"]}))
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    with contextlib.suppress(AssetError):
        load_arrays(path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.pkl", b""),  # empty
        ("a.pkl", b"\x89PNG\r\n"),  # a picture
        ("a.npy", b"text"),  # no numpy file
        ("a.npz", b"text"),  # no archive
        ("a.txt", b"1 2 3"),  # unknown ending
        ("a.pkl", b"cbuiltins\nbytearray\n(L4611686018427387904L\ntR."),  # exabytes
    ],
)
def test_files_that_are_no_data(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AssetError, match=name):
        load_arrays(tmp_path / name)


def test_missing_file(tmp_path):
    with pytest.raises(AssetError, match=r"absent\.npy"):
        load_arrays(tmp_path / "absent.npy")


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(300) % 7)
    data = path.read_bytes()
    for place in range(0, len(data), 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with contextlib.suppress(AssetError):  # some bytes, such as dates, may change unnoticed
            load_arrays(path)


@pytest.mark.parametrize("name", ["a.npy", "a.pkl"])
def test_dump_and_load_invert(tmp_path, name):
    _dump(str(tmp_path / name), PLAIN["array"])
    assert np.array_equal(_load(str(tmp_path / name)), PLAIN["array"])


def test_dump_refuses_other_endings(tmp_path):
    with pytest.raises(ValueError):
        _dump(tmp_path / "a.txt", PLAIN["array"])
    assert not any(tmp_path.iterdir())


def test_write_creates_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    assert write_bytes(path, b"one") == path
    write_bytes(str(path), memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = write_bytes(tmp_path / "file", b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_symlink_keeps_pointing(tmp_path):
    real = write_bytes(tmp_path / "real", b"old")
    link = tmp_path / "link"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("this system has no symbolic links for us")
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_places_that_cannot_be_written(tmp_path):
    write_bytes(tmp_path / "file", b"")
    (tmp_path / "folder").mkdir()
    places = [tmp_path / "folder", tmp_path / "file" / "below", tmp_path / ("x" * 300)]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        places.append(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    for place in places:
        with pytest.raises(OutputError) as caught:
            write_bytes(place, b"data")
        assert str(place) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["nul\0", "\ud800", "nul\0/below"])
def test_names_that_cannot_be(tmp_path, name):
    for act in (lambda path: write_bytes(path, b""), lambda path: write_all({path: b""})):
        with pytest.raises(OutputError) as caught:
            act(f"{tmp_path}/{name}")
        assert str(caught.value).isprintable()
    assert not any(tmp_path.iterdir())


def test_several_files_appear_together(tmp_path):
    old = write_bytes(tmp_path / "old", b"1")
    new = tmp_path / "folder" / "new"
    with WholeFiles() as files:
        files.new(old).write_bytes(b"2")
        files.new(new).write_bytes(b"2")
        assert old.read_bytes() == b"1" and not new.exists()
    assert old.read_bytes() == new.read_bytes() == b"2"
    assert files.replaced == [old]
    assert sorted(tmp_path.rglob("*")) == [new.parent, new, old]


def test_write_all_says_what_it_replaces(tmp_path):
    paths = [str(tmp_path / name) for name in "abc"]
    assert write_all({paths[1]: b"1"}) == set()
    assert write_all(dict.fromkeys(paths, memoryview(b"2"))) == {paths[1]}
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"2"] * 3


@pytest.mark.parametrize(
    "second",
    [
        "file/below",  # below a file
        "folder",  # a folder
        "./first",  # what is written already
        "nul\0",
    ],
)
def test_where_one_cannot_be_written_none_is(tmp_path, second):
    (tmp_path / "folder").mkdir()
    for name in ("first", "file"):
        write_bytes(tmp_path / name, b"old")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="cannot write"):
        write_all({f"{tmp_path}/{name}": b"new" for name in ("first", "third", second)})
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "first").read_bytes() == b"old"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ValueError("x")])
def test_what_stops_the_making_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)), WholeFiles() as files:
        files.new(tmp_path / "a").write_bytes(b"1")
        files.new(tmp_path / "b")
        raise error
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_pipes_are_read_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_CHUNK", 1000)
    content = bytes(range(256)) * 300
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[content])
    writer.start()
    assert read_bytes(path) == content
    writer.join()


def test_what_has_no_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_CHUNK", 1000)
    monkeypatch.setattr(io, "MAX_INPUT", 5000)
    assert len(read_bytes(write_bytes(tmp_path / "a", bytes(5000)))) == 5000
    with pytest.raises(InputError, match="more than"):
        read_bytes(write_bytes(tmp_path / "a", bytes(5001)))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="denied"):
            write_bytes(tmp_path / "file", b"data")
    finally:
        tmp_path.chmod(0o700)


ARRAYS = {
    "matrix": np.arange(12.0).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "word": np.array("text"),
    "empty": np.zeros((0, 3), np.float32),
    "nested/word": np.array("other text"),
    "dotted.name": np.zeros(1),
}


def test_encoded_archives_are_aligned_and_numpy_reads_them(tmp_path):
    path = write_bytes(tmp_path / "a.npz", encode_npz(ARRAYS))
    mapped = map_arrays(path)
    for arrays in (load_arrays(path), mapped):
        assert list(arrays) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert np.array_equal(arrays[name], array) and arrays[name].dtype == array.dtype
    assert all(array.ctypes.data % 64 == 0 for array in mapped.values())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpys_own_archives_can_be_mapped(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    mapped = map_arrays(tmp_path / "a.npz")
    assert all(np.array_equal(mapped[name], array) for name, array in ARRAYS.items())


def test_mapped_arrays_are_read_only(tmp_path):
    path = write_bytes(tmp_path / "a.npz", encode_npz(ARRAYS))
    with pytest.raises(ValueError, match="read-only"):
        map_arrays(path)["matrix"][0, 0] = 1


def test_mapping_damaged_archives(tmp_path):
    """Whatever byte changes and wherever it ends: an AssetError, or arrays of the old shapes."""
    data = bytes(encode_npz(ARRAYS))
    path = tmp_path / "a.npz"
    changed = [data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
               for place in range(0, len(data), 3)]  # fmt: skip
    for content in changed + [data[:end] for end in range(0, len(data), 50)]:
        path.write_bytes(content)
        with contextlib.suppress(AssetError):
            for array in map_arrays(path).values():
                array.tobytes()


def test_mapping_refuses_objects(tmp_path):
    np.savez(tmp_path / "a.npz", objects=np.array([{}, None], object))
    with pytest.raises(AssetError, match="objects"):
        map_arrays(tmp_path / "a.npz")
