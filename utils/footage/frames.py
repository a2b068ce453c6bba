"""What footage is: frames with their times, as often as they are wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

import numpy as np

MAX_FPS = 1000.0  # a higher rate is a clock's, which some files give in its place
DEFAULT_FPS = 25.0  # of what does not tell its rate, and of numbered pictures
MAX_DAMAGED = 250  # frames in a row; what follows after more is taken for lost
TOLERANCE = 0.01  # of what is announced may be missing without a word, and this, too:
_FRAMES, _SECONDS = 1, 0.25
AHEAD = 4  # how many frames decoding may lead


class Frame(NamedTuple):
    """A picture of a footage.

    img (H, W, 3) : uint8 BGR, upright; whoever gets it may keep and change it.
    number : counted from 0; seconds : since the footage's beginning.
    lasts : seconds that it is seen, where the file tells; else until the next, or by the rate.
    alpha (H, W) : uint8, where the footage has it, which is then in all of its frames.
    """

    img: np.ndarray
    number: int
    seconds: float
    lasts: float | None = None
    alpha: np.ndarray | None = None

    def with_alpha(self) -> np.ndarray:
        """The picture, (H, W, 3), or (H, W, 4) where there is alpha."""
        return self.img if self.alpha is None else np.dstack([self.img, self.alpha])


@dataclass(frozen=True)
class Sound:
    """Where the sound of a footage can be had: `path`, from `start` to `end` by that file's clock.

    The footage begins at `start`, seconds; an `end` of None is where the footage ends.
    period : seconds after which it begins again; None where it does not.
    """

    path: str
    start: float = 0.0
    end: float | None = None
    period: float | None = None


@dataclass(frozen=True)
class Announced:
    """What a file says of its length, where it does: frames, or else seconds.

    The latter are those of whatever it holds, sound too.
    """

    frames: int = 0
    seconds: float = 0.0


@dataclass
class Tally:
    """What became of a footage's frames in one reading.

    frames : how many there were, those included that were skipped.
    damaged : how many of them could not be decoded.
    seconds : where the last part of anything that the file holds ends.
    dropped : how many a camera took that nobody had the time for.
    ended : whether the footage was read to its end.
    """

    frames: int = 0
    damaged: int = 0
    seconds: float = 0.0
    dropped: int = 0
    ended: bool = False

    def shortfall(self, announced: Announced) -> str:
        """What has to be said of damaged and missing frames, or ""."""
        said = []
        if self.damaged:
            said.append(f"{self.damaged} of {self.frames} frames could not be decoded")
        if self.ended and self.frames + _FRAMES < (1 - TOLERANCE) * announced.frames:
            said.append(f"it announces {announced.frames} frames and ends after {self.frames}")
        if self.ended and self.seconds + _SECONDS < (1 - TOLERANCE) * announced.seconds:
            said.append(f"it announces {announced.seconds:.1f} s and ends after {self.seconds:.1f}")
        return "; ".join(said)


# Gives the frames; it may leave out those that end before the seconds it is given.
Read = Callable[[float, Tally], Generator["Frame", None, None]]


def _nothing() -> None:
    pass


@dataclass(eq=False)
class Footage:
    """Frames in order of time; iterating again begins anew, but for what is live.

    Decoding runs some frames ahead in a thread of its own. A footage is a context manager, too.

    Attributes
    ----------
    name : for messages.
    size : width and height of every frame, pixels, as they are to be seen: turned as the file
        says, of square pixels.
    fps : frames per second, on average.
    read : reads, and fills a tally.
    count : how many frames to expect; None where that is unknown.
    sound : None if there is none.
    live : the frames come from a camera: once, at their own pace, the newest first.
    announced : what the file says of its length, to be held against what it has.
    age : of what is live, gives the seconds since the last frame that was given was taken.
    """

    name: str
    size: tuple[int, int]
    fps: float
    read: Read
    count: int | None = None
    sound: Sound | None = None
    live: bool = False
    announced: Announced = Announced()
    age: Callable[[], float] | None = None
    release: Callable[[], None] = _nothing
    _running: list[Generator[Frame, None, None]] = field(default_factory=list, init=False)
    _tallies: list[Tally] = field(default_factory=lambda: [Tally()], init=False)

    @property
    def tally(self) -> Tally:
        """Of the reading that came farthest."""
        return max(self._tallies, key=lambda tally: tally.frames)

    @property
    def shortfall(self) -> str:
        """What, once the end is reached, has to be said of damaged and missing frames, or ""."""
        return self.tally.shortfall(self.announced)

    def __iter__(self) -> Generator[Frame, None, None]:
        tally = Tally()
        self._tallies = [self.tally, tally]
        frames = self.read(0.0, tally)
        running = frames if self.live else ahead(frames)
        self._running.append(running)
        return running

    def __enter__(self) -> Footage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is still being read."""
        for running in self._running:
            running.close()
        self._running.clear()
        self.release()


def ahead(frames: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    """The frames, of which the next `AHEAD` are made meanwhile, in a thread."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "decoder") as decoder:
        coming = deque(decoder.submit(next, frames, None) for _ in range(AHEAD))
        try:
            while (frame := coming.popleft().result()) is not None:
                yield frame
                coming.append(decoder.submit(next, frames, None))
        finally:
            for pending in coming:
                pending.cancel()
            decoder.submit(frames.close).result()
