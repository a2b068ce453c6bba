"""Ask the original network about every labelled crop: it knows profiles and contours.

    python -m training.regressor.teach --labels LABELS \
        --original mb05_120x120.pth param_mean_std_62d_120x120.pkl

MediaPipe guesses the hidden half of turned heads, and its outline is not the model's jaw. The
original looks at each crop, then at its own re-crop of that and at that one's mirror image. Writes
``LABELS/teacher.npz``, in stored-crop pixels with y up:

    points  (n, 68, 2) float32  its landmarks, mean of the last two looks
    yaw     (n,) float32        degrees, of the second look
    doubt   (n,) float32        mean distance of its looks' landmarks over the face's size
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from training.regressor.augment import SIZE, network_matrix, roi_matrix
from training.regressor.fit import WHEEL_HELP, expected_roi, load_basel
from training.regressor.geometry import CROP
from training.regressor.landmarks import JAW_SIDES, MEDIAPIPE_OF_68, OPPOSITE_OF_68
from training.regressor.measure import Regressor, landmarks_of
from utils.pose import decompose_pose, rotation_angles

BATCH = 512

log = logging.getLogger(__name__)


def face_size(points: np.ndarray) -> np.ndarray:
    """(n, L, 2) -> (n,) root of the area of the landmarks' bounding box (AFLW2000-3D's measure)."""
    return np.sqrt(np.prod(points.max(1) - points.min(1), axis=1))


def first_roi(points: np.ndarray) -> np.ndarray:
    """(n, 3) ROIs, plane, to begin with: of MediaPipe's landmarks (n, 478, 3) in crop pixels where
    it found some, else the crop's middle, which is where the box is."""
    low_to_high = points[:, [*MEDIAPIPE_OF_68.values(), *JAW_SIDES], :2] * np.array([1, -1])
    roi = expected_roi(torch.from_numpy(low_to_high.astype(np.float32))).numpy()
    middle = (CROP - 1) / 2
    lost = ~np.isfinite(roi).all(1)
    roi[lost] = [middle, -middle - 0.06 * CROP, 0.75 * CROP]
    return roi


def look(
    original: Regressor, crops: np.ndarray, roi: np.ndarray, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The original's 68 landmarks (n, 68, 2) in the plane, and parameters, of ROIs (n, 3)."""
    matrices = [roi_matrix(r, 0.0) for r in roi]
    pictures = []
    for crop, matrix in zip(crops, matrices):
        picture = cv2.warpAffine(crop, matrix, (SIZE, SIZE))
        pictures.append(picture[:, ::-1] if mirrored else picture)
    param = original.outputs(np.stack(pictures))[0]
    seen = landmarks_of(original.model, torch.from_numpy(param).float())
    if mirrored:  # pixel x of the ROI shows 119 - x; its frame counts from 1
        seen = seen[:, OPPOSITE_OF_68] * np.array([-1, 1], np.float32)
        seen[..., 0] += SIZE + 1
    planes = []
    for points, matrix in zip(seen, matrices):
        to_network = network_matrix(matrix, 1.0)
        planes.append((points - to_network[:2, 3]) @ np.linalg.inv(to_network[:2, :2]).T)
    return np.stack(planes).astype(np.float32), param


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument(
        "--original", nargs=2, metavar=("WEIGHTS", "WHITENING"), required=True,
        help="the original's mb05 network",
    )  # fmt: skip
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    labels = np.load(args.labels / "labels.npz")
    crops = np.load(args.labels / "crops.npy", mmap_mode="r")
    basel, keypoints = load_basel(args.wheel)
    original = Regressor(args.original[0], args.original[1], basel.at(keypoints))
    start = first_roi(labels["points"])
    columns: dict[str, list[np.ndarray]] = {"points": [], "yaw": [], "doubt": []}
    for first in range(0, len(crops), BATCH):
        part = slice(first, first + BATCH)
        for name, values in teach(original, crops[part], start[part]).items():
            columns[name].append(values)
    teacher: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    log.info("%d faces, median doubt %.3f", len(crops), np.median(teacher["doubt"]))
    np.savez(args.labels / "teacher.npz", **teacher)


def teach(original: Regressor, crops: np.ndarray, roi: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of ``teacher.npz`` for crops (n, 192, 192, 3) and ROIs (n, 3) to begin with."""
    first, _ = look(original, crops, roi, mirrored=False)
    again = expected_roi(torch.from_numpy(first)).numpy()
    second, param = look(original, crops, again, mirrored=False)
    third, _ = look(original, crops, again, mirrored=True)
    apart = [np.linalg.norm(second - other, axis=2).mean(1) for other in (first, third)]
    yaw = [rotation_angles(decompose_pose(p[:12].reshape(3, 4))[1])[0] for p in param]
    return dict(
        points=(second + third) / 2,
        yaw=np.array(yaw, np.float32),
        doubt=np.maximum(*apart) / face_size(second),
    )


if __name__ == "__main__":
    main()
