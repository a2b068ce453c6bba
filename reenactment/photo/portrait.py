"""A face in its picture, and what a photo needs to know of it, whatever it is to wear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reenactment.photo.colour import skin_tone
from reenactment.photo.covering import concealed
from reenactment.photo.field import Box
from reenactment.photo.head import Head
from reenactment.photo.lids import Lidded, settled
from reenactment.photo.light import Light, light_on
from reenactment.photo.lips import found
from reenactment.photo.posed import Modeller, Posed
from reenactment.photo.seam import snapped

_MARGIN = 8.0  # pixels around a face, for the windows in which its picture is sampled
_MOST_KEPT = 6  # portraits: a source, the faces of a frame, and the same awake


@dataclass(frozen=True, eq=False)
class Portrait:
    """A face in a picture.

    picture : height and width.
    posed : as it was fitted; plain, lids : its head, and its coefficients (2,), likewise.
    pixels (height, width[, channels]) : the part of the picture around it, which is at `box`.
    eyes : whether its lids are put right; see `lids`.
    """

    picture: tuple[int, int]
    posed: Posed
    plain: Head
    lids: np.ndarray
    box: Box
    pixels: np.ndarray
    eyes: bool

    @classmethod
    def of(cls, model: Modeller, posed: Posed, img: np.ndarray, eyes: bool) -> Portrait:
        plain = model.head(posed)
        box = Box(0, 0, 0, 0)
        if np.isfinite(plain.vertices).all():
            box = Box.around(plain.vertices, _MARGIN, Box(0, 0, img.shape[1], img.shape[0]))
        height, width = img.shape[:2]
        return cls((height, width), posed, plain, model.lids(posed), box, box.of(img).copy(), eyes)

    def shows(self, posed: Posed, img: np.ndarray) -> bool:
        """Whether it is of that very face, in a picture that is the same around it."""
        if img.shape[:2] != self.picture or not self.posed.equals(posed):
            return False
        return np.array_equal(self.box.of(img), self.pixels)

    @property
    def is_in_picture(self) -> bool:
        """Whether the picture shows any of it."""
        return min(self.box.size) > 0

    @property
    def lidded(self) -> Lidded:
        """Its surface as fitted."""
        return Lidded(self.plain.surface, self.lids)

    @cached_property
    def shift(self) -> np.ndarray:
        """How far (n, 2) its vertices are off the picture's lips, and off the seam of closed ones,
        pixels."""
        shift = found(self.plain, self.pixels, self.box)
        return shift + snapped(self.plain.shifted(shift), self.pixels, self.box)

    @cached_property
    def head(self) -> Head:
        """Its head, with lids and closed lips where the picture has them."""
        head = self.plain
        if self.eyes:
            head = head.shaped(settled(head.bfm, self.lidded))
        return head.shifted(self.shift)

    @cached_property
    def skin(self) -> np.ndarray:
        """The tone (3,) of its skin, linear BGR."""
        return skin_tone(self.head, self.pixels, self.box)

    @cached_property
    def concealed(self) -> float:
        """How surely a mask hides its mouth, 0 to 1."""
        return concealed(self.head, self.pixels, self.box)

    @cached_property
    def light(self) -> Light | None:
        """The light on it, if enough skin is seen to tell."""
        return light_on(self.head, self.pixels, self.box)


class Album:
    """Keeps the last portraits: a face that stays, in a picture that stays, is looked at once."""

    def __init__(self, make: Callable[[Posed, np.ndarray], Portrait]) -> None:
        self._make = make
        self._kept: tuple[Portrait, ...] = ()

    def portrait(self, posed: Posed, img: np.ndarray) -> Portrait:
        """A new one or an old one, which is just the same."""
        old = self._kept
        found = next((p for p in old if p.shows(posed, img)), None) or self._make(posed, img)
        self._kept = (found, *(p for p in old if p is not found))[:_MOST_KEPT]
        return found
