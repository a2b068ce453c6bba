"""reenactment.tracking: who is where in the frames of a video, on spots that stand for faces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from reenactment.faces import DEFAULT_CHOICE, Face
from reenactment.tracking import CONFIRM_SIZE, LOST_ERROR, SURE_ERROR, Tracker, upright_crop
from utils.roi import parse_roi_box_from_bbox, parse_roi_box_from_landmark


class Frame(NamedTuple):
    img: np.ndarray
    number: int
    seconds: float


class Spots:
    """What a `Reenactor` does, for bright spots on black, which are 60-pixel faces.

    The spot's red tells the person's shape, half a deviation for 20. It knows the error of what it
    says, or does not, as networks do.
    """

    HALF = 30

    def __init__(self, told_error=None):
        self.told_error = told_error
        self.searches = self.glances = self.confirmations = 0
        self.batches = []
        spread = SimpleNamespace(shape=np.full(1, 40.0))
        self.tddfa = SimpleNamespace(spread=spread, likeness=np.full((1, 1), 1 / 40))

    def detect(self, img):
        if img.shape[0] == CONFIRM_SIZE:
            self.confirmations += 1
            return [[0, 0, 1, 1, 0.9]] if img[..., 0].any() else []
        self.searches += 1
        _, _, stats, centers = cv2.connectedComponentsWithStats(img[..., 0])
        found = sorted(zip(stats[1:, 4].tolist(), centers[1:].tolist()), reverse=True)
        # the boxes differ in size as the spots do
        return [[x - 30, y - 30, x + 30, y + 22 + area / 25, 0.9] for area, (x, y) in found]

    SMALL = 110  # pixels of a spot that is not seen at a glance

    def glance(self, img):
        self.glances += 1
        return [box for box in self.detect(img) if 25 * (box[3] - box[1] - 52) > self.SMALL]

    def regress(self, img, places, frame, crop_policy):
        self.batches.append(len(places))
        parse = {"box": parse_roi_box_from_bbox, "landmark": parse_roi_box_from_landmark}
        roi_boxes = [[float(v) for v in parse[crop_policy](place)] for place in places]
        boxes = places if crop_policy == "box" else [None] * len(places)
        return [self._face(img, *where, frame) for where in zip(roi_boxes, boxes)]

    def _face(self, img, roi_box, box, frame):
        x0, y0, x1, y1 = (max(int(value), 0) for value in roi_box)
        crop = img[y0:y1, x0:x1]
        rows, columns = np.nonzero(crop[..., 0])
        center = [columns.mean() + x0, rows.mean() + y0] if len(rows) else [(x0 + x1) / 2, y0]
        pose = np.column_stack([np.eye(3), [*center, 0]])
        shape = np.full(1, float(crop[..., 2].max(initial=0)))
        error = None if self.told_error is None else self.told_error(len(rows))
        return Face(frame, roi_box, pose, shape, np.zeros((1, 1)), box, error=error)

    def landmarks(self, faces):
        angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        circle = self.HALF * np.stack([np.cos(angles), np.sin(angles), 0 * angles])
        return [circle + face.pose[:, 3:] for face in faces]


def sure(spot):
    """The error told by a network that sees so many pixels of a spot."""
    return 1.0 if spot else 20.0


def spot_frame(*places, people=(250, 150, 50), background=0):
    """Bright spots, the first being the largest, each of one of the people."""
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[..., 1] = background
    for number, (place, person) in enumerate(zip(places, people)):
        cv2.circle(frame, place, 8 - number, (255, 255, person), -1)
    return frame


def track(spots, frames, choice=DEFAULT_CHOICE):
    """The number of everybody that the tracker sees in each frame, and the place."""
    tracker = Tracker(spots, choice)
    return [
        {face.track: tuple(np.rint(face.pose[:2, 3]).astype(int)) for face in tracker(frame)}
        for frame in frames
    ]


@pytest.mark.parametrize(("told_error", "confirmations"), [(None, 19), (sure, 0)])
def test_a_moving_face_is_searched_once_and_confirmed_ever_after(told_error, confirmations):
    spots = Spots(told_error)
    places = [(60 + 3 * i, 100 + i) for i in range(20)]
    assert track(spots, map(spot_frame, places)) == [{1: place} for place in places]
    assert (spots.searches, spots.confirmations) == (1, confirmations)


@pytest.mark.parametrize(("error", "confirmations"), [(SURE_ERROR - 0.1, 0), (SURE_ERROR, 5)])
def test_a_network_in_doubt_has_the_detector_confirm(error, confirmations):
    spots = Spots(lambda spot: error)
    assert track(spots, [spot_frame((60, 100))] * 5) == [{1: (60, 100)}] * 5
    assert (spots.searches, spots.confirmations) == (1, confirmations)


@pytest.mark.parametrize(("before", "kept"), [(SURE_ERROR - 0.1, 6), (SURE_ERROR + 0.1, 3)])
def test_only_who_was_surely_seen_may_turn_away(before, kept):
    """The network then doubts the face, and the detector confirms it."""
    away = spot_frame((60, 100))
    cv2.circle(away, (60, 100), 8, (0, 0, 0), -1)
    cv2.circle(away, (60, 100), 5, (255, 255, 250), -1)
    spots = Spots(lambda spot: before if spot > 150 else LOST_ERROR + 1)
    seen = track(spots, [spot_frame((60, 100))] * 3 + [away] * 3)
    assert sum(bool(people) for people in seen) == kept


def test_what_the_network_takes_for_no_face_is_none():
    assert track(Spots(lambda spot: LOST_ERROR), [spot_frame((60, 100))] * 3) == [{}] * 3


def test_a_still_face_is_regressed_once_a_frame_and_a_fast_one_again():
    still, fast = Spots(), Spots()
    track(still, [spot_frame((100, 100))] * 11)
    track(fast, [spot_frame((60 + 20 * i, 100)) for i in range(11)])
    assert fast.searches == 1
    assert sum(still.batches) <= 13 < 20 < sum(fast.batches) <= 33


@pytest.mark.parametrize("told_error", [None, sure])
def test_a_lost_face_is_searched_until_it_is_there_again(told_error):
    spots = Spots(told_error)
    frames = [spot_frame((60, 100))] * 3 + [spot_frame()] * 4 + [spot_frame((250, 180))] * 3
    assert track(spots, frames) == [{1: (60, 100)}] * 3 + [{}] * 4 + [{1: (250, 180)}] * 3
    assert spots.searches == 1 + 4 + 1


def test_the_largest_face_is_followed_and_stays_the_one_when_confirmation_fails():
    spots = Spots()
    swapped = spot_frame((200, 100), (70, 100), people=(150, 250))
    frames = [spot_frame((60, 100), (200, 100))] * 2 + [swapped] * 2
    confirm = spots.detect
    spots.detect = lambda img: confirm(img) if img.shape[0] == 240 else []
    assert track(spots, frames) == [{1: (60, 100)}] * 2 + [{1: (70, 100)}] * 2


def test_the_chosen_face_is_followed():
    frames = [spot_frame((60, 100), (200, 100))] * 3
    assert track(Spots(), frames, "right-left") == [{1: (200, 100)}] * 3
    assert track(Spots(), frames, "1") == [{1: (60, 100)}] * 3
    assert track(Spots(), frames, "3") == [{}] * 3


def test_a_tiny_face_is_searched_in_every_frame():
    spots = Spots()
    spots.HALF = 10  # an ROI of 28 x 28 pixels, less than 2020
    assert track(spots, [spot_frame((60, 100))] * 5) == [{1: (60, 100)}] * 5
    assert spots.searches == 5


def test_people_keep_their_numbers_as_they_pass_leave_and_return():
    first = [spot_frame((60, 100), (200, 100))] * 3
    alone = [spot_frame((200, 100), people=(150,))] * 3
    back = [spot_frame((200, 100), (60, 200), people=(150, 250))] * 12
    seen = track(Spots(sure), first + alone + back, "all")
    # who is larger, and so comes first from the detector, has the first number
    assert seen[:3] == [{1: (60, 100), 2: (200, 100)}] * 3
    assert seen[3:6] == [{2: (200, 100)}] * 3
    assert seen[-1] == {1: (60, 200), 2: (200, 100)}


def test_a_cut_is_searched_at_once_and_known_people_keep_their_numbers():
    spots = Spots(sure)
    before = [spot_frame((60, 100), (200, 100))] * 3
    after = [spot_frame((200, 100), (60, 100), people=(250, 50), background=200)] * 3
    seen = track(spots, before + after, "all")
    assert seen[:3] == [{1: (60, 100), 2: (200, 100)}] * 3
    assert seen[3:] == [{1: (200, 100), 3: (60, 100)}] * 3


def test_people_who_come_later_are_found_within_ten_frames():
    frames = [spot_frame((60, 100))] * 30 + [spot_frame((60, 100), (200, 100))] * 10
    spots = Spots(sure)
    seen = track(spots, frames, "all")
    assert seen[29] == {1: (60, 100)} and seen[39] == {1: (60, 100), 2: (200, 100)}
    assert spots.searches <= 10


def test_who_is_small_and_comes_later_is_found_within_forty_frames():
    large, small = (60, 100), (200, 100)
    with_small = spot_frame(large, small)
    cv2.circle(with_small, small, 8, (0, 0, 0), -1)
    cv2.circle(with_small, small, 5, (255, 255, 150), -1)
    spots = Spots(sure)
    seen = track(spots, [spot_frame(large)] * 30 + [with_small] * 40, "all")
    found = [2 in people for people in seen]
    assert found == sorted(found) and found[-1] and not found[40]
    assert 0 < spots.searches - spots.glances < spots.glances


def test_two_tracks_never_follow_one_face():
    """One walks in front of the other: the face that is seen is its own."""
    places = [(200 - 14 * i, 100) for i in range(11)]
    frames = [spot_frame((60, 100), place) for place in places]
    frames[-3:] = [spot_frame(place, people=(150,)) for place in places[-3:]]
    seen = track(Spots(sure), frames, "all")
    assert seen[0] == {1: (60, 100), 2: (200, 100)}
    assert all(len(set(people.values())) == len(people) for people in seen)
    assert seen[-1] == {2: (60, 100)}


@pytest.mark.parametrize("steady", [True, False])
def test_a_crop_stays_while_the_face_is_near_its_middle(steady):
    tracker = Tracker(Spots(sure), steady=steady)
    crops = [tracker(spot_frame((100 + 2 * (k % 3), 100)))[0].roi_box for k in range(10)]
    assert (len({tuple(crop) for crop in crops[2:]}) == 1) == steady
    np.testing.assert_allclose(crops, np.rint(crops), atol=1e-6)  # whole pixels
    far = tracker(spot_frame((130, 100)))[0].roi_box
    assert (far[0] + far[2]) / 2 == pytest.approx(130, abs=1)


def test_the_crop_is_turned_upright():
    img, points = np.zeros((100, 100, 3), np.uint8), np.full((3, 68), 50.0)
    points[:2, :2] = [[20, 80], [20, 80]]  # the jaw: the ROI's side is 60 times root 2
    points[:2, 36:42], points[:2, 42:48] = 40, 60  # the eyes, on a diagonal
    cv2.circle(img, (40, 40), 2, (255, 0, 0), -1)
    cv2.circle(img, (60, 60), 2, (0, 0, 255), -1)
    crop = upright_crop(img, points, 90)
    (right, left) = (np.argwhere(crop[..., channel] > 128).mean(axis=0) for channel in (0, 2))
    np.testing.assert_allclose([right, left], [[45, 30], [45, 60]], atol=1)
