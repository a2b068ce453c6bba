"""Footage of which the times are changed: a part of it, or another rate."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace

from utils.footage.frames import Footage, Frame, Tally

_SAME = 1e-4  # seconds, within which two times are one


def trimmed(footage: Footage, start: float, end: float | None) -> Footage:
    """What is seen of a footage from `start` to `end`, seconds; its times begin at 0."""

    def read(skipped: float, tally: Tally) -> Generator[Frame, None, None]:
        yield from _numbered(_between(footage.read(start + skipped, tally), start, end))

    sound = footage.sound
    if sound is not None:
        last = None if end is None else sound.start + end
        sound = replace(sound, start=sound.start + start, end=last)
    count = footage.count
    if count is not None:
        stop = count if end is None else min(count, round(end * footage.fps))
        count = max(stop - int(start * footage.fps + _SAME), 1)
    return replace(footage, read=read, count=count, sound=sound)


def _between(
    frames: Generator[Frame, None, None], start: float, end: float | None
) -> Iterator[Frame]:
    """The frames of some seconds, the first being the one that is seen at `start`."""
    before = None
    try:
        for frame in frames:
            if frame.seconds <= start + _SAME:
                before = _within(frame, start, end)
                continue
            if end is not None and frame.seconds >= end - _SAME:
                break
            if before is not None:
                yield before
            before = None
            yield _within(frame, start, end)
        if before is not None:
            yield before
    finally:
        frames.close()


def _within(frame: Frame, start: float, end: float | None) -> Frame:
    """A frame with the times that it has there."""
    seconds, lasts = max(frame.seconds, start), frame.lasts
    if lasts is not None:
        until = frame.seconds + lasts
        lasts = max(until if end is None else min(until, end), seconds) - seconds
    return frame._replace(seconds=seconds - start, lasts=lasts or None)


def _numbered(frames: Iterable[Frame]) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        yield frame._replace(number=number)


def at_rate(footage: Footage, fps: float) -> Footage:
    """The footage at a constant rate: each time has the last frame before it.

    A frame that comes less than half a frame later counts as being there.
    """

    def read(start: float, tally: Tally) -> Generator[Frame, None, None]:
        yield from _spaced(footage.read(0.0, tally), fps, 1 / footage.fps)

    count = footage.count
    if count is not None:
        count = max(round(count * fps / footage.fps), 1)
    return replace(footage, read=read, fps=fps, count=count)


def _spaced(
    frames: Generator[Frame, None, None], fps: float, usual: float
) -> Iterator[Frame]:
    """usual : for how long the last one is seen where that is not told, seconds."""
    number, last = 0, None
    for frame in frames:
        while last is not None and (number + 0.5) / fps <= frame.seconds:
            yield last._replace(number=number, seconds=number / fps, lasts=None)
            number, last = number + 1, last._replace(img=last.img.copy())
        last = frame
    if last is None:
        return
    end = last.seconds + (last.lasts or usual)
    for later in range(number, max(whole_frames(end, fps), 1)):
        yield Frame(last.img.copy(), later, later / fps, alpha=last.alpha)


def whole_frames(seconds: float, fps: float) -> int:
    """How many frames begin within some seconds, and are seen for half their time or more."""
    return int(seconds * fps + 0.5)
