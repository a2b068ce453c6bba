"""reenactment.parts: files that grow with the frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from reenactment.clip import Clip
from reenactment.parts import Lines, Rows, Setting
from utils.errors import OutputError
from utils.footage import Frame
from utils.io import WholeFiles
from utils.rows import RowText

IMG = np.zeros((1, 1, 3), np.uint8)
TEXTS = {".txt": RowText(lambda first: f"<{first}:", lambda row: f"{row:06d}", ",", ">")}


def lines(path, files):
    return Lines(Setting(files, str(path), bytes, None, Clip(), 25.0, None), TEXTS)


@pytest.mark.parametrize("frames", [[], [[]], [[1]], [[1, 2], [], [3], [4, 5, 6]]])
def test_lines_are_those_of_a_document_made_at_once(tmp_path, frames):
    path = tmp_path / "a.TXT"
    with WholeFiles() as files:
        part = lines(path, files)
        for number, rows in enumerate(frames):
            part.write(rows, Frame(IMG, number, number / 25))
        part.close()
    every = [row for rows in frames for row in rows]
    assert path.read_bytes() == TEXTS[".txt"].encode(every)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_a_full_disk_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(WholeFiles, "new", lambda files, path: Path("/dev/full"))
    with WholeFiles() as files:
        setting = Setting(files, str(tmp_path / "a.json"), lambda rows, suffix: b"[1]", None,
                          Clip(), 25.0, None)
        with pytest.raises(OutputError, match="cannot write .*a.json: No space left"):
            Rows(setting).close()


def test_lines_are_not_kept_in_memory(tmp_path):
    with WholeFiles() as files:
        part = lines(tmp_path / "a.txt", files)
        for number in range(10_000):
            part.write([number], Frame(IMG, number, number / 25))
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_size > 0.8 * 7 * 10_000
        part.close()
