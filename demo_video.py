"""Follow the face in a video and draw its landmarks or its 3D mask, as 3DDFA_V2's program does.

    python demo_video.py --video_fp A.mp4 --opt 3d --output_fp OUT.mp4
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from face_reenactment import Parser, Reenactor, add_model_options, model_config, names_folder
from TDDFA import TDDFA
from utils import __version__
from utils.draw import draw_dense, draw_face
from utils.errors import NoFaceError, ReenactmentError
from utils.image import silence_opencv
from utils.render import render
from utils.tracking import FaceTracker, TrackedFace
from utils.video import SUFFIXES, VideoReader, silence_ffmpeg, stream, video_writer

RESULTS_FOLDER = Path("examples/results/videos")
INTERRUPTED = 130  # the exit code shells give a program stopped by Ctrl-C

EPILOG = """\
example:
  python demo_video.py -f talk.mp4 -o 3d --output_fp out.mp4

exit codes:
  0 done   2 bad options or config, or no CUDA   3 video unreadable   4 no face in it
  5 weights, 3DMM or another asset missing       6 output not writable   130 stopped
"""

Draw = Callable[[np.ndarray, TDDFA, TrackedFace], None]


def dense_vertices(tddfa: TDDFA, face: TrackedFace) -> np.ndarray:
    """All vertices (3, N) of a face, pixels."""
    return tddfa.recon_vers([face.param], [face.roi_box], dense_flag=True)[0]


def draw_mask(frame: np.ndarray, tddfa: TDDFA, face: TrackedFace) -> None:
    """Draw the lit mask of a face into the frame."""
    render(frame, [dense_vertices(tddfa, face)], tddfa.tri, out=frame)


# Each draws a face into the frame.
OPTIONS: dict[str, Draw] = {
    "2d_sparse": lambda frame, _, face: draw_face(frame, face.landmarks),
    "2d_dense": lambda frame, tddfa, face: draw_dense(frame, dense_vertices(tddfa, face)),
    "3d": draw_mask,
}


class Annotator:
    """Draws the face of every frame, the frames coming in order, and counts the faces."""

    def __init__(self, models: Reenactor, opt: str) -> None:
        self.tddfa = models.tddfa
        self.track = FaceTracker(models.face_boxes, models.tddfa)
        self.draw = OPTIONS[opt]
        self.faces = 0

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Draw into the frame; without a face it stays as it is."""
        face = self.track(frame)
        if face:
            self.faces += 1
            self.draw(frame, self.tddfa, face)
        return frame


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        description="Follow the face in a video and draw what 3DDFA sees.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("-f", "--video_fp", required=True, metavar="FILE", help="the video")
    parser.add_argument("--output_fp", metavar="FILE",
                        help=f"the result, {', '.join(SUFFIXES)}; folders are created "
                             f"(default {RESULTS_FOLDER}/<video>_<opt>.mp4)")
    parser.add_argument("-o", "--opt", default="2d_sparse", choices=tuple(OPTIONS),
                        help="68 landmarks, all vertices, or the lit mask (default %(default)s)")
    add_model_options(parser)
    parser.add_argument("--onnx", action="store_const", dest="engine", const="onnx", default="auto",
                        help="run on onnxruntime only; by default, wherever a graph can be had")
    return parser.parse_args(argv)


def output_path(args: argparse.Namespace) -> Path:
    """Where the result goes."""
    name = f"{Path(args.video_fp).stem}_{args.opt}.mp4"
    if args.output_fp is None:
        return RESULTS_FOLDER / name
    path = Path(args.output_fp)
    return path / name if names_folder(args.output_fp) else path


def annotate(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    from tqdm import tqdm

    config = model_config(args)
    path = output_path(args)
    with VideoReader(args.video_fp) as reader:  # before the models: it fails faster
        annotator = Annotator(Reenactor(config, args.assets), args.opt)
        total = reader.frame_count or None
        with video_writer(path, reader.fps, reader.size) as append, tqdm(
            total=total, unit=" frames", leave=False, disable=None  # shown on terminals only
        ) as progress:

            def write(frame: np.ndarray) -> np.ndarray:
                progress.update()
                return append(frame)

            frames = stream(reader.read, annotator, write)
            if not annotator.faces:
                raise NoFaceError(f"no face found in any of the {frames} frames of {args.video_fp}")
    print(f"wrote {path}: {frames} frames, {frames - annotator.faces} of them without a face")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(format="%(message)s")
    silence_opencv()  # errors are ours to report, in one line
    silence_ffmpeg()
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        annotate(args)
    except ReenactmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: stopped before the end; nothing was written", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
