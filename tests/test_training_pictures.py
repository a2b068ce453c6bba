"""Training, the parts without torch: labels, tars, landmark statistics."""

from __future__ import annotations

import io
import tarfile

import cv2
import numpy as np
import pytest
from conftest import noise

from training.pictures import add_bytes, decode_picture, iterate_files, iterate_pictures
from training.regressor import landmarks as lm
from training.regressor.label import CROP, EXTENT, MIN_FACE, crop_face, person_of


class Fixed:
    """A random generator whose `uniform` gives the upper end of its range, `random` a constant."""

    def __init__(self, random=0.0):
        self.random = lambda: random

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)

    def integers(self, low, high=None):
        return (low if high is None else high) - 1


# Labels


@pytest.mark.parametrize(
    "name, person",
    [
        ("Aaron_Eckhart_0001", "Aaron_Eckhart"),  # LFW
        ("Abdel_Madi_Shabneh_0012", "Abdel_Madi_Shabneh"),  # three names
        ("Aaron_Eckhart_001", "Aaron_Eckhart_001"),  # not LFW's four digits
        ("20_0_1_2017", "20_0_1_2017"),  # UTKFace: age, sex, ..., no person
        ("portrait", "portrait"),  # nothing to split
        ("_0001", "_0001"),  # no name before the number
    ],
)
def test_person_of_a_picture(name, person):
    assert person_of(name) == person


def spread_points(low, high, seed=0):
    """Landmarks (478, 3) float32 whose bounding box is exactly low .. high."""
    points = np.random.default_rng(seed).uniform(0, 1, (478, 3))
    points[0, :2], points[1, :2] = 0, 1
    return (points * [*np.subtract(high, low), 10] + [*low, 0]).astype(np.float32)


@pytest.mark.parametrize(
    "low, high",
    [
        ((30, 20), (78, 92)),  # enlarged; wholly inside
        ((-10, 5), (60, 65)),  # hanging out on the left
        ((20, 10), (170, 210)),  # shrunken
    ],
)
def test_crop_centres_the_face_at_its_extent(low, high):
    points = spread_points(low, high)
    row = crop_face(noise(240, 200), points, points + np.float32(1))
    box = row["points"][:, :2].min(0), row["points"][:, :2].max(0)
    np.testing.assert_allclose((box[0] + box[1]) / 2, (CROP - 1) / 2, atol=1e-3)
    assert (box[1] - box[0]).max() == pytest.approx(CROP / EXTENT, abs=1e-3)
    assert row["scale"] == pytest.approx(CROP / EXTENT / np.subtract(high, low).max())
    np.testing.assert_allclose(row["mirror"] - row["points"], row["scale"], rtol=1e-3)
    np.testing.assert_allclose(row["points"][:, 2], points[:, 2] * row["scale"], rtol=1e-5)
    assert row["crop"].shape == (CROP, CROP, 3) and row["crop"].dtype == np.uint8


def test_crop_carries_the_pixels_along():
    """A dot drawn at a landmark is where the stored landmark says; `inside` is the picture."""
    picture = np.zeros((120, 100, 3), np.uint8)
    points = spread_points((20, 30), (80, 90))
    points[2, :2] = 37, 52
    picture[52, 37] = 255
    row = crop_face(picture, points, points)
    bright = row["crop"][..., 0].astype(float)
    y, x = np.mgrid[:CROP, :CROP]
    centroid = np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()
    np.testing.assert_allclose(centroid, row["points"][2, :2], atol=0.1)

    white = crop_face(np.full_like(picture, 255), points, points)
    shown = white["crop"][..., 0] > 127
    x0, y0, x1, y1 = white["inside"]
    inner = (x > x0 - 0.5) & (x < x1 + 0.5) & (y > y0 - 0.5) & (y < y1 + 0.5)
    # the border fades over one picture pixel, so the 50% line is half a picture pixel outside
    assert (shown != inner).mean() < 0.03


def test_small_faces_are_left_out():
    points = spread_points((10, 10), (10 + MIN_FACE - 1, 20))
    assert crop_face(noise(), points, points) is None
    points = spread_points((10, 10), (10 + MIN_FACE, 20))
    assert crop_face(noise(), points, points) is not None


# Tars


@pytest.fixture
def tar(tmp_path):
    """A tar with a lossless picture, a text and a folder."""
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        folder = tarfile.TarInfo("train")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        add_bytes(archive, "train/b.webp", cv2.imencode(".png", noise(20, 30))[1].tobytes())
        add_bytes(archive, "val/a.webp", cv2.imencode(".png", noise(10, 12, 1))[1].tobytes())
        add_bytes(archive, "notes.txt", b"text")
    return tmp_path / "set.tar"


def test_tars_give_back_what_was_added_in_order(tar):
    assert [name for name, _ in iterate_files(tar)] == ["train/b.webp", "val/a.webp", "notes.txt"]
    assert dict(iterate_files(tar))["notes.txt"] == b"text"
    content = dict(iterate_files(tar))["train/b.webp"]
    assert np.array_equal(decode_picture(content), noise(20, 30))
    assert decode_picture(content, cv2.IMREAD_GRAYSCALE).shape == (20, 30)


def test_tars_are_reproducible():
    def make():
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            add_bytes(archive, "x", b"1")
        return stream.getvalue()

    assert make() == make()


def test_iterate_pictures_decodes(tmp_path):
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        add_bytes(archive, "a.png", cv2.imencode(".png", noise(8, 9))[1].tobytes())
    [(name, picture)] = iterate_pictures(tmp_path / "p.tar")
    assert name == "a.png" and np.array_equal(picture, noise(8, 9))


# Landmarks


def face_with(mouth, right_eye, left_eye, eyes_apart):
    """(1, 468, 2) points with these gaps."""
    points = np.zeros((1, 468, 2))
    points[0, 13], points[0, 14] = (5, 5), (5, 5 - mouth)
    points[0, 159], points[0, 145] = (0, right_eye), (0, 0)
    points[0, 386], points[0, 374] = (3, 4 * left_eye / 5), (3 + 3 * left_eye / 5, 0)  # slanted
    points[0, 33], points[0, 263] = (0, 0), (eyes_apart, 0)
    return points


def test_openings_of_a_face_drawn_by_hand():
    points = face_with(mouth=3, right_eye=2, left_eye=1, eyes_apart=10)
    assert lm.mouth_opening(points) == pytest.approx([0.3])
    assert lm.eye_opening(points) == pytest.approx([0.3])
    turned = points @ np.array([[0.6, 0.8], [-0.8, 0.6]]) * 7 + [3, -2]
    assert lm.mouth_opening(turned) == pytest.approx([0.3])  # no similarity changes them
    assert lm.eye_opening(turned) == pytest.approx([0.3])


def test_correlation_and_slope_agree_with_numpy():
    rng = np.random.default_rng(0)
    true = rng.normal(size=50)
    predicted = 0.7 * true + rng.normal(0, 0.3, 50) + 4
    correlation, slope = lm.correlation_and_slope(true, predicted)
    assert correlation == pytest.approx(np.corrcoef(true, predicted)[0, 1])
    assert slope == pytest.approx(np.polyfit(true, predicted, 1)[0])


@pytest.mark.parametrize(
    "gain, offset, correlation",
    [
        (1, 0, 1),  # identical
        (0.5, 3, 1),  # too small movements
        (-2, 0, -1),  # opposite
    ],
)
def test_correlation_and_slope_of_linear_functions(gain, offset, correlation):
    true = np.array([0.0, 1, 5, 2])
    found = lm.correlation_and_slope(true, gain * true + offset)
    assert found == pytest.approx((correlation, gain))


def test_opposite_landmarks_find_the_pairing():
    rng = np.random.default_rng(0)
    opposite = np.arange(20)
    opposite[:16] = opposite[:16].reshape(-1, 2)[:, ::-1].ravel()  # the last four lie on the axis
    direct = rng.uniform(0, 100, (5, 20, 2))
    mirror = direct[:, opposite] + rng.normal(0, 1, direct.shape)
    assert np.array_equal(lm.opposite_landmarks(direct, mirror), opposite)


def test_landmark_groups_are_consistent():
    for group in (lm.EYES, lm.LIPS, np.array(list(lm.MEDIAPIPE_OF_68.values()))):
        assert len(set(group.tolist())) == len(group) and group.min() >= 0 and group.max() < 468
    for side in (0, 1):
        lids = set(lm.UPPER_LID[side] + lm.LOWER_LID[side])
        shared = {lm.MEDIAPIPE_OF_68[i] for i in range(36 + 6 * side, 42 + 6 * side)}
        assert shared <= lids | set(lm.EYE_CORNERS[side])  # dlib's eye is part of ours
    assert {lm.UPPER_LID[0][3], lm.LOWER_LID[0][3]} == {159, 145}  # as eye_opening measures
    assert {lm.UPPER_LID[1][3], lm.LOWER_LID[1][3]} == {386, 374}
    assert {lm.MEDIAPIPE_OF_68[i] for i in range(60, 68)} <= set(lm.INNER_LIPS)
    assert {lm.MEDIAPIPE_OF_68[i] for i in range(48, 60)} <= set(lm.OUTER_LIPS)
