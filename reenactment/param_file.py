"""Parameter files: what was regressed and transferred, by name, as JSON or NPZ.

The faces `source`, `target` and `result` (the last two one or several) have

    image             file name of the picture
    image_size        its width and height, pixels
    roi_box           x0, y0, x1, y1 of the network's crop in it, pixels
    pose              3x4 matrix [sR | t], pixels of the 120x120 crop, y up
    shape             coefficients of the shape basis
    expression        coefficients of the expression basis; a list of lists where they differ by
                      region, one for each of `regions`
    correction        of results: what is added to that where it is drawn, a list for each row
    confidence        the detector's score, where it has seen the face
    scores            of `bfm.sliders.SHAPES`, where the network gives them
    yaw, pitch, roll  of the head, degrees

and the file has `format`, `version` (of this program) and `config`. In an NPZ the faces'
entries are named like `target/0/pose`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bfm.params import FaceParams, ParamLayout
from bfm.regions import REGIONS
from bfm.sliders import SHAPES
from reenactment.faces import Face, FrameInfo
from utils import __version__
from utils.errors import AssetError, InputError
from utils.io import PathLike, load_arrays, one_line, read_bytes
from utils.pose import calc_pose

FORMAT = "face_reenactment parameters 2"
_READABLE = ("face_reenactment parameters 1", FORMAT)  # the first has no rows by region
_LARGEST = 1e9  # shape coefficients reach some 1e6; nothing comes near this


def is_param_file(path: PathLike) -> bool:
    """Whether a name looks like a parameter file, not like a picture."""
    return Path(path).suffix.lower() in SUFFIXES


def _describe(face: Face) -> dict[str, Any]:
    yaw, pitch, roll = calc_pose(face.pose.ravel())[1]
    return {
        "image": face.frame.name,
        "image_size": list(face.frame.size),
        "roi_box": [float(value) for value in face.roi_box],
        "pose": face.pose.tolist(),
        "shape": face.shape.tolist(),
        **_describe_expression(face.expression),
        **_describe_known(face),
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
    }


def _describe_expression(rows: np.ndarray) -> dict[str, Any]:
    if len(rows) == 1:
        return {"expression": rows[0].tolist()}
    return {"expression": rows.tolist(), "regions": list(REGIONS)}


def _describe_known(face: Face) -> dict[str, Any]:
    """What is known of some faces only."""
    known = {
        "correction": None if face.correction is None else face.correction.tolist(),
        "confidence": None if face.box is None else float(face.box[4]),
        "scores": None if face.scores is None else face.scores.tolist(),
    }
    return {key: value for key, value in known.items() if value is not None}


def encode_params(
    suffix: str,
    config: Mapping[str, Any],
    source: Face | None,
    targets: Sequence[Face],
    results: Sequence[Face],
) -> bytes:
    """The content of a parameter file with one of the endings `SUFFIXES`."""
    content = {
        "format": FORMAT,
        "version": __version__,
        "config": dict(config),
        **({"source": _describe(source)} if source else {}),
        "target": [_describe(face) for face in targets],
        "result": [_describe(face) for face in results],
    }
    return _ENCODERS[suffix.lower()](content)


def _encode_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _encode_npz(content: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_flatten(content))  # type: ignore[arg-type]
    return buffer.getvalue()


_ENCODERS = {".json": _encode_json, ".npz": _encode_npz}
SUFFIXES = tuple(_ENCODERS)


def _flatten(content: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Nested dicts, and lists of dicts, as arrays under names joined by '/'."""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        content = {str(number): item for number, item in enumerate(content)}
    if not isinstance(content, dict):
        # text such as None has no array type that could be read back safely
        return {prefix: np.asarray("" if content is None else content)}
    flat: dict[str, np.ndarray] = {}
    for key, value in content.items():
        flat.update(_flatten(value, f"{prefix}/{key}" if prefix else key))
    return flat


def load_source(path: PathLike, layout: ParamLayout) -> Face:
    """Read the source face of a parameter file into the given layout.

    Raises
    ------
    InputError : the file is unreadable or no parameter file.
    """
    entries = _read_entries(path)
    try:
        parts = layout.adapt(
            FaceParams(
                _pose(entries),
                numbers_of(entries, "shape", (-1,)),
                _rows(entries),
            )
        )
        width, height = numbers_of(entries, "image_size", (2,)).astype(int)
        frame = FrameInfo(str(entries["image"]), (int(width), int(height)))
        scores = numbers_of(entries, "scores", (len(SHAPES),)) if "scores" in entries else None
        return Face(frame, _roi_box(entries), *parts, scores=scores)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"bad parameter file {path}: source {error}") from error


def _read_entries(path: PathLike) -> Mapping[str, Any]:
    """The entries of the source face, of either kind of file."""
    entries: Any
    form: Any
    try:
        if Path(path).suffix.lower() == ".npz":
            arrays = load_arrays(path)
            prefix = "source/"
            entries = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
            form = str(arrays.get("format"))
        else:
            content = json.loads(read_bytes(path))
            content = content if isinstance(content, dict) else {}
            entries, form = content.get("source"), content.get("format")
    except (OSError, AssetError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {one_line(error)}") from error
    if form not in _READABLE or not isinstance(entries, dict):
        raise InputError(f"bad parameter file {path}: expected one that --save_params wrote")
    return entries


def _pose(entries: Mapping[str, Any]) -> np.ndarray:
    pose = numbers_of(entries, "pose", (3, 4))
    if np.linalg.matrix_rank(pose[:2, :3]) < 2:
        raise ValueError("pose: expected a scaled rotation and a translation")
    return pose


def _roi_box(entries: Mapping[str, Any]) -> list[float]:
    x0, y0, x1, y1 = numbers_of(entries, "roi_box", (4,)).tolist()
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"roi_box: expected x0 < x1 and y0 < y1, got {[x0, y0, x1, y1]}")
    return [x0, y0, x1, y1]


def _rows(entries: Mapping[str, Any]) -> np.ndarray:
    """The expression, (1 or regions, n)."""
    if "regions" not in entries:
        return numbers_of(entries, "expression", (-1,))[None]
    if tuple(map(str, entries["regions"])) != REGIONS:
        raise ValueError(f"regions: expected {', '.join(REGIONS)}")
    return numbers_of(entries, "expression", (len(REGIONS), -1))


def numbers_of(entries: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray:
    """An entry as float64 numbers of some shape, in which -1 is any length; raises ValueError."""
    array = np.asarray(entries[key], np.float64)
    fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape))
    if not fits or not array.size or not (np.abs(array) <= _LARGEST).all():
        wanted = "a list" if shape == (-1,) else f"shape {shape}"
        raise ValueError(
            f"{key}: expected {wanted} of numbers up to {_LARGEST:g}, got shape {array.shape}"
        )
    return array
