"""Follow one face through the frames of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from reenactment.faces import DEFAULT_CHOICE, Box, Face, FrameInfo, choose_faces
from reenactment.reenactor import Reenactor
from utils.errors import NoFaceError
from utils.roi import parse_roi_box_from_landmark

MIN_ROI_AREA = 2020  # square pixels; 3DDFA_V2 takes a face in a smaller ROI for lost
# The regressor is good for faces up to a tenth of their size off the ROI's middle: then it is done
# again. A face that moves by a third of its size from frame to frame needs three.
SETTLED_IOU = 0.85
MAX_REGRESSIONS = 3
CONFIRM_SIZE = 128  # pixels; the detector finds 99% of the faces upright in a crop of this side
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)  # of the 68 landmarks


class _Seen(NamedTuple):
    """A face, and its landmarks (3, 68), pixels."""

    face: Face
    landmarks: np.ndarray


class FaceTracker:
    """Gives the face in each frame of a video, the frames coming in order.

    One of the detector's boxes starts a track. From then on the ROI is that of the landmarks in
    the previous frame, and the detector only has to confirm a small upright crop, which is many
    times faster than searching the frame, and which it does for heads turned sideways, too. Where
    it does not, the face is lost, and the frame is searched.

    3DDFA_V2 takes the ROI of all vertices where it draws them all; that of the landmarks gives
    tracks that tremble less by a tenth, and the same ones whatever is drawn.

    Parameters
    ----------
    reenactor : finds and regresses.
    choice : which face starts a track; see `choose_faces`.
    """

    def __init__(self, reenactor: Reenactor, choice: str = DEFAULT_CHOICE) -> None:
        self._reenactor = reenactor
        self._choice = choice
        self._landmarks: np.ndarray | None = None

    def __call__(self, img: np.ndarray, frame: FrameInfo | None = None) -> Face | None:
        """The face in the next frame, (H, W, 3) uint8 BGR; None if there is none."""
        frame = frame or FrameInfo.of(img)
        seen = self._follow(img, frame) or self._find(img, frame)
        self._landmarks = seen.landmarks if seen else None
        return seen.face if seen else None

    def _follow(self, img: np.ndarray, frame: FrameInfo) -> _Seen | None:
        """The face near its place in the previous frame, if it still is there."""
        if self._landmarks is None:
            return None
        roi_box = parse_roi_box_from_landmark(self._landmarks)
        if _area(roi_box) < MIN_ROI_AREA:
            return None
        seen = self._settle(img, self._regress(img, frame, self._landmarks, "landmark"))
        crop = upright_crop(img, seen.landmarks, CONFIRM_SIZE)
        return seen if self._reenactor.detect(crop) else None

    def _find(self, img: np.ndarray, frame: FrameInfo) -> _Seen | None:
        """The face where the lost one was, else the one to choose among all."""
        boxes = self._reenactor.detect(img)
        box = self._nearest(boxes) or self._chosen(boxes, frame.name)
        return self._settle(img, self._regress(img, frame, box, "box")) if box else None

    def _nearest(self, boxes: Sequence[Box]) -> Box | None:
        """The box that covers most of the lost face's place, if any does."""
        if self._landmarks is None:
            return None
        last = parse_roi_box_from_landmark(self._landmarks)
        box = max(boxes, key=lambda box: _overlap(box, last), default=None)
        return box if box and _overlap(box, last) > 0 else None

    def _chosen(self, boxes: Sequence[Box], name: str) -> Box | None:
        try:
            return boxes[choose_faces(boxes, self._choice, name)[0]]
        except NoFaceError:  # none, or fewer than the number asked for
            return None

    def _settle(self, img: np.ndarray, seen: _Seen) -> _Seen:
        """Regress again from the landmarks found, as long as they lie elsewhere than the ROI."""
        for _ in range(MAX_REGRESSIONS - 1):
            old, new = seen.face.roi_box, parse_roi_box_from_landmark(seen.landmarks)
            common = _overlap(old, new)
            if common > SETTLED_IOU * (_area(old) + _area(new) - common):
                break
            again = self._regress(img, seen.face.frame, seen.landmarks, "landmark")
            seen = again._replace(face=replace(again.face, box=seen.face.box))
        return seen

    def _regress(self, img: np.ndarray, frame: FrameInfo, place: Any, crop_policy: str) -> _Seen:
        faces = self._reenactor.regress(img, [place], frame, crop_policy)
        return _Seen(faces[0], self._reenactor.landmarks(faces)[0])


def _area(box: Sequence[float]) -> float:
    """The area of `[x0, y0, x1, y1, ...]`; 0 if it is empty."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two boxes have in common."""
    return _area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])


def upright_crop(img: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """Cut out the ROI of `landmarks` (2 or 3, 68), turned about its centre to level the eyes.

    Returns
    -------
    (size, size, 3) uint8; black outside `img`.
    """
    x0, y0, x1, y1 = parse_roi_box_from_landmark(landmarks)
    center = ((x0 + x1) / 2, (y0 + y1) / 2)
    across, down = (landmarks[:2, _LEFT_EYE] - landmarks[:2, _RIGHT_EYE]).mean(axis=1).tolist()
    angle = np.degrees(np.arctan2(down, across))
    to_crop: np.ndarray = cv2.getRotationMatrix2D(center, angle, size / (x1 - x0))
    to_crop[:, 2] += size / 2 - np.array(center)
    return cv2.warpAffine(img, to_crop, (size, size))
