"""Both programs on a 720p clip, and where the time of a frame goes in demo_video.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Reference, Report, Row, main
from benchmarks.scenes import INPUTS, PEOPLE, write_clip
from demo_video import OPTIONS, Annotator
from face_reenactment import reenact
from reenactment import Job, Reenactor
from utils.console import Silent
from utils.footage import Frame, open_footage
from utils.footage.frames import Tally
from utils.io import WholeFiles
from utils.sinks import open_sink

SIZE = (1280, 720)
TARGET, ORIGINAL = 1000 / 100, 1000 / 9.5  # ms for a frame
# Of face_reenactment.py: kinds of output, endings, and what to reach, ms for a frame.
KINDS = (("3d", ".mp4", 1000 / 100), ("photo", ".mp4", 1000 / 20), ("arkit", ".csv", 1000 / 200))

Edit = Callable[[np.ndarray], np.ndarray]
Times = dict[str, list[float]]


class Clip:
    """A video to run over, and where results go."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.path, self.result = folder / "clip.mp4", folder / "result.mp4"
        self.frames = write_clip(self.path, SIZE, seconds)

    def reenacted(self, reenactor: Reenactor, kind: str, suffix: str) -> float:
        """Milliseconds for a frame of a picture that drives the video."""
        outputs = {kind: str(self.result.with_suffix(suffix))}
        job = Job(str(INPUTS / PEOPLE[0]), str(self.path), outputs, moving=True)
        begin = time.perf_counter()
        reenact(job, reenactor, Silent())
        return 1000 * (time.perf_counter() - begin) / self.frames

    def streamed(self, edit: Edit) -> float:
        """Milliseconds for a frame as the product does it: three threads."""
        with open_footage(self.path) as footage, WholeFiles() as files:
            begin = time.perf_counter()
            with open_sink(self.result, footage.fps, files, sound=footage.sound) as sink:
                for frame in footage:
                    sink.write(edit(frame.img), frame.seconds)
            return 1000 * (time.perf_counter() - begin) / self.frames

    def serial(self, edit: Edit, steps: Times) -> float:
        """The same, one step after the other; adds the steps' seconds to `steps`."""
        with open_footage(self.path) as footage, WholeFiles() as files:
            sink = open_sink(self.result, footage.fps, files)
            encode = timed("encode", sink.encoder.add, steps)
            begin = time.perf_counter()
            for frame in timed_frames("decode", footage.read(0.0, Tally()), steps):
                encode(edit(frame.img), frame.seconds, None)
            sink.close()
            return 1000 * (time.perf_counter() - begin) / self.frames


def timed(name: str, function: Callable[..., Any], steps: Times) -> Callable[..., Any]:
    """The function, with the seconds of every call added to a list of `steps`."""
    times = steps.setdefault(name, [])

    def call(*arguments: Any) -> Any:
        begin = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - begin)
        return result

    return call


def timed_frames(name: str, frames: Iterable[Frame], steps: Times) -> Iterable[Frame]:
    """The frames, with the seconds that each took to come added to a list of `steps`."""
    following = timed(name, iter(frames).__next__, steps)
    while True:
        try:
            yield following()
        except StopIteration:
            return


def measure(clip: Clip, models: Reenactor, opt: str, rounds: int) -> list[Row]:
    """A row for an option, and one for every step of a frame."""
    ours, one_by_one, bare = [], [], []
    steps: Times = {}
    for _ in range(rounds):
        ours.append(clip.streamed(Annotator(models, opt)))
        annotator = Annotator(models, opt)
        for step in ("track", "draw"):
            setattr(annotator, step, timed(step, getattr(annotator, step), steps))
        one_by_one.append(clip.serial(annotator, steps))
        bare.append(clip.streamed(lambda img: img))
    row = Row(f"720p, -o {opt}", "ms/frame", ours, Reference("one by one", one_by_one),
              Reference("no face work", bare), *((TARGET, ORIGINAL) if opt == "3d" else ()))
    return [row, *(Row(f"  {name}", "ms/frame", [1000 * second for second in times])
                   for name, times in steps.items())]


def collect(quick: bool) -> Report:
    models = Reenactor()
    with tempfile.TemporaryDirectory() as folder:
        clip = Clip(Path(folder), seconds=0.2 if quick else 3.0)
        options = ("3d",) if quick else OPTIONS
        rounds = 1 if quick else 2
        rows = [row for opt in options for row in measure(clip, models, opt, rounds)]
        for kind, suffix, target in KINDS:
            times = [clip.reenacted(models, kind, suffix) for _ in range(rounds)]
            rows.append(Row(f"720p, --opt {kind}", "ms/frame", times, target=target))
    rates = [f"{row.name}: {1000 / min(row.ours):.1f} frames/s"
             for row in rows if row.target or row.limit]
    return Report(rows, [*rates, "the target of -o 3d is 100 frames/s; 3DDFA_V2's reaches 9.5"])


if __name__ == "__main__":
    main("video", collect)
