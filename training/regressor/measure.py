"""How well a regressor's landmarks agree with MediaPipe's, in the 120-pixel crop."""

from __future__ import annotations

from typing import Callable

import numpy as np
import torch
from torch import Tensor

from training.regressor.faces import Faces, normalise, shrink
from training.regressor.geometry import Model
from training.regressor.landmarks import (
    EYES,
    LIPS,
    correlation_and_slope,
    eye_opening,
    mouth_opening,
)

COLUMNS = ("mean", "lips", "eyes", "mouth_corr", "mouth_slope", "eyes_corr", "eyes_slope")


def landmarks_of(model: Model, param: Tensor) -> np.ndarray:
    """(n, 12 + S + E) parameters -> (n, 468, 2) landmarks in the network's frame."""
    shapes = model.shape.shape[2]
    vertices = model.vertices(param[:, 12 : 12 + shapes], param[:, 12 + shapes :])
    pose = param[:, :12].view(-1, 3, 4)
    return (vertices @ pose[:, :2, :3].transpose(1, 2) + pose[:, None, :2, 3]).cpu().numpy()


def summary(true: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Errors (pixels) and openings of (n, 468, 2) landmarks; keys are ``COLUMNS``."""
    error = np.linalg.norm(seen - true, axis=2)
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


def held_out(faces: Faces, count: int, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` faces spread over a split: pictures (count, 120, 120, 3) and landmarks (count,
    468, 2)."""
    chosen = np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int)
    plain = [faces.plain(i, roll) for i in chosen]
    return np.stack([p[0] for p in plain]), np.stack([p[2] for p in plain])


def one_line(table: dict[str, float]) -> str:
    """The summary as text."""
    return "  ".join(f"{name} {value:.3f}" for name, value in table.items())
