"""reenactment.parts: files that grow with the frames."""

from __future__ import annotations

import numpy as np
import pytest

from reenactment.clip import Clip
from reenactment.parts import Lines, Setting
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


def test_lines_are_not_kept_in_memory(tmp_path):
    with WholeFiles() as files:
        part = lines(tmp_path / "a.txt", files)
        for number in range(10_000):
            part.write([number], Frame(IMG, number, number / 25))
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.stat().st_size > 0.8 * 7 * 10_000
        part.close()
