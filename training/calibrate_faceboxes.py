"""Shift a trained detector's scores so that 0.5, where the pipeline cuts, is the right place.

A student in doubt is less sure than its teacher, and not alike for small and large anchors.  On
held-out scenes, others than those of the evaluation, this looks for one threshold for each size of
anchor: those that find most of the original's faces while giving no more false boxes than the
original.  A threshold's logit is subtracted from the face biases of its anchors.

Usage::

    python -m training.calibrate_faceboxes --weights run/faceboxes.pth --scenes choice/ \
        --out calibrated.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from FaceBoxes.utils.prior_box import CELL_SIZES
from training.detection import Detector, match_boxes
from training.evaluate_faceboxes import SAME_FACE_IOU, are_false, are_tall, load_scenes

SIZES = sorted({size for sizes in CELL_SIZES for size in sizes})
THRESHOLDS = np.arange(0.2, 0.96, 0.02)
PRICES = np.geomspace(0.01, 10, 61)  # of a false box, in faces
FACE = 1  # index of the class; every anchor has two channels, background first


def collect(detector: Detector, scenes: list[tuple[np.ndarray, dict]]) -> tuple[np.ndarray, int]:
    """What the detector finds in the scenes, down to the lowest of THRESHOLDS.

    Returns
    -------
    (n, 4) float : of every find its anchor's size, its score, whether it is a tall face that the
        original finds, too, and whether it is false
    the number of the original's false boxes
    """
    finds, false_theirs = [np.zeros((0, 4))], 0
    for picture, label in scenes:
        theirs, known = label["found"], label["put"][:, :4]
        ours = detector.with_sizes(picture, float(THRESHOLDS[0]))
        right, tall = np.zeros(len(ours)), are_tall(theirs)
        for i, j in match_boxes(theirs[:, :4], ours[:, :4], SAME_FACE_IOU):
            right[j] = tall[i]
        finds.append(np.column_stack([ours[:, 5], ours[:, 4], right, are_false(ours, known)]))
        false_theirs += int(are_false(theirs, known).sum())
    return np.concatenate(finds), false_theirs


def best_thresholds(finds: np.ndarray, price: float) -> dict[int, float]:
    """For each size the threshold above which right finds less `price` times the false are most.

    Of several that are equally good it is the middle one.
    """
    thresholds = {}
    for size in SIZES:
        _, scores, right, false = finds[finds[:, 0] == size].T
        worth = np.array([(right - price * false)[scores > t].sum() for t in THRESHOLDS])
        thresholds[size] = float(np.median(THRESHOLDS[worth == worth.max()]))
    return thresholds


def kept(finds: np.ndarray, thresholds: dict[int, float]) -> np.ndarray:
    """The finds (n, 4) above the threshold of their size."""
    return finds[finds[:, 1] > [thresholds[int(size)] for size in finds[:, 0]]]


def choose_thresholds(finds: np.ndarray, allowed: int) -> dict[int, float]:
    """The best thresholds at the lowest of PRICES with no more false finds than `allowed`."""
    for price in PRICES:
        thresholds = best_thresholds(finds, price)
        if kept(finds, thresholds)[:, 3].sum() <= allowed:
            break
    return thresholds


def shift_scores(
    state: dict[str, torch.Tensor], thresholds: dict[int, float]
) -> dict[str, torch.Tensor]:
    """A state dict whose network scores 0.5 where the given one's scores the anchor's threshold."""
    shifted = {key: value.clone() for key, value in state.items()}
    for head, sizes in enumerate(CELL_SIZES):
        cut = torch.tensor([thresholds[size] for size in sizes])
        shifted[f"conf.{head}.bias"][FACE::2] -= torch.logit(cut)
    return shifted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="state dict that the training wrote")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of val_* shards")
    parser.add_argument("--out", type=Path, required=True, help="state dict to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    finds, false_theirs = collect(Detector(args.weights), load_scenes(args.scenes))
    thresholds = choose_thresholds(finds, false_theirs)
    _, _, right, false = kept(finds, thresholds).sum(0)
    state = torch.load(args.weights, map_location="cpu", weights_only=True)
    torch.save(shift_scores(state, thresholds), args.out)
    cuts = " ".join(f"{size} px: {cut:.2f}" for size, cut in thresholds.items())
    print(f"{right:.0f} faces, {false:.0f} false boxes (the original: {false_theirs}); {cuts}")


if __name__ == "__main__":
    main()
