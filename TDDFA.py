"""Regress a face's 3DMM parameters and reconstruct its vertices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from bfm import BFMModel, FaceParams
from models.networks import open_network
from utils.config import TDDFAConfig
from utils.errors import AssetError
from utils.image import as_bgr
from utils.io import PathLike, load_arrays
from utils.roi import crop_img, parse_roi_box_from_bbox, parse_roi_box_from_landmark
from utils.tddfa_util import crop_to_image, similar_transform
from utils.timing import timed

_ROI_PARSERS: dict[str, Callable[[Any], list[float]]] = {
    "box": parse_roi_box_from_bbox,
    "landmark": parse_roi_box_from_landmark,
}


@dataclass(frozen=True)
class Scores:
    """The expression scores that a network tells: ARKit's blendshapes, as MediaPipe scores them.

    names : of each, say `jawOpen`; mean, std (k,) float32 : score = output · std + mean; a score
        that nobody could teach has both 0.
    reliability (k,) float32 : correlation with the teacher's on people held out; 0 if not taught.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    reliability: np.ndarray

    def of(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs (n, k) -> scores (n, k) in [0, 1]."""
        return np.clip(outputs * self.std + self.mean, 0, 1)


class Regression(NamedTuple):
    """What the network says of n faces.

    params : n vectors (num_params,) float32, see `bfm.params`.
    roi_boxes : the ROIs `[x0, y0, x1, y1]` that they refer to.
    scores (n, num_scores) float32 in [0, 1], named by `TDDFA.scores`, or None : how strongly each
        expression shows; 0 for those that nobody could teach.
    error (n,) float32, or None : the distance in pixels of the network's crop, on average over the
        face's points, that the parameters are to be expected off. Around 20: this is no face.
    """

    params: list[np.ndarray]
    roi_boxes: list[list[float]]
    scores: np.ndarray | None
    error: np.ndarray | None


class TDDFA:
    """The 3DDFA_V2 regressor (Guo et al. 2020, arXiv 2009.09960) and its 3DMM.

    Parameters
    ----------
    cfg : the keys of `utils.config.TDDFAConfig`.
    assets : a 3DDFA_V2 checkout to look for files in; see `utils.assets`.

    Attributes
    ----------
    config : the checked configuration, its paths absolute; layout : its parameter layout.
    bfm : the 3DMM; tri (M, 3) int32 : its triangles.
    size : side of the network's input, pixels.
    scores : what the scores of `regress` are; None for networks that give none.
    spread : the deviation of every parameter over the faces that it learned from, in parts.
    likeness (shape_dim, k) : what shapes are multiplied by before their distance tells people
        apart; files that do not tell have every coefficient count by its deviation.

    Copies and pickles, as process pools make them, open the same files again.

    Raises
    ------
    UsageError : a bad configuration; AssetError : a missing or damaged file.
    """

    def __init__(self, assets: PathLike | None = None, **cfg: Any) -> None:
        config = TDDFAConfig.from_mapping(cfg).located(assets)
        self.config = config
        self.layout = config.layout
        self.size = config.size
        self.bfm = BFMModel(config.bfm_fp, self.layout.shape_dim, self.layout.exp_dim)
        self.tri = self.bfm.tri
        numbers = load_arrays(config.mean_std_fp)
        self._mean, self._std = (
            _numbers(config.mean_std_fp, numbers, key, self.layout.num_params)
            for key in ("mean", "std")
        )
        self.scores = _scores(config.mean_std_fp, numbers, config.num_scores)
        self.spread = self.layout.split(self._std)
        self.likeness = _likeness(config.mean_std_fp, numbers, self.spread.shape)
        gpu_id = config.gpu_id if config.gpu_mode else None
        self._net = open_network(config.network, Path(config.weights_fp), config.engine, gpu_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **asdict(self.config)), ()

    def __call__(
        self,
        img: np.ndarray,
        objs: Sequence[Any],
        crop_policy: str = "box",
        timer_flag: bool = False,
    ) -> tuple[list[np.ndarray], list[list[float]]]:
        """Regress the parameters of every face, all in one call of the network.

        Parameters
        ----------
        img (H, W, 3) : uint8 BGR (grey and alpha are converted).
        objs : for `crop_policy` 'box' detector boxes `[xmin, ymin, xmax, ymax, ...]`, for
            'landmark' vertices (2 or 3, n) of the face, say from the previous video frame;
            pixels of `img`.
        timer_flag : print how long it took.

        Returns
        -------
        The `params` and `roi_boxes` of `Regression`. The last bits of the numbers, here as in
        `recon_vers`, depend on the processor.

        Raises
        ------
        ValueError : unknown crop policy, or an ROI that is empty or not finite.
        """
        with timed("TDDFA", shown=timer_flag):
            return self.regress(img, objs, crop_policy)[:2]

    def regress(self, img: np.ndarray, objs: Sequence[Any], crop_policy: str = "box") -> Regression:
        """All that the network says of every face; see `__call__` for what it takes and raises."""
        if crop_policy not in _ROI_PARSERS:
            raise ValueError(f"crop_policy: expected 'box' or 'landmark', got {crop_policy!r}")
        if len(objs) == 0:
            known = self.scores is not None
            scores = np.zeros((0, self.config.num_scores), np.float32) if known else None
            return Regression([], [], scores, np.zeros(0, np.float32) if known else None)
        img = as_bgr(img)
        roi_boxes = [_ROI_PARSERS[crop_policy](obj) for obj in objs]
        crops = np.stack([self._crop(img, roi_box) for roi_box in roi_boxes])
        outputs = self._net(crops)
        if outputs[0].shape[1:] != self._mean.shape:
            raise AssetError(f"bad regressor {self.config.weights_fp}: its output has shape "
                             f"{outputs[0].shape}, expected {(len(crops), *self._mean.shape)}")
        params = list((outputs[0] * self._std + self._mean).astype(np.float32))
        if self.scores is None:
            return Regression(params, roi_boxes, None, None)
        return Regression(params, roi_boxes, self.scores.of(outputs[1]), np.exp(outputs[2][:, 0]))

    def _crop(self, img: np.ndarray, roi_box: Sequence[float]) -> np.ndarray:
        """The network's input for one ROI: (3, size, size) float32 in [-1, 1]."""
        crop = cv2.resize(crop_img(img, roi_box), (self.size, self.size))
        return ((crop.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)

    def recon_vers(
        self,
        param_lst: Sequence[np.ndarray],
        roi_box_lst: Sequence[Sequence[float]],
        dense_flag: bool = False,
    ) -> list[np.ndarray]:
        """Reconstruct vertices in image pixels.

        Parameters
        ----------
        param_lst, roi_box_lst : as a call returns them.
        dense_flag : all N vertices of the mesh in place of the 68 landmarks.

        Returns
        -------
        A list of (3, N) float32: x right, y down, z nearer = larger with minimum 0.
        """
        parts = [self.layout.split(np.asarray(param, np.float32)) for param in param_lst]
        return self.reconstruct(parts, roi_box_lst, dense_flag)

    def reconstruct(
        self,
        faces: Sequence[FaceParams],
        roi_boxes: Sequence[Sequence[float]],
        dense: bool = False,
        regions: np.ndarray | None = None,
    ) -> list[np.ndarray]:
        """`recon_vers` for parameters in parts, whose expression may differ by region.

        Parameters
        ----------
        faces : pose (3, 4), shape (shape_dim,), and expression (exp_dim,) or (rows, exp_dim).
        regions (rows, N) : how much of each row a vertex of the dense mesh wears, where there are
            several; by default `BFMModel.regions`.
        """
        if regions is None and any(len(np.atleast_2d(f.expression)) > 1 for f in faces):
            regions = self.bfm.regions
        if dense and faces:
            return self._dense(faces, roi_boxes, regions)
        return [
            similar_transform(self._landmarks(face, regions), roi_box, self.size)
            for face, roi_box in zip(faces, roi_boxes)
        ]

    def _dense(
        self,
        faces: Sequence[FaceParams],
        roi_boxes: Sequence[Sequence[float]],
        regions: np.ndarray | None,
    ) -> list[np.ndarray]:
        affines = []
        for face, roi_box in zip(faces, roi_boxes):
            to_image = crop_to_image(roi_box, self.size)
            affines.append(to_image[:, :3] @ face.pose)
            affines[-1][:, 3] += to_image[:, 3]
        shape = np.stack([face.shape for face in faces])
        rows = max(len(np.atleast_2d(face.expression)) for face in faces)
        expression = np.stack(
            [np.broadcast_to(face.expression, (rows, self.layout.exp_dim)) for face in faces]
        )
        packed = self.bfm.packed
        return list(packed.reconstruct(shape, expression, np.stack(affines), regions))

    def _landmarks(self, face: FaceParams, regions: np.ndarray | None) -> np.ndarray:
        """The 68 landmarks (3, 68) in the crop."""
        bfm = self.bfm
        moved = bfm.w_exp_base @ np.atleast_2d(face.expression).T  # (204, rows)
        if regions is not None and moved.shape[1] > 1:
            moved = moved * np.repeat(regions[:, bfm.keypoints[::3] // 3], 3, axis=1).T
        column = bfm.u_base[:, 0] + bfm.w_shp_base @ face.shape + moved.sum(axis=1)
        return face.pose[:, :3] @ column.reshape(-1, 3).T + face.pose[:, 3:]


def _numbers(path: PathLike, content: Any, key: str, count: int) -> np.ndarray:
    array = np.asarray(content.get(key) if isinstance(content, dict) else None)
    if array.shape != (count,) or array.dtype.kind not in "fiu":
        raise AssetError(f"bad file {path}: expected {key!r} of {count} numbers")
    return array.astype(np.float32)


def _likeness(path: PathLike, content: dict[str, Any], spread: np.ndarray) -> np.ndarray:
    array = np.asarray(content.get("likeness", np.diag(1 / spread)))
    if array.ndim != 2 or len(array) != len(spread) or array.dtype.kind != "f":
        raise AssetError(f"bad file {path}: expected 'likeness' of {len(spread)} rows of numbers")
    return array.astype(np.float32)


def _scores(path: PathLike, content: Any, count: int) -> Scores | None:
    if not count:
        return None
    numbers = [
        _numbers(path, content, f"score_{key}", count) for key in ("mean", "std", "reliability")
    ]
    names = tuple(map(str, content.get("score_names", ())))
    if len(names) != count:
        raise AssetError(f"bad file {path}: expected 'score_names' of {count} names")
    return Scores(names, *numbers)
