"""Faces: what is known of one, and choosing among those of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bfm.params import FaceParams
from FaceBoxes.turned import boxes_before
from utils.errors import NoFaceError, UsageError

Box = Sequence[float]  # [xmin, ymin, xmax, ymax, score], pixels

EVERY = "all"
# Each gives what the faces are sorted by; the box's centre is what tells where a face is.
ORDERS: dict[str, Callable[[Box], float]] = {
    "large-small": lambda box: -_area(box),
    "small-large": lambda box: _area(box),
    "best-worst": lambda box: -box[4],
    "worst-best": lambda box: box[4],
    "left-right": lambda box: box[0] + box[2],
    "right-left": lambda box: -box[0] - box[2],
    "top-bottom": lambda box: box[1] + box[3],
    "bottom-top": lambda box: -box[1] - box[3],
}
_SHORT_NAMES = {"largest": "large-small", "best": "best-worst", "many": EVERY}
DEFAULT_CHOICE = "largest"
_MIN_SIDE = 1.0  # pixels; of a smaller box no crop can be made


HOPELESS_ERROR = 10.0  # pixels of the network's crop; faces stay below 3, other things above 7


class FrameInfo(NamedTuple):
    """Where a face was seen.

    name : of the file; size : width and height, pixels.
    number, seconds : of the frame in it; 0 in a picture.
    """

    name: str
    size: tuple[int, int]
    number: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, img: np.ndarray, name: str = "") -> FrameInfo:
        """What is known of a picture (H, W, ...)."""
        return cls(name, (img.shape[1], img.shape[0]))


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a frame; its parts are as in `bfm.params.FaceParams`.

    frame : where it was seen.
    roi_box : `[x0, y0, x1, y1]` of the network's crop, which the pose refers to; pixels.
    pose (3, 4), shape (shape_dim,), expression (regions, exp_dim) : float32; a row of expression
        for every region of the face, or a single one for the whole face.
    box : `[xmin, ymin, xmax, ymax, score]` of the detector, where one has seen it.
    track : which of a video's faces it is.
    correction, like the expression : what is added to it where it is drawn; see
        `reenactment.openings`.
    scores (52,) : of `bfm.sliders.SHAPES`, where the network gives them.
    error : how far off its landmarks are likely to be, pixels of the network's crop, where the
        network can tell.
    """

    frame: FrameInfo
    roi_box: Sequence[float]
    pose: np.ndarray
    shape: np.ndarray
    expression: np.ndarray
    box: Box | None = None
    track: int | None = None
    correction: np.ndarray | None = None
    scores: np.ndarray | None = None
    error: float | None = None

    def towards(self, other: Face, share: float) -> Face:
        """This face with a share of the way to the expression that another shows."""
        own, others = self.parts.expression, other.parts.expression
        expression = (1 - share) * own + share * others
        return replace(self, expression=expression.astype(np.float32), correction=None, scores=None)

    @property
    def confidence(self) -> float | None:
        """How sure the network is that this is a face and fits, 0 to 1; None if it cannot tell.

        0 is an expected error of `HOPELESS_ERROR`.
        """
        return None if self.error is None else float(np.clip(1 - self.error / HOPELESS_ERROR, 0, 1))

    @property
    def parts(self) -> FaceParams:
        """Pose, shape and expression as they are drawn, for `TDDFA.reconstruct`."""
        drawn = self.expression if self.correction is None else self.expression + self.correction
        return FaceParams(self.pose, self.shape, drawn)


def turned_back(face: Face, size: tuple[int, int], quarters: int, crop: int) -> Face:
    """A face of a picture that had been turned, as it lies in the picture before.

    Parameters
    ----------
    size : (H, W) of the turned picture, pixels; quarters : of its counter-clockwise turns.
    crop : side of the network's input, pixels, in which the pose is (y up, from 1 on).
    """
    (height, width), roi_box, pose = size, face.roi_box, face.pose
    for _ in range(quarters % 4):  # each step turns back, clockwise, by a quarter
        x0, y0, x1, y1 = roi_box
        step = (y1 - y0) / crop
        left = height - 1 - y1 + step
        roi_box = [left, x0, left + y1 - y0, x1]
        pose = np.stack([pose[1], -pose[0], pose[2]])
        pose[1, 3] += crop + 1
        height, width = width, height
    boxes = boxes_before([face.box], size, quarters) if face.box else [None]
    return replace(face, roi_box=roi_box, pose=pose, box=boxes[0])


def parse_choice(text: str) -> str:
    """Check and normalise a choice of faces: 'all', a key of `ORDERS`, or a number.

    Raises
    ------
    UsageError : it is none of these, nor another name of one.
    """
    choice = _SHORT_NAMES.get(text, text)
    if choice == EVERY or choice in ORDERS:
        return choice
    if choice.isdecimal() and int(choice) > 0:
        return str(int(choice))
    known = ", ".join((*_SHORT_NAMES, EVERY, *ORDERS))
    raise UsageError(f"expected one of {known} or a number from 1 on, got {text!r}")


def parse_pairs(text: str) -> dict[int, int]:
    """Who drives whom, of a text like '1:2,2:1': the sources' numbers by the targets'.

    Raises
    ------
    UsageError : another form, or two sources for a target.
    """
    pairs: dict[int, int] = {}
    for word in text.split(",") if text.strip() else ():
        source, _, target = (part.strip() for part in word.partition(":"))
        if not (source.isdecimal() and target.isdecimal() and int(source) and int(target)):
            raise UsageError(f"expected SOURCE:TARGET,... with numbers from 1 on, got {word!r}")
        if int(target) in pairs:
            raise UsageError(f"two sources for face {int(target)} of the target")
        pairs[int(target)] = int(source)
    return pairs


def choose_faces(boxes: Sequence[Box], choice: str, image: str) -> list[int]:
    """Pick faces among detector boxes.

    Parameters
    ----------
    choice : 'all' picks every face, from left to right; an order, the first in it; a number,
        the one at that place from the left, counted from 1.
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
    choice = parse_choice(choice)
    if choice in ORDERS:
        return sort_faces(boxes, choice)[:1]
    left_to_right = sort_faces(boxes, "left-right")
    if choice == EVERY:
        return left_to_right
    if int(choice) > len(boxes):
        plural = "face" if len(boxes) == 1 else "faces"
        raise NoFaceError(f"there is no face {choice} in {image}: it shows {len(boxes)} {plural}")
    return [left_to_right[int(choice) - 1]]


def sort_faces(boxes: Sequence[Box], order: str) -> list[int]:
    """Indices into `boxes` in one of the `ORDERS`; equals stay as they come."""
    key = ORDERS[order]
    return sorted(range(len(boxes)), key=lambda i: key(boxes[i]))


def is_usable(box: Box) -> bool:
    """Whether a box is large enough to make a crop of, and finite."""
    return bool(np.isfinite(box).all()) and min(box[2] - box[0], box[3] - box[1]) >= _MIN_SIDE


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
