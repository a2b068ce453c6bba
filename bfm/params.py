"""How a 3DMM parameter vector is laid out, and its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from utils.errors import UsageError

POSE_DIM = 12  # a row-major 3x4 matrix [sR | t]

# (shape_dim, exp_dim) of the parameter lengths that published networks use
_KNOWN_DIMS = {62: (40, 10), 72: (40, 20), 141: (100, 29)}


class FaceParams(NamedTuple):
    """The parts of a parameter vector (or of a stack of them, along leading axes).

    pose (..., 3, 4): `[sR | t]`, a scaled rotation and a translation in the
    coordinates of the square network crop, in pixels, y up.
    shape (..., shape_dim), expression (..., exp_dim): coefficients of the bases. An expression
    that differs by region has a row for each, (rows, exp_dim).
    """

    pose: np.ndarray
    shape: np.ndarray
    expression: np.ndarray


@dataclass(frozen=True)
class ParamLayout:
    """A vector of 12 pose, then `shape_dim` shape, then `exp_dim` expression numbers."""

    shape_dim: int = 40
    exp_dim: int = 10

    @property
    def num_params(self) -> int:
        """Length of the whole vector."""
        return POSE_DIM + self.shape_dim + self.exp_dim

    @property
    def expression(self) -> slice:
        """Where the expression coefficients stand."""
        return slice(POSE_DIM + self.shape_dim, self.num_params)

    @classmethod
    def resolve(
        cls,
        num_params: int | None = None,
        shape_dim: int | None = None,
        exp_dim: int | None = None,
    ) -> ParamLayout:
        """Complete a layout from what a config declares of it.

        Raises
        ------
        UsageError : the numbers contradict each other or do not determine a layout.
        """
        known_shape, known_exp = _KNOWN_DIMS.get(num_params or 62, (None, None))
        if shape_dim is None and exp_dim is not None and num_params is not None:
            shape_dim = num_params - POSE_DIM - exp_dim
        elif exp_dim is None and shape_dim is not None and num_params is not None:
            exp_dim = num_params - POSE_DIM - shape_dim
        shape_dim = known_shape if shape_dim is None else shape_dim
        exp_dim = known_exp if exp_dim is None else exp_dim
        if shape_dim is None or exp_dim is None:
            raise UsageError(
                f"num_params {num_params} alone does not tell the split: give shape_dim and exp_dim"
            )
        layout = cls(shape_dim, exp_dim)
        if min(shape_dim, exp_dim) < 1 or num_params not in (None, layout.num_params):
            raise UsageError(
                f"num_params is {num_params}, but {POSE_DIM} pose + shape_dim {shape_dim} + "
                f"exp_dim {exp_dim} make {layout.num_params}"
            )
        return layout

    @classmethod
    def of(cls, params: np.ndarray) -> ParamLayout:
        """The layout of a vector (or stack) whose length is one of the published ones."""
        return cls.resolve(num_params=int(np.shape(params)[-1]))

    def split(self, params: np.ndarray) -> FaceParams:
        """Split `params` (..., num_params) into views of its parts."""
        params = np.asarray(params)
        self._check(params)
        pose = params[..., :POSE_DIM].reshape(params.shape[:-1] + (3, 4))
        return FaceParams(
            pose, params[..., POSE_DIM : self.expression.start], params[..., self.expression]
        )

    def join(self, parts: FaceParams) -> np.ndarray:
        """Return the vector (..., num_params) float32 whose `split` gives `parts`."""
        pose = np.asarray(parts.pose)
        params = np.concatenate(
            [pose.reshape(pose.shape[:-2] + (POSE_DIM,)), parts.shape, parts.expression], axis=-1
        ).astype(np.float32)
        self._check(params)
        return params

    def splice(self, target: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Return a copy of `target` (..., num_params) that wears `expression` (..., exp_dim)."""
        spliced = np.array(target)
        self._check(spliced)
        spliced[..., self.expression] = expression
        return spliced

    def adapt(self, parts: FaceParams) -> FaceParams:
        """Parts that another layout's network made, in this layout; float32.

        The leading coefficients of the bases mean the same in all layouts: missing ones
        are zero, and ones beyond this layout are dropped.
        """
        return FaceParams(
            np.asarray(parts.pose, np.float32),
            _resized(parts.shape, self.shape_dim),
            _resized(parts.expression, self.exp_dim),
        )

    def _check(self, params: np.ndarray) -> None:
        if params.ndim < 1 or params.shape[-1] != self.num_params:
            raise ValueError(
                f"params: expected (..., {self.num_params}) = {POSE_DIM} pose + {self.shape_dim} "
                f"shape + {self.exp_dim} expression, got shape {params.shape}"
            )


def _resized(coefficients: np.ndarray, count: int) -> np.ndarray:
    """(..., n) to (..., count), float32: cut, or filled up with zeros."""
    kept = np.asarray(coefficients)[..., :count]
    resized = np.zeros((*kept.shape[:-1], count), np.float32)
    resized[..., : kept.shape[-1]] = kept
    return resized
