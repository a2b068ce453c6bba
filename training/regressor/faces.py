"""The labelled faces as network inputs and targets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

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
from training.regressor.kind import Kind
from training.regressor.landmarks import eye_opening, mouth_opening, opposite_name, wink

_LABELLED = ("inside", "scale", "source", "name", "person", "scores")
_FITTED = ("pose", "alpha", "beta", "points", "roi")
MADE = {"turned": 0.20, "lids": 0.16}  # shares of the pictures of ``training.regressor.turn``
NO_FACE = -1  # the kind of a sample that shows none
MIRROR = np.array([[-1, 0, CROP - 1], [0, 1, 0], [0, 0, 1]], np.float64)


class Faces:
    """What ``label`` and ``fit``, or ``turn``, wrote, cut to usable faces of one split.

    folders: pairs of the folders with labels.npz and with fits.npz. Crops stay memory-mapped; the
    other arrays are selected and joined. Arrays with a leading 2 hold the face as it is and
    mirrored.
    """

    def __init__(self, folders: Sequence[tuple[Path, Path]], val: bool) -> None:
        self.crops: list[np.ndarray] = []
        self.place: list[tuple[int, int]] = []  # folder and row of each face's crop
        parts = []
        for labels, fits in folders:
            label, fit = np.load(labels / "labels.npz"), np.load(fits / "fits.npz")
            index = np.flatnonzero((label["val"] == val) & fit["keep"])
            self.place += [(len(self.crops), int(i)) for i in index]
            self.crops.append(np.load(labels / "crops.npy", mmap_mode="r"))
            part = {key: label[key][index] for key in _LABELLED}
            part |= {key: fit[key][:, index] for key in _FITTED}
            parts.append(part | dict(kind=fit["kind"][index].astype(np.int64)))
            self.score_names = label["score_names"]
        self.inside, self.scale, self.source, self.name, self.person, self.scores, self.kind = (
            np.concatenate([part[key] for part in parts]) for key in (*_LABELLED, "kind")
        )
        self.pose, self.alpha, self.beta, self.points, self.roi = (
            np.concatenate([part[key] for part in parts], 1) for key in _FITTED
        )

    def __len__(self) -> int:
        return len(self.place)

    def only(self, mask: np.ndarray) -> Faces:
        """Those faces alone."""
        some, rows = copy.copy(self), np.flatnonzero(mask)
        some.place = [self.place[i] for i in rows]
        for key in (*_LABELLED, "kind"):
            setattr(some, key, getattr(self, key)[rows])
        for key in _FITTED:
            setattr(some, key, getattr(self, key)[:, rows])
        return some

    def crop(self, i: int) -> np.ndarray:
        """Stored crop (192, 192, 3) of face ``i``."""
        folder, row = self.place[i]
        return np.asarray(self.crops[folder][row])

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

    def people(self) -> tuple[list[np.ndarray], np.ndarray]:
        """The rows of everybody's pictures, and who (n,) each face is."""
        _, who, counts = np.unique(self.person, return_inverse=True, return_counts=True)
        return np.split(np.argsort(who, kind="stable"), np.cumsum(counts)[:-1]), who

    def sampling_weights(self) -> np.ndarray:
        """(n,) probabilities: open mouths, closed and wide eyes, winks, turned heads and colour
        portraits come up to 5 times as often among the real ones.

        Without it the network learns the average face: most mouths are shut and most eyes open.
        """
        points = self.points[0]
        mouth, eyes = mouth_opening(points), eye_opening(points)
        low, high = np.quantile(eyes, [0.3, 0.9])
        weight = (
            1 + 3 * np.clip((mouth - 0.05) / 0.2, 0, 1) + 4 * np.clip((low - eyes) / low * 2, 0, 1)
        )
        weight += np.clip((eyes - high) / high * 4, 0, 1) + (self.source == "portraits")
        weight += 2 * np.clip(np.abs(wink(points)) / 0.06 - 0.5, 0, 1) * (self.kind <= Kind.AHEAD)
        weight += 2 * (self.kind >= Kind.TURNED)
        made = sum((self.source == source for source in MADE), np.zeros(len(self), bool))
        for source, share in (MADE | {"": 1 - sum(MADE.values())}).items():
            rows = self.source == source if source else ~made
            weight[rows] *= share / max(weight[rows].sum(), 1e-9)
        return weight / weight.sum()


class Sample(NamedTuple):
    """One augmented input and what it shows; batches of them have one dimension more."""

    picture: torch.Tensor  # (3, 120, 120) uint8
    param: torch.Tensor  # (64,) float32
    points: torch.Tensor  # (536, 2) float32, network's frame
    scores: torch.Tensor  # (52,) float32, NaN where nobody knows
    kind: torch.Tensor  # () int64, a ``Kind`` or ``NO_FACE``


class Samples(IterableDataset):
    """Endless stream of ``Sample``s; nothing: (k, s, s, 3) uint8 pictures that show no face."""

    def __init__(
        self,
        faces: Faces,
        scenes: np.ndarray,
        nothing: np.ndarray,
        config: AugmentConfig,
        seed: int,
    ) -> None:
        self.faces, self.scenes, self.nothing = faces, scenes, nothing
        self.config, self.seed = config, seed
        names = [str(name) for name in faces.score_names]
        self.opposite_score = [names.index(opposite_name(name)) for name in names]

    def __iter__(self) -> Iterator[Sample]:
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        degrader = Degrader(
            self.config, self.scenes, seed=self.seed + 1000 * (info.id if info else 0)
        )
        weights = self.faces.sampling_weights()
        while True:
            for i in degrader.rng.choice(len(weights), 4096, p=weights):
                empty = degrader.chance(self.config.p_nothing)
                yield self.no_face(degrader) if empty else self.sample(int(i), degrader)

    def sample(self, i: int, degrader: Degrader) -> Sample:
        """One augmented sample of face ``i``."""
        faces, mirrored = self.faces, int(degrader.rng.integers(2))
        roi, roll = degrader.random_roi(
            faces.roi[mirrored, i],
            1.0 if faces.kind[i] <= Kind.AHEAD and faces.source[i] != "turned" else 1.5,
        )
        matrix = roi_matrix(roi, roll)
        crop = faces.crop(i)
        if degrader.chance(self.config.p_background):
            crop = degrader.fill_outside(crop, faces.inside[i])
        warp = np.vstack([matrix, [0, 0, 1]]) @ MIRROR if mirrored else matrix
        picture = degrader.degrade(cv2.warpAffine(crop, warp[:2], (SIZE, SIZE)))
        param, points = faces.target(i, mirrored, matrix, roi[2])
        scores = faces.scores[i][self.opposite_score] if mirrored else faces.scores[i]
        return as_sample(picture, param, points, scores, faces.kind[i])

    def no_face(self, degrader: Degrader) -> Sample:
        """Something that is no face."""
        i = degrader.rng.integers(len(self.nothing))
        picture = degrader.degrade(cv2.resize(self.nothing[i], (SIZE, SIZE)))
        if degrader.chance(0.5):
            picture = picture[:, ::-1].copy()
        faces = self.faces
        param = np.zeros(12 + faces.alpha.shape[2] + faces.beta.shape[2])
        points, unknown = np.zeros(faces.points.shape[2:]), np.full(faces.scores.shape[1], np.nan)
        return as_sample(picture, param, points, unknown, NO_FACE)


def as_sample(
    picture: np.ndarray, param: np.ndarray, points: np.ndarray, scores: np.ndarray, kind: int
) -> Sample:
    """Arrays as tensors; picture (120, 120, 3)."""
    return Sample(
        torch.from_numpy(picture).permute(2, 0, 1),
        torch.from_numpy(param.astype(np.float32)),
        torch.from_numpy(points.astype(np.float32)),
        torch.from_numpy(scores.astype(np.float32)),
        torch.tensor(int(kind)),
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
