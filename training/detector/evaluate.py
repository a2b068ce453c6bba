"""Compare detectors on held-out pictures, over all thresholds: recall against extra boxes.

The pictures are the held-out scenes with boxes drawn by hand (narrower than FaceBoxes', and some
far faces have none, so that an extra box need not be a wrong one), and the held-out portraits, as
they are, turned, darkened and in coloured light.  All detectors see the same pixels, in one run.

For every kind of picture and every detector there is a row: extra boxes for each picture and recall
above 0.5, and the recall where as many extra boxes are let through as the original's above 0.5, for
all faces and by height.  Rows that fall furthest behind the original come first.

Pictures given by name go through the product's detector, which shrinks them: to the full size, or
first to less ("fast").

Usage::

    python -m training.detector.evaluate --data DIR_OF_TARS --labels faces.json \
        --original FaceBoxesProd.pth --retinaface retinaface_640x640.onnx \
        --ours FaceBoxes/weights/reenact_faceboxes.pth run/faceboxes.pth --pictures examples
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from FaceBoxes import FaceBoxes
from training.detector.crops import moved
from training.detector.detection import Detector, Find, match_boxes, pairwise_iou
from training.detector.retinaface import RetinaFace
from training.pictures import decode_picture, iterate_files

LOWEST = 0.02  # boxes that score less are not looked at
DEFAULT = 0.5  # where the product cuts
SAME_FACE_IOU = 0.35  # hand-drawn boxes are narrower than what they are compared with
HEIGHTS = ((20, 30), (30, 40), (40, 80), (80, 10_000))  # pixels
ROLLS = (30, 60, 90, 180)  # degrees, half of the pictures clockwise, half the other way
VIDEO_FRAMES = 12


class Case(NamedTuple):
    """A picture (H, W, 3) uint8 BGR and the boxes (n, 4) of its faces."""

    picture: np.ndarray
    faces: np.ndarray


@dataclass
class Finds:
    """What a detector found in some pictures, down to LOWEST.

    scores: of every box; heights: of the face that it is, 0 for an extra box; faces: the heights of
    all faces; overlaps: IoU of every box with its face, 0 for an extra box.
    """

    pictures: int = 0
    scores: list[float] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    faces: list[float] = field(default_factory=list)

    def add(self, found: np.ndarray, faces: np.ndarray) -> None:
        """Count the boxes (n, 5) found in a picture, best first, against its faces (m, 4).

        The better box takes the face, whatever overlaps more, so that a threshold above the lowest
        leaves as it is what is above it.
        """
        iou, heights = pairwise_iou(found[:, :4], faces), faces[:, 3] - faces[:, 1]
        for row, score in zip(iou, found[:, 4]):
            face = int(row.argmax()) if len(row) else -1
            right = face >= 0 and row[face] >= SAME_FACE_IOU
            self.heights.append(float(heights[face]) if right else 0.0)
            self.scores.append(float(score))
            if right:
                iou[:, face] = -1
        self.faces += heights.tolist()
        self.pictures += 1

    def extra(self, threshold: float) -> float:
        """Boxes on nothing that is known, for each picture."""
        return float(self._above(threshold, -1, 1).sum() / max(self.pictures, 1))

    def recall(self, threshold: float, low: float = 1e-3, high: float = np.inf) -> float:
        """Share of the faces from `low` to `high` pixels tall that are found; nan without any."""
        faces = sum(low <= height < high for height in self.faces)
        return float(self._above(threshold, low, high).sum() / faces) if faces else float("nan")

    def threshold(self, extra: float) -> float:
        """The lowest score that lets no more extra boxes through than so many for each picture."""
        wrong = np.sort(np.array(self.scores)[np.array(self.heights) == 0])[::-1]
        allowed = int(extra * self.pictures + 1e-6)
        return float(wrong[allowed]) if allowed < len(wrong) else LOWEST

    def _above(self, threshold: float, low: float, high: float) -> np.ndarray:
        scores, heights = np.array(self.scores), np.array(self.heights)
        return (scores > threshold) & (heights >= low) & (heights < high)


def turned(case: Case, degrees: float) -> Case:
    """The picture turned clockwise about its middle, and large enough for all of it."""
    size = np.array(case.picture.shape[1::-1], float)
    angle = np.deg2rad(degrees)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    room = np.abs(linear) @ size
    matrix = np.column_stack([linear, (room - 1) / 2 - linear @ ((size - 1) / 2)])
    canvas = tuple(np.ceil(room - 1e-6).astype(int).tolist())
    picture = cv2.warpAffine(case.picture, matrix, canvas, borderMode=cv2.BORDER_REPLICATE)
    return Case(picture, moved(case.faces, matrix))


def lit(case: Case, *gains: float) -> Case:
    """The picture with its channels, blue first, times the gains."""
    picture = np.clip(case.picture * np.array(gains), 0, 255)
    return Case(picture.astype(np.uint8), case.faces)


def bordered(case: Case) -> Case:
    """The picture with a black border of half its size, as a face seldom fills a picture."""
    margin = max(case.picture.shape[:2]) // 4
    picture = cv2.copyMakeBorder(case.picture, *(margin,) * 4, cv2.BORDER_CONSTANT)
    return Case(picture, case.faces + margin)


def drawn_scenes(data: Path, split: str) -> list[Case]:
    """The scenes of a split that have boxes drawn by hand."""
    files = dict(iterate_files(data / "scenes_people.tar"))
    boxes = json.loads(files["boxes.json"])
    names = sorted(name for name in boxes if name.startswith(f"{split}/"))
    return [
        Case(decode_picture(files[name]), np.array(boxes[name], float).reshape(-1, 4))
        for name in names
    ]


def labelled(data: Path, labels: dict, tar_name: str) -> list[Case]:
    """The held-out pictures of a tar in which ``label`` is sure of a face and doubts nothing."""
    cases = []
    for name, content in iterate_files(data / f"{tar_name}.tar"):
        label = labels.get(f"{tar_name}/{name}")
        if name.startswith("val/") and label and label["faces"] and not label["ignore"]:
            cases.append(bordered(Case(decode_picture(content), np.array(label["faces"]))))
    return cases


def kinds(data: Path, labels: dict) -> dict[str, Iterable[Case]]:
    """The pictures of every kind that is measured, by its name."""
    scenes, portraits = drawn_scenes(data, "val"), labelled(data, labels, "portraits")
    heads = labelled(data, labels, "faces_more")
    sides = [1 - 2 * (i % 2) for i in range(len(portraits))]
    dark, blue = (0.2, 0.2, 0.2), (1.0, 0.35, 0.25)
    rolled = {
        f"portraits, rolled by {roll}°": [turned(c, roll * s) for c, s in zip(portraits, sides)]
        for roll in ROLLS
    }
    return {
        "scenes, boxes by hand": scenes,
        "scenes, a fifth of the light": [lit(case, *dark) for case in scenes],
        "scenes, blue light": [lit(case, *blue) for case in scenes],
        "heads, turned and grimacing": heads,
        "portraits": portraits,
        "portraits, a fifth of the light": [lit(case, *dark) for case in portraits],
        "portraits, blue light": [lit(case, *blue) for case in portraits],
        **rolled,
    }


def finds_in(cases: Iterable[Case], find: Find) -> Finds:
    """What a detector finds in some pictures."""
    finds = Finds()
    for case in cases:
        finds.add(find(case.picture, LOWEST), case.faces)
    return finds


def row_of(kind: str, name: str, finds: Finds, original: Finds) -> dict[str, str | float]:
    """A row of the table; see the module."""
    equal = finds.threshold(original.extra(DEFAULT))
    by_height = {
        f"{low}-{high}" if high < HEIGHTS[-1][1] else f"{low}+": finds.recall(equal, low, high)
        for low, high in HEIGHTS
    }
    return {
        "kind": kind,
        "detector": name,
        "faces": len(finds.faces),
        "extra": finds.extra(DEFAULT),
        "recall": finds.recall(DEFAULT),
        "equal": finds.recall(equal),
        "threshold": equal,
        **by_height,
    }


def table(detectors: dict[str, Find], data: Path, labels: dict) -> list[dict[str, str | float]]:
    """All rows; the first detector is the original, the last the one that is judged."""
    groups = []
    for kind, cases in kinds(data, labels).items():
        finds = {name: finds_in(cases, find) for name, find in detectors.items()}
        original = next(iter(finds.values()))
        groups.append([row_of(kind, name, found, original) for name, found in finds.items()])
    groups.sort(key=lambda rows: float(rows[-1]["equal"]) - float(rows[0]["equal"]))
    return [row for rows in groups for row in rows]


def as_markdown(rows: list[dict[str, str | float]]) -> str:
    """The rows as a table to read."""

    def cell(value: str | float) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[cell(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Product:
    """The product's detector with some weights; `looks`: how often it looked at each picture."""

    def __init__(self, weights_fp: str, fast: bool) -> None:
        self.detector = FaceBoxes(weights_fp=weights_fp, fast=fast)
        self.network = self.detector.net
        self.detector.net = self.look
        self.looks: list[int] = []

    def look(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """The network on a batch, counted."""
        self.looks[-1] += 1
        return self.network(batch)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Boxes and scores (n, 5), best first, of a picture (H, W, 3) uint8 BGR of any size."""
        self.looks.append(0)
        return np.array(self.detector(picture)).reshape(-1, 5)


def agreement(theirs: np.ndarray, ours: np.ndarray) -> dict[int, float]:
    """IoU of every box of `theirs` (n, 5) that `ours` (m, 5) holds, too, keyed by its index."""
    iou = pairwise_iou(theirs[:, :4], ours[:, :4])
    pairs = match_boxes(theirs[:, :4], ours[:, :4], SAME_FACE_IOU)
    return {i: float(iou[i, j]) for i, j in pairs}


def read_frames(path: Path) -> list[tuple[str, np.ndarray]]:
    """(name, picture) of a picture file, or of evenly spaced frames of a video."""
    picture = cv2.imread(str(path))
    pictures = [] if picture is None else [(path.name, picture)]
    if path.suffix in (".mp4", ".avi"):
        video = cv2.VideoCapture(str(path))
        total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        for i in np.linspace(0, total - 1, VIDEO_FRAMES).astype(int):
            video.set(cv2.CAP_PROP_POS_FRAMES, int(i))
            ok, frame = video.read()
            pictures += [(f"{path.name}#{i}", frame)] if ok else []
    return pictures


def on_pictures(original_fp: str, ours_fp: str, paths: list[Path]) -> list[dict]:
    """A row for each picture or video frame below `paths`: how many faces, how well they agree."""
    theirs = Product(original_fp, fast=False)
    full, fast = (Product(ours_fp, fast) for fast in (False, True))
    rows = []
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    for name, picture in (frame for file in files if file.is_file() for frame in read_frames(file)):
        original, ours, quick = (find(picture) for find in (theirs, full, fast))
        worst = [
            round(min(agreement(*pair).values(), default=0.0), 3)
            for pair in ((original, ours), (ours, quick))
        ]
        counts = {"theirs": len(original), "ours": len(ours), "worst_iou": worst[0]}
        fast_counts = {"fast": len(quick), "iou_of_fast": worst[1], "looks": fast.looks[-1]}
        rows.append({"picture": name, **counts, **fast_counts})
    return rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label wrote")
    parser.add_argument("--original", required=True, help="state dict of the original")
    parser.add_argument("--retinaface", help="OpenSeeFace's ONNX graph")
    parser.add_argument("--ours", nargs="+", required=True, help="our state dicts, the last judged")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="more: files, folders")
    parser.add_argument("--json", type=Path, help="also write everything here")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    detectors: dict[str, Find] = {"original": Detector(args.original)}
    if args.retinaface:
        detectors["RetinaFace"] = RetinaFace(args.retinaface)
    detectors |= {ours_fp: Detector(ours_fp) for ours_fp in args.ours}
    rows = table(detectors, args.data, json.loads(args.labels.read_text()))
    print(as_markdown(rows))
    pictures = on_pictures(args.original, args.ours[-1], args.pictures)
    for row in pictures:
        print(" ".join(f"{key}={value}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps({"table": rows, "pictures": pictures}, indent=1))


if __name__ == "__main__":
    main()
