"""Track files: the faces of people through a video, by name, as JSON, NPZ or CSV.

The file has `format` and `version` (of this program), and each of its `tracks`

    number            the person's, from 1 on
    video, size       file name of the video, its width and height in pixels
    duration          of the video, seconds
    frames, seconds   the numbers of the T frames that show the person, and when they are shown
    roi_box, pose, shape, expression, regions
                      as in `reenactment.param_file`, for every frame; a single shape is that of all
    scores, error     for every frame, where the network gives them

In an NPZ the entries are named like `tracks/0/pose`. A CSV has a row for every frame and person,
under `COLUMNS` and columns like `pose_0_3`, and no version.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bfm.params import FaceParams, ParamLayout
from bfm.regions import REGIONS
from bfm.sliders import SHAPES
from reenactment.param_file import numbers_of
from reenactment.track import Track
from utils import __version__
from utils.errors import AssetError, InputError
from utils.io import PathLike, load_arrays, one_line, read_bytes

FORMAT = "face_reenactment track 1"
COLUMNS = ("number", "frame", "seconds", "video", "width", "height", "duration")  # of a CSV
_ARRAYS = ("roi_box", "pose", "shape", "expression", "scores", "error")  # its other columns


def is_track_file(path: PathLike) -> bool:
    """Whether a file says that it holds tracks, and not parameters, weights or pictures."""
    says = _SAYS.get(Path(path).suffix.lower())
    try:
        return says is not None and says(path)
    except (OSError, AssetError, InputError, ValueError, csv.Error):
        return False  # the reader of other files says what is wrong


def _says_json(path: PathLike) -> bool:
    """Without parsing, which takes as long as all else that is done with a track."""
    return re.search(rb'"format"\s*:\s*"%s"' % FORMAT.encode(), read_bytes(path)) is not None


def _says_npz(path: PathLike) -> bool:
    return str(load_arrays(path).get("format")) == FORMAT


def _says_csv(path: PathLike) -> bool:
    return tuple(next(_rows_of(path), [])[: len(COLUMNS)]) == COLUMNS


_SAYS = {".json": _says_json, ".npz": _says_npz, ".csv": _says_csv}


def encode_tracks(suffix: str, tracks: Sequence[Track]) -> bytes:
    """The content of a track file with one of the endings `SUFFIXES`."""
    content = {
        "format": FORMAT,
        "version": __version__,
        "tracks": [_describe(track) for track in tracks],
    }
    return _ENCODERS[suffix.lower()](content)


def _describe(track: Track) -> dict[str, Any]:
    by_region, one_shape = track.expressions.shape[1] > 1, not np.ptp(track.shapes, axis=0).any()
    known = {
        "regions": list(REGIONS) if by_region else None,
        "scores": track.scores,
        "error": track.errors,
    }
    return {
        "number": track.number,
        "video": track.name,
        "size": list(track.size),
        "duration": track.duration,
        "frames": track.frames,
        "seconds": track.seconds,
        "roi_box": track.roi_boxes,
        "pose": track.poses,
        "shape": track.shapes[:1] if one_shape else track.shapes,
        "expression": track.expressions if by_region else track.expressions[:, 0],
        **{key: value for key, value in known.items() if value is not None},
    }


def _encode_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, default=np.ndarray.tolist,
                      separators=(",", ":")).encode()  # fmt: skip


def _encode_npz(content: Mapping[str, Any]) -> bytes:
    arrays = {key: np.asarray(content[key]) for key in ("format", "version")}
    for number, track in enumerate(content["tracks"]):
        arrays.update({f"tracks/{number}/{key}": np.asarray(v) for key, v in track.items()})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _encode_csv(content: Mapping[str, Any]) -> bytes:
    """Rows in the order of time; a column that some person lacks is empty there."""
    columns = dict.fromkeys(COLUMNS)
    rows = []
    for track in content["tracks"]:
        table = dict(_columns(track))
        columns.update(dict.fromkeys(table))
        common = track["video"], *track["size"], track["duration"]
        for place, (frame, seconds) in enumerate(zip(track["frames"], track["seconds"])):
            row = dict(zip(COLUMNS, (track["number"], frame, seconds, *common)))
            row.update((name, values[place]) for name, values in table.items())
            rows.append(row)
    rows.sort(key=lambda row: (row["frame"], row["number"]))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _columns(track: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The columns of a CSV for the arrays of a track: names and values (T,)."""
    for key in _ARRAYS:
        if key in track:
            array = np.asarray(track[key])
            array = np.broadcast_to(array, (len(track["frames"]), *array.shape[1:]))
            for index in np.ndindex(*array.shape[1:]):
                yield "_".join((key, *map(str, index))), array[(...,) + index]


_ENCODERS = {".json": _encode_json, ".npz": _encode_npz, ".csv": _encode_csv}
SUFFIXES = tuple(_ENCODERS)


def load_tracks(path: PathLike, layout: ParamLayout) -> list[Track]:
    """Read the people of a track file into the given layout.

    Raises
    ------
    InputError : the file is unreadable or no track file.
    """
    try:
        content = _READERS[Path(path).suffix.lower()](path)
        if str(content.get("format")) != FORMAT or not content.get("tracks"):
            raise ValueError(f"expected one of format {FORMAT!r} with somebody in it")
        return [_track(entries, layout) for entries in content["tracks"]]
    except AssetError as error:
        raise InputError(str(error)) from error
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError,
            csv.Error) as error:  # fmt: skip
        raise InputError(f"bad track file {path}: {one_line(error)}") from error


def _read_json(path: PathLike) -> Mapping[str, Any]:
    content = json.loads(read_bytes(path))
    return content if isinstance(content, dict) else {}


def _read_npz(path: PathLike) -> Mapping[str, Any]:
    arrays = load_arrays(path)
    tracks: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        if name.count("/") == 2:
            _, number, key = name.split("/")
            tracks.setdefault(number, {})[key] = array
    return {"format": arrays.get("format"), "tracks": list(tracks.values())}


def _read_csv(path: PathLike) -> Mapping[str, Any]:
    rows = _rows_of(path)
    names = next(rows, [])
    if tuple(names[: len(COLUMNS)]) != COLUMNS:
        return {}
    people: dict[str, list[dict[str, str]]] = {}
    for row in filter(None, rows):
        entries = dict(zip(names, row))
        people.setdefault(entries["number"], []).append(entries)
    return {"format": FORMAT, "tracks": [_entries(rows, names) for rows in people.values()]}


def _rows_of(path: PathLike) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(read_bytes(path).decode("utf-8-sig"), newline=""))


def _entries(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> dict[str, Any]:
    """A person's rows of a CSV as the entries of a track."""
    first = rows[0]
    entries: dict[str, Any] = {
        "number": int(first["number"]),
        "video": first["video"],
        "size": [int(first["width"]), int(first["height"])],
        "duration": float(first["duration"]),
        "frames": [int(row["frame"]) for row in rows],
        "seconds": [float(row["seconds"]) for row in rows],
    }
    for key in _ARRAYS:
        own = sorted((index, name) for name in names if (index := _index(name, key)) is not None)
        if own and first[own[0][1]] != "":
            values = np.array([[float(row[name]) for _, name in own] for row in rows])
            entries[key] = values.reshape(len(rows), *(1 + n for n in own[-1][0]))
    if entries["expression"].ndim == 3:
        entries["regions"] = list(REGIONS)
    return entries


def _index(name: str, key: str) -> tuple[int, ...] | None:
    """Which number of an entry a CSV's column has: `pose_0_3` is (0, 3) of `pose`."""
    start, _, rest = name.partition(key)
    numbers = rest.split("_")[1:]
    fits = not start and all(map(str.isdecimal, numbers)) and name == "_".join((key, *numbers))
    return tuple(map(int, numbers)) if fits else None


_READERS = {".json": _read_json, ".npz": _read_npz, ".csv": _read_csv}


def _track(entries: Mapping[str, Any], layout: ParamLayout) -> Track:
    """A track of its entries; raises ValueError, KeyError or TypeError where they are none."""
    seconds = numbers_of(entries, "seconds", (-1,))
    count = len(seconds)
    frames = numbers_of(entries, "frames", (count,)).astype(np.int64)
    if (np.diff(frames) <= 0).any() or (np.diff(seconds) < 0).any():
        raise ValueError("frames, seconds: expected them to go up")
    shapes = numbers_of(entries, "shape", (-1, -1))
    poses, rows = _poses(entries, count), _rows(entries, count)
    parts = layout.adapt(FaceParams(poses, np.broadcast_to(shapes, (count, shapes.shape[1])), rows))
    width, height = numbers_of(entries, "size", (2,)).astype(int).tolist()
    number, duration = (_number(entries, key) for key in ("number", "duration"))
    return Track(
        number=int(number),
        name=str(entries["video"]),
        size=(width, height),
        duration=duration,
        frames=frames,
        seconds=seconds,
        roi_boxes=_roi_boxes(entries, count),
        poses=parts.pose,
        shapes=parts.shape,
        expressions=parts.expression,
        scores=_known(entries, "scores", (count, len(SHAPES))),
        errors=_known(entries, "error", (count,)),
    )


def _poses(entries: Mapping[str, Any], count: int) -> np.ndarray:
    poses = numbers_of(entries, "pose", (count, 3, 4))
    if (np.linalg.matrix_rank(poses[:, :2, :3]) < 2).any():
        raise ValueError("pose: expected scaled rotations and translations")
    return poses


def _roi_boxes(entries: Mapping[str, Any], count: int) -> np.ndarray:
    boxes = numbers_of(entries, "roi_box", (count, 4))
    if not (boxes[:, :2] < boxes[:, 2:]).all():
        raise ValueError("roi_box: expected x0 < x1 and y0 < y1")
    return boxes


def _rows(entries: Mapping[str, Any], count: int) -> np.ndarray:
    """The expressions, (T, 1 or regions, n)."""
    if "regions" not in entries:
        return numbers_of(entries, "expression", (count, -1))[:, None]
    if tuple(map(str, entries["regions"])) != REGIONS:
        raise ValueError(f"regions: expected {', '.join(REGIONS)}")
    return numbers_of(entries, "expression", (count, len(REGIONS), -1))


def _number(entries: Mapping[str, Any], key: str) -> float:
    return float(numbers_of(entries, key, ()))


def _known(entries: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    return numbers_of(entries, key, shape).astype(np.float32) if key in entries else None
