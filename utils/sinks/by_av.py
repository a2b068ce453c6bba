"""Videos as FFmpeg writes them, by PyAV, with sound."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from utils.errors import OutputError
from utils.footage import Sound
from utils.io import one_line
from utils.sinks.forms import Form
from utils.sinks.soundtrack import Soundtrack

_TICK = Fraction(1, 90_000)  # seconds; the usual rates are whole numbers of it
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class AvEncoder:
    """A video in the making.

    Parameters
    ----------
    path : an empty file; name : what messages call it.
    fps : for what depends on a rate; the frames have times of their own.
    """

    def __init__(
        self, path: Path, name: str, fps: float, form: Form, sound: Sound | None
    ) -> None:
        self._name, self._fps, self._form = name, fps, form
        self._sound = sound
        self._last = -1
        self._stream: Any = None
        self._soundtrack: Soundtrack | None = None
        with self._writing():
            self._container = av.open(str(path), "w", form.container, dict(form.settings))

    def add(self, img: np.ndarray, seconds: float) -> None:
        """Append a picture."""
        with self._writing():
            if self._stream is None:
                self._start(img)
            frame = av.VideoFrame.from_ndarray(_even(img), "bgr24")
            frame = frame.reformat(format=self._form.pixels, dst_colorspace="ITU709")
            self._last = max(round(seconds / _TICK), self._last + 1)
            frame.pts, frame.time_base = self._last, _TICK
            self._mux(self._stream.encode(frame))
            if self._soundtrack:
                self._soundtrack.until(seconds)

    def _start(self, img: np.ndarray) -> None:
        height, width = _even(img).shape[:2]
        rate = Fraction(self._fps).limit_denominator(1001)
        stream = self._container.add_stream(self._form.encoder, rate)
        stream.width, stream.height, stream.pix_fmt = width, height, self._form.pixels
        stream.options = self._form.options
        stream.codec_context.time_base = stream.time_base = _TICK
        stream.codec_context.colorspace = stream.codec_context.color_primaries = 1  # BT.709
        stream.codec_context.color_trc, stream.codec_context.color_range = 1, 1
        self._stream = stream
        if self._sound:
            self._soundtrack = Soundtrack(self._container, self._sound, self._form)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = packet.duration or round(1 / (self._fps * packet.time_base))
            self._container.mux(packet)

    def finish(self) -> None:
        """Encode what is left, and the sound to the end."""
        if self._stream is None:
            raise OutputError(f"cannot write {self._name}: there was no frame")
        with self._writing():
            if self._soundtrack:
                self._soundtrack.until(float(self._last * _TICK) + 1 / self._fps)
            self._mux(self._stream.encode(None))
            self._container.close()

    def abandon(self) -> None:
        """Let go of the file."""
        if self._soundtrack:
            self._soundtrack.close()
        with self._writing():
            self._container.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            full = getattr(error, "errno", None) in _FULL
            said = "the disk seems to be full" if full else one_line(error)
            raise OutputError(f"cannot write {self._name}: {said}") from error


def _even(img: np.ndarray) -> np.ndarray:
    """Without the last column or row where there is an odd number of them."""
    height, width = img.shape[:2]
    return np.ascontiguousarray(img[: height & ~1, : width & ~1])
