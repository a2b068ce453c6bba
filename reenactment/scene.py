"""What there is to draw: a frame and the faces in it, before and after a transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from reenactment.faces import Face
from TDDFA import TDDFA
from utils.errors import UsageError


@dataclass(frozen=True)
class Look:
    """How things are drawn.

    alpha : opacity of the 3d mask over the picture, 0 to 1.
    over_picture : whether masks, depth and pncc are drawn over the picture or on black.
    photo_eyes : whether a photo's eyes take part, or stay as they are, say behind glasses.
    photo_in_panel : whether the panel shows the photo, too.
    """

    alpha: float = 0.6
    over_picture: bool = True
    photo_eyes: bool = True
    photo_in_panel: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha: expected 0 to 1, got {self.alpha}")


class Driver(NamedTuple):
    """A face that gives its expression, and what gives the picture in which it was seen.

    No face where sliders do alone, and no picture where numbers do.
    """

    face: Face | None = None
    sight: Callable[[], np.ndarray | None] = lambda: None


@dataclass(frozen=True, eq=False)
class Scene:
    """A frame and the faces in it.

    tddfa : turns faces into vertices.
    img (H, W, 3) uint8 BGR : the frame, which shows the targets.
    targets, results : the faces before and after, a result for each target.
    drivers : who gave each result its expression; none at all, or one for each.
    awake : gives the person of a target with open eyes, and a picture of that, where it is known.
    original : gives the frame with the alpha and the 16 bits that its file has, if it has any.
    """

    tddfa: TDDFA
    img: np.ndarray
    targets: Sequence[Face]
    results: Sequence[Face]
    drivers: Sequence[Driver] = ()
    awake: Callable[[Face], Driver] = lambda _: Driver()
    original: Callable[[], np.ndarray] | None = None

    @cached_property
    def before(self) -> list[np.ndarray]:
        """Dense vertices (3, N) float32 of the targets, pixels of the frame."""
        return self._dense(self.targets)

    @cached_property
    def after(self) -> list[np.ndarray]:
        """The same of the results."""
        return self.before if self.results is self.targets else self._dense(self.results)

    @cached_property
    def landmarks(self) -> list[np.ndarray]:
        """The 68 landmarks (3, 68) float32 of the results."""
        return self.tddfa.reconstruct([f.parts for f in self.results], _rois(self.results))

    @property
    def source(self) -> Face | None:
        """The face that gave its expression, or the first of several that did, if one did."""
        return self.drivers[0].face if self.drivers else None

    def by_driver(self) -> list[tuple[Driver, list[Face], list[Face]]]:
        """Each driver with the targets and results that are his."""
        groups: dict[int, tuple[Driver, list[Face], list[Face]]] = {}
        drivers = self.drivers or [Driver()] * len(self.results)
        for driver, target, result in zip(drivers, self.targets, self.results):
            _, targets, results = groups.setdefault(id(driver.face), (driver, [], []))
            targets.append(target)
            results.append(result)
        return [*groups.values()]

    def dense(self, face: Face) -> np.ndarray:
        """Dense vertices (3, N) float32 of any face, its own picture's pixels."""
        return self._dense([face])[0]

    def on_the_way(self, share: float) -> Scene:
        """The scene with results that have gone a share of the way from the targets, 0 to 1."""
        if share == 1:
            return self
        pairs = zip(self.targets, self.results)
        return replace(self, results=[target.towards(result, share) for target, result in pairs])

    def _dense(self, faces: Sequence[Face]) -> list[np.ndarray]:
        parts = [face.parts for face in faces]
        return self.tddfa.reconstruct(parts, _rois(faces), dense=True)


def _rois(faces: Sequence[Face]) -> list[Sequence[float]]:
    return [face.roi_box for face in faces]
