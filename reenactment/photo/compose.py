"""The story of a photo: the target's own pixels wear the new expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bfm import BFMModel
from reenactment.photo.colour import as_levels, put_levels
from reenactment.photo.eyes import Donors, paint_eyes
from reenactment.photo.field import displacement
from reenactment.photo.head import Head
from reenactment.photo.lids import Lidded, with_lids, without_eyes
from reenactment.photo.mouth import paint_mouth
from reenactment.photo.parting import parted
from reenactment.photo.portrait import Album, Portrait
from reenactment.photo.posed import Modeller, Posed
from reenactment.photo.shading import shade
from reenactment.photo.slits import sampled
from reenactment.photo.work import Work
from Sim3DR import rasterise

_LEAST_SIZE = 12.0  # pixels; smaller faces stay as they are


@dataclass(frozen=True, eq=False)
class Source:
    """Where the expression comes from, and what shows it, if anything: (H, W, 3) uint8 BGR."""

    face: Posed
    img: np.ndarray | None = None


class Photographer:
    """Makes photos with a 3DMM.

    One is for many photos: what it found out about a source or a target is kept for the next photo,
    where the same face is in the same picture. Photos are those of a new one, bit for bit.

    Parameters
    ----------
    bfm : the model.
    eyes : whether lids and eyes move, too.
    """

    def __init__(self, bfm: BFMModel, eyes: bool = True) -> None:
        self.model = Modeller(bfm)
        self.eyes = eyes
        self._album = Album(lambda posed, img: Portrait.of(self.model, posed, img, eyes))

    def __call__(
        self,
        img: np.ndarray,
        targets: Sequence[Posed],
        results: Sequence[Posed],
        source: Source | None = None,
        out: np.ndarray | None = None,
        awake: Callable[[int], Source | None] = lambda _: None,
    ) -> np.ndarray:
        """The picture with the faces `targets` as `results`, which differ in expression alone.

        Faces are changed from the smallest, taken for the farthest, to the largest; a face moves
        no pixel of a larger one.

        Parameters
        ----------
        img (H, W[, 1, 3 or 4]) : uint8 or uint16; left as it is unless it is `out`, too.
        source : where the results' expression comes from, if that is known: its teeth are used.
        awake : gives the person of a target, by its place in `targets`, with open eyes, where that
            is known: eyes that were shut look like these, or else like the source's.
        out : of the same shape and type, where to draw; by default a new picture.

        Returns
        -------
        `out`; where nothing moves, its pixels are those of `img`.
        """
        photo = np.empty_like(img) if out is None else out
        if photo is not img:
            photo[:] = img
        changes = [not a.wears_the_same(b) for a, b in zip(targets, results)]
        if not any(changes):
            return photo
        sitters = [self._album.portrait(target, img) for target in targets]
        donor = self._donor(source)
        order = sorted(range(len(sitters)), key=lambda i: sitters[i].plain.size)
        for place, i in enumerate(order):
            sitter = sitters[i]
            if changes[i] and sitter.is_in_picture and sitter.plain.size >= _LEAST_SIZE:
                kept = _covered([sitters[k].plain for k in order[place + 1 :]], img.shape[:2])
                opening = (lambda i=i: self._donor(awake(i))), lambda: donor
                after = self._result(sitter, results[i], source)
                _change(photo, sitter, after, donor, opening, kept)
        return photo

    def heads(
        self, img: np.ndarray, target: Posed, result: Posed, source: Source | None = None
    ) -> tuple[Head, Head]:
        """The head of a target, and that which a photo gives it."""
        sitter = self._album.portrait(target, img)
        return sitter.head, self._result(sitter, result, source)

    def _result(self, sitter: Portrait, result: Posed, source: Source | None) -> Head:
        """The sitter's head as a result, with the lips and lids that it shall have."""
        bfm, surface = self.model.bfm, self.model.surface(result)
        if self.eyes:
            lidded = Lidded(surface, self.model.lids(result))
            surface = with_lids(bfm, sitter.lidded, lidded, self._giver(source, result))
        else:
            surface = without_eyes(bfm, sitter.plain.surface, surface)
        if source is not None:
            surface = parted(bfm, sitter.plain.surface, surface)
        return sitter.plain.shaped(surface).shifted(sitter.shift)

    def _giver(self, source: Source | None, result: Posed) -> Lidded | None:
        """The source's own face, if the result wears just what that does."""
        if source is None or not source.face.wears_the_same(result):
            return None
        if source.img is not None:
            return self._album.portrait(source.face, source.img).lidded
        return Lidded(self.model.surface(source.face), self.model.lids(source.face))

    def _donor(self, source: Source | None) -> Portrait | None:
        """The portrait that teeth and eyes can be taken from."""
        if source is None or source.img is None:
            return None
        portrait = self._album.portrait(source.face, source.img)
        return portrait if portrait.is_in_picture else None


def _change(
    photo: np.ndarray,
    sitter: Portrait,
    after: Head,
    donor: Portrait | None,
    eyes: Donors,
    kept: np.ndarray | None,
) -> None:
    """Draw one face into the photo itself.

    donor : for its teeth; eyes : those who can open its eyes, the best first.
    """
    field = displacement(sitter.head, after, photo.shape[:2], kept)
    if field is None:
        return
    box = field.box
    patch = as_levels(box.of(photo))
    work = Work(sitter, after, field, patch, sampled(patch, box, box, field.moves))
    paint_mouth(work, donor)
    if sitter.eyes:
        paint_eyes(work, eyes)
    shade(work)
    put_levels(work.result, box.of(photo), None if kept is None else ~box.of(kept))


def _covered(heads: Sequence[Head], size: tuple[int, int]) -> np.ndarray | None:
    """The pixels of a picture that the heads cover, (height, width) bool; None without any."""
    masks = [rasterise(head.vertices, head.bfm.tri, size).covered for head in heads]
    return np.logical_or.reduce(masks) if masks else None
