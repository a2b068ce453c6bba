"""Reading and writing videos; decoding, the work on the frames and encoding overlap."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from utils.errors import InputError, OutputError
from utils.io import PathLike, one_line, shown, whole_file

CODEC = "mp4v"  # MPEG-4 Part 2: the one every build of OpenCV can encode
SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv")  # what can hold it
MAX_FPS = 1000.0  # a higher rate is a clock's, which some files give in its place
DEFAULT_FPS = 25.0  # for files that do not tell theirs
MAX_DAMAGED = 250  # in a row; what follows after more is taken for lost
COUNT_TOLERANCE = 0.01  # of the announced frames may be missing without a word
AHEAD, BEHIND = 4, 4  # how many frames decoding may lead, and encoding may lag


def silence_ffmpeg() -> None:
    """Keep FFmpeg from writing to stderr; to be called before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


class VideoReader:
    """The frames of a video file, (height, width, 3) uint8 BGR, turned as its metadata says.

    The next frame stands in for those before it that cannot be decoded, so that time goes on. The
    end is where no more frames come, whatever their count was said to be.

    Attributes
    ----------
    size : width and height, pixels; fps : frames per second.
    frame_count : what the file says, which may be wrong; 0 if it does not tell.
    frames : how many were read so far; damaged : how many of them could not be decoded.

    Raises
    ------
    InputError : the file is missing, unreadable, or no video.
    """

    def __init__(self, path: PathLike) -> None:
        _check_readable(path)
        self.frames = self.damaged = 0
        self._capture = cv2.VideoCapture(os.fspath(path))
        self._ended = False
        self._waiting: list[np.ndarray] = []  # the same frame, as often as it is still to be given
        first = self._decode(None)
        if first is None:
            self._capture.release()
            raise InputError(f"cannot read {path}: it holds no frame that OpenCV can decode")
        self.size: tuple[int, int] = first.shape[1::-1]
        self._waiting.append(first)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else DEFAULT_FPS
        self.frame_count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def read(self, buffer: np.ndarray | None = None) -> np.ndarray | None:
        """Decode the next frame, into `buffer` where that is of its size; None at the end."""
        frame = self._waiting.pop() if self._waiting else self._decode(buffer)
        if frame is None:
            return None
        self.frames += 1
        # some cameras change the size while they record
        return frame if frame.shape[1::-1] == self.size else cv2.resize(frame, self.size)

    def _decode(self, buffer: np.ndarray | None) -> np.ndarray | None:
        """The next frame that can be decoded; remembers copies of it for those before."""
        for failures in range(0 if self._ended else MAX_DAMAGED):
            if self._capture.grab():
                decoded, frame = self._capture.retrieve(buffer)
                if decoded:
                    self.damaged += failures
                    self._waiting = [frame.copy() for _ in range(failures)]
                    return frame
        self._ended = True
        return None

    @property
    def shortfall(self) -> str:
        """What, once the end is reached, has to be said of damaged and missing frames, or ""."""
        said = []
        if self.damaged:
            said.append(f"{self.damaged} of {self.frames} frames could not be decoded")
        if self.frames + COUNT_TOLERANCE * self.frame_count + 1 < self.frame_count:
            said.append(f"it announces {self.frame_count} frames and ends after {self.frames}")
        return "; ".join(said)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._capture.release()


def _check_readable(path: PathLike) -> None:
    """Find out what OpenCV does not tell; raises InputError."""
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):
            raise InputError(f"cannot read {path}: a video has to be a file, and this is a pipe")
        open(path, "rb").close()
    except (OSError, ValueError) as error:  # a ValueError for names that cannot be
        raise InputError(f"cannot read {shown(path)}: {one_line(error)}; check the path") from error


@contextmanager
def video_writer(
    path: PathLike, fps: float, size: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Yield a function that appends a frame (height, width, 3) uint8 BGR and returns it.

    The video appears under its name when it is complete, or not at all; see `whole_file`.
    MPEG-4 holds even sizes only: of odd ones the last column or row is dropped.

    Raises
    ------
    OutputError : the ending is none of `SUFFIXES`, or the place cannot be written.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot write {path}: the name must end in {', '.join(SUFFIXES)}")
    written = 0

    def append(frame: np.ndarray) -> np.ndarray:
        nonlocal written
        writer.write(frame)
        written += 1
        return frame

    with whole_file(path) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*CODEC), fps, size)
        if not writer.isOpened():
            raise OutputError(
                f"cannot write {path}: OpenCV cannot encode {size[0]} x {size[1]} pixels at "
                f"{fps:g} frames/s"
            )
        try:
            yield append
        finally:
            writer.release()
        if _count_frames(temporary) != written:  # OpenCV keeps errors of writing to itself
            raise OutputError(f"cannot write {path}: the disk seems to be full")


def _count_frames(path: PathLike) -> int:
    """How many frames the index of a video lists."""
    capture = cv2.VideoCapture(os.fspath(path))
    try:
        return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def stream(
    read: Callable[[np.ndarray | None], np.ndarray | None],
    edit: Callable[[np.ndarray], np.ndarray],
    write: Callable[[np.ndarray], np.ndarray],
) -> int:
    """Read, edit and write frames one after another, each step in a thread of its own.

    Parameters
    ----------
    read : gives the next frame, in a buffer that it may use, or None at the end.
    edit : runs in the calling thread; may change its frame in place, and must not keep it.
    write : returns its frame as a buffer to read into.

    Returns
    -------
    The number of frames. An exception of any step ends all three and is raised here.
    """
    count = 0
    with ThreadPoolExecutor(1, "decoder") as decoder, ThreadPoolExecutor(1, "encoder") as encoder:
        decoded = deque(decoder.submit(read, None) for _ in range(AHEAD))
        encoded: deque[Future[np.ndarray]] = deque()
        while (frame := decoded.popleft().result()) is not None:
            encoded.append(encoder.submit(write, edit(frame)))
            spare = encoded.popleft().result() if len(encoded) > BEHIND else None
            decoded.append(decoder.submit(read, spare))
            count += 1
        for pending in encoded:
            pending.result()
    return count
