"""A 3DMM packed for one fast pass: 16-bit bases, in the order in which they are read.

Reconstruction costs what it costs to read the bases. As whole steps of a 32,767th of each column's
largest number they are half as long, and no vertex moves by a hundredth of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bfm.lib import native

_STEPS = np.iinfo(np.int16).max


@dataclass(frozen=True)
class PackedModel:
    """A 3DMM cut into tiles of `native.TILE` vertices, the last one padded.

    mean (tiles, 3, TILE) float32, µm.
    basis (tiles, columns, 3, TILE) int16 : `shape_dim` columns, then the expression's.
    units (columns,) float32 : µm for a step of the column and a coefficient of 1.
    """

    mean: np.ndarray
    basis: np.ndarray
    units: np.ndarray
    shape_dim: int
    num_vertices: int

    @classmethod
    def pack(cls, u: np.ndarray, w_shp: np.ndarray, w_exp: np.ndarray) -> PackedModel:
        """Pack the arrays of a `BFMModel`: (3n, 1), (3n, shape_dim) and (3n, exp_dim)."""
        bases = np.hstack([w_shp, w_exp])
        units = np.maximum(np.abs(bases).max(axis=0) / _STEPS, np.finfo(np.float32).tiny)
        steps = np.rint(bases / units).astype(np.int16)
        mean, basis = _tiles(u.astype(np.float32))[:, 0], _tiles(steps)
        return cls(mean, basis, units.astype(np.float32), w_shp.shape[1], len(u) // 3)

    def is_consistent(self) -> bool:
        """Whether shapes and types of the arrays, say from a file, are those described above."""
        tiles, columns = -(-self.num_vertices // native.TILE), self.units.size
        expected = (
            (self.mean, np.float32, (tiles, 3, native.TILE)),
            (self.basis, np.int16, (tiles, columns, 3, native.TILE)),
            (self.units, np.float32, (columns,)),
        )
        return all((a.dtype, a.shape) == (dtype, shape) for a, dtype, shape in expected)

    def reconstruct(
        self,
        shape: np.ndarray,
        expression: np.ndarray,
        affines: np.ndarray,
        regions: np.ndarray | None = None,
    ) -> np.ndarray:
        """The dense vertices of some faces.

        Parameters
        ----------
        shape (faces, up to shape_dim), expression (faces, rows, ...) : leading coefficients.
        affines (faces, 3, 4) : from the model's µm to where the vertices are wanted.
        regions (rows, num_vertices) : how much of each expression row a vertex wears; needed
            where there are several.

        Returns
        -------
        (faces, 3, num_vertices) float32, each face's z lowered so that its minimum is 0.

        Raises
        ------
        ValueError : regions do not fit the rows or the mesh.
        """
        faces, rows, coefficients = expression.shape
        columns = self.units.size - self.shape_dim  # of the expression
        gains = np.zeros((faces, self.shape_dim + rows * columns), np.float32)
        gains[:, : shape.shape[1]] = shape * self.units[: shape.shape[1]]
        by_row = gains[:, self.shape_dim :].reshape(faces, rows, columns)  # a view
        by_row[..., :coefficients] = expression * self.units[self.shape_dim :][:coefficients]
        vertices = np.empty((faces, 3, self.num_vertices), np.float32)
        native.reconstruct(
            self.mean,
            self.basis,
            self.shape_dim,
            gains,
            self._checked_regions(regions, rows),
            np.ascontiguousarray(affines, np.float32),
            vertices,
        )
        return vertices

    def _checked_regions(self, regions: np.ndarray | None, rows: int) -> np.ndarray:
        if rows == 1:
            return np.empty((1, 0), np.float32)
        found = None if regions is None else regions.shape
        if regions is None or found != (rows, self.num_vertices):
            raise ValueError(f"regions: expected ({rows}, {self.num_vertices}), got {found}")
        return np.ascontiguousarray(regions, np.float32)


def _tiles(rows: np.ndarray) -> np.ndarray:
    """(3n, columns) -> (tiles, columns, 3, TILE), contiguous, padded by zeros."""
    n, columns = len(rows) // 3, rows.shape[1]
    tiles = -(-n // native.TILE)
    padded = np.zeros((tiles * native.TILE, 3, columns), rows.dtype)
    padded[:n] = rows.reshape(n, 3, columns)
    tiled = padded.reshape(tiles, native.TILE, 3, columns)
    return np.ascontiguousarray(tiled.transpose(0, 3, 2, 1))
