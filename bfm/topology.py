"""Where a face mesh can open: the lips' and the lids' edges, found on the mean face.

Coordinates are the model's: x to the right of the picture, y up, z towards the viewer; here in mm.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bfm.texture import boundary_loops

COLUMNS = 49  # across the mouth
FAR = 50.0  # mm, for vertices that are near no lid
EYE_CORNERS = ((36, 39), (42, 45))  # landmarks, left to right in the picture
_UM = 1e-3  # mm
_LID_PLACES = 26  # along an eye, where the lids' edges are looked for
_LID_PAIRS = 9  # of vertices on both edges, between which its opening is measured
_HALF_SLICE = 0.9  # mm around such a place
_EDGE_VERTICES = 3  # of a slice that count as the edge
_DEGREE, _CORNER_WEIGHT = 5, 6.0  # of the polynomial through an edge
_EYE_REACH = np.array([24.0, 22.0])  # mm from an eye's middle, where its edges mean something


@dataclass(frozen=True, eq=False)
class Topology:
    """The slits of a face mesh of n vertices.

    outline (k,) int32 : the vertices around the face, in order.
    lip_vertices (2, COLUMNS, 2) int32, lip_weights (2, COLUMNS) float32 : points of the upper and
        the lower inner lip, left to right from corner to corner, each between two vertices; the
        weight is the second one's.
    slit (n,) float32 : mm above the closed mouth's line; its sign tells upper from lower.
    above_lid, below_lid (n,) float32 : mm above the nearest eye's upper lid edge, and below its
        lower one; both negative between the lids; FAR where no eye is near, or the model has no
        direction that shuts it.
    lids (2, 2, 9) int32 : vertices along each eye's upper and lower lid edge, left to right.
    """

    outline: np.ndarray
    lip_vertices: np.ndarray
    lip_weights: np.ndarray
    slit: np.ndarray
    above_lid: np.ndarray
    below_lid: np.ndarray
    lids: np.ndarray

    @classmethod
    def of(
        cls, mean: np.ndarray, tri: np.ndarray, landmarks: np.ndarray, closing: np.ndarray
    ) -> Topology:
        """Find the slits of a face with an opening between its lips.

        Parameters
        ----------
        mean (n, 3) : µm; tri (m, 3).
        landmarks (68,) int : vertices.
        closing (n, 2) : how far up each vertex moves as the eye on the picture's left, and that
            on its right, shuts, any unit; or (n, 0) if the model cannot shut them.

        Raises
        ------
        ValueError : the mesh has other holes than one between the lips.
        """
        points = np.asarray(mean, np.float64) * _UM
        loops = boundary_loops(tri)
        if len(loops) != 2:
            raise ValueError(f"tri: expected a rim and one opening, got {len(loops)} boundaries")
        lips = [_resampled(chain, points) for chain in _lips(loops[1], points)]
        line = np.mean([_lerp(points, *lip) for lip in lips], axis=0)
        slit = points[:, 1] - np.interp(points[:, 0], line[:, 0], line[:, 1])
        above, below = np.full(len(points), FAR), np.full(len(points), FAR)
        lids = np.zeros((2, 2, _LID_PAIRS), np.int32)
        for eye in range(closing.shape[1]):
            corners = points[landmarks[list(EYE_CORNERS[eye])]]
            edges = _lid_edges(points, closing[:, eye], corners)
            near = (np.abs(points[:, :2] - corners[:, :2].mean(axis=0)) < _EYE_REACH).all(axis=1)
            top, bottom = (edge(points[near, 0]) for edge in edges)
            above[near], below[near] = points[near, 1] - top, bottom - points[near, 1]
            lids[eye] = [_nearest(points, edge, corners) for edge in edges]
        return cls(
            loops[0].astype(np.int32),
            np.array([ends for ends, _ in lips], np.int32),
            np.array([weights for _, weights in lips], np.float32),
            slit.astype(np.float32),
            above.astype(np.float32),
            below.astype(np.float32),
            lids,
        )

    def fits(self, num_vertices: int) -> bool:
        """Whether types and shapes, say from a file, are those of a mesh of so many vertices."""
        per_vertex = (self.slit, self.above_lid, self.below_lid)
        numbers = (self.outline, self.lip_vertices, self.lids)
        return (
            all(a.dtype == np.float32 and a.shape == (num_vertices,) for a in per_vertex)
            and all(a.dtype == np.int32 and a.size and a.min() >= 0 for a in numbers)
            and max(a.max() for a in numbers) < num_vertices
            and self.lip_vertices.shape == (2, COLUMNS, 2)
            and self.lip_weights.shape == (2, COLUMNS)
            and self.lids.shape == (2, 2, _LID_PAIRS)
        )

    def lip_points(self, vertices: np.ndarray) -> np.ndarray:
        """The upper and the lower inner lip of a face (n, d): (2, COLUMNS, d)."""
        ends = vertices[self.lip_vertices]
        return ends[:, :, 0] + self.lip_weights[..., None] * (ends[:, :, 1] - ends[:, :, 0])


@dataclass(frozen=True, eq=False)
class Submesh:
    """A part of a mesh: its vertices (k,), and triangles (j, 3) int32 that count in those."""

    vertices: np.ndarray
    triangles: np.ndarray

    @classmethod
    def of(cls, tri: np.ndarray, near: np.ndarray) -> Submesh:
        """The triangles (m, 3) whose corners are all `near` (n,) bool."""
        inside = tri[near[tri].all(axis=1)]
        used = np.zeros(len(near), bool)
        used[inside] = True
        number = np.cumsum(used, dtype=np.int32) - 1
        return cls(np.flatnonzero(used), number[inside])


TOPOLOGY_KEYS = tuple(field.name for field in fields(Topology))


def _lips(loop: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper and the lower part of the loop between the lips, both from left to right."""
    loop = np.roll(loop, -points[loop, 0].argmin())
    corner = points[loop, 0].argmax()
    one, other = loop[: corner + 1], np.append(loop[corner:], loop[0])[::-1]
    return (one, other) if points[one, 1].mean() > points[other, 1].mean() else (other, one)


def _resampled(chain: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (COLUMNS, 2) and weights (COLUMNS,) of points along a chain, denser at its ends."""
    length = np.linalg.norm(np.diff(points[chain], axis=0), axis=1).cumsum()
    length = np.concatenate([[0], length])
    s = np.linspace(0, 1, COLUMNS)
    place = (0.5 * s + 0.25 * (1 - np.cos(np.pi * s))) * length[-1]
    index = np.clip(np.searchsorted(length, place, side="right") - 1, 0, len(chain) - 2)
    weight = (place - length[index]) / (length[index + 1] - length[index])
    return np.column_stack([chain[index], chain[index + 1]]), np.clip(weight, 0, 1)


def _lerp(points: np.ndarray, ends: np.ndarray, weight: np.ndarray) -> np.ndarray:
    one, other = points[ends[:, 0]], points[ends[:, 1]]
    return one + weight[:, None] * (other - one)


class _Edge:
    """A lid's edge: y over x between an eye's corners, constant beyond them."""

    def __init__(self, x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> None:
        self.low, self.high = corners[:, 0]
        weights = np.append(np.ones(len(x)), [_CORNER_WEIGHT] * 2)
        x, y = np.append(x, corners[:, 0]), np.append(y, corners[:, 1])
        self._curve = np.polynomial.Polynomial.fit(x, y, _DEGREE, w=weights)
        self._end_y = corners[:, 1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        inside = self._curve(np.clip(x, self.low, self.high))
        ends = np.where(x < self.low, *self._end_y)
        return np.where((x < self.low) | (x > self.high), ends, inside)


def _lid_edges(
    points: np.ndarray, closing: np.ndarray, corners: np.ndarray
) -> tuple[_Edge, _Edge]:
    """The upper and the lower lid's edge: where shutting the eye moves most down, and most up."""
    left, right = corners[:, 0]
    places = np.linspace(left, right, _LID_PLACES + 2)[1:-1]
    edges = []
    for order in (closing, -closing):
        heights = []
        for place in places:
            slice_ = np.flatnonzero((np.abs(points[:, 0] - place) < _HALF_SLICE) & (closing != 0))
            edge = slice_[np.argsort(order[slice_], kind="stable")[:_EDGE_VERTICES]]
            heights.append(points[edge, 1].mean())
        edges.append(_Edge(places, np.array(heights), corners))
    return edges[0], edges[1]


def _nearest(points: np.ndarray, edge: _Edge, corners: np.ndarray) -> np.ndarray:
    """Vertices (_LID_PAIRS,) along an edge, the corners left out."""
    x = np.linspace(edge.low, edge.high, _LID_PAIRS + 2)[1:-1]
    front = points[:, 2] > corners[:, 2].min() - 10
    place = np.column_stack([x, edge(x)])
    distance = np.linalg.norm(points[:, None, :2] - place, axis=2)
    return np.where(front[:, None], distance, np.inf).argmin(axis=0).astype(np.int32)
