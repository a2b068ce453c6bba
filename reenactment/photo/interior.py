"""What is seen between the lips: the target's own teeth, the source's, or made-up ones."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from bfm.topology import COLUMNS
from reenactment.photo.colour import as_levels, luminance, saturation, to_levels, to_linear
from reenactment.photo.field import Box
from reenactment.photo.head import Head, quantile
from reenactment.photo.portrait import Portrait
from reenactment.photo.slits import grid_triangles, interpolated
from reenactment.photo.work import Work
from Sim3DR import rasterise, sample_lanczos
from utils.easing import ramp, smoothstep

_ROWS = np.linspace(0, 1, 9)  # shares of the way from the upper to the lower lip
_SPILL = 2.5  # pixels that the strip is larger than the opening, for its soft border
_OPEN_SOURCE = (0.025, 0.045)  # widths of the mouth, over which a source shows its teeth
_JAW_LANDMARKS, _JAW = (57, 8), 0.9  # lower lip and chin; their share of the teeth's move
_INSET_Y, _INSET_X = 0.14, 0.03  # of the source's opening, left out at its edges
# The brightest of teeth (97th percentile) have about 1.3 · skin^0.56 of light, measured on 64 open
# mouths: 3.3 times a dark skin's, 1.8 times a light one's. Their tint is the skin's, times this.
_TEETH_POWER, _TEETH_GAIN, _MOST_LIGHT = 0.56, 1.3, 0.88
_DULL_TEETH = 0.4  # of the most light that teeth can have: what is darker is none
_TEETH_TINT = np.array([1.33, 1.15, 0.72], np.float32)  # BGR
_WARM = 0.06  # by which red is more than green in the whitest of teeth
# What is dark in mouths, likewise, of 198 wide open ones; and its light, in parts of the skin's, at
# the top and at the bottom.
_THROAT_TINT = np.array([0.85, 0.65, 1.6], np.float32)
_THROAT_LIGHT = 0.055, 0.20
# Upper teeth of the mean face, mm: the curve of their lower edge, their gaps, and the gum.
_EDGE_Y, _EDGE_BEND, _EDGE_SOFT = -41.2, 0.011, 0.35
_GAPS, _GAP_WIDTH, _GAP_DEPTH = (0.0, 8.3, 14.8, 21.5), 0.35, 0.22
_GUM = (9.0, 10.2)


class Spots(NamedTuple):
    """Places between the lips, k of them: attributes of the strip there.

    own, source (k, 2) : where to look in the target's and the source's picture, pixels.
    down : share of the way from the upper to the lower lip. corner : from the nearer corner, share
    of the width. tooth (k, 2) : x and y on the teeth, mm in the mean face's frame.
    """

    own: np.ndarray
    source: np.ndarray
    down: np.ndarray
    corner: np.ndarray
    tooth: np.ndarray


def interior_levels(
    work: Work, donor: Portrait | None, box: Box, share: np.ndarray, before: float, after: float
) -> np.ndarray:
    """The opening's levels (h, w, 4); only where its `share` (h, w) of a pixel is not 0.

    before, after : how far the mouth is open, in its widths.
    """
    levels = box.of(work.result, work.box).copy()  # as it is where the strip does not reach
    shown = share > 1e-3
    if not shown.any():
        return levels
    new = _newness(before, after)
    donor = donor if new > 0 else None
    spots, found = _spots(work, donor, box, shown)
    shown[shown] = found
    if not found.any():
        return levels
    levels[shown] = sample_lanczos(work.patch, spots.own - (work.box.left, work.box.top))
    if new > 0:
        other = to_levels(_other(work, donor, spots, after))
        levels[shown, :3] += np.float32(new) * (other - levels[shown, :3])
    return levels


def _newness(before: float, after: float) -> float:
    """How much of the interior is not the target's own: all, where it opens widely."""
    if before < 0.12:
        return ramp(after - 1.25 * before, 0.02, 0.05)
    return ramp(after / before, 1.4, 2.0)


def _spots(
    work: Work, donor: Portrait | None, box: Box, shown: np.ndarray
) -> tuple[Spots, np.ndarray]:
    """What the strip has at the shown pixels, and which (k,) of them it reaches."""
    upper, lower = work.after.lip_points()[..., :2]
    strip = upper + _ROWS[:, None, None] * (lower - upper)  # (rows, COLUMNS, 2)
    own = _own_places(work, strip)
    source = _source_places(donor.head) if donor else np.zeros_like(own)
    across = np.broadcast_to(np.linspace(0, 1, COLUMNS), own.shape[:2])
    down = np.broadcast_to(_ROWS[:, None], own.shape[:2])
    corner = np.minimum(across, 1 - across)
    attributes = [own, source, down, corner, _tooth_places(work.after), np.ones(own.shape[:2])]
    values = np.concatenate([a.reshape(*own.shape[:2], -1) for a in attributes], axis=-1)
    drawn = _draw_strip(strip, values, work.after.down, box)[shown]
    found = drawn[:, -1] > 0
    kept = drawn[found]
    parts = kept[:, :2], kept[:, 2:4], kept[:, 4], kept[:, 5], kept[:, 6:8]
    return Spots(*parts), found


def _draw_strip(strip: np.ndarray, values: np.ndarray, down: np.ndarray, box: Box) -> np.ndarray:
    """Values (rows, columns, c) of the strip over the box, spilling a little over its edge.

    The first two are places in the same picture, and go on as the strip does.
    """
    aside = np.array([down[1], -down[0]])
    both = np.concatenate([strip, values], axis=2)
    for axis, direction in ((1, aside), (0, down)):
        spill = np.zeros(both.shape[2])
        spill[:4] = np.tile(_SPILL * direction, 2)
        first, last = (np.take(both, [end], axis) for end in (0, -1))
        both = np.concatenate([first - spill, both, last + spill], axis)
    rows, columns, _ = both.shape
    flat = np.zeros((rows * columns, 3), np.float32)
    flat[:, :2] = both[..., :2].reshape(-1, 2)
    raster = rasterise(flat, grid_triangles(rows, columns), box.size, (box.left, box.top))
    return interpolated(raster, both[..., 2:].reshape(rows * columns, -1))


def _own_places(work: Work, strip: np.ndarray) -> np.ndarray:
    """Where the target shows what is behind each point of the strip.

    Upper teeth stay with the skull, lower ones go with the jaw; both within the old opening.
    """
    before, after = work.before, work.after
    old_upper, old_lower = before.lip_points()[..., :2]
    chin = before.bfm.landmarks[list(_JAW_LANDMARKS)]
    jaw = _JAW * (before.vertices[chin, :2] - after.vertices[chin, :2]).mean(axis=0)
    place = strip + smoothstep(_ROWS, 0.35, 0.65)[:, None, None] * jaw
    column = old_lower - old_upper
    length = np.square(column).sum(axis=1)
    share = ((place - old_upper) * column).sum(axis=2) / np.maximum(length, 1e-6)
    share = np.maximum.accumulate(np.clip(share, 0, 1), axis=0)
    thin = np.sqrt(length) < 0.02 * np.linalg.norm(old_upper[-1] - old_upper[0])
    share = np.where(thin, _ROWS[:, None], share)
    return old_upper + share[..., None] * column


def _source_places(head: Head) -> np.ndarray:
    """The strip on the source, without the edges of its opening."""
    columns = np.arange(COLUMNS)
    inner = (_INSET_X + (1 - 2 * _INSET_X) * np.linspace(0, 1, COLUMNS)) * (COLUMNS - 1)
    upper, lower = (
        np.column_stack([np.interp(inner, columns, lip[:, axis]) for axis in (0, 1)])
        for lip in head.lip_points()
    )
    share = _INSET_Y + (1 - 2 * _INSET_Y) * _ROWS
    return upper + share[:, None, None] * (lower - upper)


def _tooth_places(head: Head) -> np.ndarray:
    """The strip on the mean face's teeth: they stay with the point under the nose."""
    nose = head.bfm.landmarks[33]
    upper, lower = head.bfm.topology.lip_points(head.surface)[..., :2]
    moved = head.surface[nose, :2] - head.bfm.u.reshape(-1, 3)[nose, :2] / 1000
    return upper + _ROWS[:, None, None] * (lower - upper) - moved


def _other(work: Work, donor: Portrait | None, spots: Spots, after: float) -> np.ndarray:
    """Light (k, 3) of the source's interior where it is open enough, of made-up teeth elsewhere."""
    made = made_up(work.skin, spots)
    open_ = float(donor.head.mouth_opening().clip(0).mean()) if donor else 0.0
    trust = ramp(open_, *_OPEN_SOURCE) * ramp(open_ / max(after, 1e-6), 0.25, 0.5)
    if donor is None or trust == 0:
        return made
    trust *= 1 - donor.concealed
    light = recoloured(_source_light(donor, work, spots.source), donor.skin, work.skin)
    shade = (0.55 + 0.45 * smoothstep(spots.down, 0, 0.22)) * (
        0.7 + 0.3 * smoothstep(spots.corner, 0, 0.15)
    )
    return made + trust * (light * shade[:, None] - made)


def _source_light(donor: Portrait, work: Work, places: np.ndarray) -> np.ndarray:
    """The source's picture at places (k, 2), not sharper than the target can show it."""
    margin = 8.0
    box = Box.around(places, margin, donor.box)
    if min(box.size) < 1:
        return np.zeros((len(places), 3), np.float32)
    patch = as_levels(box.of(donor.pixels, donor.box))
    ratio = donor.head.scale / max(work.after.scale, 1e-6)
    if ratio > 1.4:
        patch = cv2.GaussianBlur(patch, (0, 0), 0.45 * ratio)
    return to_linear(sample_lanczos(patch, places - (box.left, box.top))[:, :3])


def recoloured(light: np.ndarray, source_skin: np.ndarray, target_skin: np.ndarray) -> np.ndarray:
    """A mouth's light (k, 3) as it would be in another face; see `_TEETH_POWER`."""
    tones = [float(luminance(skin)) for skin in (source_skin, target_skin)]
    neutral = light / (source_skin / tones[0])
    grey = luminance(neutral)[:, None]
    colourful = ramp(saturation(target_skin), 0.05, 0.35)  # a grey picture gets grey teeth
    tinted = (grey + colourful * (neutral - grey)) * (target_skin / tones[1])
    gain = (tones[1] / tones[0]) ** _TEETH_POWER
    bright = float(quantile(luminance(tinted), 0.97)) * gain
    most = min(1.75 * tones[1] ** _TEETH_POWER, _MOST_LIGHT)
    reddest = max(1.25, float(target_skin[2] / target_skin[1] * _TEETH_TINT[2] / _TEETH_TINT[1]))
    clipped = np.clip(tinted * gain * min(1.0, most / max(bright, 1e-6)), 0, 1)
    level = luminance(clipped)[:, None]
    level_of_teeth = level / max(float(quantile(level[:, 0], 0.97)), _DULL_TEETH * most)
    unknown = colourful * (1 - ramp(saturation(source_skin), 0.05, 0.15))  # hues of a grey source
    deep = unknown * (1 - smoothstep(level_of_teeth, 0.3, 0.9))
    throat = _tinted(target_skin / tones[1] * _THROAT_TINT, colourful)
    clipped += deep * (np.clip(level * throat, 0, 1) - clipped)
    tooth = colourful * smoothstep(level_of_teeth, 0.25, 0.5)
    fleshy = _reddened(clipped, target_skin)
    return fleshy + tooth * (_as_teeth(fleshy, reddest) - fleshy)


def _reddened(light: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Light (k, 3) with nothing blue or green, as bright as it was: nothing in mouths is, but in
    the grey pictures of grey skin (3,)."""
    least = 1 + _WARM * ramp(saturation(skin), 0.02, 0.1)
    blue, green, red = light.T
    ordered = np.column_stack([np.minimum(blue, green), green, np.maximum(red, least * green)])
    scale = luminance(light) / np.maximum(luminance(ordered), 1e-6)
    return np.minimum(ordered * scale[:, None], 1)


def _as_teeth(light: np.ndarray, reddest: float) -> np.ndarray:
    """Teeth are not redder than so many times green, and a little yellow; light (k, 3)."""
    blue, green, red = light.T
    yellow, pink = np.minimum(blue, 0.98 * green), np.minimum(red, reddest * green)
    return np.column_stack([yellow, green, pink])


def made_up(skin: np.ndarray, spots: Spots) -> np.ndarray:
    """Light (k, 3) of a dark mouth with a row of upper teeth, for a face of that tone (3,)."""
    tone = luminance(skin)
    top, bottom = _THROAT_LIGHT
    depth = (top + (bottom - top) * smoothstep(spots.down, 0.35, 1)) * (
        0.35 + 0.65 * smoothstep(spots.corner, 0, 0.25)
    )
    colourful = ramp(saturation(skin), 0.05, 0.35)
    throat = tone * depth[:, None] * _tinted(skin / tone * _THROAT_TINT, colourful)
    x, y = spots.tooth.T
    above = y - (_EDGE_Y + _EDGE_BEND * x**2)  # mm from the teeth's lower edge
    tooth = smoothstep(above, -_EDGE_SOFT, _EDGE_SOFT) * (1 - smoothstep(np.abs(x), 19, 22))
    tooth *= 1 - smoothstep(above, *_GUM)
    apart = sum(np.exp(-0.5 * ((np.abs(x) - gap) / _GAP_WIDTH) ** 2) for gap in _GAPS)
    light = min(_TEETH_GAIN * tone**_TEETH_POWER, 0.85) * (0.50 + 0.42 * np.exp(-((x / 11) ** 2)))
    light = light * (0.72 + 0.28 * smoothstep(above, 0, 3)) * (1 - _GAP_DEPTH * apart)
    light = light * (0.60 + 0.40 * smoothstep(spots.down, 0, 0.28))
    teeth = light[:, None] * _tinted((skin / tone * _TEETH_TINT) ** 0.7, colourful)
    return _reddened(np.clip(throat + tooth[:, None] * (teeth - throat), 0, 1), skin)


def _tinted(tint: np.ndarray, colourful: float) -> np.ndarray:
    """A tint (3,) of luminance 1, and grey where the picture is."""
    tint = tint / max(float(luminance(tint)), 1e-6)
    return 1 + colourful * (tint - 1)
