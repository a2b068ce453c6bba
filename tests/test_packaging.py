"""What an installation brings: the command, the modules, one version, few packages."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from conftest import REPO

from utils import __version__

COMMAND = Path(sys.executable).with_name("face-reenactment")


@pytest.fixture(scope="module")
def distribution():
    """Our own package as it is installed here."""
    try:
        return metadata.distribution("face-reenactment")
    except metadata.PackageNotFoundError:
        pytest.skip("not installed: run `make build`")


def names(requirements):
    return {re.match(r"[\w-]+", line)[0].lower() for line in requirements}


def listed(file):
    """The names in a requirements file, without those of the files it includes."""
    lines = (REPO / file).read_text().splitlines()
    return names(line for line in lines if line and line[0] not in "#-")


def test_one_version(distribution):
    assert distribution.version == __version__


def test_requirements_are_those_of_the_files(distribution):
    needed = [line for line in distribution.requires if "extra ==" not in line]
    assert names(needed) == listed("requirements.txt")
    for extra, files in (
        ("heic", ["requirements-heic.txt"]),
        ("torch", ["requirements-torch.txt"]),
        ("training", ["requirements-torch.txt", "requirements-training.txt"]),
    ):
        lines = [line for line in distribution.requires if re.search(rf"extra == .{extra}", line)]
        assert names(lines) == set().union(*map(listed, files))


def test_a_run_needs_neither_scipy_nor_build_tools():
    assert listed("requirements.txt").isdisjoint({"scipy", "cython", "setuptools", "torch"})


def test_the_command_and_the_modules_work_anywhere(distribution, tmp_path):
    if not COMMAND.is_file():
        pytest.skip(f"no {COMMAND}")
    done = subprocess.run([COMMAND, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")
    program = "import TDDFA, reenactment, pathlib; print(pathlib.Path(TDDFA.__file__).parent)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(REPO), done.stderr
