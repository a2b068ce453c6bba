"""How old a camera's picture is when what is made of it could be shown, at 720p."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.harness import Report, Row, main
from benchmarks.scenes import INPUTS, PEOPLE, write_clip
from face_reenactment import reenact
from reenactment import Job, Reenactor, live
from utils.console import Silent
from utils.footage import Frame

SIZE = (1280, 720)
SETTLED = 1.0  # seconds, after which everything has been loaded
VIEWS = ("3d", "mask", "photo")


class Probe:
    """Stands in for the window: notes how old what would be shown is, ms, and when it is there."""

    def __init__(self, age: Callable[[], float]) -> None:
        self._age = age
        self.ages: list[float] = []
        self.moments: list[float] = []

    def write(self, output: np.ndarray, frame: Frame) -> None:
        """Take what the window would show."""
        self.ages.append(1000 * self._age())
        self.moments.append(time.perf_counter())

    def close(self) -> None:
        """There is nothing to end."""

    def settled(self) -> Probe:
        """What is left when everything has been loaded."""
        begin = np.searchsorted(self.moments, self.moments[0] + SETTLED)
        if begin < len(self.ages):
            self.ages, self.moments = self.ages[begin:], self.moments[begin:]
        return self


def measure(source: str, target: str, view: str, models: Reenactor) -> Probe:
    """A run of the whole program that shows a view in a window."""
    opened: list[Probe] = []

    def window(title: str, age: Callable[[], float]) -> Probe:
        opened.append(Probe(age))
        return opened[-1]

    job = Job(source, target, {view: None}, moving=True, show=True)
    with mock.patch.object(live, "Window", window):
        reenact(job, models, Silent())
    return opened[0].settled()


def collect(quick: bool) -> Report:
    models, rows, notes = Reenactor(), [], []
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        write_clip(clip, SIZE, 0.5 if quick else 8.0)
        picture, camera = str(INPUTS / PEOPLE[0]), f"camera:{clip}"
        for view in VIEWS:
            for name, source, target in (("onto a camera", picture, camera),
                                         ("by a camera", camera, picture)):
                probe = measure(source, target, view, models)
                rows.append(Row(f"--opt {view}, {name}", "ms", probe.ages))
                rate = (len(probe.moments) - 1) / max(np.ptp(probe.moments), 1e-3)
                notes.append(f"--opt {view}, {name}: 95% are younger than "
                             f"{np.percentile(probe.ages, 95):.0f} ms; {rate:.0f} frames/s of 30")
    return Report(rows, notes)


if __name__ == "__main__":
    main("live", collect)
