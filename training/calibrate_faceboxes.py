"""Shift a trained detector's scores so that 0.5, where the pipeline cuts, is the right place.

Hard-negative mining leaves scores that are too high.  On held-out scenes this looks for the lowest
threshold, from 0.5 on, at which the detector gives no more false boxes than the original; if it
would then find less than 95% of the original's faces, it takes the highest threshold at which it
does find them.  The threshold's logit is subtracted from the face biases of the class heads.

Usage::

    python -m training.calibrate_faceboxes --weights run/faceboxes.pth --scenes scenes/ \
        --out calibrated.pth
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.detection import Detector
from training.evaluate_faceboxes import Counts, compare, load_scenes

THRESHOLDS = np.arange(0.5, 0.96, 0.02)
MIN_RECALL = 0.95
FACE = 1  # index of the class; every anchor has two channels, background first


def sweep(detector: Detector, scenes: list[tuple[np.ndarray, dict]]) -> dict[float, dict]:
    """The summary of `Counts` on the scenes for each of THRESHOLDS."""
    found = [detector(picture, min_score=float(THRESHOLDS[0])) for picture, _ in scenes]
    rows = {}
    for threshold in THRESHOLDS:
        counts = Counts()
        for boxes, (_, label) in zip(found, scenes):
            kept = boxes[boxes[:, 4] > threshold]
            compare(label["found"], kept, label["put"][:, :4], counts)
        rows[float(threshold)] = counts.summary()
    return rows


def choose_threshold(rows: dict[float, dict]) -> float:
    """The threshold by the rule in the module's description."""
    clean = [t for t, row in rows.items() if row["false_ours"] <= row["false_theirs"]]
    complete = [t for t, row in rows.items() if row["recall"] >= MIN_RECALL]
    if clean and rows[min(clean)]["recall"] >= MIN_RECALL:
        return min(clean)
    return max(complete, default=0.5)


def shift_scores(state: dict[str, torch.Tensor], threshold: float) -> dict[str, torch.Tensor]:
    """A state dict whose network scores 0.5 where the given one's scores `threshold`."""
    shift = float(np.log(threshold / (1 - threshold)))
    shifted = {key: value.clone() for key, value in state.items()}
    for key, value in shifted.items():
        if key.startswith("conf.") and key.endswith(".bias"):
            value[FACE::2] -= shift
    return shifted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="state dict that the training wrote")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of the val_* shards")
    parser.add_argument("--out", type=Path, required=True, help="state dict to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = sweep(Detector(args.weights), load_scenes(args.scenes))
    for threshold, row in rows.items():
        print(f"{threshold:.2f}", " ".join(f"{key}={value}" for key, value in row.items()))
    threshold = choose_threshold(rows)
    state = torch.load(args.weights, map_location="cpu", weights_only=True)
    torch.save(shift_scores(state, threshold), args.out)
    print(f"threshold {threshold:.2f} -> {args.out}")


if __name__ == "__main__":
    main()
