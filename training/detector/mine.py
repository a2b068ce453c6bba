"""Find where a trained detector sees faces that nobody else has noticed: what it has to unlearn.

It looks at the training scenes in one size.  A box of its own that touches nothing that ``label``
knows or doubts, and that the original does not notice in the same view either, is an alarm.
Written is the JSON of ``label`` with one more key for each scene, ``"alarms": [[x1, y1, x2, y2],
...]``; ``train`` cuts crops around them, and what the original says of a crop is what counts there.

Usage::

    python -m training.detector.mine --data DIR_OF_TARS --labels faces.json \
        --original FaceBoxesProd.pth --weights BEFORE.pth --out mined.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from training.detector.crops import ALARM_VIEW
from training.detector.detection import Detector, Find, pairwise_iou
from training.detector.label import NOTICED, boxes_of_view
from training.pictures import decode_picture, iterate_files

TARS = ("scenes_people", "scenes")
APART = 0.1  # IoU below which a box has nothing to do with another


def alarms_of(ours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The boxes (n, 4) of `ours` (m, 5) that none of the `others` (k, 4) touches."""
    if not len(others):
        return ours[:, :4]
    return ours[pairwise_iou(ours[:, :4], others).max(1) < APART, :4]


def mine_scene(ours: Find, original: Find, picture: np.ndarray, label: dict) -> np.ndarray:
    """Alarms (n, 4) in a picture (H, W, 3) uint8 BGR, given what ``label`` wrote of it."""
    known = np.array(label["faces"] + label["ignore"], float).reshape(-1, 4)
    alarms = boxes_of_view(ours, picture, 0.0, ALARM_VIEW)
    if len(alarms_of(alarms, known)):
        noticed = boxes_of_view(original, picture, 0.0, ALARM_VIEW)
        known = np.concatenate([known, noticed[:, :4]])
    return alarms_of(alarms, known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label wrote")
    parser.add_argument("--original", required=True, help="state dict of the original")
    parser.add_argument("--weights", required=True, help="state dict whose alarms are looked for")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    labels = json.loads(args.labels.read_text())
    observers = Detector(args.weights), Detector(args.original)
    count = 0
    for tar_name in TARS:
        for name, content in tqdm(iterate_files(args.data / f"{tar_name}.tar"), desc=tar_name):
            label = labels.get(f"{tar_name}/{name}")
            if label is not None and name.startswith("train/"):
                alarms = mine_scene(*observers, decode_picture(content), label)
                label["alarms"] = alarms.round(1).tolist()
                count += len(alarms)
    args.out.write_text(json.dumps(labels))
    print(f"{count} alarms above {NOTICED} -> {args.out}")


if __name__ == "__main__":
    main()
