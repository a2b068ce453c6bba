"""The labelled faces as network inputs and targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

from training.regressor.augment import (
    SIZE,
    AugmentConfig,
    Degrader,
    network_matrix,
    pose_in_roi,
    roi_matrix,
)
from training.regressor.geometry import CROP
from training.regressor.landmarks import eye_opening, mouth_opening

MIRROR = np.array([[-1, 0, CROP - 1], [0, 1, 0], [0, 0, 1]], np.float64)


class Faces:
    """What ``label`` and ``fit`` wrote, cut to usable faces of one split.

    crops: (n, 192, 192, 3) uint8, memory-mapped; ``index`` selects its rows; the other arrays are
    already selected. Arrays with a leading 2 hold the face as it is and mirrored.
    """

    def __init__(self, labels: Path, fits: Path, val: bool) -> None:
        label, fit = np.load(labels / "labels.npz"), np.load(fits / "fits.npz")
        self.index = np.flatnonzero((label["val"] == val) & fit["keep"])
        self.crops = np.load(labels / "crops.npy", mmap_mode="r")
        self.inside, self.scale, self.source, self.name = (
            label[key][self.index] for key in ("inside", "scale", "source", "name")
        )
        self.pose, self.alpha, self.beta, self.points, self.roi = (
            fit[key][:, self.index] for key in ("pose", "alpha", "beta", "points", "roi")
        )

    def __len__(self) -> int:
        return len(self.index)

    def crop(self, i: int) -> np.ndarray:
        """Stored crop (192, 192, 3) of face ``i``."""
        return self.crops[self.index[i]]

    def target(
        self, i: int, mirrored: int, matrix: np.ndarray, side: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Parameters (12 + 40 + 12,) and landmarks (468, 2) in the network's frame for the ROI of
        ``matrix``."""
        to_network = network_matrix(matrix, side / SIZE / self.scale[i])
        pose = pose_in_roi(to_network, self.pose[mirrored, i])
        points = self.points[mirrored, i] @ to_network[:2, :2].T + to_network[:2, 3]
        return np.concatenate(
            [pose.ravel(), self.alpha[mirrored, i], self.beta[mirrored, i]]
        ), points

    def plain(self, i: int, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ROI (120, 120, 3) as a detector would frame it, rolled, and its target."""
        roi = self.roi[0, i]
        matrix = roi_matrix(roi, roll)
        picture = cv2.warpAffine(self.crop(i), matrix, (SIZE, SIZE))
        return picture, *self.target(i, 0, matrix, roi[2])

    def sampling_weights(self) -> np.ndarray:
        """(n,) probabilities: open mouths, closed and wide eyes and colour portraits come up to 4
        times as often.

        Without it the network learns the average face: most mouths are shut and most eyes open.
        """
        mouth, eyes = mouth_opening(self.points[0]), eye_opening(self.points[0])
        low, high = np.quantile(eyes, [0.3, 0.9])
        weight = (
            1 + 3 * np.clip((mouth - 0.05) / 0.2, 0, 1) + 4 * np.clip((low - eyes) / low * 2, 0, 1)
        )
        weight += np.clip((eyes - high) / high * 4, 0, 1) + (self.source == "portraits")
        return weight / weight.sum()


class Samples(IterableDataset):
    """Endless stream of (input (3, 120, 120) uint8, parameters (64,) float32, landmarks (468, 2)
    float32)."""

    def __init__(self, faces: Faces, scenes: np.ndarray, config: AugmentConfig, seed: int) -> None:
        self.faces, self.scenes, self.config, self.seed = faces, scenes, config, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        degrader = Degrader(
            self.config, self.scenes, seed=self.seed + 1000 * (info.id if info else 0)
        )
        weights = self.faces.sampling_weights()
        while True:
            for i in degrader.rng.choice(len(weights), 4096, p=weights):
                yield self.sample(int(i), degrader)

    def sample(self, i: int, degrader: Degrader) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One augmented sample of face ``i``."""
        mirrored = int(degrader.rng.integers(2))
        roi, roll = degrader.random_roi(self.faces.roi[mirrored, i])
        matrix = roi_matrix(roi, roll)
        crop = self.faces.crop(i)
        if degrader.chance(self.config.p_background):
            crop = degrader.fill_outside(crop, self.faces.inside[i])
        warp = np.vstack([matrix, [0, 0, 1]]) @ MIRROR if mirrored else matrix
        picture = degrader.degrade(cv2.warpAffine(crop, warp[:2], (SIZE, SIZE)))
        param, points = self.faces.target(i, mirrored, matrix, roi[2])
        return (
            torch.from_numpy(picture).permute(2, 0, 1),
            torch.from_numpy(param.astype(np.float32)),
            torch.from_numpy(points.astype(np.float32)),
        )


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """(N, 3, S, S) uint8 BGR -> float32 network input."""
    return (pictures.float() - 127.5) / 128


def shrink(inputs: torch.Tensor, side: int) -> torch.Tensor:
    """(N, 3, S, S) -> (N, 3, side, side), antialiased; as it is where the sides agree."""
    if side == inputs.shape[-1]:
        return inputs
    return torch.nn.functional.interpolate(
        inputs, (side, side), mode="bilinear", antialias=True, align_corners=False
    )
