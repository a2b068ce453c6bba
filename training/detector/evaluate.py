"""Compare our detector with the original one.

The original's finds are the reference: how many of its faces at least 40 pixels tall ours finds,
and how closely the boxes agree.  A box is false when it overlaps none of the known faces.

Scenes and tars are shown to the networks as they are.  Frames (scenes as large as a video's) and
pictures go through the product's detector, which shrinks them: to the full size, or first to less
("fast"); the fast boxes are compared with those at the full size, too.

Usage::

    python -m training.detector.evaluate --ours faceboxes.pth --original FaceBoxesProd.pth \
        --data DIR_OF_TARS --labels faces.json --scenes scenes/ --frames frames/ \
        --pictures DIR_OR_FILE ...
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from FaceBoxes import FaceBoxes
from training.detector.detection import Detector, match_boxes, pairwise_iou
from training.pictures import decode_picture, iterate_files, iterate_pictures

# A picture (H, W, 3) uint8 BGR -> its boxes and scores (n, 5).
Find = Callable[[np.ndarray], np.ndarray]

MIN_HEIGHT = 40  # pixels: smaller faces are not asked for
SAME_FACE_IOU = 0.5
ON_A_FACE_IOU = 0.3  # a box that overlaps no known face by this is false
VIDEO_FRAMES = 12
TARS = (  # held-out pictures as they are, with the factor by which they are enlarged
    ("scenes", 1.0),
    ("scenes", 2.0),
    ("portraits", 1.0),
    ("portraits", 2.0),
)


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


@dataclass
class Counts:
    """Running totals over pictures; `ious` of the tall faces that both detectors find."""

    pictures: int = 0
    reference: int = 0
    recalled: int = 0
    false_ours: int = 0
    false_theirs: int = 0
    ious: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Recall, mean IoU, and false boxes for each picture of both detectors."""
        pictures = max(self.pictures, 1)
        return {
            "pictures": self.pictures,
            "faces": self.reference,
            "recall": round(self.recalled / max(self.reference, 1), 4),
            "mean_iou": round(float(np.mean(self.ious or [0.0])), 4),
            "false_ours": round(self.false_ours / pictures, 4),
            "false_theirs": round(self.false_theirs / pictures, 4),
        }


def are_false(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) bool: which boxes (n, 5) overlap none of the known faces (m, 4)."""
    return np.all(pairwise_iou(found[:, :4], known) < ON_A_FACE_IOU, axis=1)


def are_tall(boxes: np.ndarray) -> np.ndarray:
    """(n,) bool: which boxes (n, 5) are tall enough to be asked for."""
    return boxes[:, 3] - boxes[:, 1] >= MIN_HEIGHT


def agreement(theirs: np.ndarray, ours: np.ndarray) -> dict[int, float]:
    """IoU of every box of `theirs` (n, 5) that `ours` (m, 5) holds, too, keyed by its index."""
    iou = pairwise_iou(theirs[:, :4], ours[:, :4])
    pairs = match_boxes(theirs[:, :4], ours[:, :4], SAME_FACE_IOU)
    return {i: float(iou[i, j]) for i, j in pairs}


def compare(theirs: np.ndarray, ours: np.ndarray, known: np.ndarray, counts: Counts) -> None:
    """Add one picture to the counts.

    Parameters
    ----------
    theirs, ours : (n, 5) boxes with scores, of the original and of our detector
    known : (m, 4) faces known to be in the picture, for the false boxes of both
    """
    tall = are_tall(theirs)
    ious = [iou for i, iou in agreement(theirs, ours).items() if tall[i]]
    counts.pictures += 1
    counts.reference += int(tall.sum())
    counts.recalled += len(ious)
    counts.ious += ious
    counts.false_ours += int(are_false(ours, known).sum())
    counts.false_theirs += int(are_false(theirs, known).sum())


def load_scenes(folder: Path) -> list[tuple[np.ndarray, dict]]:
    """The held-out scenes: (H, W, 3) uint8 pictures, and of their labels the arrays put, found."""
    scenes = []
    for shard in sorted(folder.glob("val_*.tar")):
        files = dict(iterate_files(shard))
        labels = json.loads(files.pop("labels.json"))
        for name in sorted(files):
            label = labels[name]
            arrays = {key: np.array(label[key], float).reshape(-1, 5) for key in ("put", "found")}
            scenes.append((decode_picture(files[name]), arrays | {"kind": label["kind"]}))
    return scenes


def on_scenes(ours: Find, scenes: list[tuple[np.ndarray, dict]]) -> dict[str, Counts]:
    """Composed scenes, whose labels hold the original's finds already: all, and each kind."""
    tables = {"all": Counts()}
    for picture, label in scenes:
        found = ours(picture)
        for name in ("all", label["kind"]):
            counts = tables.setdefault(name, Counts())
            compare(label["found"], found, label["put"][:, :4], counts)
    return tables


def on_tar(ours: Find, theirs: Find, tar_fp: Path, labels: dict, scale: float) -> Counts:
    """The held-out pictures of a tar, each enlarged by `scale`."""
    counts = Counts()
    for name, picture in iterate_pictures(tar_fp):
        label = labels.get(f"{tar_fp.stem}/{name}")
        if not name.startswith("val/") or label is None:
            continue
        picture = cv2.resize(picture, None, fx=scale, fy=scale)
        known = np.array(label["faces"] + label["ignore"]).reshape(-1, 4) * scale
        compare(theirs(picture), ours(picture), known, counts)
    return counts


def on_frames(
    theirs: Find, full: Find, fast: Find, scenes: list[tuple[np.ndarray, dict]]
) -> dict[str, Counts]:
    """Scenes as large as frames: both our ways against the original's, and against each other."""
    tables = {"full size": Counts(), "fast": Counts(), "fast against full size": Counts()}
    for picture, label in scenes:
        found, known = [find(picture) for find in (theirs, full, fast)], label["put"][:, :4]
        for counts, (reference, ours) in zip(tables.values(), ((0, 1), (0, 2), (1, 2))):
            compare(found[reference], found[ours], known, counts)
    return tables


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


def on_pictures(theirs: Find, full: Find, fast: Product, paths: list[Path]) -> list[dict]:
    """A row for each picture or video frame below `paths`: how many faces, how well they agree."""
    rows = []
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    for name, picture in (frame for file in files if file.is_file() for frame in read_frames(file)):
        original, ours, quick = (find(picture) for find in (theirs, full, fast))
        worst = [
            round(min(agreement(*pair).values(), default=0.0), 3)
            for pair in ((original, ours), (ours, quick))
        ]
        counts: dict[str, str | float] = {
            "theirs": len(original),
            "ours": len(ours),
            "worst_iou": worst[0],
        }
        fast_counts = {"fast": len(quick), "iou_of_fast": worst[1], "looks": fast.looks[-1]}
        rows.append({"picture": name, **counts, **fast_counts})
    return rows


def rows_of(tables: dict[str, Counts]) -> list[dict]:
    """A row for each table: its name and its summary."""
    return [{"what": name} | counts.summary() for name, counts in tables.items()]


def on_networks(ours_fp: str, args: argparse.Namespace) -> list[dict]:
    """Rows of the scenes and tars, whose pictures go to the networks as they are."""
    ours, theirs = Detector(ours_fp), Detector(args.original)
    labels, scenes = json.loads(args.labels.read_text()), load_scenes(args.scenes)
    tables = {f"composed, {kind}": counts for kind, counts in on_scenes(ours, scenes).items()}
    for name, scale in TARS:
        tar_fp = args.data / f"{name}.tar"
        tables[f"{name} x{scale:g}"] = on_tar(ours, theirs, tar_fp, labels, scale)
    return rows_of(tables)


def on_products(ours_fp: str, args: argparse.Namespace) -> list[dict]:
    """Rows of the frames and the pictures, which the product shrinks."""
    theirs = Product(args.original, fast=False)
    full, fast = (Product(ours_fp, fast) for fast in (False, True))
    rows = []
    if args.frames:
        rows = rows_of(on_frames(theirs, full, fast, load_scenes(args.frames)))
        rows.append({"what": "looks at a frame", "fast": round(np.mean(fast.looks), 3)})
    return rows + on_pictures(theirs, full, fast, args.pictures)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", nargs="+", required=True, help="our state dicts")
    parser.add_argument("--original", required=True, help="state dict of the original")
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label wrote")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of the val_* shards")
    parser.add_argument("--frames", type=Path, help="folder of val_* shards as large as frames")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="more: files, folders")
    parser.add_argument("--json", type=Path, help="also write everything here")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    result: dict[str, list] = {}
    for ours_fp in args.ours:
        result[ours_fp] = on_networks(ours_fp, args) + on_products(ours_fp, args)
        print(ours_fp)
        for row in result[ours_fp]:
            print(" ", " ".join(f"{key}={value}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
