"""What has been seen in pictures, kept in memory and, where asked for, on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from FaceBoxes.turned import Upright
from reenactment.faces import Face, FrameInfo, choose_faces
from reenactment.reenactor import Found, Reenactor, Seen, model_versions
from utils.errors import OutputError
from utils.image import Picture, read_picture
from utils.io import PathLike, write_bytes

PICTURES_MIB = 64  # of decoded pictures, for a worker
_FACES_KEPT = 10_000  # pictures whose faces are kept in memory, for a worker
_FORMAT = 1

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values used last, as far as they fit.

    limit : of the sum of their sizes.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._sum = limit, 0.0
        self._values: OrderedDict[Hashable, tuple[Value, float]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, if it is there."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: Value, size: float = 1.0) -> None:
        """Keep a value; those not used for longest make room."""
        self._sum += size - self._values.pop(key, (None, 0.0))[1]
        self._values[key] = (value, size)
        while self._sum > self._limit:
            _, (_, freed) = self._values.popitem(last=False)
            self._sum -= freed


class Sight:
    """What a picture's pixels gave: the boxes, and the faces of every choice of boxes so far."""

    def __init__(self, seen: Upright) -> None:
        self.seen = seen
        self.faces: dict[tuple[int, ...], list[Face]] = {}

    def encode(self) -> bytes:
        """As JSON; numbers come back as they were."""
        faces = {
            ",".join(map(str, picked)): [_face_numbers(face) for face in faces]
            for picked, faces in self.faces.items()
        }
        boxes = [[float(value) for value in box] for box in self.seen.boxes]
        content = {"quarters": self.seen.quarters, "boxes": boxes, "faces": faces}
        return json.dumps({"format": _FORMAT, **content}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Sight:
        """Raises ValueError, TypeError or LookupError for what `encode` has not made."""
        content = json.loads(data)
        if content["format"] != _FORMAT:
            raise ValueError("of another format")
        boxes = [[float(value) for value in box] for box in content["boxes"]]
        sight = cls(Upright(int(content["quarters"]), boxes))
        for key, faces in content["faces"].items():
            picked = tuple(int(index) for index in key.split(","))
            if len(faces) != len(picked) or not all(i in range(len(boxes)) for i in picked):
                raise ValueError("of other boxes")
            sight.faces[picked] = [_face(numbers) for numbers in faces]
        return sight


def _face_numbers(face: Face) -> dict[str, Any]:
    parts = {name: getattr(face, name).tolist() for name in ("pose", "shape", "expression")}
    roi_box = [float(value) for value in face.roi_box]
    scores = None if face.scores is None else face.scores.tolist()
    box = [float(value) for value in face.box or ()]
    return {"roi_box": roi_box, "box": box, "scores": scores, "error": face.error, **parts}


def _face(numbers: dict[str, Any]) -> Face:
    pose, shape, expression = (
        np.array(numbers[name], np.float32) for name in ("pose", "shape", "expression")
    )
    scores = None if numbers["scores"] is None else np.array(numbers["scores"], np.float32)
    return Face(
        FrameInfo("", (0, 0)),  # whoever looks gives it his own
        numbers["roi_box"], pose, shape, expression, numbers["box"] or None,
        scores=scores, error=numbers["error"],
    )


class SightFolder:
    """Sights on disk, for many processes and runs; what is damaged is as if it were not there.

    Parameters
    ----------
    models : tells networks and 3DMM apart; sights of others are not found.
    limit : bytes; where more is there at the end of a run, what was used last stays.
    """

    def __init__(self, folder: PathLike, models: str, limit: float = 1e9) -> None:
        self._folder, self._models, self._limit = Path(folder), models, limit

    def _place(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._models} {key}".encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.json"

    def get(self, key: str) -> Sight | None:
        place = self._place(key)
        try:
            sight = Sight.decode(place.read_bytes())
            os.utime(place)
        except (OSError, ValueError, TypeError, LookupError):
            return None
        return sight

    def put(self, key: str, sight: Sight) -> None:
        """Keep a sight; where nothing can be written, that is all."""
        with suppress(OutputError):
            write_bytes(self._place(key), sight.encode())

    def prune(self) -> None:
        """Let the entries go that were not used for longest, down to nine tenths of the limit."""
        entries = []
        for path in self._folder.glob("??/*.json"):
            with suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        if total <= self._limit:
            return
        for _, size, path in sorted(entries):
            if total <= 0.9 * self._limit:
                return
            with suppress(OSError):
                path.unlink()
            total -= size


class RememberingReenactor(Reenactor):
    """A `Reenactor` that looks at a picture once, however often it is asked to.

    Parameters
    ----------
    folder : where other processes and runs find what this one has seen.
    """

    def __init__(self, *args: Any, folder: PathLike | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._pictures: Recent[tuple[Picture, str]] = Recent(PICTURES_MIB * 2**20)
        self._sights: Recent[Sight] = Recent(_FACES_KEPT)
        models = repr(model_versions(self.tddfa.config))
        self._folder = SightFolder(folder, models) if folder else None

    def look(self, path: PathLike, choice: str = "largest") -> Seen:
        picture, key = self._read(path)
        frame = FrameInfo.of(picture.bgr, os.path.basename(path))
        sight = self._sights.get(key) or (self._folder and self._folder.get(key))
        changed = sight is None
        sight = sight or Sight(self.search(picture.bgr))
        picked = tuple(choose_faces(sight.seen.boxes, choice, frame.name))
        if picked not in sight.faces:
            changed = True
            sight.faces[picked] = self.regress_picked(picture.bgr, sight.seen, picked, frame)
        self._sights.put(key, sight)
        if changed and self._folder:
            self._folder.put(key, sight)
        faces = [replace(face, frame=frame) for face in sight.faces[picked]]
        return Seen(picture, Found.of(faces, sight.seen, picked))

    def _read(self, path: PathLike) -> tuple[Picture, str]:
        """A picture, and a key of its pixels."""
        try:
            status = os.stat(path)
            place = (os.fspath(path), status.st_mtime_ns, status.st_size)
        except OSError:  # reading will say what the matter is
            place = (os.fspath(path), 0, 0)
        kept = self._pictures.get(place)
        if kept:
            return kept
        picture = read_picture(path)
        key = hashlib.sha256(picture.bgr.data)
        key.update(repr(picture.bgr.shape).encode())
        self._pictures.put(place, (picture, key.hexdigest()), picture.bgr.nbytes)
        return picture, key.hexdigest()
