"""Batched Gauss–Newton fit of the linear face model to 2-D landmarks.

Frames: *model* is the Basel model's (micrometre, y up, z towards the viewer); *plane* is the
stored crop's pixels with y turned up (y_plane = −y_crop). A pose is the (3, 4) matrix [sR | t] of
a scaled orthographic camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

CROP = 192  # side of a stored crop, pixels (training.regressor.label)
PIXEL = 1.2  # stored-crop pixels per pixel of the network's 120-pixel crop, typically


@dataclass(frozen=True)
class Model:
    """The linear model at some of its vertices: X = mean + shape·α + exp·β.

    mean: (L, 3); shape: (L, 3, S); exp: (L, 3, E), float32, micrometre per unit coefficient.
    """

    mean: Tensor
    shape: Tensor
    exp: Tensor

    def at(self, index: np.ndarray) -> Model:
        """The model at the vertices ``index`` only."""
        return Model(self.mean[index], self.shape[index], self.exp[index])

    def to(self, device: torch.device) -> Model:
        """The model on a device."""
        return Model(self.mean.to(device), self.shape.to(device), self.exp.to(device))

    def with_exp(self, extra: Tensor) -> Model:
        """The model with expression directions ``extra`` (L, 3, k) appended."""
        return replace(self, exp=torch.cat([self.exp, extra], 2))

    def vertices(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """(n, S), (n, E) coefficients -> (n, L, 3) vertices."""
        flat = alpha @ self.shape.flatten(0, 1).T + beta @ self.exp.flatten(0, 1).T
        return self.mean + flat.view(len(alpha), -1, 3)


@dataclass
class Fit:
    """Fitted faces. pose: (n, 3, 4) [sR | t], plane pixels; alpha: (n, S); beta: (n, E)."""

    pose: Tensor
    alpha: Tensor
    beta: Tensor

    def project(self, model: Model) -> Tensor:
        """(n, L, 2) plane positions of the model's vertices."""
        return project(self.pose, model.vertices(self.alpha, self.beta))

    def __getitem__(self, index: Any) -> Fit:
        return Fit(self.pose[index], self.alpha[index], self.beta[index])


def project(pose: Tensor, vertices: Tensor) -> Tensor:
    """(n, 3, 4) poses, (n, L, 3) vertices -> (n, L, 2) in the plane of the poses."""
    return vertices @ pose[:, :2, :3].transpose(1, 2) + pose[:, None, :2, 3]


def rotation(omega: Tensor) -> Tensor:
    """Rotation vectors (n, 3) -> matrices (n, 3, 3)."""
    zero = torch.zeros_like(omega[:, 0])
    x, y, z = omega.unbind(1)
    return torch.linalg.matrix_exp(
        torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    )


def initial_pose(points: Tensor, mean: Tensor) -> Tensor:
    """Scaled orthographic pose of the mean shape: affine least squares, then the nearest scaled
    rotation.

    points: (n, L, 2) plane; mean: (L, 3). Returns (n, 3, 4).
    """
    centred, origin = mean - mean.mean(0), points.mean(1)
    affine = (torch.linalg.pinv(centred) @ (points - origin[:, None])).transpose(1, 2)  # (n, 2, 3)
    u, s, vt = torch.linalg.svd(affine, full_matrices=False)
    rows, scale = u @ vt, s.mean(1)
    full = (
        torch.cat([rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
        * scale[:, None, None]
    )
    shift = torch.cat([origin, torch.zeros(len(points), 1)], 1) - full @ mean.mean(0)
    return torch.cat([full, shift[..., None]], 2)


def pose_jacobian(turned: Tensor) -> Tensor:
    """d(plane position) / d(rotation 3, log scale, shift 2) -> (n, L, 2, 6), at scaled and turned
    vertices (n, L, 3)."""
    x, y, z = turned.unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([zero, z, -y, x, one, zero, -z, zero, x, y, zero, one], 2).view(
        *x.shape, 2, 6
    )


def fit_batch(
    model: Model, points: Tensor, weight: Tensor, prior: Tensor, noise: float, iterations: int
) -> Fit:
    """Regularised Gauss–Newton fit of pose, shape and expression together.

    points: (n, L, 2) plane; weight: (L,); prior: (S + E,) standard deviation of each coefficient;
    noise: that of a landmark, plane pixels (correlated errors are accounted for by a larger one).
    The coefficients' block of the normal matrix is s²·Σ_l w_l·B_lᵀ R₂ᵀR₂ B_l: a mixture of nine
    matrices that are the same for all faces, so no Jacobian over the coefficients is ever formed.
    """
    basis = torch.cat([model.shape, model.exp], 2) * prior  # (L, 3, C)
    flat, w = basis.flatten(0, 1), weight / noise**2
    gram = torch.einsum("lic,ljd->ijcd", basis * w[:, None, None], basis)
    pose, coeff = initial_pose(points, model.mean), torch.zeros(len(points), len(prior))
    ridge = torch.diag(torch.cat([torch.full((6,), 1e-6), torch.ones(len(prior))]))
    for _ in range(iterations):
        turned = (model.mean + (coeff @ flat.T).view(len(points), -1, 3)) @ pose[
            :, :, :3
        ].transpose(1, 2)
        residual = (points - turned[..., :2] - pose[:, None, :2, 3]) * w[:, None]
        rows, rigid = pose[:, :2, :3], pose_jacobian(turned)
        weighted = rigid * w[:, None, None]
        top = weighted.flatten(1, 2).transpose(1, 2) @ rigid.flatten(1, 2)
        cross = torch.einsum("nlip,nij->nplj", weighted, rows).flatten(2) @ flat
        own = torch.einsum("nij,ijcd->ncd", rows.transpose(1, 2) @ rows, gram)
        normal = (
            torch.cat([torch.cat([top, cross], 2), torch.cat([cross.transpose(1, 2), own], 2)], 1)
            + ridge
        )
        right = torch.cat(
            [
                (rigid * residual[..., None]).sum((1, 2)),
                (residual @ rows).flatten(1) @ flat - coeff,
            ],
            1,
        )
        delta = torch.linalg.solve(normal, right)
        turn = rotation(delta[:, :3]) * delta[:, 3].clamp(-0.3, 0.3).exp()[:, None, None]
        shift = torch.cat([delta[:, 4:6], torch.zeros(len(points), 1)], 1)[..., None]
        pose = torch.cat([turn @ pose[:, :, :3], pose[:, :, 3:] + shift], 2)
        coeff = coeff + delta[:, 6:]
    alpha, beta = (coeff * prior).split([model.shape.shape[2], model.exp.shape[2]], 1)
    return Fit(pose, alpha, beta)


def fit_all(
    model: Model,
    points: Tensor,
    weight: Tensor,
    prior: Tensor,
    noise: float = 1.5 * PIXEL,
    iterations: int = 6,
    batch: int = 256,
) -> Fit:
    """``fit_batch`` over any number of faces."""
    parts = [
        fit_batch(model, some, weight, prior, noise, iterations) for some in points.split(batch)
    ]
    return Fit(
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("pose", "alpha", "beta"))
    )


def with_eyelids(basel: Model, fits: Path) -> Model:
    """The full-mesh model with the directions of ``fits/eyelids.npz`` appended."""
    return with_directions(basel, fits / "eyelids.npz")


def with_directions(basel: Model, path: Path) -> Model:
    """The full-mesh model with the directions of a file, as ``bfm`` has them, appended."""
    arrays = np.load(path)
    extra = torch.zeros(len(basel.mean), 3, arrays["displacement"].shape[2])
    extra[torch.from_numpy(arrays["indices"]).long()] = torch.from_numpy(arrays["displacement"])
    return basel.with_exp(extra)
