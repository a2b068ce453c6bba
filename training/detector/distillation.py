"""Learning from another detector of the same architecture: what it says of every anchor is the aim.

Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531). Boxes alone tell where the teacher
found faces; its score and its box for each anchor also tell how sure it was, which of several
anchors it took, and so where the threshold lies.

Anchors ("priors") are (P, 4) float32 ``cx cy w h`` relative to the picture, as
``FaceBoxes.utils.prior_box`` makes them; boxes are ``x1 y1 x2 y2``.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from FaceBoxes.models.faceboxes import FaceBoxesNet
from FaceBoxes.utils.box_utils import CENTER_VARIANCE, SIZE_VARIANCE
from training.detector.detection import pairwise_iou

TRACE = 0.05  # the score from which the teacher's box for an anchor is worth learning
LARGEST_LOGIT = 9.0  # a teacher's certainty beyond this is not worth following
FOUND = 0.5  # the teacher's score from which it has found a known face
ON_FACE_IOU = 0.35  # of an anchor or a box and a face that is meant by it
ALARM_WEIGHT = 4.0  # how much more a false alarm of the student's counts, times its score
TAUGHT = 0.95  # the score that is taught where the teacher misses a known face


class Losses(NamedTuple):
    """Each summed over the anchors that count, for each face anchor of the teacher."""

    scores: torch.Tensor
    logits: torch.Tensor
    boxes: torch.Tensor


class Hint(nn.Module):
    """How far a student's last shared feature map is from its teacher's, after a linear map.

    FitNets (Romero et al. 2015, arXiv 1412.6550): every place of a picture teaches something, not
    only the faces.  The linear map is learned along and thrown away, so the student's features stay
    its own.

    student, teacher : networks, each of which has to have seen the same inputs before a call.
    """

    CHANNELS = 128

    def __init__(self, student: FaceBoxesNet, teacher: FaceBoxesNet) -> None:
        super().__init__()
        self.map = nn.Conv2d(self.CHANNELS, self.CHANNELS, 1)
        self.spread = nn.BatchNorm2d(self.CHANNELS, affine=False)
        self.seen: dict[str, torch.Tensor] = {}
        for name, net in (("student", student), ("teacher", teacher)):
            net.inception3.register_forward_hook(partial(self._keep, name))

    def _keep(self, name: str, module: nn.Module, inputs: tuple, features: torch.Tensor) -> None:
        self.seen[name] = features

    def forward(self) -> torch.Tensor:
        """Mean squared difference, in variances of the teacher's channels."""
        wanted = self.spread(self.seen["teacher"].float())
        return F.mse_loss(self.map(self.seen["student"]).float(), wanted)


def corner_boxes(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Boxes (n, 4), relative to the picture, of the network's offsets (n, 4) from priors (n, 4)."""
    centers = priors[:, :2] + offsets[:, :2] * CENTER_VARIANCE * priors[:, 2:]
    halves = priors[:, 2:] * torch.exp(offsets[:, 2:] * SIZE_VARIANCE) / 2
    return torch.cat([centers - halves, centers + halves], 1)


def generalised_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """GIoU (n,) in [-1, 1] of boxes (n, 4), row by row (Rezatofighi et al. 2019)."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    hull_low, hull_high = torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])
    overlap = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - overlap
    hull = (hull_high - hull_low).prod(1)
    return overlap / union - (hull - union) / hull


def distillation_losses(
    student: tuple[torch.Tensor, torch.Tensor],
    teacher: tuple[torch.Tensor, torch.Tensor],
    priors: torch.Tensor,
    counts: torch.Tensor,
) -> Losses:
    """How far a student is from its teacher.

    Parameters
    ----------
    student : offsets (B, P, 4) and logits (B, P, 2), as the network gives them in training.
    teacher : offsets (B, P, 4) and probabilities (B, P, 2), as it gives them in evaluation.
    priors : (P, 4)
    counts : (B, P) bool, which anchors count at all.
    """
    logits, wanted = student[1][..., 1] - student[1][..., 0], teacher[1][..., 1]
    traced = counts & (wanted > TRACE)
    weights = wanted[traced]
    faces = weights.sum().clamp(min=1)
    divergence = F.binary_cross_entropy_with_logits(
        logits[counts], wanted[counts], reduction="none"
    ) - F.binary_cross_entropy(wanted[counts], wanted[counts], reduction="none")
    alarms = torch.sigmoid(logits[counts].detach()) * (wanted[counts] <= TRACE)
    divergence = (divergence * (1 + ALARM_WEIGHT * alarms)).sum()
    wanted_logits = torch.logit(weights, eps=1e-6).clamp(max=LARGEST_LOGIT)
    difference = F.smooth_l1_loss(logits[traced], wanted_logits, reduction="sum")
    anchors = priors.expand(len(counts), -1, -1)[traced]
    boxes = (corner_boxes(offsets[traced], anchors) for offsets in (student[0], teacher[0]))
    apart = weights * (1 - generalised_iou(*boxes))
    return Losses(divergence / faces, difference / faces, apart.sum() / faces)


def corners_of(priors: np.ndarray) -> np.ndarray:
    """Priors (P, 4) as boxes (P, 4)."""
    centers, halves = priors[:, :2], priors[:, 2:] / 2
    return np.concatenate([centers - halves, centers + halves], axis=1)


def touching(priors: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Which priors (P, 4) overlap any of some areas by IoU 0.2 or have their centre in one.

    areas : (n, 4) boxes, relative to the picture as the priors are.
    """
    if not len(areas):
        return np.zeros(len(priors), bool)
    centers = priors[:, None, :2]
    within = ((centers > areas[None, :, :2]) & (centers < areas[None, :, 2:])).all(-1)
    return np.any(within | (pairwise_iou(corners_of(priors), areas) > 0.2), axis=1)


def encode(boxes: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Offsets (n, 4) from priors (n, 4) to boxes (n, 4), relative to the picture."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    shifts = (centres - priors[:, :2]) / priors[:, 2:] / CENTER_VARIANCE
    return np.concatenate([shifts, np.log(sizes / priors[:, 2:]) / SIZE_VARIANCE], axis=1)


def amend(
    offsets: np.ndarray,
    scores: np.ndarray,
    priors: np.ndarray,
    faces: np.ndarray,
    unclear: np.ndarray,
    doubtful: np.ndarray,
) -> np.ndarray:
    """Correct a teacher's answer to one picture, in place, by what is known of the picture.

    A face that the teacher misses is taught by the anchors that fit it best; an unclear one is
    learned only where the teacher finds it. Nothing is learned in doubtful areas, and where the
    teacher finds a face that nobody knows of.

    Parameters
    ----------
    offsets, scores : (P, 4) and (P,), the teacher's, changed
    priors : (P, 4)
    faces, unclear, doubtful : (n, 4) boxes each, relative to the picture

    Returns
    -------
    (P,) bool : which anchors count
    """
    corners = corners_of(priors)
    counts = ~touching(priors, doubtful)
    known = np.concatenate([faces, unclear, doubtful])
    unknown = (scores > TRACE) & ~touching(priors, known)
    counts &= ~(unknown & touching(priors, corners[unknown & (scores > FOUND)]))
    fits = pairwise_iou(corners, known).T
    for i, (face, fit) in enumerate(zip(known[: len(faces) + len(unclear)], fits)):
        if scores[fit > ON_FACE_IOU].max(initial=0) > FOUND:
            continue
        counts &= ~touching(priors, face[None])
        if i >= len(faces):
            continue
        best = fit >= max(min(0.5, fit.max()), 0.2)
        counts[best] = True
        scores[best] = TAUGHT
        offsets[best] = encode(np.repeat(face[None], best.sum(), 0), priors[best])
    return counts
