"""From the network's outputs to boxes in pixels."""

from __future__ import annotations

import numpy as np

# The network's offsets are divided by these (SSD's "variances", arXiv 1512.02325).
CENTER_VARIANCE = 0.1
SIZE_VARIANCE = 0.2


def decode(loc: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Turn offsets `loc` (n, 4) from `priors` (n, 4) into corners.

    Returns
    -------
    (n, 4) float32: xmin, ymin, xmax, ymax, relative to the network's input.
    """
    centers = priors[:, :2] + loc[:, :2] * CENTER_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * np.exp(loc[:, 2:] * SIZE_VARIANCE)
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)


def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes (n, 4) : corners in pixels; areas count both border pixels, as FaceBoxes' do.
    scores (n,)
    iou_threshold : a box that overlaps a better one by this or more is dropped.

    Returns
    -------
    (k,) int: the kept boxes, best first.
    """
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        overlap = np.clip(high - low + 1, 0, None).prod(axis=1)
        iou = overlap / (areas[best] + areas[order] - overlap)
        order = order[iou < iou_threshold]
    return np.array(kept, dtype=np.intp)
