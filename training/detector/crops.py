"""Endless training crops of the detector, cut from real pictures in memory.

Any part of a scene at any zoom, turned by any angle, mirrored; collages of heads; dark, coloured,
blurred, noisy, compressed, partly hidden.  The faces that ``label`` knows of move along.  Where
``mine`` has been, its alarms are shown, too.

Boxes are (n, 4) float ``x1 y1 x2 y2`` in pixels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from training.detector.harm import Harm, Rng, hide, log_uniform, tone
from training.pictures import decode_picture, iterate_files

ALARMS = "alarms"  # the set of the pictures that hold some, beside those of the tars
ALARM_VIEW = 960  # the long side, in pixels, in which alarms are looked for


@dataclass(frozen=True)
class CropConfig:
    """Sizes in pixels, angles in degrees; `p_` are probabilities, shares relative frequencies.

    hardship: how often crops are collages, turned, hidden or harmed, times what is said here.
    """

    p_collage: float = 0.33
    scene_shares: tuple[tuple[str, float], ...] = (
        ("scenes_people", 0.6),
        ("scenes", 0.15),
        (ALARMS, 0.25),
    )
    head_shares: tuple[tuple[str, float], ...] = (
        ("faces_more", 0.34),
        ("portraits", 0.18),
        ("lfw_imfdb", 0.14),
        ("utkface", 0.1),
        ("scenes_people", 0.12),
        ("scenes", 0.12),
    )
    p_at_face: float = 0.8
    face_heights: tuple[float, float] = (15.0, 560.0)
    alarm_zoom: tuple[float, float] = (0.7, 1.4)  # of the view that an alarm was raised in
    zoom: tuple[float, float] = (0.4, 3.0)
    filled: float = 0.75  # share of the crop's side that the picture's long side fills at least
    upright: float = 8.0  # limit of the usual roll
    p_turned: float = 0.5
    # kinds of other rolls: how often, the limits of the angle, and what it is added to
    rolls: tuple[tuple[float, float, tuple[int, ...]], ...] = (
        (0.4, 50.0, (0,)),
        (0.36, 12.0, (90, 180, 270)),
        (0.24, 180.0, (0,)),
    )
    p_hidden: float = 0.1
    p_bordered: float = 0.3  # of a collage's parts: what is beyond the picture is one colour
    p_unsharp: float = 0.2  # of a collage's parts, as backgrounds are
    hardship: float = 1.0
    smallest: float = 18.0  # height down to which a face is to be found
    whole: float = 0.7  # share of a face's box inside the crop from which it is to be found


class Crop(NamedTuple):
    """A picture (S, S, 3) uint8 BGR and what is known of it, in boxes (n, 4).

    faces: to be found; unclear: cut off, hidden, tiny or hardly to be seen, so that a detector may
    miss them; doubtful: may be faces or not.
    """

    picture: np.ndarray
    faces: np.ndarray
    unclear: np.ndarray
    doubtful: np.ndarray


class Source(NamedTuple):
    """A training picture, encoded or decoded, and its boxes (n, 4).

    alarms: what to look at in place of its faces, if there are any.
    """

    content: bytes | np.ndarray
    faces: np.ndarray
    doubtful: np.ndarray
    alarms: np.ndarray = np.empty((0, 4))


def load_sources(data: Path, labels_fp: Path, split: str) -> dict[str, list[Source]]:
    """The labelled pictures of every tar, and those with alarms once more under ALARMS.

    Scenes with people are kept decoded, as decoding them takes long.
    """
    labels = json.loads(labels_fp.read_text())
    sets: dict[str, list[Source]] = {}
    for key in sorted({key.split("/")[0] for key in labels}):
        for name, content in iterate_files(data / f"{key}.tar"):
            label = labels.get(f"{key}/{name}")
            if label is None or not name.startswith(f"{split}/"):
                continue
            faces, doubtful, alarms = (
                np.array(label.get(kind, []), float).reshape(-1, 4)
                for kind in ("faces", "ignore", "alarms")
            )
            kept = decode_picture(content) if key == "scenes_people" else content
            sets.setdefault(key, []).append(Source(kept, faces, doubtful))
            if len(alarms):
                sets.setdefault(ALARMS, []).append(Source(kept, faces, doubtful, alarms))
    return sets


class Cutter:
    """Cuts crops from the sources (of ``load_sources``)."""

    def __init__(self, sources: dict[str, list[Source]], cfg: CropConfig, seed: int) -> None:
        self.sources, self.cfg, self.rng = sources, cfg, np.random.default_rng(seed)
        self.scenes, self.heads = (
            tuple((name, share) for name, share in shares if name in sources)
            for shares in (cfg.scene_shares, cfg.head_shares)
        )

    def crop(self, side: int) -> Crop:
        """One more, `side` pixels wide and high."""
        if self._hard(self.cfg.p_collage):
            picture, faces, unclear, doubtful = self._collage(side)
        else:
            picture, faces, unclear, doubtful = self._part(self.scenes, side, side)
        harm = Harm(self.rng, self.cfg.hardship)
        picture = harm(picture)
        lost = (faces[:, 3] - faces[:, 1] < self.cfg.smallest) | harm.hard
        if self._hard(self.cfg.p_hidden):
            lost |= overlaps(faces, hide(self.rng, picture))
        return Crop(picture, faces[~lost], np.concatenate([unclear, faces[lost]]), doubtful)

    def _hard(self, probability: float) -> bool:
        return self.rng.random() < self.cfg.hardship * probability

    def _part(
        self,
        shares: tuple[tuple[str, float], ...],
        width: int,
        height: int,
        beyond: np.ndarray | None = None,
    ) -> Crop:
        """Part of a picture that fills `width` × `height`; see `warp` for `beyond`."""
        sources = self.sources[choose(self.rng, shares)]
        source = sources[self.rng.integers(len(sources))]
        picture = source.content
        if isinstance(picture, bytes):
            picture = decode_picture(picture)
        matrix = self._placement(picture, source, width, height)
        shown = warp(picture, matrix, (width, height), beyond)
        faces, doubtful = (moved(boxes, matrix) for boxes in (source.faces, source.doubtful))
        seen = visible_share(faces, width, height)
        cut = (seen > 0) & (seen <= self.cfg.whole)
        doubtful = doubtful[visible_share(doubtful, width, height) > 0]
        return Crop(shown, faces[seen > self.cfg.whole], faces[cut], doubtful)

    def _placement(
        self, picture: np.ndarray, source: Source, width: int, height: int
    ) -> np.ndarray:
        """Affine map (2, 3) from a picture's pixels to those of a part of it."""
        rng, cfg, size = self.rng, self.cfg, np.array(picture.shape[1::-1], float)
        target, frame = rng.uniform(0.15, 0.85, 2) * (width, height), min(width, height)
        scale, centre = self._aim(source, size, frame)
        scale = max(scale, cfg.filled * frame / max(size))
        angle = np.deg2rad(self._roll())
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = linear @ np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
        corners = (np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * size - centre) @ linear.T
        lowest, highest = (width, height) - corners.max(0), -corners.min(0)
        target = np.where(lowest < highest, np.clip(target, lowest, highest), target)
        return np.column_stack([linear, target - linear @ centre])

    def _aim(self, source: Source, size: np.ndarray, frame: int) -> tuple[float, np.ndarray]:
        """How much to scale a picture of `size` for a part of it, and which point to show."""
        rng, cfg = self.rng, self.cfg
        if len(source.alarms):
            x1, y1, x2, y2 = source.alarms[rng.integers(len(source.alarms))]
            scale = log_uniform(rng, *cfg.alarm_zoom) * ALARM_VIEW / max(size)
        elif len(source.faces) and rng.random() < cfg.p_at_face:
            x1, y1, x2, y2 = source.faces[rng.integers(len(source.faces))]
            tall = log_uniform(rng, cfg.face_heights[0], min(cfg.face_heights[1], 0.95 * frame))
            scale = float(np.clip(tall / max(y2 - y1, 1), *cfg.zoom))
        else:
            return log_uniform(rng, *cfg.zoom), rng.uniform(0.2, 0.8, 2) * size
        return scale, np.array([x1 + x2, y1 + y2]) / 2

    def _roll(self) -> float:
        """Degrees."""
        if not self._hard(self.cfg.p_turned):
            return float(self.rng.uniform(-self.cfg.upright, self.cfg.upright))
        shares = np.array([kind[0] for kind in self.cfg.rolls])
        _, limit, bases = self.cfg.rolls[self.rng.choice(len(shares), p=shares / shares.sum())]
        return float(self.rng.choice(bases) + self.rng.uniform(-limit, limit))

    def _collage(self, side: int) -> Crop:
        """Parts of pictures side by side."""
        canvas, parts = np.empty((side, side, 3), np.uint8), []
        rows = cuts(self.rng, side)
        for x1, x2 in cuts(self.rng, side):
            for y1, y2 in rows:
                bordered = self.rng.random() < self.cfg.p_bordered
                beyond = self.rng.integers(256, size=3) * self.rng.integers(2) if bordered else None
                part = self._part(self.heads, x2 - x1, y2 - y1, beyond)
                if self.rng.random() < self.cfg.p_unsharp:
                    part = unsharp(self.rng, part)
                canvas[y1:y2, x1:x2] = tone(self.rng, part.picture, 0.6)
                parts.append([boxes + (x1, y1, x1, y1) for boxes in part[1:]])
        return Crop(canvas, *(np.concatenate(boxes) for boxes in zip(*parts)))


def unsharp(rng: Rng, crop: Crop) -> Crop:
    """A crop as if it were far out of focus, so that its faces may be missed."""
    picture = cv2.GaussianBlur(crop.picture, (0, 0), log_uniform(rng, 2, 8))
    unclear = np.concatenate([crop.faces, crop.unclear])
    return Crop(picture, crop.faces[:0], unclear, crop.doubtful)


def choose(rng: Rng, shares: tuple[tuple[str, float], ...]) -> str:
    """One of the names, as frequent as its share."""
    names, weights = zip(*shares)
    return names[rng.choice(len(names), p=np.array(weights) / sum(weights))]


def cuts(rng: Rng, length: int) -> list[tuple[int, int]]:
    """`length` pixels cut at random into one to three intervals."""
    inner = length * (np.arange(1, rng.integers(1, 4)) + rng.uniform(-0.25, 0.25))
    count = len(inner) + 1
    ends = [0, *(inner / count).astype(int), length]
    return list(zip(ends, ends[1:]))


def overlaps(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the boxes (n, 4) share area with another (4,)."""
    return np.all((boxes[:, :2] < other[2:]) & (boxes[:, 2:] > other[:2]), axis=1)


def visible_share(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(n,) in [0, 1]: how much of the boxes (n, 4) is inside `width` × `height`."""
    inside = np.clip(boxes, 0, [width, height] * 2)
    whole = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-6)
    return np.asarray(np.prod(inside[:, 2:] - inside[:, :2], axis=1) / whole)


def moved(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) around what an affine map (2, 3) makes of the ellipses in the given boxes."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (matrix[:, :2] ** 2).T)
    return np.concatenate([centres - halves, centres + halves], axis=1)


def warp(
    picture: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    beyond: np.ndarray | None = None,
) -> np.ndarray:
    """What an affine map (2, 3) brings onto a canvas of `size` (width, height).

    Beyond the picture is the colour `beyond` (3,), or its edges go on.
    Shrinks by area averaging first, since warping alone would alias.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.7:
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = np.array(picture.shape[1::-1]) / small.shape[1::-1]
        picture, matrix = small, np.column_stack([matrix[:, :2] * ratio, matrix[:, 2]])
    if beyond is None:
        return cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return cv2.warpAffine(picture, matrix, size, borderValue=beyond.tolist())
