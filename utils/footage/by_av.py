"""Videos as FFmpeg reads them, by PyAV: with their times, turned as they say, and their sound."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from utils.errors import InputError
from utils.footage.frames import (
    DEFAULT_FPS,
    MAX_DAMAGED,
    MAX_FPS,
    Announced,
    Footage,
    Frame,
    Sound,
    Tally,
)
from utils.footage.tone import HLG, PQ, as_sdr
from utils.io import PathLike, one_line, shown

_SEEKING = 2.0  # seconds that are decoded faster than they are skipped
# Pixels of a frame; smaller ones are decoded in one thread, faster than faces can be followed, as
# every further one costs a tenth to a third of the time of all and is taken from networks.
_LARGE = 1920 * 1088
_SAME = 1e-4  # seconds, within which two times are one
_REORDERED = 16  # frames, by which one can be shown later than it is decoded (H.264, A.3)
_BT601 = 5  # the matrix of colour, as swscale calls it; that of BGR does not matter
# Of pixels, as FFmpeg calls them: the type of a channel, and how many there are.
_LAYOUTS: dict[str, tuple[np.dtype, int]] = {
    "bgr24": (np.dtype("u1"), 3), "bgr48le": (np.dtype("<u2"), 3), "bgra": (np.dtype("u1"), 4)
}
_MATRIX = "DISPLAYMATRIX"
_ONE = 1 << 16  # in a display matrix, of 16.16 fixed point numbers


def open_video(path: PathLike) -> Footage:
    """A video file.

    Frames that cannot be decoded are stood in for by the next that can. The end is where no more
    frames come, whatever their count was said to be.

    Raises
    ------
    InputError : the file is missing, unreadable, or no video.
    """
    try:
        with open_container(path) as container:
            stream = _video_of(container)
            lost, first = _first_frame(container, stream)
            fps = _rate(stream)
            begin = None if first.pts is None else first.pts * stream.time_base - lost / fps
            reader = _Reader(str(path), stream.index, _Geometry.of(stream, first), float(fps),
                             None if begin is None else float(begin))
            count, announced = _count(container, stream, fps), _announced(container, stream, fps)
            heard = container.streams.best("audio")
            sound = Sound(str(path), float(begin or 0)) if heard else None
    except (av.FFmpegError, OSError, ValueError) as error:  # a ValueError for names that cannot be
        raise InputError(f"cannot read {shown(path)}: {_explained(error)}") from error
    return Footage(str(path), reader.geometry.size, float(fps), reader.read, count, sound,
                   announced=announced)


def open_container(path: PathLike) -> Any:
    """FFmpeg's view of a file, which cannot make it read anything but files."""
    options = {"protocol_whitelist": "file"}
    return av.open(f"file:{path}", options=options, metadata_errors="replace")


def _explained(error: Exception) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "it is no video, or a damaged one"
    return one_line(error)


def _video_of(container: Any) -> Any:
    """The stream to show, which is none that holds the picture of an album."""
    for stream in container.streams.video:
        if not _is_cover(stream):
            _give_threads(stream)
            return stream
    raise ValueError("it holds sound only; give a video" if container.streams.audio
                     else "it holds no video")


def _give_threads(stream: Any) -> None:
    context = stream.codec_context
    stream.thread_type = "AUTO"
    context.thread_count = 0 if context.width * context.height > _LARGE else 1


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _first_frame(container: Any, stream: Any) -> tuple[int, Any]:
    """How many frames are lost before the first that can be decoded, and that one."""
    for lost, frame in enumerate(_decoded(container, stream)):
        if frame is not None:
            return lost, frame
    raise ValueError("it holds no frame that can be decoded")


def _decoded(container: Any, stream: Any, tally: Tally | None = None) -> Iterator[Any]:
    """The stream's frames; None in the place of each that cannot be decoded.

    tally : is told how far the file's packets reach.
    """
    packets, failures = container.demux(stream if tally is None else None), 0
    while failures < MAX_DAMAGED:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # cut within a packet
            return
        if packet is None:
            return
        if tally and packet.pts is not None:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            tally.seconds = max(tally.seconds, float(end))
        if packet.stream.index != stream.index:
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError:
            frames = [None]
        for frame in frames:
            damaged = frame is None or frame.is_corrupt
            failures = failures + 1 if damaged else 0
            yield None if damaged else frame


def _rate(stream: Any) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    return rate if rate and 0 < rate <= MAX_FPS else Fraction(DEFAULT_FPS)


def _count(container: Any, stream: Any, fps: Fraction) -> int | None:
    """How many frames the file announces, if it does."""
    hides = "mov" in container.format.name  # frames that it counts; its duration is what is shown
    if stream.frames and not (hides and stream.duration):
        return int(stream.frames)
    if stream.duration:
        return round(stream.duration * stream.time_base * fps)
    return round(container.duration * fps / av.time_base) if container.duration else None


def _announced(container: Any, stream: Any, fps: Fraction) -> Announced:
    """What the file says of its length; a number of frames that is guessed is none."""
    if stream.frames:
        return Announced(frames=_count(container, stream, fps) or 0)
    return Announced(seconds=(container.duration or 0) / av.time_base)


@dataclass(frozen=True)
class _Geometry:
    """How a decoded frame becomes upright and its pixels square.

    scaled : width and height before it is turned.
    turn : what is done to it then, as a matrix of whole numbers over (x, y).
    curve : of its light, as ITU-T H.273 numbers them.
    """

    scaled: tuple[int, int]
    turn: tuple[tuple[int, int], tuple[int, int]]
    curve: int

    @classmethod
    def of(cls, stream: Any, frame: Any) -> _Geometry:
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1
        if aspect > 1:
            width = round(width * aspect)
        else:
            height = round(height / aspect)
        curve = int(getattr(stream.codec_context, "color_trc", 0) or 0)
        return cls((width, height), _turn_of(frame), curve)

    @property
    def size(self) -> tuple[int, int]:
        return self.scaled if self.turn[0][0] else self.scaled[::-1]

    def as_bgr(self, frame: Any, reformatter: VideoReformatter) -> np.ndarray:
        """A decoded frame's picture, (H, W, 3) uint8."""
        if self.curve not in (PQ, HLG):
            return self._reformatted(frame, reformatter, "bgr24")
        return as_sdr(self._reformatted(frame, reformatter, "bgr48le"), self.curve)

    def alpha(self, frame: Any, reformatter: VideoReformatter) -> np.ndarray | None:
        """Its alpha, (H, W) uint8, if it has any."""
        if not any(component.is_alpha for component in frame.format.components):
            return None
        return self._reformatted(frame, reformatter, "bgra")[..., 3].copy()

    def _reformatted(self, frame: Any, reformatter: VideoReformatter, pixels: str) -> np.ndarray:
        width, height = self.scaled
        matrix = frame.colorspace  # older PyAV heeds it only where another one is asked for
        plane = reformatter.reformat(frame, width, height, pixels, matrix, _BT601).planes[0]
        return self.turned(_pixels(plane, width, height, *_LAYOUTS[pixels]))

    def turned(self, img: np.ndarray) -> np.ndarray:
        (a, b), (c, d) = self.turn
        if not a:
            img = cv2.transpose(img)
        flips = [axis for axis, sign in ((1, a + b), (0, c + d)) if sign < 0]
        for axis in flips:
            img = cv2.flip(img, axis)
        return img


def _turn_of(frame: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """The nearest quarter turn and flip of a frame's display matrix.

    The matrix maps (x, y) of the stored frame to (a x + c y, b x + d y) of the shown one, and is
    stored by rows: a b u, c d v, x y w (ISO/IEC 14496-12, 6.2.2).
    """
    matrix = next((data for data in frame.side_data if data.type.name == _MATRIX), None)
    if matrix is None:
        return (1, 0), (0, 1)
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / _ONE
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1, 0), (0, -1 if d < 0 else 1)
    return (0, -1 if c < 0 else 1), (-1 if b < 0 else 1, 0)


@dataclass(frozen=True)
class _Reader:
    """Reads a file from its beginning, as often as asked."""

    path: str
    index: int
    geometry: _Geometry
    fps: float
    begin: float | None

    def read(self, start: float, tally: Tally) -> Generator[Frame, None, None]:
        """The frames, perhaps without some that end before `start`."""
        with open_container(self.path) as container:
            stream = container.streams[self.index]
            _give_threads(stream)
            if start > _SEEKING and self.begin is not None:
                container.seek(int((self.begin + start) * av.time_base))
            yield from self._stood_in(_decoded(container, stream, tally), tally)
            tally.ended = True

    def _stood_in(self, decoded: Iterator[Any], tally: Tally) -> Iterator[Frame]:
        """Frames with their times; the next good one in the places of the damaged ones."""
        lost, last, reformatter = 0, None, VideoReformatter()
        for frame in decoded:
            if frame is None:
                lost += 1
                continue
            seconds = self._seconds(frame, last, tally)
            before = seconds - (lost + 1) / self.fps if last is None else last
            if last is None:
                tally.frames = max(round(before * self.fps) + 1, 0)
            img = self.geometry.as_bgr(frame, reformatter)
            alpha = self.geometry.alpha(frame, reformatter)
            tally.damaged += lost
            for place in range(1, lost + 1):
                time = before + (seconds - before) * place / (lost + 1)
                yield _counted(Frame(img.copy(), 0, time, alpha=alpha), tally)
            yield _counted(Frame(img, 0, seconds, _lasts(frame), alpha), tally)
            lost, last = 0, seconds

    def _seconds(self, frame: Any, last: float | None, tally: Tally) -> float:
        """A frame's time, which is after the last one's."""
        due = 0.0 if last is None else last + 1 / self.fps
        if frame.pts is None or self.begin is None:
            return due
        seconds = float(frame.pts * frame.time_base) - self.begin
        if last is None:
            return seconds
        return seconds if seconds > last + _SAME and not self._is_guessed(frame, tally) else due

    def _is_guessed(self, frame: Any, tally: Tally) -> bool:
        """Whether a frame after damage has a time that no reordering explains."""
        if not tally.damaged or frame.dts is None:
            return False
        return float((frame.pts - frame.dts) * frame.time_base) > _REORDERED / self.fps


def _lasts(frame: Any) -> float | None:
    """Seconds that a frame is to be seen; older PyAV does not tell."""
    duration = getattr(frame, "duration", None)
    return float(duration * frame.time_base) if duration else None


def _counted(frame: Frame, tally: Tally) -> Frame:
    tally.frames += 1
    return frame._replace(number=tally.frames - 1)


def _pixels(plane: Any, width: int, height: int, dtype: np.dtype, channels: int) -> np.ndarray:
    """The pixels of a frame, without a copy where its lines have no padding."""
    lines = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    pixels = np.ascontiguousarray(lines[:height, : channels * width])
    return pixels.reshape(height, width, channels)
