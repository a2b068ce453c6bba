"""High dynamic range made fit for screens that have none."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np

PQ, HLG = 16, 18  # curves of light, as videos name them (ITU-T H.273)
_WHITE = 203  # nits, what white paper has (BT.2408)
_PEAK = 1000  # nits, of the screens that HLG is made for (BT.2100)
_SYSTEM_GAMMA = 1.2  # of these
_KNEE = 0.75  # of white; what is brighter is compressed
_GAMMA = 2.2
_LEVELS = 1 << 10  # that are told apart
_SHIFT = 6  # from 16 bits to these
_LUMINANCE = np.array([0.0593, 0.6780, 0.2627], np.float32)  # of BT.2020's primaries, BGR
_TO_BT709 = np.array(  # from these (BT.2087)
    [[1.1187, -0.1006, -0.0182], [-0.0083, 1.1329, -0.1246], [-0.0728, -0.5876, 1.6605]],
    np.float32,
)


def as_sdr(img: np.ndarray, curve: int) -> np.ndarray:
    """A picture of BT.2020's colours in BT.709's, whose highlights are compressed.

    Parameters
    ----------
    img (H, W, 3) : uint16 BGR; curve : `PQ` or `HLG`.

    Returns
    -------
    (H, W, 3) uint8 BGR.
    """
    light = _light(curve)[img >> _SHIFT]
    if curve == HLG:  # from the scene's light to the screen's
        luminance = light @ _LUMINANCE
        light *= (np.maximum(luminance, 1e-6) ** (_SYSTEM_GAMMA - 1) * (_PEAK / _WHITE))[..., None]
    light = np.maximum(cv2.transform(light, _TO_BT709), 0)
    brightest = np.maximum(light.max(axis=2), _KNEE)
    above = brightest - _KNEE
    compressed = _KNEE + (1 - _KNEE) * above / (above + 1 - _KNEE)
    light *= (compressed / brightest)[..., None]
    return np.rint(255 * light ** (1 / _GAMMA)).astype(np.uint8)


@cache
def _light(curve: int) -> Any:
    """The light of each level, (`_LEVELS`,) float32: 1 is white for PQ, the brightest for HLG."""
    signal = np.linspace(0, 1, _LEVELS)
    if curve == PQ:  # SMPTE ST 2084
        root = signal ** (32 / 2523)
        light = np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)
        return np.float32(10_000 / _WHITE * light ** (8192 / 1305))
    a = 0.17883277  # BT.2100
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.float32(np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12))
