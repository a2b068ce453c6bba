"""Light that changes with the surface."""

from __future__ import annotations

import numpy as np

from reenactment.photo.slits import interpolated
from reenactment.photo.soft import blurred
from reenactment.photo.work import Work

_GAIN_LIMIT = 0.35  # of log light
_BLUR = 0.012  # sizes of the face
_GAMMA = 2.2


def shade(work: Work) -> None:
    """Multiply the result by how much more light the new surface gets."""
    light = work.sitter.light
    if light is None:
        return
    old, new = (light.on(head.normals) for head in (work.before, work.after))
    log_ratio = np.log(np.clip(new / old, 0.6, 1.6))
    drawn = interpolated(work.field.raster, log_ratio[:, None])[..., 0]
    inside = work.field.known.astype(np.float32)
    sigma = max(_BLUR * work.size, 0.5)
    weight = blurred(inside, sigma)
    smooth = blurred(drawn * inside, sigma)
    smooth = np.clip(smooth / np.maximum(weight, 1e-3), -_GAIN_LIMIT, _GAIN_LIMIT)
    gain = np.exp(smooth * np.clip(2 * weight - 1, 0, 1) / _GAMMA)
    work.field.inner.of(work.result, work.box)[..., :3] *= gain[..., None]
