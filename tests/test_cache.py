"""utils.cache: nothing goes that is in use, and the folder does not grow without end."""

from __future__ import annotations

import os
import time

import pytest

from utils import cache
from utils.cache import cache_folder, make_room, note_use


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache folder, in an empty place."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def age(path, days):
    then = time.time() - 24 * 3600 * days
    os.utime(path, (then, then))


def test_what_was_not_used_for_a_month_goes(folder):
    make_room(0)
    for days in (1, 29, 31, 400):
        (folder / f"file {days}").write_bytes(b"content")
        (folder / f"folder {days}").mkdir()
        (folder / f"folder {days}" / "graph.onnx").write_bytes(b"content")
        age(folder / f"file {days}", days)
        age(folder / f"folder {days}", days)
    (folder / "folder 400" / "graph.onnx").touch()  # its own age does not count
    note_use(folder / "file 31")
    make_room(0)
    kept = {"file 1", "folder 1", "file 29", "folder 29", "file 31"}
    assert {path.name for path in folder.iterdir()} == kept


def test_a_full_folder_takes_no_more_and_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr(cache, "MAX_SIZE", 100)
    make_room(100)
    (folder / "inner").mkdir()
    (folder / "inner" / "graph.onnx").write_bytes(bytes(60))
    make_room(40)
    with pytest.raises(OSError, match="full"):
        make_room(41)
    assert (folder / "inner" / "graph.onnx").is_file()


def test_a_full_folder_lets_the_oldest_go_that_nobody_used_today(folder, monkeypatch):
    monkeypatch.setattr(cache, "MAX_SIZE", 100)
    make_room(0)
    for days in (0, 3, 2, 5):
        (folder / f"file {days}").write_bytes(bytes(25))
        age(folder / f"file {days}", days)
    make_room(26)
    assert {path.name for path in folder.iterdir()} == {"file 0", "file 2"}
    with pytest.raises(OSError, match="full"):
        make_room(76)
    assert {path.name for path in folder.iterdir()} == {"file 0"}


def test_noting_the_use_of_what_is_gone(folder):
    note_use(folder / "gone")
    assert not folder.exists()
