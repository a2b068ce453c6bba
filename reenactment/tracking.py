"""Follow faces through the frames of a video; everybody keeps a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from reenactment.faces import (
    DEFAULT_CHOICE,
    EVERY,
    HOPELESS_ERROR,
    Box,
    Face,
    FrameInfo,
    choose_faces,
)
from reenactment.linking import UNLIKE, apartness
from reenactment.reenactor import Reenactor
from reenactment.track import SteadyShape
from utils.errors import NoFaceError
from utils.roi import parse_roi_box_from_bbox, parse_roi_box_from_landmark

MIN_ROI_AREA = 2020  # square pixels; 3DDFA_V2 takes a face in a smaller ROI for lost
# The regressor is good for faces up to a tenth of their size off the ROI's middle: then it is done
# again. A face that moves by a third of its size from frame to frame needs three.
SETTLED_IOU = 0.85
MAX_REGRESSIONS = 3
CONFIRM_SIZE = 128  # pixels; the detector finds 99% of the faces upright in a crop of this side
# What the network says of its error, pixels of its crop, where it can tell: below the first a face
# is there, and from there on the detector has to confirm it. Above the second nobody is found; who
# has surely been seen may turn away, or be covered, up to `HOPELESS_ERROR`.
SURE_ERROR, LOST_ERROR = 3.0, 7.0
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)  # of the 68 landmarks
# What the network says of a face depends on where its crop lies, by some 0.2% of the face: a crop
# that stays takes nine tenths of the trembling from a still face, and errors do not grow.
HELD_IOU = 0.9
_SAME_PLACE = 0.3  # IoU of two ROIs that may be of one face
SAME_FACE = 0.6  # IoU of two ROIs that are of one face
# How much more unlike than `UNLIKE` a person may be where the face is at the person's last place.
_UNLIKE_IN_PLACE = 0.4
_SOMEBODY_ELSE = 1.0  # how unlike nobody gets to be from one frame to the next
_FRESH = 10  # frames after which a place is no place of a person any more
_LONGEST_WAIT = 10  # frames between searches for people who come later
_THOROUGH = 4  # the first of so many of these searches sees all of the frame's pixels
_THUMBNAIL = (32, 18)
_CUT = 20.0  # mean difference of two frames' thumbnails, of 255, that makes a new scene


class _Seen(NamedTuple):
    """A face, and its landmarks (3, 68), pixels."""

    face: Face
    landmarks: np.ndarray

    @property
    def roi_box(self) -> list[float]:
        """Where the landmarks are, which need not be where they were looked for."""
        return parse_roi_box_from_landmark(self.landmarks)


@dataclass
class _Person:
    """What is known of somebody: the shape, the last sight, and in which frame that was.

    sure : whether a face was seen at any time that the network was sure of.
    """

    number: int
    shape: SteadyShape
    seen: _Seen
    when: int
    sure: bool = False

    def update(self, seen: _Seen, when: int) -> None:
        self.seen, self.when = seen, when
        self.sure |= (seen.face.error or 0) < SURE_ERROR
        self.shape.add(seen.face.shape)


class Tracker:
    """Gives the faces in each frame of a video, the frames coming in order.

    The detector's boxes start tracks. From then on a face's ROI is that of its landmarks in the
    previous frame, all faces go through the network together, and its own word that a face is
    there is enough; without that word, or in doubt, the detector has to confirm a small upright
    crop. Where a face is lost, or the scene changes, the frame is searched at once, and where
    everybody is followed, every so often. Who returns is known by place or by shape.

    3DDFA_V2 takes the ROI of all vertices where it draws them all; that of the landmarks gives
    tracks that tremble less by a tenth, and the same ones whatever is drawn. A crop is cut out in
    whole pixels; here its ROI is, too, and what is found in it is not off by the rest.

    Parameters
    ----------
    reenactor : finds and regresses.
    choice : 'all' follows everybody; else one face at a time is followed, and where it is gone,
        another is chosen; see `choose_faces`.
    by_shape : whether a shape at first sight tells who returns, or whoever is not back in place
        within moments has a new number, until more is known.
    steady : whether a crop stays where it is while the face is near its middle; else it goes along
        with the landmarks, and trembles with them.
    """

    def __init__(
        self,
        reenactor: Reenactor,
        choice: str = DEFAULT_CHOICE,
        by_shape: bool = True,
        steady: bool = True,
    ) -> None:
        self._reenactor = reenactor
        self._choice, self._by_shape = choice, by_shape
        self._steady = steady
        self._spread = reenactor.tddfa.spread.shape
        self._likeness = reenactor.tddfa.likeness
        self._people: list[_Person] = []
        self._here: list[_Person] = []
        self._thumbnail: np.ndarray | None = None
        self._now = 0  # number of the frame
        self._wait, self._next_search, self._searches = 1, 0, 0

    def __call__(self, img: np.ndarray, frame: FrameInfo | None = None) -> list[Face]:
        """The faces in the next frame, (H, W, 3) uint8 BGR, by their numbers, `Face.track`."""
        frame, self._now = frame or FrameInfo.of(img), self._now + 1
        cut = self._is_cut(img)
        followed = [] if cut else self._follow(img, frame)
        missed = len(followed) < len(self._here)
        if missed or not followed:
            followed += self._find(self._reenactor.detect(img), img, frame, followed, cut)
        elif self._is_time():
            followed += self._find(self._latecomers(img), img, frame, followed, cut)
        self._here = sorted(followed, key=lambda person: person.number)
        return [replace(person.seen.face, track=person.number) for person in self._here]

    def trace(
        self, face: Face, img: np.ndarray, frames: Iterable[tuple[np.ndarray, FrameInfo]]
    ) -> Iterator[Face]:
        """A picture's face in frames that come after it, or before, until it is lost or cut away.

        Nobody else is looked for, and nothing is remembered of it.
        """
        tracker = Tracker(self._reenactor, self._choice, steady=self._steady)
        tracker._is_cut(img)
        (landmarks,) = self._reenactor.landmarks([face])
        person = tracker._meet(None, _Seen(face, landmarks))
        tracker._here = [person]
        for other, frame in frames:
            if tracker._is_cut(other) or not tracker._follow(other, frame):
                return
            yield replace(person.seen.face, track=face.track)

    def _is_cut(self, img: np.ndarray) -> bool:
        """Whether the frame is the first of a scene."""
        rows, columns = (max(n // m, 1) for n, m in zip(img.shape, _THUMBNAIL[::-1]))
        new = cv2.blur(img[::rows, ::columns], (3, 3)).astype(np.float32)
        old, self._thumbnail = self._thumbnail, new
        if old is None or old.shape != new.shape:
            return True
        return float(np.abs(new - old).mean()) > _CUT

    def _is_time(self) -> bool:
        return self._choice == EVERY and self._now >= self._next_search

    def _latecomers(self, img: np.ndarray) -> list[Box]:
        """Where somebody may have come; those who are small in the frame are found later."""
        self._searches += 1
        thorough = self._searches % _THOROUGH == 1
        return (self._reenactor.detect if thorough else self._reenactor.glance)(img)

    def _follow(self, img: np.ndarray, frame: FrameInfo) -> list[_Person]:
        """Those of the previous frame whose faces still are near their places."""
        near = [p for p in self._here if _area(p.seen.roi_box) >= MIN_ROI_AREA]
        places = [_corners(self._next_roi_box(person.seen)) for person in near]
        found = self._settle(img, self._regress(img, frame, places, "landmark"))
        sure = [pair for pair in zip(near, found) if self._is_there(img, *pair)]
        followed: list[_Person] = []
        for person, seen in sorted(sure, key=lambda pair: self._unlike(*pair)):
            if all(iou(seen.roi_box, p.seen.roi_box) < SAME_FACE for p in followed):
                person.update(seen, self._now)
                followed.append(person)
        return followed

    def _next_roi_box(self, seen: _Seen) -> Sequence[float]:
        """Where to look for a face in the next frame."""
        held = self._steady and iou(seen.face.roi_box, seen.roi_box) > HELD_IOU
        return seen.face.roi_box if held else seen.roi_box

    def _is_there(self, img: np.ndarray, person: _Person, seen: _Seen) -> bool:
        """Whether a face is where one was looked for, and could be the person's."""
        if self._unlike(person, seen) > _SOMEBODY_ELSE:
            return False
        if seen.face.error is None:
            return self._confirms(img, seen)
        return self._is_face(img, seen, HOPELESS_ERROR if person.sure else LOST_ERROR)

    def _is_face(self, img: np.ndarray, seen: _Seen, limit: float) -> bool:
        """Whether what was seen is a face, of an error below a limit, where that is known."""
        error = seen.face.error
        if error is None or error < SURE_ERROR:
            return True
        return error < limit and self._confirms(img, seen)

    def _confirms(self, img: np.ndarray, seen: _Seen) -> bool:
        """Whether the detector sees a face there, too."""
        return bool(self._reenactor.detect(upright_crop(img, seen.landmarks, CONFIRM_SIZE)))

    def _find(
        self,
        boxes: Sequence[Box],
        img: np.ndarray,
        frame: FrameInfo,
        followed: Sequence[_Person],
        cut: bool,
    ) -> list[_Person]:
        """Those who are in the frame's boxes besides the followed, known or new."""
        places = [person.seen.roi_box for person in followed]
        boxes = [box for box in boxes if _is_free(parse_roi_box_from_bbox(box), places)]
        found: list[_Seen] = []
        for seen in self._settle(img, self._regress(img, frame, boxes, "box")):
            if _is_free(seen.roi_box, places) and self._is_face(img, seen, LOST_ERROR):
                found.append(seen)
                places.append(seen.roi_box)
        pairs = list(zip(found, self._recognise(found, followed, cut)))
        if self._choice != EVERY:
            pairs = self._one_of(pairs, frame.name)
        self._plan(bool(pairs))
        return [self._meet(person, seen) for seen, person in pairs]

    def _recognise(
        self, found: Sequence[_Seen], followed: Sequence[_Person], cut: bool
    ) -> list[_Person | None]:
        """Who each of some faces is; None for somebody new."""
        absent = [person for person in self._people if person not in followed]
        pairs = []
        for i, seen in enumerate(found):
            for person in absent:
                fresh = self._now - person.when <= _FRESH and not cut
                in_place = fresh and iou(seen.roi_box, person.seen.roi_box) > _SAME_PLACE
                if in_place or self._by_shape:
                    unlike = self._unlike(person, seen) - (_UNLIKE_IN_PLACE if in_place else 0)
                    pairs.append((unlike, i, person))
        known: list[_Person | None] = [None] * len(found)
        for unlike, i, person in sorted(pairs, key=lambda pair: pair[0]):
            if unlike < UNLIKE and known[i] is None and person not in known:
                known[i] = person
        return known

    def _unlike(self, person: _Person, seen: _Seen) -> float:
        """How unlike a face's shape is to the person's."""
        off = (seen.face.shape - person.shape.mean) @ self._likeness
        return float(apartness(off[None])[0])

    def _one_of(
        self, pairs: list[tuple[_Seen, _Person | None]], name: str
    ) -> list[tuple[_Seen, _Person | None]]:
        """Of faces and who they are, the person followed before if there, else the chosen one."""
        last = max(self._people, key=lambda person: person.when, default=None)
        same = [pair for pair in pairs if pair[1] and pair[1] is last]
        if same:
            return same
        boxes = [seen.face.box for seen, _ in pairs if seen.face.box]
        try:
            return [pairs[choose_faces(boxes, self._choice, name)[0]]]
        except NoFaceError:  # none, or fewer than the number asked for
            return []

    def _meet(self, person: _Person | None, seen: _Seen) -> _Person:
        if person is None:
            shape = SteadyShape(self._spread)
            person = _Person(len(self._people) + 1, shape, seen, self._now)
            self._people.append(person)
        person.update(seen, self._now)
        return person

    def _plan(self, found: bool) -> None:
        """When to search next though everybody is followed: sooner if that found somebody."""
        self._wait = 1 if found else min(2 * self._wait, _LONGEST_WAIT)
        self._next_search = self._now + self._wait

    def _settle(self, img: np.ndarray, found: list[_Seen]) -> list[_Seen]:
        """Regress those again whose landmarks lie elsewhere than the ROI, from the landmarks."""
        for _ in range(MAX_REGRESSIONS - 1):
            moved = [
                i for i, seen in enumerate(found)
                if iou(seen.face.roi_box, seen.roi_box) < SETTLED_IOU
            ]  # fmt: skip
            if not moved:
                break
            frame, places = found[moved[0]].face.frame, [_corners(found[i].roi_box) for i in moved]
            for i, again in zip(moved, self._regress(img, frame, places, "landmark")):
                found[i] = again._replace(face=replace(again.face, box=found[i].face.box))
        return found

    def _regress(
        self, img: np.ndarray, frame: FrameInfo, places: Sequence[Any], crop_policy: str
    ) -> list[_Seen]:
        if not places:
            return []
        faces = self._reenactor.regress(img, places, frame, crop_policy)
        return [_Seen(*pair) for pair in zip(faces, self._reenactor.landmarks(faces))]


def _corners(roi_box: Sequence[float]) -> np.ndarray:
    """Points (2, 2) whose ROI is this one, moved to whole pixels."""
    x0, y0, x1, y1 = roi_box
    side = max(round(x1 - x0), 1)
    center = np.array([round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)]) + side / 2
    half = side / np.sqrt(2) / 2
    return np.stack([center - half, center + half], axis=1)


def _is_free(roi_box: Sequence[float], taken: Iterable[Sequence[float]]) -> bool:
    """Whether no face of other places is at a place."""
    return all(iou(roi_box, other) < _SAME_PLACE for other in taken)


def _area(box: Sequence[float]) -> float:
    """The area of `[x0, y0, x1, y1, ...]`; 0 if it is empty."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two boxes have in common, of that which they cover."""
    common = _area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    return common / (_area(a) + _area(b) - common) if common else 0.0


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
