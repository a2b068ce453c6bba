"""Follow one face through the frames of a video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from TDDFA import TDDFA
from utils.roi import parse_roi_box_from_landmark

Detector = Callable[[np.ndarray], Sequence[Sequence[float]]]

MIN_ROI_AREA = 2020  # square pixels; 3DDFA_V2 takes a face in a smaller ROI for lost
# The regressor is good for faces up to a tenth of their size off the ROI's middle: then it is done
# again. A face that moves by a third of its size from frame to frame needs three.
SETTLED_IOU = 0.85
MAX_REGRESSIONS = 3
CONFIRM_SIZE = 128  # pixels; the detector finds 99% of the faces upright in a crop of this side
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)  # of the 68 landmarks


class TrackedFace(NamedTuple):
    """A face in one frame: its parameters, their ROI, and its landmarks (3, 68); pixels."""

    param: np.ndarray
    roi_box: list[float]
    landmarks: np.ndarray


class FaceTracker:
    """Gives the face in each frame of a video, the frames coming in order.

    The detector's best box starts a track. From then on the ROI is that of the landmarks in the
    previous frame, and the detector only has to confirm a small upright crop, which is many times
    faster than searching the frame, and which it does for heads turned sideways, too. Where it
    does not, the face is lost, and the frame is searched.

    3DDFA_V2 takes the ROI of all vertices where it draws them all; that of the landmarks gives
    tracks that tremble less by a tenth, and the same ones whatever is drawn.

    Parameters
    ----------
    detect : a `FaceBoxes`, or what behaves like one.
    tddfa : the regressor.
    """

    def __init__(self, detect: Detector, tddfa: TDDFA) -> None:
        self.detect = detect
        self.tddfa = tddfa
        self._landmarks: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> TrackedFace | None:
        """The face in the next frame, (H, W, 3) uint8 BGR; None if there is none."""
        face = self._follow(frame) or self._find(frame)
        self._landmarks = face.landmarks if face else None
        return face

    def _follow(self, frame: np.ndarray) -> TrackedFace | None:
        """The face near its place in the previous frame, if it still is there."""
        if self._landmarks is None:
            return None
        roi_box = parse_roi_box_from_landmark(self._landmarks)
        if _area(roi_box) < MIN_ROI_AREA:
            return None
        face = self._settle(frame, self._regress(frame, self._landmarks, "landmark"))
        return face if self.detect(upright_crop(frame, face.landmarks, CONFIRM_SIZE)) else None

    def _find(self, frame: np.ndarray) -> TrackedFace | None:
        """The best of all faces; of those where the lost one was, if there are any."""
        boxes = self.detect(frame)
        if not boxes:
            return None
        last = [] if self._landmarks is None else parse_roi_box_from_landmark(self._landmarks)
        box = max(boxes, key=lambda box: _overlap(box, last)) if last else boxes[0]
        return self._settle(frame, self._regress(frame, box, "box"))

    def _settle(self, frame: np.ndarray, face: TrackedFace) -> TrackedFace:
        """Regress again from the landmarks found, as long as they lie elsewhere than the ROI."""
        for _ in range(MAX_REGRESSIONS - 1):
            roi_box = parse_roi_box_from_landmark(face.landmarks)
            common = _overlap(face.roi_box, roi_box)
            if common > SETTLED_IOU * (_area(face.roi_box) + _area(roi_box) - common):
                break
            face = self._regress(frame, face.landmarks, "landmark")
        return face

    def _regress(self, frame: np.ndarray, place: Any, crop_policy: str) -> TrackedFace:
        params, roi_boxes = self.tddfa(frame, [place], crop_policy=crop_policy)
        return TrackedFace(params[0], roi_boxes[0], self.tddfa.recon_vers(params, roi_boxes)[0])


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
