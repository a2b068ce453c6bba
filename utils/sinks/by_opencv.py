"""Videos as OpenCV writes them: silent, at a constant rate."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from utils.errors import OutputError
from utils.footage.by_opencv import silence_ffmpeg


class OpenCvEncoder:
    """A video in the making.

    Its rate being constant, a picture is written as often as it is due, or not at all.

    Parameters
    ----------
    path : an empty file; name : what messages call it.
    codec : four letters.
    """

    def __init__(self, path: Path, name: str, fps: float, codec: str) -> None:
        silence_ffmpeg()
        self._path, self._name, self._fps, self._codec = path, name, fps, codec
        self._writer: cv2.VideoWriter | None = None
        self._waiting: np.ndarray | None = None
        self._written = self._end = 0

    def add(self, img: np.ndarray, seconds: float, lasts: float | None) -> None:
        """Append a picture."""
        if self._writer is None:
            self._writer = self._opened(img.shape[1], img.shape[0])
        self._fill(round(seconds * self._fps))
        self._waiting = img
        self._end = round((seconds + (lasts or 0)) * self._fps)

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*self._codec)
        writer = cv2.VideoWriter(str(self._path), codec, self._fps, (width, height))
        if not writer.isOpened():
            raise OutputError(
                f"cannot write {self._name}: OpenCV cannot encode {width} x {height} pixels at "
                f"{self._fps:g} frames/s"
            )
        return writer

    def _fill(self, end: int) -> None:
        """Write the last picture until there are as many frames."""
        while self._waiting is not None and self._writer and self._written < end:
            self._writer.write(self._waiting)
            self._written += 1

    def finish(self) -> None:
        """Complete the file."""
        self._fill(max(self._written + 1, self._end))
        self.abandon()
        if self._written == 0:
            raise OutputError(f"cannot write {self._name}: there was no frame")
        if _count_frames(self._path) != self._written:  # OpenCV keeps errors to itself
            raise OutputError(f"cannot write {self._name}: the disk seems to be full")

    def abandon(self) -> None:
        """Let go of the file."""
        if self._writer:
            self._writer.release()


def _count_frames(path: Path) -> int:
    """How many frames a video has, whatever it says."""
    capture, count = cv2.VideoCapture(os.fspath(path)), 0
    try:
        while capture.grab():
            count += 1
        return count
    finally:
        capture.release()
