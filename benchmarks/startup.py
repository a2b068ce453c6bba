"""Whole processes, from start to end: wall time, processor time, memory, and what they load.

Only on Unix, whose `wait4` tells what a child has used.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness import Reference, Report, Row, main
from benchmarks.scenes import INPUTS, PEOPLE
from utils.assets import PROJECT_ROOT

PROGRAM = "face_reenactment.py"
PAIR = ("-s", str(INPUTS / PEOPLE[0]), "-t", str(INPUTS / PEOPLE[1]))
LIBRARIES = ("-c", "import cv2, numpy, yaml, models.runtime")
NOTHING = ("-c", "pass")
MEASURES = ("wall", "processor", "peak memory")
UNITS = ("s", "s", "MiB")
# Runs Python and prints its wall and processor seconds and peak memory, in the system's unit.
# A process of its own, as a new process is charged with the memory of the one it came from.
LAUNCHER = """
import os, sys, time
begin = time.perf_counter()
process = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
# The modules loaded and the files Python opened by a run of the program, on its last line.
COUNTING = """
import json, sys
opened = []
sys.addaudithook(lambda event, values: opened.append(values[0]) if event == "open" else None)
import face_reenactment
code = face_reenactment.main(sys.argv[1:])
print(json.dumps({"modules": sorted(sys.modules), "files": len(opened)}))
sys.exit(code)
"""


def python(program: str, arguments: Sequence[str]) -> str:
    """The last line that a program, given as text, prints; CalledProcessError if it fails."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def spawn(arguments: Sequence[str]) -> tuple[float, float, float]:
    """Run Python with these arguments; its wall and processor seconds and peak memory in MiB."""
    wall, processor, memory = map(float, python(LAUNCHER, arguments).split())
    return wall, processor, memory / (1024**2 if sys.platform == "darwin" else 1024)


def count_loads(arguments: Sequence[str]) -> tuple[list[str], int]:
    """The modules that a run of the program loads, and how many files Python opens for it."""
    loads = json.loads(python(COUNTING, arguments))
    return loads["modules"], loads["files"]


def collect(quick: bool) -> Report:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = (
            ("a pair, default", (PROGRAM, *PAIR, "-o", str(Path(folder) / "out.jpg")),
             ((0.55, 4.6), (0.8, 4.9), (170, 377))),
            ("a pair, --opt obj", (PROGRAM, *PAIR, "--opt", "obj", "-o", f"{folder}/out.obj"),
             ((None, None),) * 3),
            ("--help", (PROGRAM, "--help"), ((None, None),) * 3),
        )
        for name, command, goals in jobs:
            commands = {"ours": command, "yardstick": LIBRARIES, "limit": NOTHING}
            used = spawn_in_turn(commands, rounds=1 if quick else 6)
            for i, measure in enumerate(MEASURES):
                values = {key: [run[i] for run in runs] for key, runs in used.items()}
                rows.append(Row(f"{name}: {measure}", UNITS[i], values["ours"],
                                Reference("imports", values["yardstick"]),
                                Reference("bare python", values["limit"]), *goals[i]))
        modules, files = count_loads(jobs[0][1][1:])
    rows.append(Row("a pair, default: modules", "count", [len(modules)]))
    rows.append(Row("a pair, default: files opened", "count", [files]))
    return Report(rows)


def spawn_in_turn(
    commands: Mapping[str, Sequence[str]], rounds: int
) -> dict[str, list[tuple[float, float, float]]]:
    """Run commands round by round, so that a busy moment of the machine meets all of them."""
    used: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            used[name].append(spawn(command))
    return used


if __name__ == "__main__":
    main("startup", collect)
