"""Batches beside a shell loop of the same pairs, and how they grow with workers and rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np

from batch.pool import usable_cores
from benchmarks.harness import Reference, Report, Row, main
from benchmarks.scenes import PEOPLE, scene
from benchmarks.startup import PROGRAM, spawn

SIZE = (512, 512)
PICTURES, PAIRS = 100, 1000
TARGETS = {"3d": 1000 / 150, "photo": 1000 / 20}  # ms for a pair on two cores


class Pairs:
    """Pictures in a folder, and manifests of pairs of them."""

    def __init__(self, folder: Path, pictures: int) -> None:
        self._folder, self._pictures, self._runs = folder, pictures, 0
        rng = np.random.default_rng(0)
        for number in range(pictures):
            img = scene(SIZE, rng.uniform(180, 300), PEOPLE[number % 2], rng.uniform(-15, 15))
            cv2.imwrite(self._picture(number), img)

    def _picture(self, number: int) -> str:
        return str(self._folder / f"{number}.jpg")

    def rows(self, count: int) -> list[dict[str, str]]:
        """Pairs drawn by chance, each with an output of its own."""
        self._runs += 1
        chosen = np.random.default_rng(1).integers(0, self._pictures, (count, 2))
        return [
            {
                "source": self._picture(source),
                "target": self._picture(target),
                "output": str(self._folder / f"out{self._runs}" / f"{number}.jpg"),
            }
            for number, (source, target) in enumerate(chosen.tolist())
        ]

    def batch(self, count: int, opt: str, workers: int) -> tuple[float, float]:
        """Milliseconds for a pair, starting up included, and the largest process' MiB."""
        rows = self.rows(count)
        manifest = self._folder / f"{self._runs}.jsonl"
        manifest.write_text("\n".join(map(json.dumps, rows)))
        options = ("--batch", str(manifest), "--opt", opt, "--workers", str(workers))
        wall, _, memory = spawn((PROGRAM, *options))
        return 1000 * wall / count, memory

    def loop(self, count: int, opt: str) -> float:
        """Milliseconds for a pair as a shell loop does it: a process each."""
        walls = [
            spawn((PROGRAM, "-s", row["source"], "-t", row["target"], "-o", row["output"],
                   "--opt", opt))[0]
            for row in self.rows(count)
        ]
        return 1000 * sum(walls) / count


def collect(quick: bool) -> Report:
    pairs, looped, cores = (8, 1, 2) if quick else (PAIRS, 5, usable_cores())
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Pairs(Path(folder), 4 if quick else PICTURES)
        for opt in ("3d",) if quick else ("3d", "photo"):
            count = pairs if opt == "3d" else pairs // 5
            ours, memory = work.batch(count, opt, cores)
            alone, _ = work.batch(count, opt, 1)
            loop = Reference("shell loop", [work.loop(looped, opt)])
            rows.append(Row(f"{count} pairs, {opt}, {cores} workers", "ms/pair", [ours], loop,
                            Reference("one worker", [alone]), TARGETS[opt]))
            rows.append(Row(f"  largest process, {opt}", "MiB", [memory]))
            notes.append(f"{opt}: {1000 / ours:.0f} pairs/s, one worker {1000 / alone:.0f}")
    return Report(rows, notes)


if __name__ == "__main__":
    main("batch", collect)
