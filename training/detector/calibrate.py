"""Shift a trained detector's scores so that 0.5, where the pipeline cuts, is the right place.

A student in doubt is less sure than its teacher.  On held-out scenes, others than those of the
evaluation, this looks for the highest threshold above which it still finds enough of the original's
faces.  The threshold's logit is subtracted from the biases of all face scores.

Usage::

    python -m training.detector.calibrate --weights run/faceboxes.pth --scenes choice/ \
        --out calibrated.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.detector.detection import Detector, match_boxes
from training.detector.evaluate import SAME_FACE_IOU, are_false, are_tall, load_scenes

RECALL = 0.96  # of the original's tall faces: a hundredth above the goal
THRESHOLDS = np.arange(0.1, 0.96, 0.01)
FACE = 1  # index of the class; every anchor has two channels, background first


def collect(
    detector: Detector, scenes: list[tuple[np.ndarray, dict]]
) -> tuple[np.ndarray, int, int]:
    """What the detector finds in the scenes, down to the lowest of THRESHOLDS.

    Returns
    -------
    (n, 3) float : of every find its score, whether it is a tall face that the original finds, too,
        and whether it is false
    the number of the original's tall faces, and that of its false boxes
    """
    finds, faces, false_theirs = [np.zeros((0, 3))], 0, 0
    for picture, label in scenes:
        theirs, known = label["found"], label["put"][:, :4]
        ours = detector(picture, float(THRESHOLDS[0]))
        right, tall = np.zeros(len(ours)), are_tall(theirs)
        for i, j in match_boxes(theirs[:, :4], ours[:, :4], SAME_FACE_IOU):
            right[j] = tall[i]
        finds.append(np.column_stack([ours[:, 4], right, are_false(ours, known)]))
        faces += int(tall.sum())
        false_theirs += int(are_false(theirs, known).sum())
    return np.concatenate(finds), faces, false_theirs


def choose_threshold(finds: np.ndarray, faces: int) -> float:
    """The highest of THRESHOLDS above which RECALL of so many faces is found, else the lowest."""
    found = [finds[finds[:, 0] > threshold, 1].sum() for threshold in THRESHOLDS]
    enough = np.flatnonzero(np.array(found) >= RECALL * faces)
    return float(THRESHOLDS[enough.max(initial=0)])


def shift_scores(state: dict[str, torch.Tensor], threshold: float) -> dict[str, torch.Tensor]:
    """A state dict whose network scores 0.5 where the given one's scores the threshold."""
    shifted = {key: value.clone() for key, value in state.items()}
    for key, value in shifted.items():
        if key.startswith("conf.") and key.endswith(".bias"):
            value[FACE::2] -= np.log(threshold / (1 - threshold))
    return shifted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="state dict that the training wrote")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of val_* shards")
    parser.add_argument("--out", type=Path, required=True, help="state dict to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    finds, faces, false_theirs = collect(Detector(args.weights), load_scenes(args.scenes))
    threshold = choose_threshold(finds, faces)
    _, right, false = finds[finds[:, 0] > threshold].sum(0)
    state = torch.load(args.weights, map_location="cpu", weights_only=True)
    torch.save(shift_scores(state, threshold), args.out)
    print(
        f"above {threshold:.2f}: {right:.0f} of {faces} faces, {false:.0f} false boxes "
        f"(the original: {false_theirs})"
    )


if __name__ == "__main__":
    main()
