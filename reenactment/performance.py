"""What gives an expression at any moment: a picture, a file of numbers, footage, a camera."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from reenactment.faces import Face
from reenactment.scene import Driver
from reenactment.track import Track, rest_of
from utils.errors import NoFaceError
from utils.footage import Footage, Frame, Sound

Find = Callable[[Frame], Sequence[Face]]


class Performance(Protocol):
    """An expression at any moment.

    times : seconds of its frames, a single one of what does not move; fps : their rate.
    sound : what can be heard with it.
    """

    @property
    def times(self) -> Iterable[float]: ...

    @property
    def fps(self) -> float | None: ...

    @property
    def sound(self) -> Sound | None: ...

    def at(self, seconds: float) -> Driver:
        """The face of a moment, counted from the beginning."""
        ...

    def rest(self) -> Face:
        """The face at its calmest."""
        ...


@dataclass(frozen=True, eq=False)
class Still:
    """A `Performance` that does not move."""

    face: Face
    img: np.ndarray | None = None
    times: Sequence[float] = (0.0,)
    fps: float | None = None
    sound: Sound | None = None

    def at(self, seconds: float) -> Driver:
        """The same at any moment."""
        return Driver(self.face, lambda: self.img)

    def rest(self) -> Face:
        """The only face."""
        return self.face


class Played:
    """A `Performance` that is known from its beginning to its end.

    Parameters
    ----------
    times : of all its frames, those without a face, too.
    footage : what it was seen in; None for what comes from numbers alone.
    loop : whether it begins again where it ends, or holds its last expression.
    """

    def __init__(
        self, track: Track, times: Sequence[float], footage: Footage | None, loop: bool
    ) -> None:
        self._track, self._footage, self._loop = track, footage, loop
        self.times = times
        self._frames: Iterator[Frame] = iter(())
        self._frame: Frame | None = None
        self.fps = footage.fps if footage else None
        self.sound = footage.sound if footage else None

    def at(self, seconds: float) -> Driver:
        """The expression between two frames, on the face of the nearer one."""
        face = self._track.at(seconds, self._loop)
        return Driver(face, lambda: self._seen(face.frame.number))

    def rest(self) -> Face:
        """What the calmest frames show."""
        return rest_of(self._track)

    def _seen(self, number: int) -> np.ndarray | None:
        """The picture of a frame; they are read in order, and from the start where it is past."""
        if self._footage is None:
            return None
        if self._frame is None or self._frame.number > number:
            self._frames = iter(self._footage)
            self._frame = next(self._frames, None)
        while self._frame is not None and self._frame.number < number:
            self._frame = next(self._frames, None) or self._frame._replace(number=number)
        return None if self._frame is None else self._frame.img


class Live:
    """A `Performance` before a camera; every moment is the newest one."""

    def __init__(self, footage: Footage, find: Find) -> None:
        self._frames, self._find = iter(footage), find
        self._frame: Frame | None = None
        self._last: Driver | None = None
        self.fps = footage.fps
        self.sound = None

    @property
    def times(self) -> Iterator[float]:
        """The moments of its frames, as long as they come."""
        for frame in self._frames:
            self._frame = frame
            yield frame.seconds

    def at(self, seconds: float) -> Driver:
        """The face in the frame of `times`, or else in the newest one, or the last that was seen.

        Waits for the first face; raises NoFaceError where none comes.
        """
        frame = self._frame or next(self._frames, None)
        self._frame = None
        while frame is not None:
            for face in self._find(frame)[:1]:
                self._last = Driver(face, partial(np.asarray, frame.img))
            if self._last:
                break
            frame = next(self._frames, None)
        if self._last is None:
            raise NoFaceError("the camera has shown no face")
        return self._last

    def rest(self) -> Face:
        """What is seen now; raises NoFaceError where nobody is."""
        face = self.at(0.0).face
        assert face is not None
        return face


class Cast:
    """Who drives whom.

    Parameters
    ----------
    people : performances, by their numbers; none where sliders do alone.
    summary : what was found, in words.
    pairs : the numbers of targets, and who drives each; without them, the first drives everybody.
    """

    def __init__(
        self,
        people: Mapping[int, Performance],
        summary: str,
        pairs: Mapping[int, int] | None = None,
    ) -> None:
        self._people, self.summary, self._pairs = people, summary, pairs or {}
        self._last: dict[int, tuple[float, Driver]] = {}

    @property
    def lead(self) -> Performance | None:
        """The first of them, who gives the length where the target has none."""
        return next(iter(self._people.values()), None)

    def paired(self, pairs: Mapping[int, int], path: str) -> Cast:
        """The same people, each to drive his own; raises NoFaceError where one is missing."""
        check_numbers(pairs.values(), self._people, path)
        return Cast(self._people, self.summary, pairs)

    def at(self, seconds: float, target: int | None) -> Driver:
        """Who drives a target at a moment; the same object to all whom he drives."""
        if not self._people:
            return Driver()
        first = next(iter(self._people))
        number = first if target is None else self._pairs.get(target, first)
        moment, driver = self._last.get(number, (None, None))
        if driver is None or moment != seconds:
            driver = self._people[number].at(seconds)
            self._last[number] = seconds, driver
        return driver


def check_numbers(wanted: Iterable[int], present: Container[int], path: str) -> None:
    """Raises NoFaceError for a number that is not there."""
    for number in wanted:
        if number not in present:
            raise NoFaceError(f"there is no face {number} in {path}, which a pair asks for")
