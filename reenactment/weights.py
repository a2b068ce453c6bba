"""The 52 weights of ARKit: what faces score, as files that other programs read, and back.

A `.csv` has the layout of Live Link Face: `Timecode` (HH:MM:SS:FF.mmm, 60 frames a second),
`BlendShapeCount` (61), the shapes, head and eye angles in radians; a row for every face. A `.json`
has, for every face, its weights by name, the head's angles in degrees and the detector's score, and
how far each weight is to be trusted: its correlation with MediaPipe's on people held out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import numpy as np

from bfm.bfm import BFMModel
from bfm.regions import REGIONS
from bfm.sliders import SHAPES, Sliders, regions_of, why_not
from reenactment.faces import Face, FrameInfo
from utils.errors import InputError
from utils.io import PathLike, one_line
from utils.pose import calc_pose
from utils.rows import RowText

FORMAT = "face_reenactment weights 1"
ANGLES = ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll",
          "RightEyeYaw", "RightEyePitch", "RightEyeRoll")
RATE = 60  # frames a second, of timecodes
_SHOWN = [number for number, shape in enumerate(SHAPES) if why_not(shape) is None]
_SHARES = np.stack([regions_of(shape) for shape in SHAPES])
_SHARES = _SHARES / _SHARES.sum(axis=1, keepdims=True)
_MM = 1e-3  # of a µm
# Weights are to show the face when they are read, and to be near what it scores: how many squared
# mm of the landmarks a squared weight off that counts.
_NEARNESS = 4.0
_MOST = 2.0  # sliders of animators go a little beyond 1
_MAX_ROUNDS = 50  # until it is known which weights are 0 and 1; three to six are usual
# Action units of FACS (Ekman and Friesen 1978), and the shapes whose mean is their intensity.
ACTION_UNITS = {
    "AU1": ("browInnerUp",), "AU2": ("browOuterUpLeft", "browOuterUpRight"),
    "AU4": ("browDownLeft", "browDownRight"), "AU5": ("eyeWideLeft", "eyeWideRight"),
    "AU7": ("eyeSquintLeft", "eyeSquintRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"), "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU16": ("mouthLowerDownLeft", "mouthLowerDownRight"), "AU17": ("mouthShrugLower",),
    "AU18": ("mouthPucker",), "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU22": ("mouthFunnel",), "AU24": ("mouthPressLeft", "mouthPressRight"), "AU26": ("jawOpen",),
    "AU28": ("mouthRollLower", "mouthRollUpper"), "AU43": ("eyeBlinkLeft", "eyeBlinkRight"),
}


class _Shown(NamedTuple):
    """What the sliders that can be shown do to a model's landmarks.

    shares (regions, 204) : how much of each region a landmark's coordinates are.
    moves (shapes, 204) : by each at 1, mm; gram (shapes, shapes) : their products.
    """

    shares: np.ndarray
    moves: np.ndarray
    gram: np.ndarray

    @classmethod
    def of(cls, bfm: BFMModel) -> _Shown:
        """`BFMModel.kept` keeps it."""
        shares = np.repeat(bfm.regions[:, bfm.landmarks], 3, axis=1)
        moves = _moves(bfm.sliders.shown, bfm, shares)
        return cls(shares, moves, moves @ moves.T + _NEARNESS * np.eye(len(moves)))


def weights_of(face: Face, bfm: BFMModel) -> np.ndarray:
    """The weights (52,) float32 in [0, 1] of a face.

    What the network scores where the face carries that, else by a linear map of the coefficients;
    changed as little as need be for the weights to show the face's expression again.
    """
    sliders, shown = bfm.sliders, bfm.kept(_Shown.of)
    rows = _all_rows(face.parts.expression, sliders)
    scores = np.einsum("sr,re,se->s", _SHARES, rows, sliders.scores[:, 1:]) + sliders.scores[:, 0]
    weights = np.clip(scores if face.scores is None else face.scores, 0, 1)
    wanted = _moves(rows - sliders.rest, bfm, shown.shares)
    target = shown.moves @ wanted + _NEARNESS * weights[_SHOWN]
    weights[_SHOWN] = _bounded(shown.gram, target)
    return weights.astype(np.float32)


def _all_rows(expression: np.ndarray, sliders: Sliders) -> np.ndarray:
    """Expression rows for every region, and at rest in coefficients that a model lacks."""
    rows = np.tile(sliders.rest, (len(REGIONS), 1))
    common = min(rows.shape[1], expression.shape[1])
    rows[:, :common] = expression[:, :common]
    return rows


def _moves(rows: np.ndarray, bfm: BFMModel, shares: np.ndarray) -> np.ndarray:
    """How expression rows (..., regions, exp_dim) move the landmarks, (..., 204) mm."""
    common = min(rows.shape[-1], bfm.w_exp_base.shape[1])
    moved = rows[..., :common] @ bfm.w_exp_base[:, :common].T
    return (moved * shares).sum(axis=-2) * _MM


def _bounded(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The weights w (k,) in [0, 1] of the least w gram w - 2 target w.

    By the primal-dual active set method (Hintermüller, Ito and Kunisch 2003).
    """
    low = high = np.zeros(len(gram), bool)
    for _ in range(_MAX_ROUNDS):
        weights, free = high.astype(np.float64), ~(low | high)
        weights[free] = np.linalg.solve(gram[np.ix_(free, free)], (target - gram @ weights)[free])
        slope = gram @ weights - target
        below, above = np.where(low, slope > 0, weights < 0), np.where(high, slope < 0, weights > 1)
        if (below == low).all() and (above == high).all():
            break
        low, high = below, above
    return np.clip(weights, 0, 1)


def describe(faces: Sequence[Face], bfm: BFMModel) -> list[dict[str, Any]]:
    """What a file of weights tells of faces.

    How far the weights are to be trusted is known of models with our lids only.
    """
    known = bfm.lid_moves is not None
    trust = dict(zip(SHAPES, (round(float(r), 3) for r in bfm.sliders.reliability)))
    return [
        {
            "person": face.track,
            "frame": face.frame.number,
            "seconds": face.frame.seconds,
            "weights": dict(zip(SHAPES, map(float, weights_of(face, bfm)))),
            "head": dict(zip(("yaw", "pitch", "roll"), calc_pose(face.pose.ravel())[1])),
            "confidence": float(face.box[4]) if face.box is not None else None,
            "reliability": trust if known else None,
        }
        for face in faces
    ]


def facs(described: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Intensities of `ACTION_UNITS`, 0 to 1, of what `describe` tells."""
    return [
        {
            **{key: face[key] for key in ("person", "frame", "seconds")},
            "action_units": {
                unit: float(np.mean([face["weights"][shape] for shape in shapes]))
                for unit, shapes in ACTION_UNITS.items()
            },
        }
        for face in described
    ]


def _json_head(first: Mapping[str, Any] | None) -> str:
    """All but the faces; `first` tells how far the weights are to be trusted, if that is known."""
    trust = (first or {}).get("reliability")
    content = {"format": FORMAT, **({"reliability": trust} if trust else {})}
    return json.dumps(content, indent=1)[: -len("\n}")] + ',\n "faces": [\n'


def _json_row(face: Mapping[str, Any]) -> str:
    told = {key: value for key, value in face.items() if key != "reliability"}
    return indent(json.dumps(told, indent=1, allow_nan=False), "  ")


def _csv_head(_: Any) -> str:
    """The names of the columns, as Live Link Face has them."""
    names = [shape[0].upper() + shape[1:] for shape in SHAPES]
    return _csv_line(["Timecode", "BlendShapeCount", *names, *ANGLES])


def _csv_row(face: Mapping[str, Any]) -> str:
    head = [np.radians(angle) for angle in face["head"].values()]
    values = [*face["weights"].values(), *head, *[0.0] * (len(ANGLES) - len(head))]
    count = len(SHAPES) + len(ANGLES)
    return _csv_line([timecode(face["seconds"]), count, *(f"{v:.8f}" for v in values)])


def _csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


# Files of what `describe` tells, by their endings; .json is for `facs`, too.
TEXTS = {
    ".json": RowText(_json_head, _json_row, between=",\n", tail="\n ]\n}"),
    ".csv": RowText(_csv_head, _csv_row),
}


def timecode(seconds: float) -> str:
    """HH:MM:SS:FF.mmm, the last being thousandths of a frame."""
    thousandths = round(seconds * RATE * 1000)
    frames, part = divmod(thousandths, 1000)
    whole, frame = divmod(frames, RATE)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}:{frame:02d}.{part:03d}"


def parse_timecode(text: str) -> float:
    """Seconds of HH:MM:SS:FF, with or without thousandths; raises ValueError."""
    parts = text.split(":")
    if len(parts) != 4:
        raise ValueError(f"expected a timecode HH:MM:SS:FF, got {text!r}")
    hours, minutes, seconds, frames = parts
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + float(frames) / RATE


def is_weights_file(path: PathLike) -> bool:
    """Whether a file holds weights, and not parameters or a picture."""
    suffix = Path(path).suffix.lower()
    if suffix != ".json":
        return suffix == ".csv"
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False  # the reader of parameter files says what is wrong
    if isinstance(content, dict):
        names = {str(key).lower() for key in content}
        return content.get("format") == FORMAT or bool(names & _BY_SMALL_NAME.keys())
    return isinstance(content, list) and bool(content) and _is_category(content[0])


def load_weights(path: PathLike, at: float = 0.0) -> dict[str, float]:
    """The weights of a moment, seconds from the first row of a file; the nearest row is taken.

    Raises
    ------
    InputError : see `load_weights_over_time`.
    """
    rows = load_weights_over_time(path)
    return min(rows, key=lambda row: abs(row[0] - at))[1]


def load_weights_over_time(path: PathLike) -> list[tuple[float, dict[str, float]]]:
    """Seconds from the first row, and weights, of a file: ours, Live Link Face's or MediaPipe's.

    Names may come in any order, written large or small; missing ones are 0, and percents are
    understood.

    Raises
    ------
    InputError : the file is unreadable, has an unknown name or a number that is no weight.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        read = _read_csv if Path(path).suffix.lower() == ".csv" else _read_json
        rows: dict[float, dict[str, float]] = {}
        for seconds, values in sorted(read(text), key=lambda row: row[0]):
            rows.setdefault(seconds, _named(values))  # the first face of a frame
        if not rows:
            raise ValueError("it has no rows")
        start, scale = min(rows), _scale(rows.values())
        return [(seconds - start, _scaled(row, scale)) for seconds, row in rows.items()]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise InputError(f"cannot read weights from {path}: {one_line(error)}") from error


def _read_csv(text: str) -> list[tuple[float, dict[str, Any]]]:
    rows = list(csv.DictReader(io.StringIO(text)))
    if any(None in row for row in rows):
        raise ValueError("a row has more values than the first line has names")
    timed = bool(rows) and "Timecode" in rows[0]
    seconds = [parse_timecode(r["Timecode"]) if timed else k / RATE for k, r in enumerate(rows)]
    skipped = {"timecode", "blendshapecount"}
    return [
        (second, {name: value for name, value in row.items() if name.lower() not in skipped})
        for second, row in zip(seconds, rows)
    ]


def _read_json(text: str) -> list[tuple[float, dict[str, Any]]]:
    content = json.loads(text)
    if isinstance(content, list):
        return [(0.0, {item["categoryName"]: item["score"] for item in content})]
    if content.get("format") == FORMAT:
        return [(float(face["seconds"]), _weights_in(face)) for face in content["faces"]]
    return [(0.0, content)]


def _weights_in(face: Mapping[str, Any]) -> dict[str, Any]:
    if "weights" not in face:
        raise ValueError("a face has no weights, as in files of action units; --opt arkit has them")
    return face["weights"]


def _is_category(item: Any) -> bool:
    return isinstance(item, dict) and {"categoryName", "score"} <= item.keys()


def _named(values: Mapping[str, Any]) -> dict[str, float]:
    """Weights by our names; raises ValueError."""
    weights: dict[str, float] = {}
    for name, value in values.items():
        shape = _BY_SMALL_NAME.get(name.lower())
        if shape:
            weights[shape] = float(value)
        elif name.lower() not in _NO_WEIGHTS:
            raise ValueError(f"{name!r} is no shape of ARKit")
    return weights


def _scale(rows: Iterable[Mapping[str, float]]) -> float:
    """What the weights of a file are to be divided by: 100 where they are percents."""
    largest = max((weight for row in rows for weight in row.values()), default=0.0)
    return 100.0 if _MOST < largest <= 100 else 1.0


def _scaled(row: Mapping[str, float], scale: float) -> dict[str, float]:
    """Weights where 1 is ARKit's most; raises ValueError."""
    for shape, value in row.items():
        if not -1 <= value / scale <= _MOST:  # nor NaN
            raise ValueError(f"{shape}: expected 0 to 1 or percents, got {value:g}")
    return {shape: value / scale for shape, value in row.items()}


_BY_SMALL_NAME = {shape.lower(): shape for shape in SHAPES}
_NO_WEIGHTS = {"_neutral", *(angle.lower() for angle in ANGLES)}


def face_of(weights: Mapping[str, float], sliders: Sliders, shape_dim: int, name: str) -> Face:
    """The average person with the expression of some weights, to be a source.

    It fills the crop of a picture of its own.
    """
    side, half, scale = 120, 60, 5.5e-4  # pixels, and for a µm
    pose = np.array([[scale, 0, 0, half], [0, scale, 0, half], [0, 0, scale, 0]], np.float32)
    rows = (sliders.rest + sliders.rows(weights)).astype(np.float32)
    return Face(FrameInfo(name, (side, side)), [0, 0, side, side], pose,
                np.zeros(shape_dim, np.float32), rows)
