"""Moving pictures as FFmpeg writes them, by PyAV, with sound."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from utils.errors import OutputError
from utils.footage import Sound
from utils.io import one_line
from utils.sinks.forms import CODECS, Codec, Form
from utils.sinks.palettes import Palettes
from utils.sinks.soundtrack import Soundtrack
from utils.sinks.yuv import as_i420

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_BT709 = 1  # how matrices, primaries and curves of colour call it (ITU-T H.273), and swscale
_LIMITED = 1  # the range of its values, as FFmpeg calls it
_TRIAL = (256, 256, 3)  # of a picture that every encoder takes
_MAX_RATE = 1001  # the denominators of rates: 30000 / 1001


class AvEncoder:
    """A file in the making.

    Parameters
    ----------
    path : an empty file; name : what messages call it.
    fps : for what depends on a rate; the pictures have times of their own.
    codec : in the place of the form's; comment : in the file's metadata, where it has any.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        fps: float,
        form: Form,
        *,
        codec: str | None = None,
        quality: int | None = None,
        sound: Sound | None = None,
        comment: str = "",
    ) -> None:
        self._name, self._folder, self._fps, self._form = name, path.parent, fps, form
        self._codec = CODECS.get(codec, Codec(codec, {}, setting="")) if codec else form.codec
        self._quality, self._sound = quality, sound if form.sound else None
        self._tick, self._first, self._last = Fraction(1, form.clock), -1, -1
        self._lasts = 1 / fps
        self._lead: int | None = None  # when decoding begins, before the first picture is shown
        self._stream: Any = None
        self._soundtrack: Soundtrack | None = None
        self._palettes = Palettes() if form.pixels == "pal8" else None
        self._reformatter = VideoReformatter()
        with self._writing():
            self._container = av.open(f"file:{path}", "w", form.container, dict(form.settings))
            if comment:
                self._container.metadata["comment"] = comment

    def add(self, img: np.ndarray, seconds: float, lasts: float | None) -> None:
        """Append a picture, if the clock has ticked since the last one."""
        tick = round(seconds * self._form.clock)
        if tick <= self._last:
            return
        self._last, self._lasts = tick, lasts or 1 / self._fps
        with self._writing():
            if self._stream is None:
                self._start(img)
            self._encode(self._frame(img))
            if self._soundtrack:
                self._soundtrack.until(seconds)

    def _start(self, img: np.ndarray) -> None:
        form, (height, width) = self._form, img.shape[:2]
        rate = Fraction(self._fps).limit_denominator(_MAX_RATE)
        stream = self._container.add_stream(self._codec.name, rate)
        clear = form.clear_pixels if img.shape[2] == 4 else ""
        stream.pix_fmt = clear or form.pixels
        if stream.pix_fmt.startswith("yuv"):
            width, height = width & ~1, height & ~1
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
        if form.iso and stream.codec_context.codec.canonical_name == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # the only one that Apple's players take
        stream.width, stream.height = width, height
        stream.options = self._codec.options_for(self._quality)
        stream.bit_rate = self._codec.bit_rate(self._quality, width * height * self._fps)
        stream.codec_context.time_base = stream.time_base = self._tick
        self._stream, self._first = stream, self._last
        if self._sound:
            self._soundtrack = Soundtrack(self._container, self._sound, form)

    def _frame(self, img: np.ndarray) -> Any:
        """A picture as the encoder takes it."""
        stream = self._stream
        img = np.ascontiguousarray(img[: stream.height, : stream.width])
        if img.shape[2] == 4 and stream.pix_fmt != self._form.clear_pixels:
            img = _on_black(img)
        if stream.pix_fmt == "yuv420p":
            frame = av.VideoFrame.from_numpy_buffer(as_i420(img), "yuv420p")  # copies nothing
            frame.colorspace, frame.color_range = _BT709, _LIMITED
        else:
            frame = av.VideoFrame.from_ndarray(img, "bgra" if img.shape[2] == 4 else "bgr24")
            if self._palettes is None:
                frame = self._reformatter.reformat(
                    frame, format=stream.pix_fmt, dst_colorspace=_BT709, dst_color_range=_LIMITED
                )
        frame.pts, frame.time_base = self._last, self._tick
        return frame

    def _encode(self, frame: Any) -> None:
        """Encode a frame, or with None what is left."""
        frames: Iterable[Any] = [frame]
        if self._palettes:
            frames = self._palettes.painted(frame)
        for ready in frames:
            packets = self._stream.encode(ready)
            for packet in packets:
                if ready is None and self._first == self._last:
                    packet.dts = packet.pts  # x265 counts back from a second frame that never came
                if round(packet.pts * packet.time_base / self._tick) == self._last:
                    packet.duration = round(self._lasts / packet.time_base)
                elif not packet.duration:
                    packet.duration = round(1 / (self._fps * packet.time_base))
                self._lead = packet.dts if self._lead is None else self._lead
                if ready is None and packet is packets[-1] and self._form.iso:
                    # of what is decoded last, be it shown last or not, the stream has its length
                    length = round(self._end / packet.time_base)
                    packet.duration = length - (packet.dts - self._lead)
                self._container.mux(packet)

    @property
    def _end(self) -> float:
        """Seconds, until which the last picture is seen."""
        return float(self._last * self._tick) + self._lasts

    def finish(self) -> None:
        """Encode what is left, and the sound up to there."""
        if self._stream is None:
            raise OutputError(f"cannot write {self._name}: there was no frame")
        with self._writing():
            if self._soundtrack:
                self._soundtrack.until(self._end)
            self._encode(None)
            self._container.close()

    def abandon(self) -> None:
        """Let go of the file."""
        if self._soundtrack:
            self._soundtrack.close()
        with suppress(OutputError), self._writing():
            self._container.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            full = getattr(error, "errno", None) in _FULL or not disk_usage(self._folder).free
            said = "the disk seems to be full" if full else f"FFmpeg says {one_line(error)}"
            raise OutputError(f"cannot write {self._name}: {said}") from error


def check_codec(name: str) -> None:
    """Raises OutputError unless there is an encoder of pictures of that name."""
    try:
        video = av.codec.Codec(name, "w").type == "video"
    except ValueError:
        video = False
    if not video:
        known = ", ".join(sorted(CODECS.keys() & av.codec.codecs_available))
        raise OutputError(f"no encoder of pictures is called {name!r}; there are {known}, …")


def try_codec(name: str, form: Form, path: str) -> None:
    """Raises OutputError unless an encoder can write a form's files.

    path : what messages call the file.
    """
    with TemporaryDirectory() as folder:
        trial = AvEncoder(Path(folder, "trial"), path, 25, form, codec=name)
        try:
            trial.add(np.zeros(_TRIAL, np.uint8), 0.0, None)
            trial.finish()
        except OutputError as error:
            trial.abandon()
            raise OutputError(f"{error}; {name} may not be for {path} or not work here") from error


def _on_black(img: np.ndarray) -> np.ndarray:
    """A picture (H, W, 4) uint8 BGRA on black, (H, W, 3)."""
    opacity = cv2.cvtColor(img[..., 3], cv2.COLOR_GRAY2BGR)
    return cv2.multiply(img[..., :3], opacity, scale=1 / 255)
