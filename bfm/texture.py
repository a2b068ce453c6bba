"""How the surface of a face is unwrapped into a flat texture map."""

from __future__ import annotations

import numpy as np

from Sim3DR import Raster, rasterise

# Relative residual at which the unwrapping counts as solved: errors of 1e-4, a fortieth of a texel
# of the 256-texel map.
_TOLERANCE = 1e-3
_MAX_ITERATIONS = 5000


def boundary_loops(tri: np.ndarray) -> list[np.ndarray]:
    """The closed loops of vertices around the holes of triangles (m, 3), the longest first.

    Of a face without neck, those are its rim and the mouth. Each runs along the winding.

    Raises
    ------
    ValueError : there is no boundary, or it touches itself at a vertex.
    """
    sides = tri[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, first, count = np.unique(
        np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True
    )
    boundary = sides[first[count == 1]]
    following = dict(boundary.tolist())
    if not following or len(following) != len(boundary):
        raise ValueError("tri: expected a surface whose boundary consists of simple loops")
    loops: list[list[int]] = []
    while following:
        vertex, loop = next(iter(following)), []
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(loop)
    return sorted((np.array(loop) for loop in loops), key=len, reverse=True)


def unwrap(mean: np.ndarray, tri: np.ndarray) -> np.ndarray:
    """Texture coordinates of a face: the rim from a cylinder, the inside relaxed between it.

    A plain cylinder folds at the nostrils and lips. Here every vertex inside is a weighted mean of
    its neighbours, which cannot fold (Tutte, "How to draw a graph", 1963; weights one over the 3-D
    distance, after Floater, "Parametrization and smooth approximation of surface triangulations",
    1997). The lips count as neighbours of each other, or else the mouth would gape.

    Parameters
    ----------
    mean : (n, 3), any unit; x to the side, y up, z forwards, origin inside the head.
    tri : (m, 3) int, consistently wound, every vertex used, the rim its longest boundary.

    Returns
    -------
    (n, 2) float32 in [0, 1], both ends reached; u grows with x, v with y.
    """
    mean = np.asarray(mean, np.float64)
    rim, *holes = boundary_loops(tri)
    flat = np.column_stack([np.arctan2(mean[:, 0], mean[:, 2]), mean[:, 1]])
    low, high = flat[rim].min(axis=0), flat[rim].max(axis=0)
    flat = (flat - low) / (high - low)
    edges = np.unique(np.sort(tri[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    edges = np.vstack([edges, *(_across(hole, mean) for hole in holes)])
    weight = 1 / np.linalg.norm(mean[edges[:, 0]] - mean[edges[:, 1]], axis=1)
    free = np.ones(len(mean), bool)
    free[rim] = False
    return np.clip(_relax(flat, edges, weight, free), 0, 1).astype(np.float32)


def _across(loop: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Pairs (k, 2) joining the upper and lower edge of a slit along x, none crossing another."""
    x = mean[loop, 0]
    loop = np.roll(loop, -x.argmin())
    corner = mean[loop, 0].argmax()
    one, other = loop[1:corner], loop[corner + 1 :]
    distance = np.abs(mean[one, 0][:, None] - mean[other, 0])
    return np.column_stack([one, other[distance.argmin(axis=1)]])


def _relax(
    start: np.ndarray, edges: np.ndarray, weight: np.ndarray, free: np.ndarray
) -> np.ndarray:
    """Move the free points (n, 2) to the weighted means of their neighbours.

    That is a sparse linear system, solved in numpy by conjugate gradients with the diagonal as
    preconditioner, both coordinates at once (Hestenes and Stiefel 1952).
    """
    ends = np.concatenate([edges[:, 0], edges[:, 1]])
    far = np.concatenate([edges[:, 1], edges[:, 0]])
    both = np.concatenate([weight, weight])
    diagonal = np.bincount(ends, both, len(start))

    def pull(points: np.ndarray) -> np.ndarray:
        sums = [np.bincount(ends, both * row[far], len(start)) for row in points]
        return (diagonal * points - sums) * free

    tiny = np.finfo(float).tiny
    points = np.ascontiguousarray(start.T)  # a row for each coordinate: gathers twice as fast
    residual = -pull(points)
    direction = scaled = residual / diagonal
    power = (residual * scaled).sum(axis=1, keepdims=True)
    enough = power * _TOLERANCE**2
    for _ in range(_MAX_ITERATIONS):
        if (power <= enough).all():
            break
        pulled = pull(direction)
        length = power / np.maximum((direction * pulled).sum(axis=1, keepdims=True), tiny)
        points, residual = points + length * direction, residual - length * pulled
        scaled = residual / diagonal
        previous, power = power, (residual * scaled).sum(axis=1, keepdims=True)
        direction = scaled + power / np.maximum(previous, tiny) * direction
    return points.T


def texture_raster(uv: np.ndarray, tri: np.ndarray, height: int, width: int) -> Raster:
    """The mesh `tri` (m, 3) flat in a texture map, as its coordinates `uv` (n, 2) say; v is up."""
    flat = np.zeros((3, len(uv)), np.float32)
    flat[0] = uv[:, 0] * (width - 1)
    flat[1] = height - 1 - uv[:, 1] * (height - 1)
    return rasterise(flat.T, tri, (height, width))
