"""Find the faces of the training pictures: what several observers agree on.

The original FaceBoxes sees each picture at several sizes (a tight crop also gets a black border,
for a detector expects to see more than the face), RetinaFace sees it once, and some tars hold boxes
drawn by hand.  What two of these looks are sure of is a face; what only one has noticed is doubtful
and neither face nor background.  Tars that the output holds already are not labelled again.
Written as JSON::

    {"portraits/train/17.webp": {"faces": [[x1, y1, x2, y2], ...], "ignore": [[...], ...]}, ...}

Usage::

    python -m training.detector.label --data DIR_OF_TARS --weights FaceBoxesProd.pth \
        --retinaface retinaface_640x640.onnx --out faces.json
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from training.detector.detection import Detector, Find, pairwise_iou
from training.detector.retinaface import RetinaFace
from training.pictures import decode_picture, iterate_files


@dataclass(frozen=True)
class Views:
    """How the pictures of one tar are shown to the original.

    border: black border as a share of the long side; long_sides: of the shown picture without its
    border, in pixels; keep: share of the pictures that is labelled at all; second: whether
    RetinaFace is asked, too (a tight crop of one face is sure without it).
    """

    border: float
    long_sides: tuple[int, ...]
    keep: float = 1.0
    second: bool = True


VIEWS = {
    "scenes_people": Views(0.0, (640, 1080)),
    "scenes": Views(0.0, (320, 640)),
    "portraits": Views(0.2, (140, 300), second=False),
    "faces_more": Views(0.1, (140, 256), second=False),
    "lfw_imfdb": Views(0.25, (140, 220), 0.25, second=False),
    "utkface": Views(0.25, (140, 220), 0.25, second=False),
}
SAME_FACE_IOU = 0.4
NOTICED = 0.2  # the score from which an observer has noticed something
SURE = 0.6  # and from which it counts as sure
DRAWN = 1.0  # the score of a box drawn by hand


def boxes_of_view(find: Find, picture: np.ndarray, border: float, long_side: int) -> np.ndarray:
    """Boxes (n, 5), in the given picture's pixels, found in one view of it."""
    margin = round(border * max(picture.shape[:2]))
    shown = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    scale = long_side / max(picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=method)
    found = find(shown, NOTICED)
    found[:, :4] = found[:, :4] / scale - margin
    return found


def agreed(opinions: list[np.ndarray]) -> tuple[list[list[float]], list[list[float]]]:
    """Merge what several observers saw in one picture.

    Parameters
    ----------
    opinions : list of (n, 5) boxes with scores, in the same coordinates; the first observers' boxes
        are preferred

    Returns
    -------
    faces : boxes of what at least two observers are sure of
    ignore : boxes of everything else that was noticed
    """
    faces: list[list[float]] = []
    ignore: list[list[float]] = []
    rest = np.concatenate(opinions)
    observer = np.concatenate([np.full(len(boxes), i) for i, boxes in enumerate(opinions)])
    while len(rest):
        same = pairwise_iou(rest[:1, :4], rest[:, :4])[0] >= SAME_FACE_IOU
        same[0] = True  # also a box without an area
        sure = observer[same & (rest[:, 4] >= SURE)]
        first = rest[same & (observer == min(sure, default=observer[0]))][0]
        agree = len(set(sure)) > 1
        (faces if agree else ignore).append(first[:4].round(1).tolist())
        rest, observer = rest[~same], observer[~same]
    return faces, ignore


def label_tar(
    original: Detector, retinaface: RetinaFace, tar_fp: Path, views: Views, rng: random.Random
) -> dict[str, dict]:
    """Labels of one tar, keyed by ``tar name/member name``."""
    drawn = json.loads(dict(iterate_files(tar_fp)).get("boxes.json", "{}"))
    labels = {}
    for name, content in tqdm(iterate_files(tar_fp), desc=tar_fp.stem):
        if not name.endswith(".webp") or rng.random() >= views.keep:
            continue
        picture = decode_picture(content)
        seen = [boxes_of_view(original, picture, views.border, side) for side in views.long_sides]
        if views.second:
            seen.append(boxes_of_view(retinaface, picture, views.border, max(views.long_sides)))
        if name in drawn:
            boxes = np.array(drawn[name], float).reshape(-1, 4)
            seen.append(np.column_stack([boxes, np.full(len(boxes), DRAWN)]))
        faces, ignore = agreed(seen)
        labels[f"{tar_fp.stem}/{name}"] = {"faces": faces, "ignore": ignore}
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--weights", required=True, help="state dict of the original FaceBoxes")
    parser.add_argument("--retinaface", required=True, help="OpenSeeFace's ONNX graph")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    observers = Detector(args.weights), RetinaFace(args.retinaface)
    labels: dict[str, dict] = json.loads(args.out.read_text()) if args.out.exists() else {}
    done = {key.split("/")[0] for key in labels}
    for tar_name, views in VIEWS.items():
        if tar_name in done:
            continue
        rng = random.Random(args.seed)
        labels |= label_tar(*observers, args.data / f"{tar_name}.tar", views, rng)
        args.out.write_text(json.dumps(labels))
    count = sum(len(label["faces"]) for label in labels.values())
    print(f"{len(labels)} pictures, {count} faces -> {args.out}")


if __name__ == "__main__":
    main()
