"""The points a face is judged by, and whose labels they are."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

LANDMARKS = 468  # MediaPipe's, without the irises, which no vertex follows
JAW = np.arange(LANDMARKS, LANDMARKS + 17)  # the model's own 68 come after them
INNER = np.arange(LANDMARKS + 17, LANDMARKS + 68)


class Kind(IntEnum):
    """Whose landmarks a face is fitted to."""

    PLAIN = 0  # MediaPipe's
    AHEAD = 1  # MediaPipe's, and the original's jaw
    TURNED = 2  # the original's 68, and MediaPipe's with little weight
    LOST = 3  # the original's 68: MediaPipe found nothing, and nobody saw the lids

    @property
    def seen(self) -> np.ndarray:
        """Which of the 468 + 68 points are labels; the others are what the fit makes of them."""
        front, own = np.arange(LANDMARKS), np.concatenate([JAW, INNER])
        return (front, np.concatenate([front, JAW]), own, own)[self]
