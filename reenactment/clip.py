"""How moving pictures are made of moving ones."""

from __future__ import annotations

from dataclasses import dataclass

from utils.errors import UsageError
from utils.footage.frames import MAX_FPS
from utils.sinks.forms import QUALITIES

OSC_PORT = 39539  # where VMC's receivers listen
SOUNDS = ("auto", "target", "source", "none")


@dataclass(frozen=True)
class Clip:
    """What is taken of a moving source and target, and how the result plays.

    trim : seconds of what gives the length, from and to; None is its end.
    loop : whether a source that is shorter begins again, or holds its last expression.
    fps : a constant rate of the result; None keeps the times of what gives the length.
    sound : whose is kept, one of `SOUNDS`; auto is the target's if it moves, else the source's.
    smooth : how much trembling is taken out of poses and expressions, 0 (as they are seen) to 1.
    quality : 1 to 100, encoder : FFmpeg's name of one; None leaves it to the file's ending.
    virtual_camera : whether other programs see the result as a camera.
    osc : 'HOST:PORT' or 'PORT' where the result's weights are sent to.
    """

    trim: tuple[float, float | None] = (0.0, None)
    loop: bool = False
    fps: float | None = None
    sound: str = "auto"
    smooth: float = 0.5
    quality: int | None = None
    encoder: str | None = None
    virtual_camera: bool = False
    osc: str | None = None

    def __post_init__(self) -> None:
        start, end = self.trim
        if start is None:
            raise UsageError("trim: START has to be a number of seconds")
        if not 0 <= start < (float("inf") if end is None else end):
            until = "the end" if end is None else f"{end:g}"
            raise UsageError(f"trim: expected 0 <= START < END, got {start:g} and {until}")
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise UsageError(f"fps: expected up to {MAX_FPS:g} frames a second, got {self.fps:g}")
        if self.sound not in SOUNDS:
            raise UsageError(f"audio: expected {', '.join(SOUNDS)}, got {self.sound!r}")
        if not 0 <= self.smooth <= 1:
            raise UsageError(f"smooth: expected 0 to 1, got {self.smooth:g}")
        if self.quality is not None and self.quality not in QUALITIES:
            raise UsageError(f"video_quality: expected 1 to 100, got {self.quality}")
