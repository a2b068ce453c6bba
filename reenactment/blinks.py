"""Eyes that are seen as all but shut are shut.

Networks see shut eyes as open by a quarter to a half, and narrow eyes as open no farther: what
tells them apart is how open a person's eyes usually are.
"""

from __future__ import annotations

import numpy as np

from utils.easing import smoothstep

# Parts of an eye's usual opening: in 21 blinks of six people, shut in the picture, eyes are seen as
# open by 0.19 to 0.40; those seen as open by 0.5 and 0.6 are open by a quarter and a half.
_SHUT, _OPEN = 0.3, 0.65
_USUAL = 75  # percentile of the openings of somebody who blinks
_LEAST = 0.1  # of an eye's opening at rest, that a usual opening may be


def usual_of(eyes: np.ndarray) -> np.ndarray:
    """How open eyes (T, 2) usually are, (2,)."""
    usual: np.ndarray = np.percentile(eyes, _USUAL, axis=0)
    return usual


class UsualEyes:
    """How open the eyes of one person usually are, as far as is known: a mean without blinks."""

    def __init__(self) -> None:
        self._sum, self._count = np.zeros(2), np.zeros(2)

    def add(self, eyes: np.ndarray) -> np.ndarray:
        """The usual openings (2,) with those of one more frame."""
        is_open = eyes * self._count >= _OPEN * self._sum
        self._sum += np.where(is_open, eyes, 0)
        self._count += is_open
        return self._sum / np.maximum(self._count, 1)


def shut(eyes: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How open eyes (..., 2) are that are seen as open by so much, in any unit."""
    return eyes * smoothstep(eyes / np.maximum(usual, _LEAST), _SHUT, _OPEN)
