"""What pictures suffer before the detector sees them: light, blur, noise, compression, cover.

Pictures are (H, W, 3) uint8 BGR.  What draws takes a numpy random generator.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.pictures import decode_picture

Rng = np.random.Generator


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number between `low` and `high`, its logarithm uniformly distributed."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def tone(rng: Rng, picture: np.ndarray, strength: float) -> np.ndarray:
    """Random gain per channel, contrast and gamma; `strength` 0 changes nothing."""
    levels = np.arange(256)[:, None] / 255
    gains = np.exp(strength * rng.normal(0, [0.12, 0.12, 0.12])) * np.exp(
        strength * rng.normal(0, 0.15)
    )
    gamma = np.exp(strength * rng.normal(0, 0.25))
    offset = strength * rng.normal(0, 0.06)
    curves = np.clip(levels**gamma * gains + offset, 0, 1) * 255
    return cv2.LUT(picture, curves.astype(np.uint8).reshape(256, 1, 3))


class Harm:
    """What a whole picture suffers, each kind of harm `often` times as often as is said here.

    hard: it was so much that a face may be lost on anybody.
    """

    def __init__(self, rng: Rng, often: float = 1.0) -> None:
        self.rng, self.often, self.hard = rng, often, False

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        rng = self.rng
        if rng.random() < 0.1 * self.often:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        picture = tone(rng, picture, rng.uniform(0, 1.2))
        if rng.random() < 0.4 * self.often:
            picture = self._lit(picture)
        if rng.random() < 0.26 * self.often:
            picture = self._blurred(picture)
        if rng.random() < 0.15 * self.often:
            noise = log_uniform(rng, 2, 16) * rng.standard_normal(picture.shape, np.float32)
            picture = cv2.add(picture, noise, dtype=cv2.CV_8U)
        if rng.random() < 0.25 * self.often:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))]
            picture = decode_picture(cv2.imencode(".jpg", picture, quality)[1].tobytes())
        return picture

    def _lit(self, picture: np.ndarray) -> np.ndarray:
        """Little light, coloured light, or both."""
        kind = self.rng.integers(3)
        gains = np.ones(3)
        if kind != 0:
            gains *= np.exp(self.rng.uniform(-1.4, 0.3, 3))
        if kind != 1:
            gains *= log_uniform(self.rng, 0.1, 0.6)
        self.hard = self.hard or bool(gains.max() < 0.2)
        curves = np.clip(np.arange(256)[:, None] * gains, 0, 255).astype(np.uint8)
        return cv2.LUT(picture, curves.reshape(256, 1, 3))

    def _blurred(self, picture: np.ndarray) -> np.ndarray:
        """Out of focus, in motion, or enlarged from fewer pixels."""
        kind = self.rng.integers(3)
        reach = log_uniform(self.rng, 0.5, 3.0 if kind else 8.0)
        self.hard = self.hard or reach > 2
        if kind == 0:
            return cv2.GaussianBlur(picture, (0, 0), reach)
        if kind == 1:
            length = 1 + round(2 * reach)
            return cv2.blur(picture, (length, 1) if self.rng.random() < 0.5 else (1, length))
        side = round(picture.shape[0] / (0.5 + reach))
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, picture.shape[1::-1])


def hide(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Copy a part of a picture elsewhere, in place: something hides what was there.

    Returns the box (4,) of what is hidden.
    """
    side = picture.shape[0]
    width, height = (rng.uniform(0.05, 0.3, 2) * side).astype(int)
    (from_x, to_x), (from_y, to_y) = (
        rng.integers(side - length, size=2) for length in (width, height)
    )
    part = picture[from_y : from_y + height, from_x : from_x + width].copy()
    picture[to_y : to_y + height, to_x : to_x + width] = part
    return np.array([to_x, to_y, to_x + width, to_y + height], float)
