"""Put the facial expression of one picture onto the face of another.

    python face_reenactment.py --source_img_fp A.jpg --target_img_fp B.jpg --output_fp OUT.png

The story: FaceBoxes finds the faces, TDDFA regresses their 3DMM parameters, the source's
expression coefficients are spliced into the target's shape and pose, the 3DMM gives the
vertices, and Sim3DR draws them over the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from batch.options import add_batch_options
from bfm.regions import GROUPS, REGIONS
from reenactment import Job, Look, Outcome, Reenactor, Scene
from reenactment.clip import OSC_PORT, SOUNDS, Clip
from reenactment.knobs import MAX_GAIN
from reenactment.options import Parser, add_model_options, model_config, run_program
from reenactment.outputs import (
    DEFAULT_KIND,
    RESULTS_FOLDER,
    fill_pattern,
    is_moving,
    name_outputs,
    parse_kinds,
)
from reenactment.recording import open_recording
from reenactment.stage import DOUBTFUL, Stage
from reenactment.views import VIEWS
from utils.console import Teller
from utils.errors import UsageError
from utils.tddfa_util import str2bool

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
                       help="picture, video, folder or glob of frames, or camera:0, whose "
                            "expression is taken; a file of --save_params; or weights as "
                            "--opt arkit, Live Link Face or MediaPipe write them; not needed "
                            "with --set, --preset or --neutralise")
    files.add_argument("--at", type=float, metavar="SECONDS",
                       help="make a picture of this moment of a moving source (for a picture's "
                            "name, the default is 0)")
    files.add_argument("-t", "--target_img_fp", metavar="FILE",
                       help="picture, video, frames or camera whose face gets the expression")
    files.add_argument("-o", "--output_fp", metavar="FILE",
                       help="result: a picture, what moves (.mp4, .webm, .mkv, .mov, .gif, .webp), "
                            "or numbered files (out/%%05d.png); folders are created, and with "
                            "several --opt the kind is added to the name "
                            f"(default {RESULTS_FOLDER}/<source>_to_<target>_<opt>)")
    files.add_argument("--save_params", metavar="FILE",
                       help="write all parameters as .json or .npz")
    faces = parser.add_argument_group("faces and expression")
    faces.add_argument("--source_face", default="largest", metavar="WHICH",
                       help="largest (default), best (score), an order such as left-right or "
                            "small-large, whose first is taken, or a number from the left")
    faces.add_argument("--target_face", default="largest", metavar="WHICH",
                       help="the same, or all: every face gets the expression")
    faces.add_argument("--pair", default="", metavar="S:T,...",
                       help="which faces of the source drive which of the target, by their numbers "
                            "from the left")
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
    faces.add_argument("--neutral_img_fp", "--neutral", metavar="FILE",
                       help="the source person at rest, or auto for the calmest frames of a moving "
                            "source: transfer relatively, target + G*(source - neutral)")
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
    _add_clip_options(parser.add_argument_group("moving pictures"))
    add_model_options(parser.add_argument_group("model and engine"))
    add_batch_options(parser)
    return parser


def _add_clip_options(group: argparse._ActionsContainer) -> None:
    """The options that `make_clip` reads."""
    group.add_argument("--trim", nargs=2, type=_second, metavar=("START", "END"),
                       help="seconds of the target, or of the source of a picture, that are "
                            "taken; END may be: end")
    group.add_argument("--loop", action="store_true",
                       help="begin a shorter source again, instead of holding its last expression")
    group.add_argument("--fps", type=float, metavar="F",
                       help="a constant rate (default: frames keep their times)")
    group.add_argument("--smooth", type=float, default=Clip.smooth, metavar="S",
                       help="how much trembling is taken out, 0 to 1 (default %(default)s)")
    group.add_argument("--audio", choices=SOUNDS, default=Clip.sound,
                       help="whose sound is kept; auto is the target's, or the source's over a "
                            "picture (default %(default)s)")
    group.add_argument("--video_quality", type=int, metavar="Q",
                       help="1 to 100 (default: clean)")
    group.add_argument("--encoder", metavar="NAME",
                       help="of FFmpeg, such as h264_nvenc (default: what the ending asks for)")
    group.add_argument("--virtual_camera", action="store_true",
                       help="let other programs see the result as a camera")
    group.add_argument("--osc", nargs="?", const=str(OSC_PORT), metavar="HOST:PORT",
                       help="send ARKit's weights to an avatar, as VMC has them (default host: "
                            f"this machine, default port: {OSC_PORT})")


def _second(text: str) -> float | None:
    """A number of seconds, or the end."""
    return None if text == "end" else float(text)


def _on_or_off(text: str) -> bool:
    """on and off, besides what `str2bool` takes."""
    return {"on": True, "off": False}[text] if text in ("on", "off") else str2bool(text)


def make_clip(args: argparse.Namespace) -> Clip:
    """How the options want moving pictures; raises UsageError."""
    return Clip(
        trim=(0.0, None) if args.trim is None else args.trim,
        loop=args.loop,
        fps=args.fps,
        sound=args.audio,
        smooth=args.smooth,
        quality=args.video_quality,
        encoder=args.encoder,
        virtual_camera=args.virtual_camera,
        osc=args.osc,
    )


def make_job(args: argparse.Namespace, row: int | None = None) -> Job:
    """The job that the options describe; raises UsageError.

    row : its number in a batch, where a pattern names the outputs of rows that name none.
    """
    if not args.target_img_fp:
        raise UsageError("target_img_fp is needed")
    files = args.source_img_fp, args.target_img_fp
    steps, moment = args.interpolate is not None, args.at is not None
    moving = is_moving(*files, args.output_fp, steps, moment)
    outputs = _outputs(args, moving, row)
    job = Job(
        source=args.source_img_fp,
        target=args.target_img_fp,
        outputs=outputs,
        moving=moving,
        at=args.at or 0.0,
        source_face=args.source_face,
        target_face=args.target_face,
        pair=args.pair,
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
        look=Look(args.alpha, args.with_bg_flag, args.photo_eyes, "photo" in outputs),
        clip=make_clip(args),
        quality=args.quality,
        save_params=args.save_params,
        show=args.show_flag,
    )
    job.check_files()
    return job


def _outputs(
    args: argparse.Namespace, moving: bool, row: int | None
) -> Mapping[str, str | None]:
    """The kinds of output and their files; raises UsageError."""
    files, kinds = (args.source_img_fp, args.target_img_fp), parse_kinds(args.opt, moving)
    if row is not None and not args.output_fp:
        return fill_pattern(args.output_pattern, kinds, *files, row, moving)
    if moving and not args.output_fp and (args.show_flag or args.virtual_camera or args.osc):
        return dict.fromkeys(kinds)
    return name_outputs(*files, kinds, args.output_fp, moving)


def reenact(job: Job, reenactor: Reenactor, tell: Teller | None = None) -> Outcome:
    """Do what a job asks for, and tell what was found and written."""
    tell = tell or Teller()
    with Stage(reenactor, job, tell.along) as stage:
        source = stage.source()
        if job.source:
            tell(f"source {job.source}: {source.summary}")
        transfer, neutral = job.transfer, stage.neutral(source)
        if neutral and neutral.lead:
            tell(f"neutral {job.neutral}: {neutral.summary}")
            transfer = transfer.from_rest(neutral.lead.rest())
        if job.knobs:
            transfer = job.knobs.turn(transfer, reenactor.sliders)
        target = stage.target(source)
        tell(f"target {job.target}: {target.summary}")

        with open_recording(job, reenactor.config, target) as recording:
            for frame in tell.along(target.frames, target.count, f"drawing {target.name}"):
                faces = target.faces(frame)
                drivers = [source.at(frame.seconds, face.track) for face in faces]
                results = [
                    reenactor.apply(transfer, driver.face, face)
                    for driver, face in zip(drivers, faces)
                ]
                scene = Scene(
                    reenactor.tddfa, frame.img, faces, results, drivers, target.awake,
                    partial(target.original, frame),
                )
                recording.take(scene, frame)
        for warning in stage.warnings():
            tell.warn(warning)
    counted = f": {recording.frames} frames, {recording.faceless} without a face" * job.moving
    for path in recording.names:
        replaced = ", in place of an older file" if path in recording.replaced else ""
        tell(f"wrote {path}{counted}{replaced}")
    return Outcome(
        job.digest, target.found, target.picked, target.confidence, recording.written,
        recording.replaced, recording.frames, recording.faceless,
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
