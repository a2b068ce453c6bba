"""Ways from 0 to 1 that begin and end gently."""

from __future__ import annotations

import numpy as np


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high` on, and a cubic with flat ends between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def ramp(value: float, low: float, high: float) -> float:
    """`smoothstep` of one number."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)
