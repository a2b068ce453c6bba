"""Put the facial expression of one picture onto the face of another.

    python face_reenactment.py --source_img_fp A.jpg --target_img_fp B.jpg --output_fp OUT.png

The story: FaceBoxes finds the faces, TDDFA regresses their 3DMM parameters, the source's
expression coefficients are spliced into the target's shape and pose, the 3DMM gives the
vertices, and Sim3DR draws them over the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from batch.options import add_batch_options
from bfm.regions import GROUPS, REGIONS
from reenactment import Face, Found, Job, Look, Outcome, Reenactor, Scene
from reenactment.knobs import MAX_GAIN
from reenactment.options import Parser, add_model_options, model_config, run_program
from reenactment.outputs import (
    DEFAULT_KIND,
    RESULTS_FOLDER,
    fill_pattern,
    name_outputs,
    parse_kinds,
)
from reenactment.param_file import encode_params, is_param_file, load_source
from reenactment.views import VIEWS
from reenactment.weights import face_of, is_weights_file, load_weights
from utils.console import say
from utils.errors import UsageError
from utils.io import write_all
from utils.tddfa_util import str2bool

Tell = Callable[[str], None]
DOUBTFUL = 0.6  # confidence below which a face may be none; 99% of faces have more than 0.7

EPILOG = """\
examples:
  python face_reenactment.py -s smile.jpg -t portrait.jpg -o out.png
  python face_reenactment.py -s smile.jpg -t group.jpg --target_face all --opt 3d,panel,obj
  python face_reenactment.py -s smile.jpg --neutral_img_fp calm.jpg -t portrait.jpg --exp_gain 1.3

exit codes:
  0 done   2 bad options or config, or no CUDA   3 input unreadable   4 no such face
  5 weights, 3DMM or another asset missing       6 output not writable   130 stopped
"""


def make_parser() -> Parser:
    """The options of the command line."""
    parser = Parser(
        description="The source (-s, the driving face) gives its expression, "
                    "the target (-t) gets it and is what you will see.",
        epilog=EPILOG,
    )
    files = parser.add_argument_group("files")
    files.add_argument("-s", "--source_img_fp", "-d", "--driving", metavar="FILE",
                       help="picture whose expression is taken, a file of --save_params, or "
                            "weights as --opt arkit, Live Link Face or MediaPipe write "
                            "them; not needed with --set, --preset or --neutralise")
    files.add_argument("--at", type=float, default=0.0, metavar="SECONDS",
                       help="which row of a source of weights is taken (default %(default)g)")
    files.add_argument("-t", "--target_img_fp", metavar="FILE",
                       help="picture whose face gets the expression")
    files.add_argument("-o", "--output_fp", metavar="FILE",
                       help="result; folders are created, and with several --opt the kind is added "
                            f"to the name (default {RESULTS_FOLDER}/<source>_to_<target>_<opt>)")
    files.add_argument("--save_params", metavar="FILE",
                       help="write all parameters as .json or .npz")
    faces = parser.add_argument_group("faces and expression")
    faces.add_argument("--source_face", default="largest", metavar="WHICH",
                       help="largest (default), best (score), an order such as left-right or "
                            "small-large, whose first is taken, or a number from the left")
    faces.add_argument("--target_face", default="largest", metavar="WHICH",
                       help="the same, or all: every face gets the expression")
    faces.add_argument("--regions", default="all", metavar="NAME,...",
                       help="what gets the expression, the rest stays as it is: "
                            f"{', '.join(GROUPS)}, {', '.join(REGIONS)}; or all-but:NAME,... "
                            "(default %(default)s)")
    faces.add_argument("--exp_gain", type=float, default=1.0, metavar="G",
                       help="strength of the transferred expression, up to "
                            f"{MAX_GAIN:g} (default %(default)s)")
    faces.add_argument("--gain", default="", metavar="NAME=G,...",
                       help="factors to that by region, such as mouth=1.4,brows=0.5")
    faces.add_argument("--set", default="", metavar="NAME=W,...",
                       help="sliders: smile=0.6,blink_left=1,jaw_open=0.3,brow_up=-0.4 or any of "
                            "ARKit's shapes; with a source, on top of it")
    faces.add_argument("--preset", default="", metavar="NAME,...",
                       help="smile, sad, wink_left, … (an unknown name lists all); several add up")
    faces.add_argument("--neutralise", action="store_true",
                       help="keep nothing of the target's own expression")
    faces.add_argument("--interpolate", type=int, metavar="N",
                       help="N numbered results, from the target's own expression to the new one")
    faces.add_argument("--neutral_img_fp", metavar="FILE",
                       help="the source person at rest (picture or parameter file): transfer "
                            "relatively, target + G*(source - neutral)")
    faces.add_argument("--neutral_face", default="largest", metavar="WHICH",
                       help="which face of that picture is meant, as for --source_face")
    faces.add_argument("--min_confidence", type=float, default=0.0, metavar="C",
                       help="refuse faces that the network is less sure of, 0 to 1; it warns below "
                            f"{DOUBTFUL:g} (default %(default)g)")
    output = parser.add_argument_group("output")
    output.add_argument("--opt", nargs="+", action="append", metavar="KIND[,KIND...]",
                        help="; ".join(f"{name}: {view.summary}" for name, view in VIEWS.items())
                             + f"; all (default {DEFAULT_KIND})")
    output.add_argument("--alpha", type=float, default=Look.alpha, metavar="A",
                        help="opacity of the 3d mask, 0 to 1 (default %(default)s)")
    output.add_argument("--with_bg_flag", type=str2bool, default=True, metavar="true|false",
                        help="draw 3d, depth and pncc over the target, not on black (default true)")
    output.add_argument("--photo_eyes", type=_on_or_off, default=True, metavar="on|off",
                        help="whether a photo's eyes take part; off is for glasses (default on)")
    output.add_argument("--quality", type=int, metavar="Q",
                        help="of JPEG and WebP files, 1 to 100")
    output.add_argument("--show_flag", type=str2bool, default=False, metavar="true|false",
                        help="open a window with each picture (default false)")
    add_model_options(parser.add_argument_group("model and engine"))
    add_batch_options(parser)
    return parser


def _on_or_off(text: str) -> bool:
    """on and off, besides what `str2bool` takes."""
    return {"on": True, "off": False}[text] if text in ("on", "off") else str2bool(text)


def make_job(args: argparse.Namespace, row: int | None = None) -> Job:
    """The job that the options describe; raises UsageError.

    row : its number in a batch, where a pattern names the outputs of rows that name none.
    """
    if not args.target_img_fp:
        raise UsageError("target_img_fp is needed")
    files, kinds = (args.source_img_fp, args.target_img_fp), parse_kinds(args.opt)
    job = Job(
        source=args.source_img_fp,
        target=args.target_img_fp,
        outputs=name_outputs(*files, kinds, args.output_fp)
        if row is None or args.output_fp
        else fill_pattern(args.output_pattern, kinds, *files, row),
        at=args.at,
        source_face=args.source_face,
        target_face=args.target_face,
        neutral=args.neutral_img_fp,
        neutral_face=args.neutral_face,
        min_confidence=args.min_confidence,
        regions=args.regions,
        exp_gain=args.exp_gain,
        gain=args.gain,
        set=args.set,
        preset=args.preset,
        neutralise=args.neutralise,
        interpolate=args.interpolate,
        look=Look(args.alpha, args.with_bg_flag, args.photo_eyes),
        quality=args.quality,
        save_params=args.save_params,
        show=args.show_flag,
    )
    job.check_files()
    return job


def find_source(
    reenactor: Reenactor, path: str, choice: str, role: str, tell: Tell, sure: float, at: float = 0
) -> tuple[Face, np.ndarray | None]:
    """The face of a picture, and the picture; or that of a file of parameters or weights alone."""
    if is_weights_file(path):
        tell(f"{role} {path}: weights at {at:g} s")
        weights, name = load_weights(path, at), Path(path).name
        return face_of(weights, reenactor.sliders, reenactor.tddfa.layout.shape_dim, name), None
    if is_param_file(path):
        tell(f"{role} {path}: parameter file")
        return load_source(path, reenactor.tddfa.layout), None
    picture, found = reenactor.look(path, choice)
    tell(told(role, path, found, choice))
    found.check_sure(sure, path)
    return found.faces[0], picture.bgr


def told(role: str, path: str, found: Found, choice: str) -> str:
    """A line about which of a picture's faces were picked."""
    numbers = ", ".join(map(str, found.numbers))
    turned = f", in the picture turned by {90 * found.quarters}°" if found.quarters else ""
    unsure = [face.confidence for face in found.faces if face.confidence is not None]
    doubt = ""
    if unsure and min(unsure) < DOUBTFUL:
        doubt = f"; warning: it may be no face, or a guess (confidence {min(unsure):.2f})"
    return f"{role} {path}: face {numbers} of {found.total} from the left ({choice}){turned}{doubt}"


def reenact(job: Job, reenactor: Reenactor, tell: Tell = say) -> Outcome:
    """Do what a job asks for, and tell what was found and written."""
    source, source_img = None, None
    if job.source:
        source, source_img = find_source(
            reenactor, job.source, job.source_face, "source", tell, job.min_confidence, job.at
        )
    transfer = job.transfer
    if job.neutral:
        rest, _ = find_source(
            reenactor, job.neutral, job.neutral_face, "neutral", tell, job.min_confidence
        )
        transfer = transfer.from_rest(rest)
    picture, found = reenactor.look(job.target, job.target_face)
    tell(told("target", job.target, found, job.target_face))
    found.check_sure(job.min_confidence, job.target)
    if job.knobs:
        transfer = job.knobs.turn(transfer, reenactor.sliders)
    results = [reenactor.apply(transfer, source, target) for target in found.faces]

    scene = Scene(
        reenactor.tddfa, picture.bgr, found.faces, results, source, source_img,
        original=lambda: picture.original,
    )
    composed = {
        path: (VIEWS[kind], VIEWS[kind].compose(scene.on_the_way(share), job.look))
        for share, outputs in job.steps()
        for kind, path in outputs.items()
    }
    contents = {
        path: view.medium.encode(output, Path(path).suffix, job.quality, picture.metadata)
        for path, (view, output) in composed.items()
    }
    if job.save_params:
        contents[job.save_params] = encode_params(
            Path(job.save_params).suffix, reenactor.config, source, found.faces, results
        )
    replaced = write_all(contents)
    for path in contents:
        tell(f"wrote {path}{', in place of an older file' if path in replaced else ''}")
    for view, output in composed.values() if job.show else ():
        view.medium.show(output)
    sure = tuple(face.confidence for face in found.faces if face.confidence is not None)
    return Outcome(
        job.digest, found.total, found.numbers, sure, tuple(contents), frozenset(replaced)
    )


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit code."""
    if args.batch or args.pairs:
        from batch.program import run_batch

        return run_batch(make_parser(), args, make_job, reenact)
    try:
        job = make_job(args)
    except UsageError as error:  # it begins with the option's name
        raise UsageError(f"--{error}; see --help") from error
    reenact(job, Reenactor(model_config(args), args.assets))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_program(make_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
