"""What gives an expression at any moment, who drives whom, and what gets it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reenactment.faces import Face
from reenactment.scene import Driver
from utils.errors import NoFaceError
from utils.footage import Frame, Sound
from utils.metadata import Metadata

STILL_FPS = 25.0  # of what is made of pictures alone
Find = Callable[[Frame], Sequence[Face]]
# (frames, how many there may be, what is done with them) to the frames, while somebody looks on
Watch = Callable[[Iterable[Frame], "int | None", str], Iterable[Frame]]


class Performance(Protocol):
    """An expression at any moment.

    times : seconds of its frames, a single one of what does not move; fps : their rate.
    sound : what can be heard with it.
    age : of what a camera sees, as in `Target`.
    """

    @property
    def times(self) -> Iterable[float]: ...

    @property
    def fps(self) -> float | None: ...

    @property
    def sound(self) -> Sound | None: ...

    @property
    def age(self) -> Callable[[], float] | None: ...

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
    age: Callable[[], float] | None = None

    def at(self, seconds: float) -> Driver:
        """The same at any moment."""
        return Driver(self.face, lambda: self.img)

    def rest(self) -> Face:
        """The only face."""
        return self.face


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

    def stopped(self, at: float) -> Cast:
        """The same people as they are at a moment."""
        drivers = {number: person.at(at) for number, person in self._people.items()}
        people = {number: Still(d.face, d.sight()) for number, d in drivers.items() if d.face}
        return Cast(people, f"at {at:g} s, {self.summary}", self._pairs)

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


@dataclass(frozen=True, eq=False)
class Target:
    """What gets an expression.

    name : of the file.
    frames : one after another; count : how many there may be, if that is known.
    faces : the faces that are meant, of the frame that came last; `Face.track` numbers them.
    summary : what was found, in words; found, picked, confidence : as in `Outcome`.
    awake : as in `Scene`, of what moves.
    fps : of the frames; sound : what is to be heard with them.
    age : of what a camera sees, gives the seconds since the last frame was taken.
    metadata : of a file that is to be changed as a whole, what it has besides pixels.
    original : gives a frame with the alpha and the 16 bits that its file has, if it has any.
    """

    name: str
    frames: Iterable[Frame]
    faces: Find
    summary: str
    found: int
    picked: tuple[int, ...]
    confidence: tuple[float, ...]
    awake: Callable[[Face], Driver] = lambda _: Driver()
    count: int | None = 1
    fps: float = STILL_FPS
    sound: Sound | None = None
    age: Callable[[], float] | None = None
    metadata: Metadata | None = None
    original: Callable[[Frame], np.ndarray] = Frame.with_alpha
