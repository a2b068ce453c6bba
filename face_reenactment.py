"""Put the facial expression of one picture onto the face of another.

    python face_reenactment.py --source_img_fp A.jpg --target_img_fp B.jpg --output_fp OUT.png

The story: FaceBoxes finds the faces, TDDFA regresses their 3DMM parameters, the source's
expression coefficients are spliced into the target's shape and pose, the 3DMM gives the
vertices, and Sim3DR draws them over the target.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from FaceBoxes import FaceBoxes
from TDDFA import TDDFA
from utils import __version__
from utils.assets import ASSETS_ENV
from utils.config import load_config
from utils.errors import ReenactmentError, UsageError
from utils.faces import Face, choose_faces, parse_choice, rank_from_left
from utils.image import read_image, show_image, silence_opencv, write_image
from utils.io import write_bytes
from utils.param_file import is_param_file, load_source, save_params
from utils.tddfa_util import str2bool
from utils.views import VIEWS, Scene, View

DEFAULT_CONFIG = "configs/reenact_mb1_120x120.yml"
RESULTS_FOLDER = Path("examples/results")

EPILOG = """\
examples:
  python face_reenactment.py -s smile.jpg -t portrait.jpg -o out.png
  python face_reenactment.py -s smile.jpg -t group.jpg --target_face all --opt 3d,panel,obj
  python face_reenactment.py -s smile.jpg --neutral_img_fp calm.jpg -t portrait.jpg --exp_gain 1.3

exit codes:
  0 done   2 bad options or config, or no CUDA   3 input unreadable   4 no such face
  5 weights, 3DMM or another asset missing       6 output not writable
"""


class Parser(argparse.ArgumentParser):
    """Reports a bad option in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(UsageError.exit_code, f"error: {message}; see --help\n")


def add_model_options(group: argparse._ActionsContainer) -> None:
    """The options that `model_config` reads, but for the engine's."""
    group.add_argument("-c", "--config", default=DEFAULT_CONFIG, metavar="FILE",
                       help="YAML config of the regressor (default %(default)s)")
    group.add_argument("--assets", metavar="DIR",
                       help=f"a 3DDFA_V2 checkout with weights and 3DMM (default ${ASSETS_ENV})")
    group.add_argument("-m", "--mode", default="cpu", choices=("cpu", "gpu"),
                       help="gpu runs the networks on CUDA (default %(default)s)")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        description="Transfer the facial expression of a source picture to a target picture.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    files = parser.add_argument_group("files")
    files.add_argument("-s", "--source_img_fp", required=True, metavar="FILE",
                       help="picture whose expression is taken, or a file of --save_params")
    files.add_argument("-t", "--target_img_fp", required=True, metavar="FILE",
                       help="picture whose face gets the expression")
    files.add_argument("-o", "--output_fp", metavar="FILE",
                       help="result; folders are created, and with several --opt the kind is added "
                            f"to the name (default {RESULTS_FOLDER}/<source>_to_<target>_<opt>)")
    files.add_argument("--save_params", metavar="FILE",
                       help="write all parameters as .json or .npz")
    faces = parser.add_argument_group("faces and expression")
    faces.add_argument("--source_face", default="largest", metavar="WHICH",
                       help="largest (default), best (score), or a number counted left to right")
    faces.add_argument("--target_face", default="largest", metavar="WHICH",
                       help="the same, or all: every face gets the expression")
    faces.add_argument("--exp_gain", type=float, default=1.0, metavar="G",
                       help="strength of the transferred expression (default %(default)s)")
    faces.add_argument("--neutral_img_fp", metavar="FILE",
                       help="the source person at rest (picture or parameter file): transfer "
                            "relatively, target + G*(source - neutral)")
    output = parser.add_argument_group("output")
    output.add_argument("--opt", default="3d", metavar="KIND[,KIND...]",
                        help="; ".join(f"{name}: {view.summary}" for name, view in VIEWS.items())
                             + " (default %(default)s)")
    output.add_argument("--alpha", type=float, default=0.6, metavar="A",
                        help="opacity of the 3d mask, 0 to 1 (default %(default)s)")
    output.add_argument("--with_bg_flag", type=str2bool, default=True, metavar="true|false",
                        help="draw 3d, depth and pncc over the target, not on black (default true)")
    output.add_argument("--show_flag", type=str2bool, default=False, metavar="true|false",
                        help="open a window with each picture (default false)")
    engine = parser.add_argument_group("model and engine")
    add_model_options(engine)
    engine.add_argument("--engine", default="auto", choices=("auto", "torch", "onnx"),
                        help="auto is onnxruntime where a graph can be had, else torch")
    engine.add_argument("--onnx", action="store_true", help="the same as --engine onnx")
    args = parser.parse_args(argv)
    try:
        check_args(args)
    except UsageError as error:
        parser.error(str(error))
    return args


def check_args(args: argparse.Namespace) -> None:
    """Check what argparse cannot, and split --opt; raises UsageError."""
    args.opt = list(dict.fromkeys(name.strip() for name in args.opt.split(",")))
    for name in args.opt:
        if name not in VIEWS:
            raise UsageError(f"--opt: unknown kind {name!r}; choose from {', '.join(VIEWS)}")
    for option in ("source_face", "target_face"):
        try:
            parse_choice(getattr(args, option))
        except UsageError as error:
            raise UsageError(f"--{option}: {error}") from error
    if args.source_face == "all":
        raise UsageError("--source_face: all is for targets only")
    if not 0 <= args.alpha <= 1:
        raise UsageError(f"--alpha: expected 0 to 1, got {args.alpha}")
    if not math.isfinite(args.exp_gain):
        raise UsageError(f"--exp_gain: expected a finite number, got {args.exp_gain}")
    if args.save_params and not is_param_file(args.save_params):
        raise UsageError(f"--save_params: {args.save_params} must end in .json or .npz")
    if args.onnx and args.engine == "torch":
        raise UsageError("--onnx contradicts --engine torch")
    args.engine = "onnx" if args.onnx else args.engine
    args.outputs = {name: output_path(args, name) for name in args.opt}


def names_folder(path: str) -> bool:
    """Whether an output path is a folder's, there or to be made."""
    return Path(path).is_dir() or path.endswith(("/", os.sep))


def output_path(args: argparse.Namespace, name: str) -> Path:
    """Where the output of kind `name` goes; raises UsageError for an ending that cannot hold it."""
    view: View = VIEWS[name]
    stem = f"{Path(args.source_img_fp).stem}_to_{Path(args.target_img_fp).stem}_{name}"
    if args.output_fp is None:
        return RESULTS_FOLDER / f"{stem}{view.default_suffix}"
    path = Path(args.output_fp)
    if names_folder(args.output_fp):
        return path / f"{stem}{view.default_suffix}"
    fits = path.suffix.lower() in view.suffixes if view.suffixes else path.suffix.lower() not in (
        ".ply", ".obj", "")
    if len(args.opt) > 1:
        return path.with_name(f"{path.stem}_{name}{path.suffix if fits else view.default_suffix}")
    if not fits:
        endings = ", ".join(view.suffixes) or ".png, .jpg, …"
        raise UsageError(f"--output_fp: {path} cannot hold --opt {name}; let it end in {endings}")
    return path


class Reenactor:
    """The detector and the regressor of a config, and what they make of a picture."""

    def __init__(self, config: dict[str, Any], assets: str | None) -> None:
        self.tddfa = TDDFA(assets=assets, **config)
        checked = self.tddfa.config
        self.face_boxes = FaceBoxes(
            weights_fp=checked.detector_fp,
            engine=checked.engine,
            gpu_mode=checked.gpu_mode,
            gpu_id=checked.gpu_id,
            assets=assets,
        )

    def find_faces(self, img: np.ndarray, path: str, choice: str, role: str) -> list[Face]:
        """Detect, choose and regress the faces of a picture, and print what was picked."""
        boxes = self.face_boxes(img)
        picked = choose_faces(boxes, choice, path)
        numbers = ", ".join(str(rank_from_left(boxes, i)) for i in picked)
        print(f"{role} {path}: face {numbers} of {len(boxes)} from the left ({choice})")
        params, roi_boxes = self.tddfa(img, [boxes[i] for i in picked])
        size = (img.shape[1], img.shape[0])
        return [Face(Path(path).name, size, roi, p) for p, roi in zip(params, roi_boxes)]

    def source_face(self, path: str, choice: str, role: str) -> Face:
        """The face of a picture or of a parameter file."""
        if is_param_file(path):
            print(f"{role} {path}: parameter file")
            return load_source(path, self.tddfa.layout)
        return self.find_faces(read_image(path), path, choice, role)[0]

    def transfer(
        self, source: Face, targets: Sequence[Face], gain: float, neutral: Face | None
    ) -> list[Face]:
        """The targets with the source's expression: absolute, or relative to a neutral face."""
        layout = self.tddfa.layout

        def expression(face: Face) -> np.ndarray:
            return layout.split(face.param).expression

        results = []
        for target in targets:
            if neutral is None:
                moved = gain * expression(source)
            else:
                moved = expression(target) + gain * (expression(source) - expression(neutral))
            results.append(replace(target, param=layout.splice(target.param, moved)))
        return results


def model_config(args: argparse.Namespace) -> dict[str, Any]:
    """The config that the options name, on the engine and the device they ask for."""
    config = load_config(args.config, args.assets)
    if args.engine != "auto":
        config["engine"] = args.engine
    if args.mode == "gpu":
        config["gpu_mode"] = True
    return config


def reenact(args: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    config = model_config(args)
    target_img = read_image(args.target_img_fp)  # before the models: it fails faster
    reenactor = Reenactor(config, args.assets)
    source = reenactor.source_face(args.source_img_fp, args.source_face, "source")
    neutral = None
    if args.neutral_img_fp:
        neutral = reenactor.source_face(args.neutral_img_fp, args.source_face, "neutral")
    targets = reenactor.find_faces(target_img, args.target_img_fp, args.target_face, "target")
    results = reenactor.transfer(source, targets, args.exp_gain, neutral)

    tddfa = reenactor.tddfa
    scene = Scene(tddfa, target_img, source, targets, results, args.alpha, args.with_bg_flag)
    # all are made before the first is written, so a failure leaves nothing half done
    composed = {name: VIEWS[name].compose(scene) for name in args.opt}
    for name, output in composed.items():
        path = args.outputs[name]
        if isinstance(output, bytes):
            write_bytes(path, output)
        else:
            write_image(path, output)
        print(f"wrote {path}")
    if args.save_params:
        save_params(args.save_params, tddfa.layout, config, source, targets, results)
        print(f"wrote {args.save_params}")
    for output in composed.values() if args.show_flag else ():
        if not isinstance(output, bytes):
            show_image(output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(format="%(message)s")
    silence_opencv()  # errors are ours to report, in one line
    args = parse_args(argv)
    try:
        reenact(args)
    except ReenactmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
