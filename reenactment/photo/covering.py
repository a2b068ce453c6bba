"""Cloth over a mouth, told by its colour: lips that cannot be seen do not open."""

from __future__ import annotations

import numpy as np

from reenactment.photo.colour import to_levels, vertex_light
from reenactment.photo.field import Box
from reenactment.photo.head import Head, quantile
from utils.easing import ramp

# mm in the model's frame: lips; what is around them, from nose to chin; and between eyes and hair.
_LIPS, _LIPS_WIDE, _LIPS_DEEP = 6.0, 18.0, 45.0
_AROUND, _AROUND_LOW, _AROUND_HIGH, _AROUND_WIDE = 9.0, -75.0, -8.0, 45.0
_ABOVE_LOW, _ABOVE_HIGH, _ABOVE_WIDE, _OFF_LIDS = 22.0, 62.0, 30.0, 8.0
# How much of the skin's hue is left: of 1000 faces, a tenth masked, masks have 0.32 at most,
# and all but three of the others 0.44 or more, beards, too.
_CLOTH, _SKIN = 0.32, 0.44
_COLOURLESS, _COLOURFUL = 10.0, 20.0  # levels, that red and blue are off green in skin


def concealed(head: Head, pixels: np.ndarray, box: Box) -> float:
    """How surely a mask hides the mouth, 0 to 1; see `colour.vertex_light`.

    Neither the lips nor what is around them have the hue of the skin between the eyes and the hair.
    """
    x, y, z = head.surface.T
    topology = head.bfm.topology
    slit = np.abs(topology.slit)
    lips = (slit < _LIPS) & (np.abs(x) < _LIPS_WIDE) & (z > z.max() - _LIPS_DEEP)
    around = (slit > _AROUND) & (y > _AROUND_LOW) & (y < _AROUND_HIGH) & (np.abs(x) < _AROUND_WIDE)
    above = (y > _ABOVE_LOW) & (y < _ABOVE_HIGH) & (np.abs(x) < _ABOVE_WIDE)
    above &= (topology.above_lid > _OFF_LIDS) & (topology.below_lid > _OFF_LIDS)
    hues = []
    for part in (lips, around, above):
        _, light = vertex_light(head, np.flatnonzero(part & head.seen), pixels, box)
        if not len(light):
            return 0.0
        blue, green, red = to_levels(quantile(light, 0.5, axis=0))
        hues.append(np.array([red - green, blue - green]))
    skin = hues.pop()
    left = max(float(hue @ skin) for hue in hues) / max(float(skin @ skin), 1e-6)
    colourful = ramp(float(np.linalg.norm(skin)), _COLOURLESS, _COLOURFUL)
    return colourful * (1 - ramp(left, _CLOTH, _SKIN))
