"""Shift a trained detector's scores so that 0.5, where the product cuts, is the right place.

A student in doubt is less sure than its teacher.  In the training scenes with boxes drawn by hand
(which it learned to see as its teachers do, not as the boxes say) this looks for the lowest
threshold that lets no more extra boxes through than the original's does at 0.5.  Its logit is
subtracted from the biases of all face scores.

Usage::

    python -m training.detector.calibrate --data DIR_OF_TARS --original FaceBoxesProd.pth \
        --weights run/faceboxes.pth --out calibrated.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.detector.detection import Detector
from training.detector.evaluate import DEFAULT, drawn_scenes, finds_in

FACE = 1  # index of the class; every anchor has two channels, background first


def shift_scores(state: dict[str, torch.Tensor], threshold: float) -> dict[str, torch.Tensor]:
    """A state dict whose network scores 0.5 where the given one's scores the threshold."""
    shifted = {key: value.clone() for key, value in state.items()}
    for key, value in shifted.items():
        if key.startswith("conf.") and key.endswith(".bias"):
            value[FACE::2] -= np.log(threshold / (1 - threshold))
    return shifted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--original", required=True, help="state dict of the original")
    parser.add_argument("--weights", required=True, help="state dict that the training wrote")
    parser.add_argument("--out", type=Path, required=True, help="state dict to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scenes = drawn_scenes(args.data, "train")
    theirs, ours = (finds_in(scenes, Detector(fp)) for fp in (args.original, args.weights))
    threshold = ours.threshold(theirs.extra(DEFAULT))
    state = torch.load(args.weights, map_location="cpu", weights_only=True)
    torch.save(shift_scores(state, threshold), args.out)
    print(
        f"{threshold:.3f} becomes {DEFAULT}: {theirs.extra(DEFAULT):.3f} extra boxes a scene, "
        f"recall {ours.recall(threshold):.3f} (the original: {theirs.recall(DEFAULT):.3f})"
    )


if __name__ == "__main__":
    main()
