"""The photo view, whole and by its parts, beside what moving those pixels costs at least."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from benchmarks.harness import (
    QUICK,
    Effort,
    Reference,
    Report,
    Row,
    bytes_per_ms,
    main,
    time_in_turn,
)
from benchmarks.scenes import PEOPLE, scene
from benchmarks.stages import HD, QHD
from reenactment import Reenactor
from reenactment.photo import Photographer, Posed, Source
from reenactment.photo.field import Box, displacement
from reenactment.photo.seam import snapped

SCENES = (("720p, 300 px", HD, 300, 40.0), ("1440p, 600 px", QHD, 600, 120.0))  # and targets, ms


def measure(
    reenactor: Reenactor, name: str, size: tuple[int, int], height: int, target: float,
    effort: Effort, bandwidth: float,
) -> list[Row]:
    """The whole, then its parts, for one face of an example picture with the other's expression."""
    pictures = [scene(size, height, person) for person in PEOPLE]
    faces = [reenactor.find(img).faces[0] for img in pictures]
    face, giver = (Posed.of(f.parts, f.roi_box, reenactor.tddfa.size) for f in faces)
    result = replace(face, parts=face.parts._replace(expression=giver.parts.expression))
    photographer, img = Photographer(reenactor.tddfa.bfm), pictures[0]
    source = Source(giver, pictures[1])
    gives = itertools.cycle([Source(moved_by(giver, n / 100), pictures[1]) for n in range(8)])
    before, after = photographer.heads(img, face, result, source)
    field = displacement(before, after, img.shape[:2])
    assert field is not None
    y, x = np.indices(field.box.size, np.float32)
    x, y = x + field.box.left + field.moves[..., 0], y + field.box.top + field.moves[..., 1]
    remap = partial(cv2.remap, img, x, y, cv2.INTER_LANCZOS4)
    moved = 2 * 3 * field.moves[..., 0].size / bandwidth
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: Photographer(reenactor.tddfa.bfm)(img, [face], [result], source),
        "next": lambda: photographer(img, [face], [result], next(gives)),
        "remap": remap,
        "head": partial(photographer.model.head, face),
        "seam": partial(snapped, before, img, Box(0, 0, img.shape[1], img.shape[0])),
        "field": partial(displacement, before, after, img.shape[:2]),
    }
    times = time_in_turn(works, effort)
    rows = [Row(f"photo, {name}", "ms", times["ours"], Reference("cv2.remap", times["remap"]),
                Reference("memory", [moved]), target)]
    rows.append(Row("  a still target's next, of a clip's next frame", "ms", times["next"]))
    return rows + [Row(f"  {part}", "ms", times[part]) for part in ("head", "seam", "field")]


def moved_by(face: Posed, pixels: float) -> Posed:
    """The face a little to the right, as in a clip: nothing kept of it is of use."""
    to_picture = face.to_picture.copy()
    to_picture[0, 3] += pixels
    return replace(face, to_picture=to_picture)


def collect(quick: bool) -> Report:
    effort = QUICK if quick else Effort()
    bandwidth, reenactor = bytes_per_ms(effort), Reenactor()
    rows = [
        row
        for name, size, height, target in SCENES
        for row in measure(reenactor, name, size, height, target, effort, bandwidth)
    ]
    moved = "cv2.remap is the same pixels by its Lanczos window; memory: reading and writing them"
    return Report(rows, [moved])


if __name__ == "__main__":
    main("photo", collect)
