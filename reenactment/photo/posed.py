"""From a face's parameters to its head in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfm import BFMModel, FaceParams
from bfm.bfm import LID_COLUMNS
from reenactment.photo.head import MM, Head
from utils.tddfa_util import crop_to_image

_NOSE_TIP = 30  # a landmark


@dataclass(frozen=True, eq=False)
class Posed:
    """A face's parameters and where they put it.

    parts : shape (shape_dim,), and expression (rows, exp_dim) with a row, or one for each of the
        model's regions.
    to_picture (3, 4) : from the model's µm to pixels, y down.
    """

    parts: FaceParams
    to_picture: np.ndarray

    @classmethod
    def of(cls, parts: FaceParams, roi_box: Sequence[float], crop_size: int) -> Posed:
        """A face as `TDDFA` gives it: its pose refers to the square crop of `roi_box`."""
        to_image = crop_to_image(roi_box, crop_size)
        to_picture = to_image[:, :3] @ parts.pose
        to_picture[:, 3] += to_image[:, 3]
        return cls(parts, to_picture)


    def equals(self, other: Posed) -> bool:
        """Whether it is the same face in the same place, bit for bit."""
        parts = *self.parts, self.to_picture
        return all(map(np.array_equal, parts, (*other.parts, other.to_picture)))

    def wears_the_same(self, other: Posed) -> bool:
        """Whether both have one expression, in whatever number of rows."""
        rows = np.atleast_2d(self.parts.expression), np.atleast_2d(other.parts.expression)
        return bool(rows[0].shape[1] == rows[1].shape[1] and (rows[0] == rows[1]).all())


class Modeller:
    """Makes heads of parameters with a 3DMM."""

    def __init__(self, bfm: BFMModel) -> None:
        self.bfm = bfm

    def head(self, face: Posed) -> Head:
        pose = np.array(face.to_picture, np.float64)
        pose[:, :3] /= MM
        return Head.of(self.bfm, self.surface(face), pose)

    def surface(self, face: Posed) -> np.ndarray:
        """The face's surface (n, 3) float32 in the model's frame, mm."""
        bfm, expression = self.bfm, np.atleast_2d(face.parts.expression)
        scale = np.float32(MM) * np.eye(3, 4, dtype=np.float32)
        regions = bfm.regions if len(expression) > 1 else None
        faces = face.parts.shape[None], expression[None], scale[None], regions
        points = bfm.packed.reconstruct(*faces)[0]
        points[2] += self._nose_depth(face) - points[2, bfm.landmarks[_NOSE_TIP]]
        return np.ascontiguousarray(points.T)

    def lids(self, face: Posed) -> np.ndarray:
        """The coefficients (2,) of the lid directions, left to right in the picture."""
        rows = np.atleast_2d(face.parts.expression)[:, LID_COLUMNS]  # (rows, eye)
        if len(rows) == 1:
            return rows[0].astype(np.float64)
        lids = self.bfm.topology.lids.reshape(2, -1)
        weights = self.bfm.regions[:, lids].mean(axis=2)  # (rows, eye)
        return (rows * weights).sum(axis=0)

    def _nose_depth(self, face: Posed) -> np.float32:
        """z of the nose's tip, mm: a reconstruction has its farthest vertex at 0."""
        bfm, row = self.bfm, self.bfm.keypoints[3 * _NOSE_TIP + 2]
        moved = np.atleast_2d(face.parts.expression) @ bfm.w_exp[row]
        if len(moved) > 1:
            moved = moved * bfm.regions[:, row // 3]
        return np.float32(MM * (bfm.u[row, 0] + bfm.w_shp[row] @ face.parts.shape + moved.sum()))
