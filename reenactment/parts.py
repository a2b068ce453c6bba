"""Files over time: what becomes of one output of a run, frame by frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from reenactment.clip import Clip
from utils.footage import Frame, Sound
from utils.footage.pictures import NUMBER, numbered_name
from utils.io import WholeFiles, write_bytes, writing
from utils.rows import RowText
from utils.sinks import Sink, open_sink


@dataclass(frozen=True)
class Setting:
    """What a part is made for.

    files : in which it takes its place at the end; path : its own.
    encode : the medium's, (output, ending, quality) to a file's content.
    quality : of single pictures; comment : for a video's metadata.
    fps, sound : of what gives the length.
    """

    files: WholeFiles
    path: str
    encode: Callable[..., bytes]
    quality: int | None
    clip: Clip
    fps: float
    sound: Sound | None
    comment: str = ""


class Part(Protocol):
    """One output of a run, over time."""

    def write(self, output: Any, frame: Frame) -> None:
        """Take what was made of a frame; raises OutputError where it cannot be kept."""
        ...

    def close(self) -> None:
        """It has come to its end, which may be before that of its frames."""
        ...


class Film:
    """Pictures, in a video or an animation; all get the size of the first that shows anything."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._sink: Sink | None = None
        self._shape: tuple[int, ...] = ()
        self._before: list[float] = []  # when there was nothing to show yet

    def write(self, output: np.ndarray, frame: Frame) -> None:
        """Add a picture (H, W) or (H, W, 3 or 4) uint8; one without pixels is black."""
        picture = cv2.cvtColor(output, cv2.COLOR_GRAY2BGR) if output.ndim == 2 else output
        if self._sink is None and not picture.size:
            self._before.append(frame.seconds)
            return
        if self._sink is None:
            self._sink, self._shape = self._open(), picture.shape
            for earlier in self._before:
                self._sink.write(np.zeros_like(picture), earlier)
        self._sink.write(_fitted(picture, self._shape), frame.seconds, frame.lasts)

    def _open(self) -> Sink:
        setting, clip = self._setting, self._setting.clip
        return open_sink(setting.path, setting.fps, setting.files, sound=setting.sound,
                         quality=clip.quality, encoder=clip.encoder, comment=setting.comment)

    def close(self) -> None:
        """Finish the file."""
        if self._sink is not None:
            self._sink.close()


class Rows:
    """What was made of each frame, in lists that a document can only hold all together."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._rows: list[Any] = []

    def write(self, output: list[Any], frame: Frame) -> None:
        """Add the rows of a frame."""
        self._rows += output

    def close(self) -> None:
        """Write the document."""
        path = self._setting.path
        content = self._setting.encode(self._rows, Path(path).suffix)
        with writing(path):
            self._setting.files.new(path).write_bytes(content)


class Lines:
    """What was made of each frame, in the rows of a text that is written as they come.

    texts : how, by the file's ending.
    """

    def __init__(self, setting: Setting, texts: Mapping[str, RowText]) -> None:
        self._path = setting.path
        self._text = texts[Path(self._path).suffix.lower()]
        self._rows = 0
        with writing(self._path):
            self._file = setting.files.new(self._path).open("w", encoding="utf-8", newline="\n")

    def write(self, output: list[Any], frame: Frame) -> None:
        """Add the rows of a frame."""
        with writing(self._path):
            for row in output:
                before = self._text.between if self._rows else self._text.head(row)
                self._file.write(before + self._text.row(row))
                self._rows += 1

    def close(self) -> None:
        """Complete the document."""
        with writing(self._path), self._file:
            self._file.write(self._text.tail if self._rows else self._text.encode([]).decode())


class Numbered:
    """A file for every frame, written at once."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def write(self, output: Any, frame: Frame) -> None:
        """Write the file of a frame."""
        files, pattern = self._setting.files, self._setting.path
        path = numbered_name(pattern, frame.number)
        if pattern not in files.replaced and os.path.lexists(path):
            files.replaced.append(pattern)
        write_bytes(path, self._setting.encode(output, Path(path).suffix, self._setting.quality))

    def close(self) -> None:
        """All is written."""


def is_numbered(path: str) -> bool:
    """Whether a name is a pattern of numbered ones, such as 'out/%05d.png'."""
    return NUMBER.search(path) is not None


def _fitted(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture on black, or a part of it, where it is not of that size."""
    if picture.shape == shape:
        return picture
    fitted = np.zeros(shape, np.uint8)
    height, width = np.minimum(picture.shape[:2], shape[:2])
    fitted[:height, :width] = picture[:height, :width]
    return fitted
