"""How the cost grows with faces, pixels and pictures: straight lines, and flat memory."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import QUICK, Effort, Reference, Report, Row, main, time_in_turn
from benchmarks.scenes import scene
from reenactment import Reenactor
from utils.render import render

COUNTS = (1, 2, 4, 8, 16)
HEIGHTS = (360, 720, 1080, 1440, 2160)


def fit_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Intercept, slope and R² of the least-squares line."""
    slope, intercept = np.polyfit(x, y, 1)
    spread = np.var(y)
    r2 = 1 - np.var(y - np.polyval([slope, intercept], x)) / spread if spread else 1.0
    return float(intercept), float(slope), float(r2)


def series(
    name: str,
    x: Sequence[float],
    ours: Callable[[float], Callable[[], object]],
    yardstick: tuple[str, Callable[[float], Callable[[], object]]],
    effort: Effort,
) -> tuple[list[Row], str]:
    """A row for every x, and the line through their minima.

    ours, yardstick : give the work to time for an x; the limit is x times the first one's cost.
    """
    rows: list[Row] = []
    for value in x:
        times = time_in_turn({"ours": ours(value), "it": yardstick[1](value)}, effort)
        least = min(rows[0].ours) * value / x[0] if rows else min(times["ours"])
        rows.append(Row(f"{name} {value:g}", "ms", times["ours"],
                        Reference(yardstick[0], times["it"]), Reference("x times first", [least])))
    intercept, slope, r2 = fit_line(x, [min(row.ours) for row in rows])
    line = f"{name}: {intercept:.3g} + {slope:.3g}·x ms, R² {r2:.4f}"
    return rows, line


def resident_mib() -> float:
    """Memory in use now; where the system does not tell, the most there ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource  # Windows has none

        unit = 1024**2 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


class Pictures:
    """What is done with a picture, for one face or many."""

    def __init__(self, models: Reenactor) -> None:
        self.models = models
        self.img = scene((1280, 720), 300)
        self.box = models.face_boxes(self.img)[0]

    def draw(self, img: np.ndarray, boxes: Sequence[Sequence[float]]) -> np.ndarray:
        """Regress, reconstruct and draw the faces in these boxes."""
        tddfa = self.models.tddfa
        return render(img, tddfa.recon_vers(*tddfa(img, boxes), dense_flag=True), tddfa.tri)

    def many(self, count: float) -> list[list[float]]:
        return [[value + 3 * i for value in self.box[:4]] for i in range(int(count))]

    def one_by_one(self, boxes: Sequence[Sequence[float]]) -> None:
        for box in boxes:
            self.draw(self.img, [box])

    def whole(self, img: np.ndarray) -> np.ndarray:
        """Detect, too."""
        return self.draw(img, self.models.face_boxes(img)[:1])

    def repeatedly(self, count: float, work: Callable[[], object]) -> None:
        for _ in range(int(count)):
            work()


def memory_row(pictures: Pictures, quick: bool) -> Row:
    """Memory at the end of a batch beside that after its first pictures."""
    warm, long = (2, 4) if quick else (10, 100)
    pictures.repeatedly(warm, partial(pictures.whole, pictures.img))
    gc.collect()
    before = resident_mib()
    pictures.repeatedly(long, partial(pictures.whole, pictures.img))
    gc.collect()
    return Row(f"memory after {warm + long} pictures", "MiB", [resident_mib()],
               Reference(f"after {warm}", [before]))


def collect(quick: bool) -> Report:
    effort = QUICK if quick else Effort(fewest=3, most=20, seconds=1.0)
    counts, heights = (COUNTS[:3], HEIGHTS[:3]) if quick else (COUNTS, HEIGHTS)
    pictures = Pictures(Reenactor())
    sizes = {h * h * 16 / 9e6: scene((h * 16 // 9, h), 0.4 * h) for h in heights}
    small = scene((640, 360), 150)
    found = [
        series("faces", counts, lambda n: partial(pictures.draw, pictures.img, pictures.many(n)),
               ("one by one", lambda n: partial(pictures.one_by_one, pictures.many(n))), effort),
        series("megapixels", tuple(sizes), lambda size: partial(pictures.whole, sizes[size]),
               ("copying it", lambda size: sizes[size].copy), effort),
        series("pictures", counts,
               lambda n: partial(pictures.repeatedly, n, partial(pictures.whole, small)),
               ("copying them", lambda n: partial(pictures.repeatedly, n, small.copy)), effort),
    ]
    rows = [row for part, _ in found for row in part]
    return Report([*rows, memory_row(pictures, quick)], [line for _, line in found])


if __name__ == "__main__":
    main("scaling", collect)
