"""Find faces in a picture."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np

from FaceBoxes.utils.box_utils import decode, nms
from FaceBoxes.utils.prior_box import prior_boxes
from models.export import NetworkSpec
from models.networks import open_network
from utils.assets import find_first
from utils.errors import UsageError
from utils.image import as_bgr
from utils.io import PathLike
from utils.timing import timed

# 3DDFA_V2's weights go first: who has them there expects the boxes they give.
DEFAULT_WEIGHTS = (
    "FaceBoxes/weights/FaceBoxesProd.pth",
    "FaceBoxes/weights/reenact_faceboxes.onnx",
)

# Pictures are shrunk to fit in this before detection: height and width in pixels.
FULL_FRAME = (720, 1080)
# A fast detector first looks at them in this size. That settles it if it found something, all of it
# with scores of at least SURE and CLEAR pixels tall at least, and no other trace above DOUBTFUL:
# a third of 904 scenes with people, in all of which 9 of 3,374 faces are missed in this way.
FIRST_FRAME = (427, 640)
DOUBTFUL, SURE, CLEAR = 0.15, 0.8, 80
# The first look has to be smaller than the full size by this, else it is left out.
WORTHWHILE = 0.7
# The mean colour of the training pictures, BGR (Caffe's ImageNet mean).
MEAN_BGR = np.array([104, 117, 123], np.float32)
MIN_SCORE = 0.5
NMS_IOU_THRESHOLD = 0.3
MAX_CANDIDATES = 5000
MAX_FACES = 750


def _build_network() -> Any:
    from FaceBoxes.models.faceboxes import FaceBoxesNet

    return FaceBoxesNet()


NETWORK = NetworkSpec(
    build=_build_network,
    example_shape=(1, 3, 128, 160),
    outputs=("loc", "conf"),
    dynamic_axes={0: "batch", 2: "height", 3: "width"},
)


class FaceBoxes:
    """A face detector, on onnxruntime or torch.

    Parameters
    ----------
    timer_flag : print how long each call took.
    weights_fp : a torch state dict (`.pth`) or an exported graph (`.onnx`); by default the
        first of `DEFAULT_WEIGHTS` that is there.
    engine : 'onnx', 'torch', or 'auto' for onnxruntime wherever a graph can be had.
    gpu_mode, gpu_id : run on that CUDA device.
    assets : a 3DDFA_V2 checkout to look for the weights in; see `utils.assets`.
    fast : look at a small copy of the picture first, and at the full size only if that leaves
        doubts. Made for our own weights; it misses some small faces (weights/README.md).
    min_score : what a face has to score more than, in [0, 1]. Less finds more, and more that is no
        face; the shipped weights are calibrated for the default.

    Copies and pickles, as process pools make them, open the same weights again.

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
        fast: bool = False,
        min_score: float = MIN_SCORE,
    ) -> None:
        if not 0 <= min_score <= 1:
            raise UsageError(f"min_score is {min_score}; a score from 0 to 1 is needed")
        self.timer_flag = timer_flag
        self.fast = fast
        self.min_score = min_score
        weights = find_first([weights_fp] if weights_fp else DEFAULT_WEIGHTS, assets)
        self.net = open_network(NETWORK, weights, engine, gpu_id if gpu_mode else None)
        self._reopen = partial(
            type(self), weights_fp=str(weights), engine=engine, gpu_mode=gpu_mode, gpu_id=gpu_id
        )

    def __reduce__(self) -> tuple[Any, ...]:
        changed = {"timer_flag": self.timer_flag, "fast": self.fast, "min_score": self.min_score}
        return partial(self._reopen, **changed), ()

    def __call__(self, img: np.ndarray) -> list[list[float]]:
        """Find the faces of `img`, (H, W, 3) uint8 BGR (grey and alpha are converted).

        Returns
        -------
        list of `[xmin, ymin, xmax, ymax, score]` in pixels of `img`, best score first.
        """
        with timed("FaceBoxes", shown=self.timer_flag):
            return self._detect(as_bgr(img)).tolist()

    def glance(self, img: np.ndarray) -> list[list[float]]:
        """The same in a small copy of a large picture, which takes a third of the time.

        Faces that are small in the picture are missed.
        """
        img = as_bgr(img)
        return self._look(img, shrink_factor(img.shape, FIRST_FRAME), self.min_score).tolist()

    def _detect(self, img: np.ndarray) -> np.ndarray:
        """Boxes and scores (k, 5) of the faces, best first."""
        scale = shrink_factor(img.shape, FULL_FRAME)
        first_scale = shrink_factor(img.shape, FIRST_FRAME)
        if self.fast and first_scale < WORTHWHILE * scale:
            traces = self._look(img, first_scale, min(DOUBTFUL, self.min_score))
            if settled(traces, first_scale):
                return traces[traces[:, 4] > self.min_score]
        return self._look(img, scale, self.min_score)

    def _look(self, img: np.ndarray, scale: float, min_score: float) -> np.ndarray:
        """What the network scores above `min_score` in `img` scaled by `scale`.

        Returns
        -------
        (k, 5) float32: boxes in pixels of `img` and scores, best first.
        """
        if scale < 1:
            size = (max(int(img.shape[1] * scale), 1), max(int(img.shape[0] * scale), 1))
            img = cv2.resize(img, size)
        height, width = img.shape[:2]
        planes = np.stack(cv2.split(img))  # faster than to transpose while subtracting
        loc, conf = self.net(np.subtract(planes, MEAN_BGR[:, None, None])[None])
        scores = conf[0, :, 1]
        # Suppression goes from good to bad, so candidates below the final threshold
        # cannot change which better ones stay: drop them before decoding.
        candidates = np.flatnonzero(scores > min_score)
        best = np.argsort(-scores[candidates], kind="stable")[:MAX_CANDIDATES]
        candidates = candidates[best]
        scores = scores[candidates]
        boxes = decode(loc[0, candidates], prior_boxes(height, width)[candidates])
        boxes = boxes * np.array([width, height, width, height], np.float32) / np.float32(scale)
        return np.column_stack([boxes, scores])[nms(boxes, scores, NMS_IOU_THRESHOLD)[:MAX_FACES]]


def settled(traces: np.ndarray, scale: float) -> bool:
    """Whether a first look, at `scale`, leaves nothing to look for at the full size.

    traces : (k, 5) boxes in pixels of the picture and their scores, from DOUBTFUL on.
    """
    heights, scores = scale * (traces[:, 3] - traces[:, 1]), traces[:, 4]
    return bool(len(traces) and (scores >= SURE).all() and (heights >= CLEAR).all())


def shrink_factor(shape: tuple[int, ...], frame: tuple[int, int]) -> float:
    """How much to scale a picture of `shape` (H, W, 3) by to fit in `frame` (H, W); at most 1."""
    scale = min(1.0, frame[0] / shape[0])
    if shape[1] * scale > frame[1]:
        scale = frame[1] / shape[1]
    return scale
