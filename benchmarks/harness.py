"""Timing in turn, the table and its JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from models.runtime import onnxruntime
from utils.assets import PROJECT_ROOT
from utils.io import write_bytes

RESULTS_FOLDER = PROJECT_ROOT / "build" / "bench"
COLUMNS = (
    "", "unit", "median", "min", "yardstick", "", "ours/it", "limit", "", "ours/it", "target",
    "3DDFA_V2",
)  # fmt: skip
FOOTNOTE = """\
median and min: ours. A yardstick is a plain way of doing the same, timed in turn with ours; the
limit is what the work cannot be done without. They and the ratios are of minima: the runs that were
disturbed least. The targets and 3DDFA_V2's numbers are another machine's: compare ratios."""


@dataclass(frozen=True)
class Reference:
    """What ours is compared with: measurements of it, in the row's unit, or one computed value."""

    what: str
    values: Sequence[float]


@dataclass(frozen=True)
class Row:
    """One line of the table; lower is better.

    ours : measurements, in `unit`.
    target : what we want to reach; original : what 3DDFA_V2 takes, on its issue's machine.
    """

    name: str
    unit: str
    ours: Sequence[float]
    yardstick: Reference | None = None
    limit: Reference | None = None
    target: float | None = None
    original: float | None = None

    def summary(self) -> dict[str, Any]:
        """All that the table and the JSON tell of a row."""
        least = min(self.ours)
        content: dict[str, Any] = {
            "name": self.name,
            "unit": self.unit,
            "median": median(self.ours),
            "min": least,
            "measurements": len(self.ours),
            "target": self.target,
            "original": self.original,
        }
        for role in ("yardstick", "limit"):
            reference: Reference | None = getattr(self, role)
            if reference:
                value = min(reference.values)
                content[role] = {
                    "what": reference.what,
                    "min": value,
                    "ratio": least / value if value > 0 else None,
                }
        return content


@dataclass(frozen=True)
class Report:
    """What a benchmark found; `notes` go below the table, such as what was left out, and why."""

    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Effort:
    """How long to measure a row: until `seconds` have passed, with `fewest` to `most` rounds.

    warm_up : whether to run everything once before, unmeasured.
    """

    fewest: int = 5
    most: int = 40
    seconds: float = 2.0
    warm_up: bool = True


QUICK = Effort(fewest=1, most=1, seconds=0, warm_up=False)


def time_in_turn(
    functions: Mapping[str, Callable[[], object]],
    effort: Effort,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time functions round by round, so that a busy moment of the machine meets all of them.

    Returns
    -------
    The milliseconds of each function, one number for every round.
    """
    for function in functions.values() if effort.warm_up else ():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    begin, rounds = clock(), 0
    while rounds < effort.fewest or (rounds < effort.most and clock() - begin < effort.seconds):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(1000 * (clock() - start))
        rounds += 1
    return times


def bytes_per_ms(effort: Effort) -> float:
    """How many bytes the machine reads and writes in a millisecond when it copies memory."""
    source = np.ones(1 << 23)  # 64 MiB, more than caches hold
    target = np.empty_like(source)
    times = time_in_turn({"copy": lambda: np.copyto(target, source)}, effort)
    return 2 * source.nbytes / min(times["copy"])


def machine() -> dict[str, Any]:
    """What the numbers depend on; nothing that names the machine or its user."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def table(rows: Sequence[Row]) -> str:
    """The rows as text in aligned columns."""
    cells = [COLUMNS, *(_cells(row.summary()) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    texts = {i for i, title in enumerate(COLUMNS) if title in ("", "unit")}
    lines = [
        "  ".join(
            cell.ljust(width) if i in texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def _cells(summary: dict[str, Any]) -> tuple[str, ...]:
    cells = [summary["name"], summary["unit"], _number(summary["median"]), _number(summary["min"])]
    for role in ("yardstick", "limit"):
        reference = summary.get(role, {"what": "", "min": None, "ratio": None})
        cells += [_number(reference["min"]), reference["what"], _number(reference["ratio"])]
    return (*cells, _number(summary["target"]), _number(summary["original"]))


def _number(value: float | None) -> str:
    """Three digits, which is more than a timing is worth; integers whole."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def main(name: str, collect: Callable[[bool], Report], argv: Sequence[str] | None = None) -> None:
    """The command line of a benchmark: `collect` gets whether it is to be quick."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", type=Path, default=RESULTS_FOLDER / f"{name}.json",
                        metavar="FILE", help="where to write the numbers (default build/bench/)")
    parser.add_argument("--quick", action="store_true", help="once over everything, for tests")
    args = parser.parse_args(argv)
    report = collect(args.quick)
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in machine().items())}")
    print(table(report.rows))
    print(*report.notes, FOOTNOTE, "", sep="\n")
    content = {"benchmark": name, "machine": machine(), "notes": list(report.notes),
               "rows": [row.summary() for row in report.rows]}
    write_bytes(args.json, json.dumps(content, indent=1).encode())
