"""The story of a photo: the target's own pixels wear the new expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bfm import BFMModel
from reenactment.photo.colour import as_levels, skin_tone
from reenactment.photo.eyes import paint_eyes
from reenactment.photo.field import displacement
from reenactment.photo.head import Head, bounds
from reenactment.photo.lids import with_lids, without_eyes
from reenactment.photo.mouth import paint_mouth
from reenactment.photo.posed import Modeller, Posed
from reenactment.photo.seam import snapped
from reenactment.photo.shading import shade
from reenactment.photo.slits import sampled
from reenactment.photo.work import Donor, Work
from Sim3DR import rasterise

_LEAST_SIZE = 12.0  # pixels; smaller faces stay as they are


@dataclass(frozen=True, eq=False)
class Source:
    """Where the expression comes from, and what shows it, if anything: (H, W, 3) uint8 BGR."""

    face: Posed
    img: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Given:
    """What is known of a source: its head, as fitted, and what its picture has to give."""

    face: Posed
    head: Head
    donor: Donor | None


class Photographer:
    """Makes photos with a 3DMM.

    Parameters
    ----------
    bfm : the model.
    eyes : whether lids and eyes move, too.
    """

    def __init__(self, bfm: BFMModel, eyes: bool = True) -> None:
        self.model = Modeller(bfm)
        self.eyes = eyes

    def __call__(
        self,
        img: np.ndarray,
        targets: Sequence[Posed],
        results: Sequence[Posed],
        source: Source | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """The picture with the faces `targets` as `results`, which differ in expression alone.

        Faces are changed from the smallest, taken for the farthest, to the largest; a face moves
        no pixel of a larger one.

        Parameters
        ----------
        img (H, W[, 1, 3 or 4]) : uint8 or uint16; left as it is unless it is `out`, too.
        source : where the results' expression comes from, if that is known: its teeth are used.
        out : of the same shape and type, where to draw; by default a new picture.

        Returns
        -------
        `out`; where nothing moves, its pixels are those of `img`.
        """
        photo = np.empty_like(img) if out is None else out
        if photo is not img:
            photo[:] = img
        size = img.shape[:2]
        given = self._given(source) if source is not None else None
        heads = [self.model.head(target) for target in targets]
        order = sorted(range(len(heads)), key=lambda i: heads[i].size)
        for place, i in enumerate(order):
            same = _wear_the_same(targets[i], results[i])
            if not same and heads[i].size >= _LEAST_SIZE and _is_in_picture(heads[i], size):
                kept = _covered([heads[k] for k in order[place + 1 :]], size)
                before, after = self._moved(heads[i], targets[i], results[i], given)
                _change(photo, before, after, given.donor if given else None, kept, self.eyes)
        return photo

    def _moved(
        self, head: Head, target: Posed, result: Posed, given: _Given | None
    ) -> tuple[Head, Head]:
        """The target's head, and the result's, with the lids that they shall have."""
        before, after = head.surface, self.model.surface(result)
        if not self.eyes:
            return head, head.shaped(without_eyes(head.bfm, before, after))
        known = None
        if given is not None and _wear_the_same(given.face, result):
            known = given.head.surface, self.model.lids(given.face)
        lids = self.model.lids(target), self.model.lids(result)
        surfaces = with_lids(head.bfm, (before, lids[0]), (after, lids[1]), known)
        return head.shaped(surfaces[0]), head.shaped(surfaces[1])

    def _given(self, source: Source) -> _Given:
        head, img = self.model.head(source.face), source.img
        if img is None or not _is_in_picture(head, img.shape[:2]):
            return _Given(source.face, head, None)
        shown = head.shifted(snapped(head, img))
        return _Given(source.face, head, Donor(shown, img, skin_tone(shown, img, (0, 0))))


def _change(
    photo: np.ndarray,
    before: Head,
    after: Head,
    donor: Donor | None,
    kept: np.ndarray | None,
    eyes: bool,
) -> None:
    """Draw one face into the photo itself."""
    shift = snapped(before, photo)
    before, after = before.shifted(shift), after.shifted(shift)
    field = displacement(before, after, photo.shape[:2], kept)
    box = field.box
    if min(box.size) < 2:
        return
    patch = as_levels(box.of(photo))
    skin = skin_tone(before, patch, (box.left, box.top))
    work = Work(before, after, field, patch, skin, sampled(patch, box, box, field.moves))
    shade(work)
    paint_mouth(work, donor)
    if eyes:
        paint_eyes(work, donor)
    _write(photo, work, kept)


def _wear_the_same(a: Posed, b: Posed) -> bool:
    """Whether two faces have one expression, in whatever number of rows."""
    rows = np.atleast_2d(a.parts.expression), np.atleast_2d(b.parts.expression)
    return bool(rows[0].shape[1] == rows[1].shape[1] and (rows[0] == rows[1]).all())


def _is_in_picture(head: Head, size: tuple[int, int]) -> bool:
    """Whether a head has finite vertices, and any in the picture (height, width)."""
    low, high = bounds(head.vertices)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        return False
    return bool((high > 0).all() and (low < [size[1], size[0]]).all())


def _covered(heads: Sequence[Head], size: tuple[int, int]) -> np.ndarray | None:
    """The pixels of a picture that the heads cover, (height, width) bool; None without any."""
    masks = [rasterise(head.vertices, head.bfm.tri, size).covered for head in heads]
    return np.logical_or.reduce(masks) if masks else None


def _write(photo: np.ndarray, work: Work, kept: np.ndarray | None) -> None:
    """Put the work into the photo, in its own type; what did not move comes out as it was."""
    place = work.box.of(photo)
    pixels = place if photo.ndim == 3 else place[..., None]
    levels = work.result[..., : pixels.shape[2]]
    scale, most = (257, 65535) if photo.dtype == np.uint16 else (1, 255)
    new = np.clip(np.rint(levels * np.float32(scale)), 0, most).astype(photo.dtype)
    if kept is None:
        pixels[:] = new
    else:
        np.copyto(pixels, new, where=~work.box.of(kept)[..., None])
