"""Transfer: an expression and another make a third, region by region."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reenactment.faces import Face


@dataclass(frozen=True, eq=False)
class Transfer:
    """What becomes of the expression rows e (regions, exp_dim) of a target:

        e = keep · target + gain · (source - neutral) + extra

    Keeping nothing, from a neutral of zeros, is absolute transfer; keeping all of the target, from
    the source's face at rest, is relative; keeping all at a gain of zero leaves a region alone, and
    so does a transfer without a source.

    keep, gain : a number for the whole face, or (regions,), one for each.
    neutral (1 or regions, exp_dim) : the source at rest; None is the model's own rest.
    extra (1 or regions, exp_dim) : what sliders add; None is nothing.
    """

    keep: float | np.ndarray = 0.0
    gain: float | np.ndarray = 1.0
    neutral: np.ndarray | None = None
    extra: np.ndarray | None = None

    def from_rest(self, neutral: Face) -> Transfer:
        """The same, but relative to the source's face at rest."""
        return replace(self, keep=1.0, neutral=neutral.expression)

    def onto(self, rest: np.ndarray, regions: np.ndarray) -> Transfer:
        """The same, but in some regions (regions,) bool onto a face at rest (1, exp_dim).

        There nothing is kept of the target.
        """
        keep = np.broadcast_to(as_column(self.keep), (len(regions), 1))
        taken = keep * regions[:, None]
        left = float(keep[0, 0]) if not taken.any() else (keep - taken).ravel()
        return replace(self, keep=left).adding(taken * rest)

    def adding(self, rows: np.ndarray) -> Transfer:
        """The same, and some rows (1 or regions, exp_dim) more."""
        return replace(self, extra=rows if self.extra is None else self.extra + rows)

    def __call__(self, source: Face | None, target: Face) -> Face:
        """The target with its new expression; without a source or sliders it is as it was."""
        if source is None and self.extra is None and np.all(np.equal(self.keep, 1)):
            return target
        expression = as_column(self.keep) * target.expression
        if source is not None:
            rest = 0.0 if self.neutral is None else self.neutral
            expression = expression + as_column(self.gain) * (source.expression - rest)
        if self.extra is not None:
            expression = expression + self.extra
        return replace(target, expression=expression.astype(np.float32), scores=None)


def as_column(factor: float | np.ndarray) -> np.ndarray:
    """A number or one for every region as (1 or regions, 1) float32."""
    return np.reshape(np.asarray(factor, np.float32), (-1, 1))
