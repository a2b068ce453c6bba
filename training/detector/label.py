"""Find the faces of the training pictures with an existing detector.

Every picture is shown to the detector at several sizes (a tight crop also gets a black border, for
the detector expects to see more than the face).  What it finds at all sizes becomes a face; what it
finds only at some becomes an area to ignore.  Written as JSON::

    {"portraits/train/17.webp": {"faces": [[x1, y1, x2, y2], ...], "ignore": [[...], ...]}, ...}

Usage::

    python -m training.detector.label --data DIR_OF_TARS --weights FaceBoxesProd.pth \
        --out faces.json
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from training.detector.detection import Detector, pairwise_iou
from training.pictures import iterate_pictures


@dataclass(frozen=True)
class Views:
    """How the pictures of one tar are shown to the detector.

    border: black border as a share of the long side; long_sides: of the shown picture without its
    border, in pixels; keep: share of the pictures that is labelled at all.
    """

    border: float
    long_sides: tuple[int, ...]
    keep: float = 1.0


VIEWS = {
    "scenes": Views(0.0, (320, 640, 960)),
    "portraits": Views(0.2, (140, 220, 320)),
    "lfw_imfdb": Views(0.25, (140, 220), 0.9),
    "utkface": Views(0.25, (140, 220), 0.45),
}
SAME_FACE_IOU = 0.6


def boxes_of_view(
    detector: Detector, picture: np.ndarray, border: float, long_side: int
) -> np.ndarray:
    """Boxes (n, 5), in the given picture's pixels, found in one view of it."""
    margin = round(border * max(picture.shape[:2]))
    shown = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    scale = long_side / max(picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=method)
    found = detector(shown, min_score=0.2)
    found[:, :4] = found[:, :4] / scale - margin
    return found


def consensus(views: list[np.ndarray]) -> tuple[list, list]:
    """Merge the boxes of several views of one picture.

    Parameters
    ----------
    views : list of (n, 5) boxes with scores, in the same coordinates

    Returns
    -------
    faces : mean boxes of what every view scores above 0.5 at about the same place
    ignore : boxes of everything else
    """
    faces: list[list[float]] = []
    ignore: list[list[float]] = []
    rest = np.concatenate(views)
    origin = np.concatenate([np.full(len(view), i) for i, view in enumerate(views)])
    while len(rest):
        best = rest[:, 4].argmax()
        same = pairwise_iou(rest[best][None], rest)[0] >= SAME_FACE_IOU
        same[best] = True  # also a box without an area
        sure = set(origin[same & (rest[:, 4] > 0.5)])
        mean_box = rest[same, :4].mean(0).round(1).tolist()
        (faces if len(sure) == len(views) else ignore).append(mean_box)
        rest, origin = rest[~same], origin[~same]
    return faces, ignore


def label_tar(
    detector: Detector, tar_fp: Path, views: Views, rng: random.Random
) -> dict[str, dict]:
    """Labels of one tar, keyed by ``tar name/member name``."""
    labels = {}
    for name, picture in tqdm(iterate_pictures(tar_fp), desc=tar_fp.stem):
        if rng.random() >= views.keep:
            continue
        shown = [boxes_of_view(detector, picture, views.border, side) for side in views.long_sides]
        faces, ignore = consensus(shown)
        labels[f"{tar_fp.stem}/{name}"] = {"faces": faces, "ignore": ignore}
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the four tars")
    parser.add_argument("--weights", required=True, help="state dict of the labelling detector")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    detector = Detector(args.weights)
    labels: dict[str, dict] = {}
    for tar_name, views in VIEWS.items():
        labels |= label_tar(
            detector, args.data / f"{tar_name}.tar", views, random.Random(args.seed)
        )
    args.out.write_text(json.dumps(labels))
    count = sum(len(label["faces"]) for label in labels.values())
    print(f"{len(labels)} pictures, {count} faces -> {args.out}")


if __name__ == "__main__":
    main()
