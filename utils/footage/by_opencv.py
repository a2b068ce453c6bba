"""Videos as OpenCV reads them: without their sound."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass

import cv2
import numpy as np

from utils.errors import InputError
from utils.footage.frames import DEFAULT_FPS, MAX_DAMAGED, MAX_FPS, Announced, Footage, Frame, Tally
from utils.io import PathLike


def silence_ffmpeg() -> None:
    """Keep OpenCV's FFmpeg from writing to stderr; it heeds this before its first video only."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


def open_video(path: PathLike) -> Footage:
    """A video file; see `by_av.open_video`.

    Raises
    ------
    InputError : it holds no frame that OpenCV can decode.
    """
    silence_ffmpeg()
    capture = cv2.VideoCapture(os.fspath(path))
    try:
        first = next(_decoded(capture), None)
        if first is None:
            raise InputError(f"cannot read {path}: it holds no frame that OpenCV can decode")
        size = _size_of_square_pixels(capture, *first.img.shape[1::-1])
        fps = capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps <= MAX_FPS else DEFAULT_FPS
        count = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    finally:
        capture.release()
    reader = _Reader(os.fspath(path), size, fps)
    return Footage(reader.path, size, fps, reader.read, count or None, announced=Announced(count))


def _size_of_square_pixels(capture: cv2.VideoCapture, width: int, height: int) -> tuple[int, int]:
    """The size at which frames of that size look as they should."""
    across, along = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if across <= 0 or along <= 0:  # it does not tell
        return width, height
    if capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180:
        across, along = along, across
    if across > along:
        return round(width * across / along), height
    return width, round(height * along / across)


@dataclass(frozen=True)
class _Decoded:
    """A frame, its time by the file's clock, and how many before it could not be decoded."""

    img: np.ndarray
    seconds: float
    lost: int


def _decoded(capture: cv2.VideoCapture) -> Generator[_Decoded, None, None]:
    """The frames that can be decoded, until too many in a row cannot."""
    lost = 0
    while lost < MAX_DAMAGED:
        if capture.grab():
            decoded, img = capture.retrieve()
            if decoded:
                yield _Decoded(img, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, lost)
                lost = 0
                continue
        lost += 1


@dataclass(frozen=True)
class _Reader:
    """Reads a file from its beginning, as often as asked."""

    path: str
    size: tuple[int, int]
    fps: float

    def read(self, start: float, tally: Tally) -> Generator[Frame, None, None]:
        """All frames; the next good one in the places of the damaged ones."""
        capture = cv2.VideoCapture(self.path)
        begin, last = None, -1 / self.fps
        try:
            for decoded in _decoded(capture):
                if begin is None:
                    begin = decoded.seconds - decoded.lost / self.fps
                seconds = decoded.seconds - begin
                if seconds <= last:  # it has no times
                    seconds = last + (decoded.lost + 1) / self.fps
                yield from self._frames(decoded, last, seconds, tally)
                last = seconds
            tally.ended = True
        finally:
            capture.release()

    def _frames(
        self, decoded: _Decoded, last: float, seconds: float, tally: Tally
    ) -> Generator[Frame, None, None]:
        """A frame, after as many copies as were lost since `last`."""
        img = decoded.img
        if img.shape[1::-1] != self.size:  # which changes in some files, too
            img = cv2.resize(img, self.size)
        tally.damaged += decoded.lost
        for place in range(1, decoded.lost + 2):
            time = last + (seconds - last) * place / (decoded.lost + 1)
            tally.frames += 1
            yield Frame(img if time == seconds else img.copy(), tally.frames - 1, time)
