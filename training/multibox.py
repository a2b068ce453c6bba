"""SSD's multibox: which prior answers for which face, and the loss.

Priors are (P, 4) float32 ``cx cy w h`` relative to the picture, as ``FaceBoxes.utils.prior_box``
makes them; boxes are (n, 4) ``x1 y1 x2 y2`` in pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F

from FaceBoxes.utils.box_utils import CENTER_VARIANCE, SIZE_VARIANCE
from training.detection import pairwise_iou

NEGATIVE, POSITIVE, IGNORED = 0, 1, -1
TAKEN = 2.0  # stands for the IoU of a prior that some face has as its best: more than any


def corner_priors(priors: np.ndarray, width: int, height: int) -> np.ndarray:
    """Priors as boxes (P, 4) in pixels."""
    centre, half = priors[:, :2], priors[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], 1) * (width, height, width, height)


def encode(boxes: np.ndarray, priors: np.ndarray, width: int, height: int) -> np.ndarray:
    """Offsets (P, 4) float32 that the decoder turns into `boxes` (P, 4), one per prior."""
    relative = boxes / (width, height, width, height)
    centre, size = (relative[:, :2] + relative[:, 2:]) / 2, relative[:, 2:] - relative[:, :2]
    shift = (centre - priors[:, :2]) / (CENTER_VARIANCE * priors[:, 2:])
    stretch = np.log(np.maximum(size, 1e-6) / priors[:, 2:]) / SIZE_VARIANCE
    return np.concatenate([shift, stretch], 1).astype(np.float32)


def assign(
    faces: np.ndarray,
    ignore: np.ndarray,
    priors: np.ndarray,
    width: int,
    height: int,
    min_iou: float = 0.35,
):
    """Give every prior its class and its offsets.

    A prior answers for the face that it overlaps most, from `min_iou` on; the best prior of each
    face answers for it in any case.  Priors over areas to ignore count for nothing.

    Returns
    -------
    offsets : (P, 4) float32, meaningful where the class is POSITIVE
    classes : (P,) int64 of NEGATIVE, POSITIVE, IGNORED
    """
    corners = corner_priors(priors, width, height)
    classes = np.full(len(priors), NEGATIVE, np.int64)
    classes[over(corners, ignore)] = IGNORED
    if not len(faces):
        return np.zeros((len(priors), 4), np.float32), classes
    iou = pairwise_iou(corners, faces)
    best_face, best_iou = iou.argmax(1), iou.max(1)
    for face, prior in enumerate(iou.argmax(0)):
        while best_iou[prior] > 1:  # two tiny faces may share their best prior
            iou[prior, face] = -1
            prior = iou[:, face].argmax()
        best_face[prior], best_iou[prior] = face, TAKEN
    classes[best_iou >= min_iou] = POSITIVE
    return encode(faces[best_face], priors, width, height), classes


def over(corners: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Which boxes (P, 4) overlap any of the areas (n, 4) by IoU 0.2 or have their centre in it."""
    if not len(areas):
        return np.zeros(len(corners), bool)
    centres = (corners[:, None, :2] + corners[:, None, 2:]) / 2
    within = ((centres > areas[None, :, :2]) & (centres < areas[None, :, 2:])).all(-1)
    return (within | (pairwise_iou(corners, areas) > 0.2)).any(1)


def multibox_loss(
    loc: torch.Tensor,
    logits: torch.Tensor,
    offsets: torch.Tensor,
    classes: torch.Tensor,
    negatives: int,
):
    """Box and class losses of a batch, each per positive prior.

    Parameters
    ----------
    loc, offsets : (B, P, 4) float32, predicted and wanted
    logits : (B, P, 2) float32; classes : (B, P) int64
    negatives : how many of the hardest negatives, over the whole batch, count for each positive
    """
    positive = classes == POSITIVE
    count = max(int(positive.sum()), 1)
    box_loss = F.smooth_l1_loss(loc[positive], offsets[positive], reduction="sum") / count
    entropy = F.cross_entropy(
        logits.flatten(0, 1), classes.clamp(min=0).flatten(), reduction="none"
    ).view_as(classes)
    negative_entropy = entropy[classes == NEGATIVE]
    hardest = negative_entropy.topk(min(negatives * count, negative_entropy.numel())).values
    return box_loss, (entropy[positive].sum() + hardest.sum()) / count
