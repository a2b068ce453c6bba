"""A batch under torture: broken rows, a worker killed, the whole killed twice, resumed.

TORTURE_ROWS sets how many rows (make torture: 1,000).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPO

from batch.ledger import read_entries
from benchmarks.scenes import PEOPLE, scene
from bfm.bfm import PROVISIONED_MODEL
from utils.io import WholeFiles

ROWS = int(os.environ.get("TORTURE_ROWS", "100"))
PICTURES = 8
SIZE = (256, 256)


def gigapixel_png():
    """A picture of 40,000 x 40,000 pixels in a few bytes."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)


def cut_video(path):
    """A video whose file breaks off in the middle."""
    whole = path.with_suffix(".whole.avi")
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE)
    for _ in range(10):
        writer.write(np.zeros((*SIZE, 3), np.uint8))
    writer.release()
    data = whole.read_bytes()
    return data[: len(data) // 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of people, and files that are none."""
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    folder = tmp_path_factory.mktemp("torture")
    for number in range(PICTURES):
        img = scene(SIZE, 110 + 4 * number, PEOPLE[number % 2], angle=3 * number)
        cv2.imwrite(str(folder / f"{number}.png"), img)
    cv2.imwrite(str(folder / "sky.png"), np.full((*SIZE, 3), (230, 180, 120), np.uint8))
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "bomb.png").write_bytes(gigapixel_png())
    (folder / "cut.avi").write_bytes(cut_video(folder / "cut.avi"))
    (folder / "file").touch()
    return folder


# Cells that break a row, and the code of its failure.
BROKEN = [
    ({"source": "missing.png"}, 3),
    ({"target": "empty.png"}, 3),
    ({"source": "text.png"}, 3),
    ({"target": "sky.png"}, 4),  # no face
    ({"target_face": 9}, 4),  # fewer faces
    ({"output": "file/{}.jpg"}, 6),  # below a file
    ({"exp_gain": "much"}, 2),
    ({"opt": "hologram"}, 2),
    ({"target": "bomb.png"}, 3),
    ({"target": "cut.avi"}, 2),  # moves, and its output is a picture
]


def manifest(rows):
    """Rows of pairs, a tenth of them broken in ten ways, and the code that each must end with."""
    lines, codes = [], {}
    for number in range(1, rows + 1):
        cells = {
            "source": f"{number % PICTURES}.png",
            "target": f"{(number // PICTURES + number) % PICTURES}.png",
            "output": f"out/{number}.jpg",
            "exp_gain": 1 + number % 3 / 10,
            "tag": f"row {number}",
        }
        broken, code = BROKEN[number // 10 % 10] if number % 10 == 0 else ({}, 0)
        line = json.dumps({**cells, **broken})
        lines.append(line.replace("file/{}", f"file/{number}"))
        codes[number] = code
    return "\n".join(lines), codes


def start(folder, rows, *options):
    command = [sys.executable, str(REPO / "face_reenactment.py"), "--batch", rows, *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def wait_for_rows(process, ledger, count):
    """Until so many rows have ended; the process must not have."""
    for _ in range(6000):
        if ledger.is_file() and ledger.read_bytes().count(b"\n") >= count:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert process.poll() is None


def workers_of(pid):
    """The process numbers of a run's workers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and b"spawn_main" in words:
            found.append(int(path.parent.name))
    return found


def pictures_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.iterdir()}


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="workers are found as on Linux")
def test_nothing_is_lost(folder):
    text, codes = manifest(ROWS)
    (folder / "undisturbed.jsonl").write_text(text.replace('"out/', '"calm/'))
    (folder / "rows.jsonl").write_text(text)
    calm = start(folder, "undisturbed.jsonl", "--workers", "2")
    _, error = calm.communicate(timeout=600)
    assert (calm.returncode, error) == (1, "")

    ledger = folder / "rows.ledger.jsonl"
    options = ["--workers", "2", "--resume", "--cache", "cache"]
    for count, stop, code in ((ROWS // 4, signal.SIGINT, 130), (ROWS // 2, signal.SIGKILL, -9)):
        run = start(folder, "rows.jsonl", *options)
        wait_for_rows(run, ledger, count - 3)
        os.kill(workers_of(run.pid)[0], signal.SIGKILL)
        wait_for_rows(run, ledger, count)
        run.send_signal(stop)
        _, error = run.communicate()
        assert run.returncode == code, error
        if stop == signal.SIGINT:
            said = r"error: stopped; \d+ done, .*rows.ledger.jsonl; .* --resume goes on\n"
            assert re.fullmatch(said, error)
    with open(ledger, "ab") as stream:
        stream.write(b'{"digest": "torn')
    half_written = WholeFiles().new(folder / "out" / f"{ROWS - 1}.jpg")
    half_written.write_bytes(b"half")
    last = start(folder, "rows.jsonl", *options)
    out, error = last.communicate(timeout=600)
    assert (last.returncode, error) == (1, "")
    assert f"{Counter(codes.values())[3]} failed (unreadable)" in out

    entries = list(read_entries(ledger))
    assert Counter(entry["row"] for entry in entries) == dict.fromkeys(codes, 1)
    assert {entry["row"]: entry["code"] for entry in entries} == codes
    assert all(entry["message"] for entry in entries if entry["code"])
    assert {entry["extra"]["tag"] for entry in entries} == {f"row {n}" for n in codes}
    # byte for byte what an undisturbed run makes, and nothing besides
    assert pictures_of(folder / "out") == pictures_of(folder / "calm")
    assert set(pictures_of(folder / "out")) == {f"{n}.jpg" for n, c in codes.items() if not c}
    assert not (folder / "file").read_bytes()


def test_a_report_shows_failures_first(folder):
    report = start(folder, "undisturbed.jsonl", "--resume", "--report", "r.html")
    out, _ = report.communicate(timeout=600)
    assert "wrote r.html" in out
    page = (folder / "r.html").read_text(encoding="utf-8")
    assert 0 < page.index("Failed:") < page.index("Done:")
    assert page.count("data:image/jpeg;base64,") >= 2 * (ROWS - ROWS // 10) // 2
    assert "missing.png" in page
