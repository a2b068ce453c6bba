"""A face on its way: what all steps of a photo read, and the pixels that they change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reenactment.photo.field import Box, Field
from reenactment.photo.head import Head
from reenactment.photo.portrait import Portrait


@dataclass(frozen=True, eq=False)
class Work:
    """A target's face before and after, and the part of its picture that it moves in.

    patch (height, width, 4) float32 : the picture's levels, 0 to 255, over the field's box: BGR and
        a fourth channel that only moves.
    result (height, width, 4) float32 : the patch moved by the field; the steps draw into it.
    """

    sitter: Portrait
    after: Head
    field: Field
    patch: np.ndarray
    result: np.ndarray

    @property
    def before(self) -> Head:
        """The target's head."""
        return self.sitter.head

    @property
    def skin(self) -> np.ndarray:
        """The target's tone (3,), linear BGR."""
        return self.sitter.skin

    @property
    def box(self) -> Box:
        """Where in the picture the patch lies."""
        return self.field.box

    @property
    def size(self) -> float:
        """The face's size f, pixels."""
        return self.before.size
