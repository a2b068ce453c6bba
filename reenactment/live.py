"""Results that are not kept: in a window, as a camera of other programs, as weights."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from reenactment.clip import Clip
from reenactment.parts import Part
from utils.errors import UsageError
from utils.footage import Frame
from utils.io import one_line

logger = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_NO_WINDOW = (
    "showing moving pictures needs a display, and opencv-python in place of opencv-python-headless"
)
# Without one of these, OpenCV's windows end the program on Linux.
_DISPLAYS = {"DISPLAY", "WAYLAND_DISPLAY"}
_STOP_KEYS = {ord("q"), 27}  # Esc
_WHITE = (255, 255, 255)


class Window:
    """Shows pictures as they come; q or Esc stops the run.

    Parameters
    ----------
    age : gives the seconds since the frame was taken; None where no camera took it.
    """

    def __init__(self, title: str, age: Callable[[], float] | None) -> None:
        self._title, self._age = title, age
        self._works = can_show()
        if not self._works:
            logger.warning(_NO_WINDOW)

    def write(self, output: np.ndarray, frame: Frame) -> None:
        """Show a picture (H, W, 3) uint8 BGR."""
        if not self._works:
            return
        cv2.imshow(self._title, self._labelled(output))
        if cv2.waitKey(1) & 0xFF in _STOP_KEYS:
            raise KeyboardInterrupt

    def _labelled(self, picture: np.ndarray) -> np.ndarray:
        if self._age is None:
            return picture
        text = f"{1000 * self._age():.0f} ms"
        labelled = picture.copy()
        cv2.putText(labelled, text, (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.9, _WHITE, 2, cv2.LINE_AA)
        return labelled

    def close(self) -> None:
        """Close the window."""
        if self._works:
            with suppress(cv2.error):
                cv2.destroyWindow(self._title)


class Paced:
    """A part that gets each frame when it is due, as somebody who looks on would have it."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._begin: float | None = None

    def write(self, output: Any, frame: Frame) -> None:
        """Wait until it is time, but for what is late already, and take what was made of it."""
        now = time.monotonic()
        self._begin = now - frame.seconds if self._begin is None else self._begin
        time.sleep(max(self._begin + frame.seconds - now, 0))
        self._part.write(output, frame)

    def close(self) -> None:
        """The part has come to its end."""
        self._part.close()


class VirtualCamera:
    """Pictures as a camera that other programs see; opened with the first one.

    Raises
    ------
    UsageError : pyvirtualcam is not installed, or finds no device.
    """

    def __init__(self, fps: float) -> None:
        self._module, self._fps = _cameras(), fps
        self._camera: Any = None

    def write(self, output: np.ndarray, frame: Frame) -> None:
        """Send a picture (H, W, 3) uint8 BGR."""
        if self._camera is None:
            height, width = output.shape[:2]
            try:
                self._camera = self._module.Camera(
                    width, height, self._fps, fmt=self._module.PixelFormat.BGR
                )
            except (RuntimeError, ValueError) as error:
                raise UsageError(f"--virtual_camera: {one_line(error)}") from error
        self._camera.send(np.ascontiguousarray(output))

    def close(self) -> None:
        """Take the camera away."""
        if self._camera is not None:
            self._camera.close()


class Avatar:
    """ARKit's weights and the head's turn, sent as VMC's receivers understand them, over OSC.

    Parameters
    ----------
    place : 'HOST:PORT' or 'PORT' of this machine.

    Raises
    ------
    UsageError : another form, or python-osc is not installed.
    """

    def __init__(self, place: str) -> None:
        host, port = parse_place(place)
        try:
            self._client = _osc().SimpleUDPClient(host, port)
        except OSError as error:
            raise UsageError(f"--osc {place}: {one_line(error)}") from error

    def write(self, output: Sequence[Mapping[str, Any]], frame: Frame) -> None:
        """Send what `weights.describe` tells of the first face; without one, nothing."""
        for face in output[:1]:
            for name, weight in face["weights"].items():
                self._client.send_message("/VMC/Ext/Blend/Val", [name, float(weight)])
            turn = quaternion(*(face["head"][angle] for angle in ("yaw", "pitch", "roll")))
            self._client.send_message("/VMC/Ext/Bone/Pos", ["Head", 0.0, 0.0, 0.0, *turn])
            self._client.send_message("/VMC/Ext/Blend/Apply", [])

    def close(self) -> None:
        """There is nothing to end."""


def can_show() -> bool:
    """Whether a window can be opened."""
    if sys.platform == "linux" and not _DISPLAYS & os.environ.keys():
        return False
    try:
        cv2.destroyAllWindows()  # there is none yet, but it tells
    except cv2.error:
        return False
    return True


def check_window() -> None:
    """Find out early that moving pictures would be seen nowhere; raises UsageError."""
    if not can_show():
        raise UsageError(f"show_flag: {_NO_WINDOW}; or name a file with -o")


def check_live(clip: Clip) -> None:
    """Find out early what would keep moving pictures from being sent; raises UsageError."""
    if clip.osc:
        parse_place(clip.osc)
        _osc()
    if clip.virtual_camera:
        _cameras()


def _osc() -> Any:
    return _loaded("pythonosc.udp_client", "osc", "python-osc")


def _cameras() -> Any:
    return _loaded("pyvirtualcam", "virtual_camera", "pyvirtualcam")


def _loaded(module: str, option: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"{option} needs a package: pip install {package}") from error


def parse_place(text: str) -> tuple[str, int]:
    """The host and port of 'HOST:PORT' or 'PORT'; raises UsageError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"osc: expected HOST:PORT or PORT, got {text!r}")
    return host or _LOOPBACK, int(port)


def quaternion(yaw: float, pitch: float, roll: float) -> tuple[float, float, float, float]:
    """x, y, z, w of a head turned about y by yaw, then x by pitch, then z by roll; degrees."""
    (cy, sy), (cp, sp), (cr, sr) = (
        (math.cos(math.radians(angle) / 2), math.sin(math.radians(angle) / 2))
        for angle in (yaw, pitch, roll)
    )
    return (
        cy * sp * cr + sy * cp * sr,
        sy * cp * cr - cy * sp * sr,
        cy * cp * sr - sy * sp * cr,
        cy * cp * cr + sy * sp * sr,
    )
