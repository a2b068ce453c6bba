"""Follow the face in a video and draw its landmarks or its 3D mask, as 3DDFA_V2's program does.

    python demo_video.py --video_fp A.mp4 --opt 3d --output_fp OUT.mp4
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reenactment import VIEWS, Face, Look, Reenactor, Scene
from reenactment.options import Parser, add_model_options, model_config, run_program
from reenactment.outputs import check_outputs, names_folder
from reenactment.tracking import Tracker
from utils.console import Teller
from utils.errors import NoFaceError
from utils.footage import Frame, open_footage
from utils.io import WholeFiles
from utils.sinks import Sink, check_sink, open_sink
from utils.sinks.forms import FORMS
from utils.threads import opencv_in_one_thread

RESULTS_FOLDER = Path("examples/results/videos")
OPTIONS = ("2d_sparse", "2d_dense", "3d")  # the views that draw into the frame

EPILOG = """\
example:
  python demo_video.py -f talk.mp4 -o 3d --output_fp out.mp4

exit codes:
  0 done   2 bad options or config, or no CUDA   3 video unreadable   4 no face in it
  5 weights, 3DMM or another asset missing       6 output not writable   130 stopped
"""

class Annotator:
    """Draws the face of every frame, the frames coming in order, and counts the faces."""

    def __init__(self, reenactor: Reenactor, opt: str) -> None:
        self.tddfa = reenactor.tddfa
        self.track = Tracker(reenactor)
        self.view = VIEWS[opt]
        self.faces = 0

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Draw into the frame; without a face it stays as it is."""
        for face in self.track(frame):
            self.faces += 1
            self.draw(frame, face)
        return frame

    def draw(self, frame: np.ndarray, face: Face) -> None:
        """Draw a face into the frame."""
        scene = Scene(self.tddfa, frame, [face], [face])
        self.view.compose(scene, Look(), out=frame)


def make_parser() -> Parser:
    """The options of the command line."""
    parser = Parser(
        description="Follow the face in a video and draw what 3DDFA sees.", epilog=EPILOG
    )
    parser.add_argument("-f", "--video_fp", required=True, metavar="FILE", help="the video")
    parser.add_argument("--output_fp", metavar="FILE",
                        help=f"the result, {', '.join(FORMS)}; folders are created "
                             f"(default {RESULTS_FOLDER}/<video>_<opt>.mp4)")
    parser.add_argument("-o", "--opt", default="2d_sparse", choices=OPTIONS,
                        help="68 landmarks, all vertices, or the lit mask (default %(default)s)")
    add_model_options(parser)
    return parser


def output_path(args: argparse.Namespace) -> str:
    """Where the result goes."""
    name = f"{Path(args.video_fp).stem}_{args.opt}.mp4"
    if args.output_fp is None:
        return str(RESULTS_FOLDER / name)
    return os.path.join(args.output_fp, name) if names_folder(args.output_fp) else args.output_fp


def annotate(args: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit code."""
    config, path, tell = model_config(args), output_path(args), Teller()
    check_outputs([("--output_fp", path)], [args.video_fp])
    # before the models: it fails faster
    with opencv_in_one_thread(), open_footage(args.video_fp) as footage:
        check_sink(path)
        annotator = Annotator(Reenactor(config, args.assets), args.opt)
        watched = tell.along(footage, footage.count, f"drawing {footage.name}")
        with WholeFiles() as files:
            sink = open_sink(path, footage.fps, files, sound=footage.sound)
            drawn = draw_all(watched, footage.name, annotator, sink)
    if footage.shortfall:
        tell.warn(f"{args.video_fp}: {footage.shortfall}")
    made = f"{path}: {drawn.frames} frames, {drawn.faceless} of them without a face"
    if drawn.stopped:
        raise KeyboardInterrupt(f"stopped before the end; wrote {made}")
    tell(f"wrote {made}")
    return 0


class Drawn(NamedTuple):
    """How many frames there were, how many of them without a face; whether the user stopped it."""

    frames: int
    faceless: int
    stopped: bool


def draw_all(
    frames: Iterable[Frame], name: str, annotator: Annotator, sink: Sink
) -> Drawn:
    """Draw into all frames of the named video, or those before the user stops it.

    Raises
    ------
    NoFaceError : there is no face in any of them; KeyboardInterrupt : nor in those before the stop.
    """
    count, faceless, stopped = 0, 0, False
    with sink:
        try:
            for frame in frames:
                before = annotator.faces
                sink.write(annotator(frame.img), frame.seconds, frame.lasts)
                count, faceless = count + 1, faceless + (annotator.faces == before)
        except KeyboardInterrupt:
            if count == faceless:
                raise
            stopped = True
        if count == faceless:
            raise NoFaceError(f"no face found in any of the {count} frames of {name}")
    return Drawn(count, faceless, stopped)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_program(make_parser(), argv, annotate)


if __name__ == "__main__":
    sys.exit(main())
