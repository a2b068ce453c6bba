"""Nothing is left on the user's disk but our own cache, and no library reports on him."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from conftest import REPO

from bfm.bfm import PROVISIONED_MODEL

RUNTIME = REPO / "models" / "runtime.py"
DIRECT_IMPORT = re.compile(r"""(\bimport\b|importorskip\(["'])[^"'\n]*\bonnxruntime\b""")
PAIR = [f"examples/inputs/{name}" for name in ("astronaut.png", "grace_hopper.jpg")]


def test_onnxruntime_is_imported_in_one_place():
    """Programs that are given as text, as benchmarks do, count as well."""
    rooms = [f for f in REPO.iterdir() if f.is_dir() and f.name[0] != "." and f.name != "build"]
    direct = [
        (path, line)
        for path in (*REPO.glob("*.py"), *(path for room in rooms for path in room.rglob("*.py")))
        for line in path.read_text(encoding="utf-8").splitlines()
        if DIRECT_IMPORT.search(line) and "from models.runtime import" not in line
    ]
    assert [path for path, _ in direct] == [RUNTIME], direct


@pytest.fixture
def run_at_home(tmp_path):
    """A function that runs Python in a home of its own, and the files it left there."""

    inherited = {
        key: value
        for key, value in os.environ.items()
        if key not in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    }

    def run(*arguments, **environment):
        env = {**inherited, "HOME": str(tmp_path), "PYTHONPATH": str(REPO), **environment}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=REPO, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
        return done, {str(path) for path in files}

    return run


@pytest.mark.parametrize(("theirs", "seen"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_the_user_has_decided(run_at_home, theirs, seen):
    program = "import models.runtime, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {} if theirs is None else {"ORT_DISABLE_TELEMETRY": theirs}
    done, files = run_at_home("-c", program, **environment)
    assert done.stdout.strip() == seen
    if theirs is None:
        assert not files


@pytest.mark.skipif(
    not (REPO / PROVISIONED_MODEL).is_file(), reason="no 3DMM: run `python -m bfm.provision`"
)
def test_a_run_leaves_nothing_but_our_cache(run_at_home, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out.png"
    done, files = run_at_home("face_reenactment.py", "-s", PAIR[0], "-t", PAIR[1], "-o", str(out))
    assert out.is_file()
    assert done.stderr == ""
    assert files
    assert all(name.startswith(".cache/face_reenactment/") for name in files)
