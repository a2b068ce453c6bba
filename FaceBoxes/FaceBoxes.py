"""Find faces in a picture."""

from __future__ import annotations

import logging
from typing import Any

import cv2
import numpy as np

from FaceBoxes.utils.box_utils import decode, nms
from FaceBoxes.utils.prior_box import prior_boxes
from FaceBoxes.utils.timer import Timer
from models.backends import NetworkSpec, open_network
from utils.assets import first_existing
from utils.image import as_bgr
from utils.io import PathLike

# 3DDFA_V2's weights go first: who has them there expects the boxes they give.
DEFAULT_WEIGHTS = (
    "FaceBoxes/weights/FaceBoxesProd.pth",
    "FaceBoxes/weights/reenact_faceboxes.onnx",
)

# Pictures are shrunk to fit in this before detection.
MAX_HEIGHT = 720
MAX_WIDTH = 1080
# The mean colour of the training pictures, BGR (Caffe's ImageNet mean).
MEAN_BGR = np.array([104, 117, 123], np.float32)
SCORE_THRESHOLD = 0.5
NMS_IOU_THRESHOLD = 0.3
MAX_CANDIDATES = 5000
MAX_FACES = 750

logger = logging.getLogger(__name__)


def _build_network() -> Any:
    from FaceBoxes.models.faceboxes import FaceBoxesNet

    return FaceBoxesNet()


def detector_spec(weights_fp: PathLike) -> NetworkSpec:
    """The detector's network with the given weights, for `models.backends`."""
    return NetworkSpec(
        weights_fp=weights_fp,
        build=_build_network,
        example_shape=(1, 3, 128, 160),
        dynamic_axes={0: "batch", 2: "height", 3: "width"},
        outputs=("loc", "conf"),
    )


class FaceBoxes:
    """A face detector, on onnxruntime or torch.

    Parameters
    ----------
    timer_flag : log how long each call took.
    weights_fp : a torch state dict (`.pth`) or an exported graph (`.onnx`); by default the
        first of `DEFAULT_WEIGHTS` that is there.
    engine : 'onnx', 'torch', or 'auto' for onnxruntime wherever a graph can be had.
    gpu_mode, gpu_id : run on that CUDA device.
    assets : a 3DDFA_V2 checkout to look for the weights in; see `utils.assets`.

    Raises
    ------
    AssetError, UsageError : the weights or the engine are not to be had.
    """

    def __init__(
        self,
        timer_flag: bool = False,
        weights_fp: PathLike | None = None,
        engine: str = "auto",
        gpu_mode: bool = False,
        gpu_id: int = 0,
        assets: PathLike | None = None,
    ) -> None:
        self.timer_flag = timer_flag
        spec = detector_spec(weights_fp or first_existing(DEFAULT_WEIGHTS, assets))
        self.net = open_network(spec, engine, gpu_id if gpu_mode else None, assets)

    def __call__(self, img: np.ndarray) -> list[list[float]]:
        """Find the faces of `img`, (H, W, 3) uint8 BGR (grey and alpha are converted).

        Returns
        -------
        list of `[xmin, ymin, xmax, ymax, score]` in pixels of `img`, best score first.
        """
        timer = Timer()
        timer.tic()
        boxes = self._detect(as_bgr(img))
        if self.timer_flag:
            logger.info("detected %d faces in %.1f ms", len(boxes), 1000 * timer.toc())
        return boxes

    def _detect(self, img: np.ndarray) -> list[list[float]]:
        scale = _shrink_factor(*img.shape[:2])
        if scale < 1:
            size = (max(int(img.shape[1] * scale), 1), max(int(img.shape[0] * scale), 1))
            img = cv2.resize(img, size)
        height, width = img.shape[:2]
        crops = (img.astype(np.float32) - MEAN_BGR).transpose(2, 0, 1)[None]
        loc, conf = self.net(np.ascontiguousarray(crops))
        scores = conf[0, :, 1]
        # Suppression goes from good to bad, so candidates below the final threshold
        # cannot change which better ones stay: drop them before decoding.
        candidates = np.flatnonzero(scores > SCORE_THRESHOLD)
        best = np.argsort(-scores[candidates], kind="stable")[:MAX_CANDIDATES]
        candidates = candidates[best]
        boxes = decode(loc[0, candidates], prior_boxes(height, width)[candidates])
        boxes = boxes * np.array([width, height, width, height], np.float32) / np.float32(scale)
        kept = nms(boxes, scores[candidates], NMS_IOU_THRESHOLD)[:MAX_FACES]
        return [[*boxes[i].tolist(), float(scores[candidates[i]])] for i in kept]


def _shrink_factor(height: int, width: int) -> float:
    """How much to scale a picture by so that it fits; at most 1."""
    scale = min(1.0, MAX_HEIGHT / height)
    if width * scale > MAX_WIDTH:
        scale = MAX_WIDTH / width
    return scale
