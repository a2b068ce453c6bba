"""Cameras, of which the newest frame is given; a file can stand in for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator

import cv2
import numpy as np

from utils.errors import InputError
from utils.footage.frames import DEFAULT_FPS, MAX_FPS, Footage, Frame, Tally

PREFIX = "camera:"

# Takes pictures until the event is set, or there are no more.
Take = Callable[[threading.Event], Iterator[np.ndarray]]


def open_device(number: int, fps: float | None) -> Footage:
    """The camera that the system gives that number; it is asked for the rate.

    Raises
    ------
    InputError : it gives no picture.
    """
    capture, name = cv2.VideoCapture(number), f"{PREFIX}{number}"
    if fps:
        capture.set(cv2.CAP_PROP_FPS, fps)
    taken, first = capture.read()
    if not taken:
        capture.release()
        raise InputError(f"cannot read {name}: no such camera answers; try another number, and "
                         "see whether another program uses it")

    def take(ending: threading.Event) -> Iterator[np.ndarray]:
        while not ending.is_set():
            taken, img = capture.read()
            if not taken:
                return
            yield img

    rate = capture.get(cv2.CAP_PROP_FPS)
    size = (first.shape[1], first.shape[0])
    return _live(name, size, rate if 0 < rate <= MAX_FPS else DEFAULT_FPS, take, capture.release)


def played(footage: Footage) -> Footage:
    """Footage at its own pace, as if a camera took it now."""

    def take(ending: threading.Event) -> Iterator[np.ndarray]:
        begin = time.monotonic()
        for frame in footage:
            if ending.wait(max(begin + frame.seconds - time.monotonic(), 0)):
                return
            yield frame.img

    return _live(PREFIX + footage.name, footage.size, footage.fps, take, footage.close)


def _live(
    name: str, size: tuple[int, int], fps: float, take: Take, release: Callable[[], None]
) -> Footage:
    newest = _Newest(take)

    def end() -> None:
        newest.stop()
        release()

    return Footage(name, size, fps, newest.read, live=True, age=newest.age, release=end)


class _Newest:
    """The newest of the pictures that a thread takes; those nobody had the time for are dropped."""

    def __init__(self, take: Take) -> None:
        self._tally = Tally()
        self._take, self._ending = take, threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._changed = threading.Condition()
        self._waiting: tuple[np.ndarray, float] | None = None
        self._error: BaseException | None = None
        self._taken = 0.0  # when the last one that was given was

    def read(self, start: float, tally: Tally) -> Generator[Frame, None, None]:
        """The newest picture, whenever there is one; times are by the clock."""
        self._tally = tally
        self._thread.start()
        begin = None
        while (newest := self._next()) is not None:
            img, self._taken = newest
            begin = self._taken if begin is None else begin
            tally.frames += 1
            yield Frame(img, tally.frames - 1, self._taken - begin)
        if self._error:
            raise self._error

    def age(self) -> float:
        """Seconds since the last picture that was given was taken."""
        return time.monotonic() - self._taken

    def stop(self) -> None:
        """Take no more."""
        self._ending.set()
        if self._thread.ident:
            self._thread.join()

    def _next(self) -> tuple[np.ndarray, float] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._thread.is_alive()
                                   or self._ending.is_set())
            newest, self._waiting = self._waiting, None
            return newest

    def _run(self) -> None:
        try:
            for img in self._take(self._ending):
                self._put((img, time.monotonic()))
        except BaseException as error:  # raised where the pictures are wanted
            self._error = error
        finally:
            self._ending.set()
            self._put(None)

    def _put(self, newest: tuple[np.ndarray, float] | None) -> None:
        with self._changed:
            if newest:
                self._tally.dropped += self._waiting is not None
                self._waiting = newest
            self._changed.notify()
