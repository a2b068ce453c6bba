"""How well a regressor's landmarks agree with MediaPipe's, in the 120-pixel crop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from models.export import NetworkSpec
from models.mobilenet_v1 import MobileNet
from models.networks import open_network
from training.regressor.faces import Faces, normalise, shrink
from training.regressor.geometry import Model
from training.regressor.kind import LANDMARKS
from training.regressor.landmarks import (
    EYES,
    LIPS,
    correlation_and_slope,
    eye_opening,
    mouth_opening,
)
from utils.io import load_arrays

COLUMNS = ("mean", "lips", "eyes", "mouth_corr", "mouth_slope", "eyes_corr", "eyes_slope")
SCORE_VARIES = 0.01  # spread of a score over people from which it can be judged


def landmarks_of(model: Model, param: Tensor) -> np.ndarray:
    """(n, 12 + S + E) parameters -> (n, 468, 2) landmarks in the network's frame."""
    shapes = model.shape.shape[2]
    vertices = model.vertices(param[:, 12 : 12 + shapes], param[:, 12 + shapes :])
    pose = param[:, :12].view(-1, 3, 4)
    return (vertices @ pose[:, :2, :3].transpose(1, 2) + pose[:, None, :2, 3]).cpu().numpy()


def summary(true: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Errors (pixels) and openings of MediaPipe's among (n, L, 2) landmarks; keys are
    ``COLUMNS``."""
    error = np.linalg.norm(seen - true, axis=2)[:, :LANDMARKS]
    values = (
        error.mean(),
        error[:, LIPS].mean(),
        error[:, EYES].mean(),
        *correlation_and_slope(mouth_opening(true), mouth_opening(seen)),
        *correlation_and_slope(eye_opening(true), eye_opening(seen)),
    )
    return dict(zip(COLUMNS, map(float, values)))


@torch.inference_mode()
def predict(
    network: Callable[[Tensor], Tensor], pictures: np.ndarray, side: int = 120, batch: int = 100
) -> Tensor:
    """Outputs (n, P) for (n, 120, 120, 3) uint8 pictures, which are shrunken to ``side`` first."""
    parts = torch.from_numpy(pictures).permute(0, 3, 1, 2).split(batch)
    return torch.cat([network(shrink(normalise(part), side)).cpu() for part in parts])


def spread(faces: Faces, count: int) -> np.ndarray:
    """Numbers of ``count`` faces from all over a split, or of all."""
    return np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int)


def held_out(faces: Faces, count: int, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The faces of ``spread``: pictures (count, 120, 120, 3) and landmarks (count, L, 2)."""
    plain = [faces.plain(i, roll) for i in spread(faces, count)]
    return np.stack([p[0] for p in plain]), np.stack([p[2] for p in plain])


def one_line(table: dict[str, float]) -> str:
    """The summary as text."""
    return "  ".join(f"{name} {value:.3f}" for name, value in table.items())


def score_reliability(true: np.ndarray, told: np.ndarray) -> np.ndarray:
    """(52,) correlations of told scores (n, 52) with true ones, NaN in rows that nobody labelled;
    0 for those that hardly ever vary."""
    known = np.isfinite(true).all(1)
    true, told = true[known], told[known]
    pairs = zip(true.T, told.T, true.std(0) > SCORE_VARIES)
    return np.array([correlation_and_slope(a, b)[0] if varies else 0.0 for a, b, varies in pairs])


@dataclass(frozen=True)
class Told:
    """What a network says of n pictures; None where it has no such output."""

    points: np.ndarray  # (n, L, 2) in the network's frame
    scores: np.ndarray | None = None  # (n, 52)
    error: np.ndarray | None = None  # (n,) pixels


class Regressor:
    """A network with its whitening and the model its parameters speak of.

    weights, whitening: files; model: at the points to judge, with all our directions; widen: of
    the network if `weights` is a checkpoint.
    """

    def __init__(self, weights: str, whitening: str, model: Model, widen: float = 0.5) -> None:
        self.numbers = load_arrays(whitening)
        params, scores = len(self.numbers["mean"]), len(self.numbers.get("score_mean", ()))
        outputs = ("params", "scores", "log_error")[: 3 if scores else 1]
        spec = NetworkSpec(lambda: MobileNet(widen, params, scores), (1, 3, 120, 120), outputs)
        engine = "auto" if weights.endswith(".onnx") else "torch"
        self.network = open_network(spec, Path(weights), engine)
        self.model = Model(model.mean, model.shape, model.exp[..., : params - 52])

    def outputs(self, pictures: np.ndarray) -> list[np.ndarray]:
        """The network's outputs for (n, 120, 120, 3) uint8, the parameters no longer whitened."""
        parts = torch.from_numpy(pictures).permute(0, 3, 1, 2).split(100)
        params, *others = map(
            np.concatenate, zip(*(self.network(normalise(part).numpy()) for part in parts))
        )
        return [params * self.numbers["std"] + self.numbers["mean"], *others]

    def __call__(self, pictures: np.ndarray) -> Told:
        """What it says of (n, 120, 120, 3) uint8 pictures."""
        params, *others = self.outputs(pictures)
        points = landmarks_of(self.model, torch.from_numpy(params).float())
        if not others:
            return Told(points)
        scores = others[0] * self.numbers["score_std"] + self.numbers["score_mean"]
        return Told(points, scores.clip(0, 1), np.exp(others[1][:, 0]))
