"""Transfer: an expression and another make a third, region by region."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reenactment.faces import Face


@dataclass(frozen=True, eq=False)
class Transfer:
    """What becomes of the expression rows e (regions, exp_dim) of a target:

        e = keep · target + gain · (source - neutral)

    Keeping nothing, from a neutral of zeros, is absolute transfer; keeping all of the target, from
    the source's face at rest, is relative; keeping all at a gain of zero leaves a region alone.

    keep, gain : a number for the whole face, or (regions,), one for each.
    neutral (1 or regions, exp_dim) : the source at rest; None is the model's own rest.
    """

    keep: float | np.ndarray = 0.0
    gain: float | np.ndarray = 1.0
    neutral: np.ndarray | None = None

    def from_rest(self, neutral: Face) -> Transfer:
        """The same, but relative to the source's face at rest."""
        return replace(self, keep=1.0, neutral=neutral.expression)

    def __call__(self, source: Face, target: Face) -> Face:
        """The target with its new expression."""
        rest = 0.0 if self.neutral is None else self.neutral
        kept, moved = _by_row(self.keep) * target.expression, source.expression - rest
        expression = kept + _by_row(self.gain) * moved
        return replace(target, expression=expression.astype(np.float32))


def _by_row(factor: float | np.ndarray) -> np.ndarray:
    return np.reshape(np.asarray(factor, np.float32), (-1, 1))
