"""Pictures and a video of any size, made from the example pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from utils.assets import PROJECT_ROOT
from utils.image import read_image
from utils.io import WholeFiles
from utils.sinks import open_sink

INPUTS = PROJECT_ROOT / "examples" / "inputs"
# Where the face is in each picture, pixels, and the height of its mask.
FACES = {"astronaut.png": ((225, 115), 143), "grace_hopper.jpg": ((265, 205), 235)}
PEOPLE = tuple(FACES)


def scene(
    size: tuple[int, int],
    face_height: float,
    name: str = PEOPLE[0],
    angle: float = 0.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """An example picture, scaled until its face is so high, its face in the middle.

    Parameters
    ----------
    size : width and height, pixels.
    face_height : of the 3D mask, pixels.
    angle : by which to turn it, degrees; offset : by which to move it, pixels.
    """
    center, height = FACES[name]
    matrix: np.ndarray = cv2.getRotationMatrix2D(center, angle, face_height / height)
    matrix[:, 2] += np.array(size) / 2 + offset - center
    img = read_image(INPUTS / name)
    return cv2.warpAffine(img, matrix, size, borderMode=cv2.BORDER_REFLECT)


def write_clip(path: Path, size: tuple[int, int], seconds: float, fps: float = 30.0) -> int:
    """A video of two people, half of it each, with slow zoom, pan and rotation.

    Returns
    -------
    The number of its frames.
    """
    count = max(2, round(seconds * fps))
    with WholeFiles() as files, open_sink(path, fps, files) as sink:
        for number in range(count):
            turn = 2 * np.pi * number / (4 * fps)  # all of it in four seconds
            img = scene(
                size,
                size[1] * (0.42 + 0.08 * np.sin(turn)),
                PEOPLE[2 * number // count],
                angle=12 * np.sin(2 * turn),
                offset=(0.1 * size[0] * np.sin(turn), 0.05 * size[1] * np.cos(turn)),
            )
            sink.write(img, number / fps)
    return count
