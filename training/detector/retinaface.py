"""RetinaFace (Deng et al. 2019, arXiv 1905.00641), a second opinion for labels in training.

Reads OpenSeeFace's ``retinaface_640x640.onnx`` (BSD-2), whose input and outputs are those of the
MobileNet-0.25 network of the PyTorch port: (1, 3, 640, 640) float32 BGR minus the mean; offsets
(1, 16800, 4) from anchors, probabilities (1, 16800, 2), and landmarks that are not used here.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from FaceBoxes.FaceBoxes import MEAN_BGR, NMS_IOU_THRESHOLD
from FaceBoxes.utils.box_utils import decode, nms
from models.runtime import onnxruntime

SIDE = 640  # of the input, pixels
# Of every scale: its step in pixels, and the sizes of its anchors.
SCALES = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
MAX_ENLARGEMENT = 2.5


@lru_cache(maxsize=1)
def anchors() -> np.ndarray:
    """(16800, 4) float: centre x, centre y, width and height, relative to the input."""
    scales = []
    for step, sizes in SCALES:
        count = SIDE // step
        cells = np.stack(np.meshgrid(np.arange(count), np.arange(count)), axis=-1)
        boxes = np.empty((count, count, len(sizes), 4))
        boxes[..., :2] = (cells[:, :, None] + 0.5) * step
        boxes[..., 2:] = np.array(sizes)[:, None]
        scales.append(boxes.reshape(-1, 4))
    return np.concatenate(scales) / SIDE


class RetinaFace:
    """RetinaFace on onnxruntime, one thread; called like `training.detector.detection.Detector`."""

    def __init__(self, graph_fp: str | Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(graph_fp), options)

    def __call__(self, picture: np.ndarray, min_score: float = 0.5) -> np.ndarray:
        """Boxes and scores, (n, 5) float, best first, of a picture (H, W, 3) uint8 BGR.

        The picture is fitted into the input's square from its top left corner.
        """
        scale = min(SIDE / max(picture.shape[:2]), MAX_ENLARGEMENT)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        shown = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
        blob = np.zeros((1, 3, SIDE, SIDE), np.float32)
        height, width = np.minimum(shown.shape[:2], SIDE)
        blob[0, :, :height, :width] = (shown[:height, :width] - MEAN_BGR).transpose(2, 0, 1)
        loc, conf = self.session.run(None, {"input0": blob})[:2]
        keep = np.flatnonzero(conf[0, :, 1] > min_score)
        scores = conf[0, keep, 1]
        boxes = decode(loc[0, keep], anchors()[keep]) * SIDE / scale
        return np.column_stack([boxes, scores])[nms(boxes, scores, NMS_IOU_THRESHOLD)]
