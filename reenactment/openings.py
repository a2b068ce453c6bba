"""How far eyes and mouth are open: carried from face to face, and kept within what faces can do.

The same coefficients open different faces differently far, and sums of expressions can push a lid
through the eye or a lip through the other. What puts that right is a `Face.correction`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bfm.bfm import LID_COLUMNS, BFMModel
from bfm.regions import REGIONS, rows_of
from reenactment.faces import Face
from reenactment.transfer import Transfer, as_column
from utils.easing import smoothstep

_MM = 1e-3  # of a µm
_EYE_ROWS = [REGIONS.index(name) for name in ("eye_right", "eye_left")]  # left to right in pictures
_MIDDLE_PAIRS = slice(2, 7)  # of the lids' vertices
MIDDLE_COLUMNS = slice(18, 31)  # of the lips
_WIDEST = 1.8  # an eye, in parts of its own opening; 99% of our faces stay below 1.43
_NARROW = 0.3  # an eye that is open less, in the same parts, is not taken for one at rest
# Lips nearer than the first are shut, and farther than the second as they are, in parts of the
# eyes' distance: of 6331 faces with shut lips 95% are regressed below 0.031.
_SHUT, _PARTED = 0.01, 0.05
_PRESSED = 0.8  # mm that lips may overlap beyond their rest
_RIDGE = 2e-3  # weight of the landmarks' squared moves: lips are to close with little else


class Openings:
    """The openings of a model's faces, which are linear in shape and expression.

    Parameters
    ----------
    bfm : has lids.
    rest (1, exp_dim) : the expression of a face at rest, its lips shut.
    """

    def __init__(self, bfm: BFMModel, rest: np.ndarray) -> None:
        self._bfm = bfm
        self._rest = rest
        arrays = bfm.u, bfm.w_shp, bfm.w_exp
        heights = [array.reshape(bfm.num_vertices, 3, -1)[:, 1] for array in arrays]
        upper, lower = (bfm.topology.lids[:, lid, _MIDDLE_PAIRS] for lid in (0, 1))
        self._eyes = [(a[upper] - a[lower]).mean(axis=1) * _MM for a in heights]  # (2, k)
        self._lips = []  # (COLUMNS, k)
        for array in heights:
            above, below = bfm.topology.lip_points(array)
            self._lips.append((above - below) * _MM)
        self._solver = self._make_solver()

    def _make_solver(self) -> np.ndarray:
        """From wanted changes of the gaps between the lips, mm, to coefficients: (n, COLUMNS).

        Ridge regression; the lids' own columns are left out.
        """
        gaps = self._lips[2][:, : LID_COLUMNS.start].astype(np.float64)
        moves = self._bfm.w_exp_base[:, : LID_COLUMNS.start].astype(np.float64) * _MM
        return np.linalg.solve(gaps.T @ gaps + _RIDGE * moves.T @ moves, gaps.T)

    def carry(
        self, transfer: Transfer, source: Face | None, target: Face, result: Face
    ) -> Face:
        """The result of a transfer with its openings put right.

        An eye is open by the same share of what it has at rest as the transfer makes of source and
        target, between shut and wide. Lips that the expression all but shuts are shut, and do not
        pass through each other. What the transfer left alone stays as it is.
        """
        changed = result.expression - target.expression
        if not changed.any():
            return result
        correction = np.zeros_like(result.expression)
        mouth = rows_of("mouth") if len(correction) > 1 else [0]
        if changed[mouth].any():
            correction[mouth, : LID_COLUMNS.start] = self._closing(result)
        drawn = result.expression + correction
        correction[:, LID_COLUMNS] = self._lids(transfer, source, target, drawn)
        return replace(result, correction=correction)

    def eyes(self, face: Face) -> np.ndarray:
        """How far the eyes are open, (2,) in parts of their opening at rest; left to right."""
        return 1 + self._motion(face.parts.expression) / self._own_eyes(face.shape)

    def lips(self, face: Face) -> np.ndarray:
        """The gap between the lips, (COLUMNS,) mm, left to right; negative where they overlap."""
        return self._gaps(face.shape, face.parts.expression)

    def _own_eyes(self, shape: np.ndarray) -> np.ndarray:
        return self._eyes[0][:, 0] + self._eyes[1] @ shape

    def _motion(self, expression: np.ndarray | None) -> np.ndarray:
        """What expression rows add to the eyes' openings, (2,) mm."""
        if expression is None:
            return np.zeros(2)
        rows = expression[_EYE_ROWS] if len(expression) > 1 else expression[[0, 0]]
        return np.einsum("ij,ij->i", self._eyes[2], rows)

    def _lids(
        self, transfer: Transfer, source: Face | None, target: Face, drawn: np.ndarray
    ) -> np.ndarray:
        """What to add to the lids' coefficients, (2,), of the rows that are drawn else."""
        keep, gain = (_of_eyes(factor) for factor in (transfer.keep, transfer.gain))
        own = self._own_eyes(target.shape)
        wanted = 1 + keep * self._motion(target.parts.expression) / own
        if source is not None:
            wanted = wanted + gain * self._given(source, transfer.neutral, wanted)
        wanted += self._motion(transfer.extra) / self._eyes[0][:, 0]
        lacking = np.clip(wanted, 0, _WIDEST) * own - own - self._motion(drawn)
        return lacking / np.diagonal(self._eyes[2][:, LID_COLUMNS])

    def _given(
        self, source: Face, neutral: np.ndarray | None, kept: np.ndarray
    ) -> np.ndarray:
        """What a source adds to eyes that are open by `kept` (2,), in parts of rest.

        What closes relatively to a neutral face closes by the same share: a blink shuts any eye.
        """
        own = self._own_eyes(source.shape)
        given = (self._motion(source.parts.expression) - self._motion(neutral)) / own
        if neutral is None:
            return given
        at_rest = np.maximum(1 + self._motion(neutral) / own, _NARROW)
        return np.where(given < 0, given * kept / at_rest, given)

    def _closing(self, result: Face) -> np.ndarray:
        """What to add to the coefficients of the mouth, (n,)."""
        gaps = self._gaps(result.shape, result.expression)
        at_rest = self._gaps(result.shape, self._rest)
        middle = gaps[MIDDLE_COLUMNS].mean() / self._size(result.shape)
        parted = smoothstep(middle, _SHUT, _PARTED)
        excess = gaps - at_rest
        allowed = np.where(excess > 0, parted * excess, np.maximum(excess, -_PRESSED))
        return self._solver @ (allowed - excess)

    def _gaps(self, shape: np.ndarray, expression: np.ndarray) -> np.ndarray:
        still, by_shape, by_expression = self._lips
        moved = by_expression @ expression.T  # (COLUMNS, rows)
        if len(expression) > 1:
            weights = self._bfm.topology.lip_points(self._bfm.regions.T).mean(axis=0)
            moved = moved * weights
        return still[:, 0] + by_shape @ shape + moved.sum(axis=1)

    def _size(self, shape: np.ndarray) -> float:
        """The distance of the eyes' outer corners, mm."""
        bfm = self._bfm
        corners = (bfm.u_base[:, 0] + bfm.w_shp_base @ shape).reshape(-1, 3)[[36, 45]] * _MM
        return float(np.linalg.norm(corners[0] - corners[1]))


def _of_eyes(factor: float | np.ndarray) -> np.ndarray:
    column = as_column(factor)[:, 0]
    return column[_EYE_ROWS] if len(column) > 1 else column[[0, 0]]
