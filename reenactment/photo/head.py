"""A face's surface, in millimetres on the model and in pixels on its picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bfm import BFMModel
from Sim3DR import get_normal, rasterise

_DEPTH_MAP = 200  # pixels across, in which visibility is looked up
_DEPTH_TOLERANCE = 0.03  # sizes of the face, by which a vertex may lie behind what is seen
_STEEP = 0.05  # z of a normal, below which a vertex is unseen
MM = 1e-3  # of the model's micrometres


def quantile(values: np.ndarray, share: float, axis: int = -1) -> np.ndarray:
    """The value that a share of the others is below, as numpy's, which takes longer to load."""
    ordered = np.sort(values, axis)
    place = share * (ordered.shape[axis] - 1)
    low, high = (np.take(ordered, [i], axis) for i in (int(place), int(np.ceil(place))))
    return np.squeeze(low + np.float32(place % 1) * (high - low), axis)


def bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest x and y of points (n, 2+)."""
    x, y = points[:, 0], points[:, 1]  # by axis, which is many times as fast as both at once
    return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])


@dataclass(frozen=True, eq=False)
class Head:
    """A face in a picture.

    bfm : the 3DMM; its mesh has n vertices.
    surface (n, 3) float32 : mm, in the model's frame: x to the picture's right, y up, z near.
    pose (3, 4) float : from there to pixels, y down.
    vertices (n, 3) float32 : the surface in the picture, pixels; larger z is nearer.
    """

    bfm: BFMModel
    surface: np.ndarray
    pose: np.ndarray
    vertices: np.ndarray

    @classmethod
    def of(cls, bfm: BFMModel, surface: np.ndarray, pose: np.ndarray) -> Head:
        """The head whose surface lies in the picture as the pose says."""
        vertices = surface @ pose[:, :3].T.astype(np.float32) + pose[:, 3].astype(np.float32)
        return cls(bfm, surface, pose, vertices)

    def shaped(self, surface: np.ndarray) -> Head:
        """The same head with another surface."""
        return Head.of(self.bfm, surface, self.pose)

    def shifted(self, shift: np.ndarray) -> Head:
        """The head with its vertices elsewhere in the picture; shift (n, 2), pixels."""
        vertices = self.vertices.copy()
        vertices[:, :2] += shift
        return replace(self, vertices=vertices)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the model's frame, mm, as x, y, z in pixels."""
        return points @ self.pose[:, :3].T + self.pose[:, 3]

    @property
    def scale(self) -> float:
        """Pixels for a millimetre."""
        return float(np.linalg.norm(self.pose[:2, :3]) / np.sqrt(2))

    @cached_property
    def size(self) -> float:
        """The face's size f: the square root of its bounding box' area, pixels."""
        low, high = bounds(self.vertices)
        return float(max(np.sqrt(np.prod(high - low)), 1.0))

    @cached_property
    def normals(self) -> np.ndarray:
        """Unit normals (n, 3) float32 of the vertices, z towards the viewer."""
        normals = get_normal(self.vertices, self.bfm.tri)
        return -normals if normals[self.bfm.landmarks[30], 2] < 0 else normals

    @cached_property
    def seen(self) -> np.ndarray:
        """Which vertices (n,) can be seen in the picture, bool."""
        low, high = bounds(self.vertices)
        scale = np.float32(min(1.0, _DEPTH_MAP / max(float((high - low).max()), 1.0)))
        small = (self.vertices - [*low, 0]).astype(np.float32)
        small[:, :2] *= scale
        width, height = np.ceil((high - low) * scale).astype(int) + 2
        nearest = rasterise(small, self.bfm.tri, (int(height), int(width))).depth
        x, y = np.rint(small[:, 0]).astype(int), np.rint(small[:, 1]).astype(int)
        in_front = small[:, 2] >= nearest[y, x] - _DEPTH_TOLERANCE * self.size
        return in_front & (self.normals[:, 2] > _STEEP)

    @property
    def down(self) -> np.ndarray:
        """The direction (2,) in the picture that runs down the face, a unit vector."""
        axis = -self.pose[:2, 1]
        return axis / max(float(np.linalg.norm(axis)), 1e-9)

    @property
    def yaw(self) -> float:
        """How far the head is turned to a side, degrees, 0 to 90."""
        depth = self.pose[2, :3] / max(float(np.linalg.norm(self.pose[2, :3])), 1e-9)
        return float(np.degrees(np.arcsin(min(abs(depth[0]), 1.0))))

    def lip_points(self) -> np.ndarray:
        """Upper and lower inner lip in the picture: (2, COLUMNS, 3), pixels."""
        return self.bfm.topology.lip_points(self.vertices)

    def mouth_opening(self) -> np.ndarray:
        """How far the lips are apart at each column, (COLUMNS,), in widths of the mouth."""
        upper, lower = self.bfm.topology.lip_points(self.surface)
        return (upper[:, 1] - lower[:, 1]) / self.mouth_width

    @property
    def mouth_width(self) -> float:
        """Between the corners of the lips' opening, mm."""
        upper = self.bfm.topology.lip_points(self.surface)[0]
        return float(np.linalg.norm(upper[-1] - upper[0]))
