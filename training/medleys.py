"""Clips of several people, of whom it is known who is where, made of clips of one each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

import cv2
import numpy as np

from utils.footage import Frame, open_footage

RATE = 30.0
SCENES, SCENE_FRAMES, PANEL = 8, 40, (426, 480)


def read(path: str) -> list[Frame]:
    with open_footage(path) as footage:
        return list(footage)


class Medley:
    """Scenes of one to three people side by side, of a cast of three, made of clips."""

    def __init__(self, clips: Sequence[str], seed: int) -> None:
        self._random = random.Random(seed)
        cast = self._random.sample(list(clips), 3)
        self.scenes: list[list[str | None]] = [[cast[0], cast[1]]]
        while len(self.scenes) < SCENES:
            self.scenes.append(self._next(cast, self.scenes[-1]))

    def _next(self, cast: list[str], last: list[str | None]) -> list[str | None]:
        """A cut to others, or somebody leaves or comes."""
        present = [place for place, name in enumerate(last) if name]
        absent = [name for name in cast if name not in last]
        event, scene = self._random.choice(["cut", "cut", "leave", "come"]), list(last)
        if event == "leave" and len(present) > 1:
            scene[self._random.choice(present)] = None
        elif event == "come" and None in last and absent:
            scene[last.index(None)] = self._random.choice(absent)
        else:
            scene = [*self._random.sample(cast, self._random.choice([1, 2, 2, 3]))]
        return scene

    def __iter__(self) -> Iterator[Frame]:
        shown: Counter[str | None] = Counter()
        for number in range(SCENES * SCENE_FRAMES):
            panels = []
            for name in self.scenes[number // SCENE_FRAMES]:
                panels.append(panel(name, shown[name]))
                shown[name] += 1
            yield Frame(np.hstack(panels), number, number / RATE)

    @property
    def shown(self) -> int:
        """How many faces it shows, counted in every frame."""
        return sum(SCENE_FRAMES * sum(name is not None for name in scene) for scene in self.scenes)

    def who(self, number: int, x: float) -> str | None:
        """Who is at a place of a frame."""
        return self.scenes[number // SCENE_FRAMES][int(x // PANEL[0])]


@cache
def panels_of(path: str) -> list[np.ndarray]:
    """A clip's frames as panels of their height, the middle of each."""
    width, height = PANEL
    panels = []
    for img, *_ in read(path):
        scale = height / img.shape[0]
        img = cv2.resize(img, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        missing = max(width - img.shape[1], 0)
        img = cv2.copyMakeBorder(img, 0, 0, missing // 2, missing - missing // 2,
                                 cv2.BORDER_CONSTANT)
        left = (img.shape[1] - width) // 2
        panels.append(np.ascontiguousarray(img[:, left : left + width]))
    return panels


def panel(name: str | None, number: int) -> np.ndarray:
    """A clip's frame, over and over; grey where nobody is."""
    if name is None:
        return np.full((PANEL[1], PANEL[0], 3), 40, np.uint8)
    panels = panels_of(name)
    return panels[number % len(panels)]
