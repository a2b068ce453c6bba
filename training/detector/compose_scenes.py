"""Make the detector's training scenes: people on backgrounds, collages, real and empty scenes.

The teaching detector looks at every finished scene.

Writes tars of ``000000.jpg`` ... and ``labels.json``, which holds for every scene

- "put": boxes ``[x1, y1, x2, y2]`` in pixels of the faces put there, each with its visible share as
  a fifth number
- "found": what the teaching detector scores above 0.5, each with its score as a fifth number
- "kind": one of KINDS

A shard appears under its name only when it is complete; shards that exist are not made again.

Usage::

    python -m training.detector.compose_scenes --data DIR_OF_TARS --labels faces.json \
        --masks masks.tar --weights FaceBoxesProd.pth --out scenes/ --shards 20
"""

from __future__ import annotations

import argparse
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from training.detector import composition as comp
from training.detector.composition import Person, Rng
from training.detector.detection import Detector
from training.pictures import add_bytes, decode_picture, iterate_files


@dataclass(frozen=True)
class ComposeConfig:
    """Sizes in pixels; `shares` are relative frequencies."""

    per_shard: int = 500
    face_heights: tuple[float, float] = (26.0, 400.0)
    max_people: int = 9
    kind_shares: tuple[tuple[str, float], ...] = (
        ("composite", 0.5),
        ("collage", 0.24),
        ("real", 0.16),
        ("empty", 0.1),
    )
    set_shares: tuple[tuple[str, float], ...] = (
        ("portraits", 0.4),
        ("lfw_imfdb", 0.32),
        ("utkface", 0.28),
    )
    real_scenes_share: float = 0.4  # of the real pictures; the others are portraits


# A picture (H, W, 3) uint8, and the boxes with visibility (5,) of the faces put into it.
Scene = tuple[np.ndarray, list[np.ndarray]]
Size = tuple[int, int]  # width and height in pixels

GONE = 0.1  # what is visible less than this might as well not be there
TILE_SHARES = (("portraits", 0.32), ("lfw_imfdb", 0.24), ("utkface", 0.24), ("scenes", 0.2))


def choose(rng: Rng, shares: tuple[tuple[str, float], ...]) -> str:
    """One of the names, as frequent as its share."""
    names, weights = zip(*shares)
    return names[rng.choice(len(names), p=np.array(weights) / sum(weights))]


class Library:
    """The source pictures of one split, encoded in memory, decoded when asked for."""

    def __init__(self, data: Path, labels_fp: Path, masks_fp: Path, split: str):
        self.labels = {
            key: label
            for key, label in json.loads(labels_fp.read_text()).items()
            if key.split("/")[1] == split
        }
        self.pictures = {
            f"{name}/{member}": content
            for name in ("portraits", "scenes", "lfw_imfdb", "utkface")
            for member, content in iterate_files(data / f"{name}.tar")
            if f"{name}/{member}" in self.labels
        }
        masks = {
            name.replace(".png", ".webp"): content for name, content in iterate_files(masks_fp)
        }
        self.masks = {key: content for key, content in masks.items() if key in self.pictures}
        self.people = self._by_set(self.masks)
        self.tiles = self._by_set(self.pictures)
        scenes = self.tiles["scenes"]
        self.backgrounds = [
            k for k in scenes if not self.labels[k]["faces"] and not self.labels[k]["ignore"]
        ]
        self.real = {
            name: [
                k for k in self.tiles[name] if self.labels[k]["faces"] or self.labels[k]["ignore"]
            ]
            for name in ("scenes", "portraits")
        }

    @staticmethod
    def _by_set(keys: Iterable[str]) -> dict[str, list[str]]:
        sets: dict[str, list[str]] = {}
        for key in sorted(keys):
            sets.setdefault(key.split("/")[0], []).append(key)
        return sets

    def picture(self, key: str) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        return decode_picture(self.pictures[key])

    def background(
        self, rng: Rng, size: Size, shares: tuple[float, float] = (0.35, 1.0)
    ) -> np.ndarray:
        """Part of a scene without faces, of that size."""
        key = self.backgrounds[rng.integers(len(self.backgrounds))]
        return comp.random_crop(rng, self.picture(key), *size, shares)

    def person(self, rng: Rng, shares: tuple[tuple[str, float], ...]) -> Person:
        """A random person, from each tar as often as its share says."""
        shares = tuple((name, share) for name, share in shares if name in self.people)
        keys = self.people[choose(rng, shares)]
        key = keys[rng.integers(len(keys))]
        mask = decode_picture(self.masks[key], cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        return Person(self.picture(key), mask, np.array(self.labels[key]["faces"][0]))


def placed_boxes_clear(new_box: np.ndarray, mask: np.ndarray, boxes: list[np.ndarray]) -> bool:
    """Whether a new person leaves the faces already there visible and keeps a distance to them."""
    for x1, y1, x2, y2 in boxes:
        apart = new_box[0] > x2 or new_box[2] < x1 or new_box[1] > y2 or new_box[3] < y1
        face = mask[max(int(y1), 0) : int(y2) + 1, max(int(x1), 0) : int(x2) + 1]
        if not apart or (face.size and face.mean() > 0.15):
            return False
    return True


def add_person(
    rng: Rng, canvas: np.ndarray, person: Person, height: float, boxes: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Paste a person with a face `height` pixels tall where it hides none of the faces `boxes`.

    Returns the new canvas and the face's box (4,), or the old one and None where there is no room.
    """
    size = canvas.shape[1::-1]
    mask = comp.taper_mask(rng, person.mask)
    angle = np.deg2rad(rng.normal(0, 9))
    for _ in range(8):
        half = min(height * 0.55, min(size) * 0.45)
        margin = half if rng.random() < 0.92 else 0
        centre = rng.uniform(margin, np.array(size) - margin)
        matrix = comp.placement(person, height, centre, angle, rng.random() < 0.5)
        box = comp.moved_box(person.box, matrix)
        placed = comp.warp(mask, matrix, size)
        if placed_boxes_clear(box, placed, boxes):
            picture = comp.warp(comp.tone(rng, person.picture, 0.6), matrix, size)
            return comp.blend(canvas, comp.match_tone(rng, picture, placed, canvas), placed), box
    return canvas, None


def add_distractor(
    rng: Rng, library: Library, cfg: ComposeConfig, canvas: np.ndarray
) -> np.ndarray:
    """Paste something cut out like a person that shows no face: texture, or a shuffled face."""
    person = library.person(rng, cfg.set_shares)
    height, width = person.picture.shape[:2]
    if rng.random() < 0.5:
        filling = comp.shuffle_face(rng, person)
    else:
        filling = comp.resize(library.background(rng, (200, 200), (0.1, 0.6)), width, height)
    fake = Person(filling, person.mask, person.box)
    face_height = comp.log_uniform(rng, cfg.face_heights[0], min(canvas.shape[:2]) * 0.5)
    return add_person(rng, canvas, fake, face_height, [])[0]


def composite(rng: Rng, library: Library, cfg: ComposeConfig, size: Size) -> Scene:
    """People of very different sizes before a background."""
    canvas = library.background(rng, size)
    if rng.random() < 0.35:
        canvas = add_distractor(rng, library, cfg, canvas)
    count = rng.integers(1, cfg.max_people + 1)
    tallest = min(cfg.face_heights[1], min(size) * (0.85 if count < 3 else 0.45))
    boxes: list[np.ndarray] = []
    heights = [comp.log_uniform(rng, cfg.face_heights[0], tallest) for _ in range(count)]
    for height in sorted(heights, reverse=True):
        canvas, box = add_person(rng, canvas, library.person(rng, cfg.set_shares), height, boxes)
        boxes += [] if box is None else [box]
    return canvas, [comp.with_visibility(box, (0, 0, *size)) for box in boxes]


def tile(rng: Rng, library: Library, width: int, height: int) -> Scene:
    """A whole picture, cropped to fill `width` × `height`: the picture, its boxes with visibility.

    Doubtful boxes count as half hidden.
    """
    keys = library.tiles[choose(rng, TILE_SHARES)]
    key = keys[rng.integers(len(keys))]
    picture = library.picture(key)
    scale = max(width / picture.shape[1], height / picture.shape[0])
    whole_w, whole_h = (int(np.ceil(side * scale)) for side in picture.shape[1::-1])
    x, y = (whole_w - width) // 2, int((whole_h - height) * rng.uniform(0, 0.5))
    shown = comp.resize(picture, whole_w, whole_h)[y : y + height, x : x + width]
    put = []
    for kind, certainty in (("faces", 1.0), ("ignore", 0.5)):
        moved = np.array(library.labels[key][kind]).reshape(-1, 4) * scale - (x, y, x, y)
        put += [
            comp.with_visibility(box, (0, 0, width, height)) * (1, 1, 1, 1, certainty)
            for box in moved
        ]
    return comp.tone(rng, shown, 0.6), put


def cuts(rng: Rng, length: int) -> list[tuple[int, int]]:
    """`length` pixels cut at random into one to three intervals."""
    inner = length * (np.arange(1, rng.integers(1, 4)) + rng.uniform(-0.25, 0.25))
    count = len(inner) + 1
    ends = [0, *(inner / count).astype(int), length]
    return list(zip(ends, ends[1:]))


def collage(rng: Rng, library: Library, cfg: ComposeConfig, size: Size) -> Scene:
    """Whole pictures side by side, with and without faces, so that straight edges tell nothing."""
    width, height = size
    canvas, boxes = np.empty((height, width, 3), np.uint8), []
    rows = cuts(rng, height)
    for x1, x2 in cuts(rng, width):
        for y1, y2 in rows:
            canvas[y1:y2, x1:x2], put = tile(rng, library, x2 - x1, y2 - y1)
            boxes += [box + (x1, y1, x1, y1, 0) for box in put]
    return canvas, boxes


def real(rng: Rng, library: Library, cfg: ComposeConfig, size: Size) -> Scene:
    """A part of a real picture around what is, or looked like, a face, at a random size."""
    keys = library.real["scenes" if rng.random() < cfg.real_scenes_share else "portraits"]
    key = keys[rng.integers(len(keys))]
    picture, label = library.picture(key), library.labels[key]
    boxes = np.array(label["faces"] + label["ignore"])
    person = Person(
        picture, np.ones(picture.shape[:2], np.float32), boxes[rng.integers(len(boxes))]
    )
    height = comp.log_uniform(rng, cfg.face_heights[0], 0.75 * min(size))
    centre = rng.uniform(0.3, 0.7, 2) * size
    matrix = comp.placement(person, height, centre, 0.0, rng.random() < 0.5)
    picture, mask = (comp.warp(layer, matrix, size) for layer in (picture, person.mask))
    canvas = comp.blend(library.background(rng, size), picture, mask)
    moved = (comp.moved_box(np.array(box), matrix) for box in label["faces"])
    return canvas, [comp.with_visibility(box, (0, 0, *size)) for box in moved]


def empty(rng: Rng, library: Library, cfg: ComposeConfig, size: Size) -> Scene:
    """A scene without faces, with up to two distractors."""
    canvas = library.background(rng, size)
    for _ in range(rng.integers(3)):
        canvas = add_distractor(rng, library, cfg, canvas)
    return canvas, []


KINDS = {"composite": composite, "collage": collage, "real": real, "empty": empty}


def label_scene(detector: Detector, picture: np.ndarray, put: list) -> dict[str, list]:
    """What was put into a finished scene, and what the detector finds there: see the module.

    `put`: the (5,) boxes with visibility of what a function of KINDS put there.
    """
    put_boxes = np.array(put, float).reshape(-1, 5)
    lists = {"put": put_boxes[put_boxes[:, 4] > GONE], "found": detector(picture, min_score=0.5)}
    return {name: [np.round(box, 2).tolist() for box in boxes] for name, boxes in lists.items()}


def write_shard(
    library: Library, detector: Detector, out_fp: Path, size: Size, seed: int, cfg: ComposeConfig
) -> None:
    """Compose, label and store one shard of scenes of that size; atomic."""
    rng, labels = np.random.default_rng(seed), {}
    partial = out_fp.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for i in tqdm(range(cfg.per_shard), desc=out_fp.name):
            kind = choose(rng, cfg.kind_shares)
            picture, put = KINDS[kind](rng, library, cfg, size)
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 98))]
            stored = cv2.imencode(".jpg", comp.degrade(rng, picture), quality)[1].tobytes()
            picture = decode_picture(stored)
            name = f"{i:06d}.jpg"
            labels[name] = label_scene(detector, picture, put) | {"kind": kind}
            add_bytes(tar, name, stored)
        add_bytes(tar, "labels.json", json.dumps(labels).encode())
    partial.rename(out_fp)


def parse_size(text: str) -> Size:
    """``640`` is a square, ``1280x720`` a width and a height."""
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the four tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label wrote")
    parser.add_argument("--masks", type=Path, required=True, help="what segment_people wrote")
    parser.add_argument("--weights", required=True, help="state dict of the teaching detector")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--split", choices=("train", "val"), default="train")
    parser.add_argument("--size", default="448", help="pixels of the scenes: 448, or 1280x720")
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number (and seed) of the first shard")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    library = Library(args.data, args.labels, args.masks, args.split)
    detector = Detector(args.weights)
    for number in range(args.first, args.first + args.shards):
        out_fp = args.out / f"{args.split}_{args.size}_{number:03d}.tar"
        if not out_fp.exists():
            write_shard(
                library,
                detector,
                out_fp,
                parse_size(args.size),
                number * 2 + (args.split == "val"),
                ComposeConfig(),
            )


if __name__ == "__main__":
    main()
