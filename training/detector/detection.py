"""What the detector's training scripts share: box geometry and a detector to ask.

Boxes are (n, 4) float arrays ``x1 y1 x2 y2`` in pixels of the picture, origin at its top left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from FaceBoxes.FaceBoxes import MEAN_BGR, NMS_IOU_THRESHOLD
from FaceBoxes.models.faceboxes import FaceBoxesNet
from FaceBoxes.utils.box_utils import decode, nms
from FaceBoxes.utils.prior_box import prior_boxes

MAX_CANDIDATES = 1000


class Find(Protocol):
    """A detector: a picture (H, W, 3) uint8 BGR -> boxes with scores (n, 5), best first."""

    def __call__(self, picture: np.ndarray, min_score: float = 0.5, /) -> np.ndarray: ...


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4), as (n, m) float in [0, 1]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    overlap = np.clip(high - low, 0, None).prod(-1)
    area_a = (a[:, 2:4] - a[:, :2]).prod(-1)
    area_b = (b[:, 2:4] - b[:, :2]).prod(-1)
    return overlap / np.maximum(area_a[:, None] + area_b[None] - overlap, 1e-9)


def match_boxes(
    truth: np.ndarray, found: np.ndarray, min_iou: float = 0.5
) -> list[tuple[int, int]]:
    """One-to-one pairs ``(truth index, found index)``, best IoU first, down to `min_iou`."""
    iou = pairwise_iou(truth, found)
    pairs = []
    while iou.size and iou.max() >= min_iou:
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        pairs.append((int(i), int(j)))
        iou[i], iou[:, j] = -1, -1
    return pairs


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """Network input (n, 3, H, W) float32 of pictures (n, H, W, 3) uint8 BGR."""
    channels_last = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return channels_last.float() - torch.from_numpy(MEAN_BGR)[:, None, None]


class Detector:
    """FaceBoxes with given weights, run on a picture as it is (no shrinking).

    Parameters
    ----------
    source : path of a plain state dict (.pth), or a network
    """

    def __init__(self, source: str | Path | FaceBoxesNet):
        if isinstance(source, FaceBoxesNet):
            self.net = source
        else:
            self.net = FaceBoxesNet()
            self.net.load_state_dict(torch.load(source, map_location="cpu", weights_only=True))
        self.net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, picture: np.ndarray, min_score: float = 0.5) -> np.ndarray:
        """Boxes and scores, (n, 5) float, best first, of a picture (H, W, 3) uint8 BGR."""
        height, width = picture.shape[:2]
        with torch.inference_mode():
            loc, conf = self.net(to_input(picture[None]))
        scores = conf[0, :, 1].numpy()
        keep = np.argsort(-scores)[:MAX_CANDIDATES]
        keep = keep[scores[keep] > min_score]
        scores, priors = scores[keep], prior_boxes(height, width)[keep]
        boxes = decode(loc[0].numpy()[keep], priors) * (width, height, width, height)
        return np.column_stack([boxes, scores])[nms(boxes, scores, NMS_IOU_THRESHOLD)]
