"""The faces of a picture: regressing them and choosing among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import NoFaceError, UsageError

CHOICES = ("largest", "best", "all")


@dataclass(frozen=True)
class Face:
    """A face and where it comes from.

    image : file name; image_size : its width and height, pixels.
    roi_box : `[x0, y0, x1, y1]` of the network's crop, pixels.
    param (num_params,) float32 : see `bfm.params`.
    """

    image: str
    image_size: tuple[int, int]
    roi_box: Sequence[float]
    param: np.ndarray


def parse_choice(text: str) -> str:
    """Check a value of --source_face or --target_face.

    Raises
    ------
    UsageError : neither one of `CHOICES` nor a number from 1 on.
    """
    if text in CHOICES or (text.isdecimal() and int(text) > 0):
        return text
    raise UsageError(f"expected {', '.join(CHOICES)} or a number from 1 on, got {text!r}")


def choose_faces(boxes: Sequence[Sequence[float]], choice: str, image: str) -> list[int]:
    """Pick faces among detector boxes.

    Parameters
    ----------
    boxes : `[xmin, ymin, xmax, ymax, score]`, best score first.
    choice : 'largest', 'best' (score), 'all' (from left to right), or a number counted
        from the left, starting at 1.
    image : the picture's name, for errors.

    Returns
    -------
    Indices into `boxes`.

    Raises
    ------
    NoFaceError : there is no face, or fewer than the number asked for.
    """
    if not boxes:
        raise NoFaceError(f"no face found in {image}; give a picture that shows one clearly")
    left_to_right = sorted(range(len(boxes)), key=lambda i: boxes[i][0] + boxes[i][2])
    if choice == "all":
        return left_to_right
    if choice == "best":
        return [0]
    if choice == "largest":
        return [max(range(len(boxes)), key=lambda i: _area(boxes[i]))]
    if int(choice) > len(boxes):
        plural = "face" if len(boxes) == 1 else "faces"
        raise NoFaceError(f"there is no face {choice} in {image}: it shows {len(boxes)} {plural}")
    return [left_to_right[int(choice) - 1]]


def rank_from_left(boxes: Sequence[Sequence[float]], index: int) -> int:
    """The number of box `index` counted from the left, starting at 1."""
    center = boxes[index][0] + boxes[index][2]
    return 1 + sum(box[0] + box[2] < center for box in boxes)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
