"""Compare our detector with the original one.

The original's finds are the reference: how many of its faces at least 40 pixels tall ours finds,
and how closely the boxes agree.  A box is false when it overlaps none of the known faces.

Usage::

    python -m training.evaluate_faceboxes --ours faceboxes.pth --original FaceBoxesProd.pth \
        --data DIR_OF_TARS --labels faces.json --scenes scenes/ --pictures DIR_OR_FILE ...
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from training.detection import Detector, match_boxes, pairwise_iou
from training.pictures import decode_picture, iterate_files, iterate_pictures

MIN_HEIGHT = 40  # pixels: smaller faces are not asked for
SAME_FACE_IOU = 0.5
ON_A_FACE_IOU = 0.3  # a box that overlaps no known face by this is false
FRAME = (720, 1080)  # height and width that pictures are shrunk to fit in, as the pipeline does
VIDEO_FRAMES = 12
TARS = (  # held-out pictures as they are, with the factor by which they are enlarged
    ("scenes", 1.0),
    ("scenes", 2.0),
    ("portraits", 1.0),
    ("portraits", 2.0),
)


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


def count_false(found: np.ndarray, known: np.ndarray) -> int:
    """How many boxes (n, 5) overlap none of the known faces (m, 4)."""
    if not len(known):
        return len(found)
    return int((pairwise_iou(found[:, :4], known) < ON_A_FACE_IOU).all(1).sum())


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
    tall = set(np.flatnonzero(theirs[:, 3] - theirs[:, 1] >= MIN_HEIGHT))
    ious = [iou for i, iou in agreement(theirs, ours).items() if i in tall]
    counts.pictures += 1
    counts.reference += len(tall)
    counts.recalled += len(ious)
    counts.ious += ious
    counts.false_ours += count_false(ours, known)
    counts.false_theirs += count_false(theirs, known)


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


def on_scenes(ours: Detector, scenes: list[tuple[np.ndarray, dict]]) -> dict[str, Counts]:
    """Composed scenes, whose labels hold the original's finds already: all, and each kind."""
    tables = {"all": Counts()}
    for picture, label in scenes:
        found = ours(picture)
        for name in ("all", label["kind"]):
            counts = tables.setdefault(name, Counts())
            compare(label["found"], found, label["put"][:, :4], counts)
    return tables


def on_tar(ours: Detector, theirs: Detector, tar_fp: Path, labels: dict, scale: float) -> Counts:
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


def read_frames(path: Path) -> list[tuple[str, np.ndarray]]:
    """(name, picture) of a picture file, or of evenly spaced frames of a video, fitted to FRAME."""
    picture = cv2.imread(str(path))
    pictures = [] if picture is None else [(path.name, picture)]
    if path.suffix in (".mp4", ".avi"):
        video = cv2.VideoCapture(str(path))
        total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        for i in np.linspace(0, total - 1, VIDEO_FRAMES).astype(int):
            video.set(cv2.CAP_PROP_POS_FRAMES, int(i))
            ok, frame = video.read()
            pictures += [(f"{path.name}#{i}", frame)] if ok else []
    return [(name, shrink(picture)) for name, picture in pictures]


def shrink(picture: np.ndarray) -> np.ndarray:
    """The picture, made to fit in FRAME."""
    scale = min(1.0, FRAME[0] / picture.shape[0], FRAME[1] / picture.shape[1])
    size = (int(picture.shape[1] * scale), int(picture.shape[0] * scale))
    return cv2.resize(picture, size) if scale < 1 else picture


def on_pictures(ours: Detector, theirs: Detector, paths: list[Path]) -> list[dict]:
    """A row for each picture or video frame below `paths`: how many faces, how well they agree."""
    rows = []
    files = [f for path in paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    for name, picture in (frame for file in files if file.is_file() for frame in read_frames(file)):
        boxes = theirs(picture), ours(picture)
        ious = agreement(*boxes).values()
        rows.append(
            {
                "picture": name,
                "theirs": len(boxes[0]),
                "ours": len(boxes[1]),
                "both": len(ious),
                "worst_iou": round(min(ious, default=0.0), 3),
            }
        )
    return rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="our state dict")
    parser.add_argument("--original", required=True, help="state dict of the original")
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label_faces wrote")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of the val_* shards")
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="more: files, folders")
    parser.add_argument("--json", type=Path, help="also write everything here")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    ours, theirs = Detector(args.ours), Detector(args.original)
    labels, scenes = json.loads(args.labels.read_text()), load_scenes(args.scenes)
    tables = {f"composed, {kind}": counts for kind, counts in on_scenes(ours, scenes).items()}
    for name, scale in TARS:
        tables[f"{name} x{scale:g}"] = on_tar(
            ours, theirs, args.data / f"{name}.tar", labels, scale
        )
    result: dict = {name: counts.summary() for name, counts in tables.items()}
    for name, row in result.items():
        print(f"{name:22s}", " ".join(f"{key}={value}" for key, value in row.items()))
    result["pictures"] = on_pictures(ours, theirs, args.pictures)
    for row in result["pictures"]:
        print(" ".join(f"{key}={value}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
