"""bfm.regions: soft parts of the face that add up to the whole."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from conftest import REPO, face_arrays, save_arrays

from bfm import BFMModel, FaceParams
from bfm.bfm import PROVISIONED_MODEL
from bfm.regions import GROUPS, REGIONS, parse_regions, rows_of
from utils.errors import UsageError

LIDS, LIPS, CHIN = range(36, 48), range(48, 68), [7, 8, 9]
WIDTH = 300  # of the face, pixels


@cache
def model():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return BFMModel(REPO / PROVISIONED_MODEL, 40, 12)


def landmark_weights(name, landmarks):
    vertices = model().keypoints[::3][list(landmarks)] // 3
    return model().regions[rows_of(name)][:, vertices].sum(axis=0)


def moved(rows):
    """How far each vertex (n, 3) moves for expression rows, pixels of a face of `WIDTH`."""
    packed, faces = model().packed, np.zeros((1, 40), np.float32)
    x = model().u[::3]
    affine = np.eye(3, 4, dtype=np.float32)[None] * WIDTH / float(np.ptp(x))
    still, moving = (
        packed.reconstruct(faces, e[None].astype(np.float32), affine, model().regions)[0]
        for e in (0 * rows, rows)
    )
    return (moving - still)[:2].T


def expressions():
    return np.random.default_rng(0).normal(0, 1.5, (5, 12))


def only(name, expression):
    return np.where(parse_regions(name)[:, None], expression, 0)


def test_the_parts_add_up_to_one():
    weights = model().regions
    assert weights.shape == (len(REGIONS), model().num_vertices) and weights.dtype == np.float32
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "landmarks"),
    [("eyes", LIDS), ("lips", LIPS), ("jaw", CHIN), ("brows", range(17, 27)), ("nose", [28, 29]),
     ("eye_right", range(36, 42)), ("mouth_left", [54]), ("mouth_right", [48])],
)
def test_a_part_is_whole_at_its_landmarks(name, landmarks):
    """The right eye being on the picture's left."""
    np.testing.assert_allclose(landmark_weights(name, landmarks), 1, atol=1e-4)


@pytest.mark.parametrize("expression", expressions())
def test_the_mouth_alone(expression):
    """No lid moves by a tenth of a pixel, and the mouth does all that it does in the whole face."""
    whole, mouth = moved(np.tile(expression, (len(REGIONS), 1))), moved(only("mouth", expression))
    landmark = model().keypoints[::3] // 3
    assert np.abs(mouth[landmark[LIDS]]).max() < 0.1
    assert np.abs((mouth - whole)[landmark[LIPS]]).max() < 0.2


@pytest.mark.parametrize("expression", expressions()[:2])
def test_region_by_region_is_the_whole(expression):
    whole = moved(np.tile(expression, (len(REGIONS), 1)))
    parts = sum(moved(only(name, expression)) for name in REGIONS)
    np.testing.assert_allclose(parts, whole, atol=0.01)
    landmarks = model().keypoints[::3] // 3
    assert np.abs(whole[landmarks]).max() > 1  # something did move


def test_weights_change_slowly():
    """What would be a crease: over a millimetre no part loses more than a fifth."""
    weights, points = model().regions, model().u.reshape(-1, 3) / 1000
    edges = model().tri[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    step = np.abs(weights[:, edges[:, 0]] - weights[:, edges[:, 1]]).max(axis=0)
    assert (step / np.maximum(length, 0.2)).max() < 1 / 5


def test_landmarks_wear_the_regions_of_their_vertices(tiny_tddfa):
    rng = np.random.default_rng(1)
    face = FaceParams(
        np.eye(3, 4, dtype=np.float32) * 1e-4, np.zeros(6, np.float32),
        rng.normal(0, 1, (len(REGIONS), 4)).astype(np.float32),
    )
    roi = [0, 0, 48, 48]
    landmarks, = tiny_tddfa.reconstruct([face], [roi])
    dense, = tiny_tddfa.reconstruct([face], [roi], dense=True)
    picked = dense[:2, tiny_tddfa.bfm.keypoints[::3] // 3]
    np.testing.assert_allclose(landmarks[:2], picked, atol=0.05)


def test_a_model_has_them_whatever_its_mesh(tmp_path):
    path = save_arrays(tmp_path / "bfm.npz", face_arrays())
    weights = BFMModel(path, 8, 5).regions
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", set(REGIONS)),
        ("exp", set(REGIONS)),
        ("mouth", {"mouth_left", "mouth_right", "jaw"}),
        ("lip", {"mouth_left", "mouth_right", "jaw"}),
        ("lips", {"mouth_left", "mouth_right"}),
        ("eye_left, brows", {"eye_left", "brow_left", "brow_right"}),
        ("all-but:eyes", set(REGIONS) - {"eye_left", "eye_right"}),
        ("all-but:lower-face,nose", {"eye_left", "eye_right", "brow_left", "brow_right"}),
        ("upper-face", {"eye_left", "eye_right", "brow_left", "brow_right"}),
    ],
)
def test_names(text, expected):
    chosen = parse_regions(text)
    assert {name for name, picked in zip(REGIONS, chosen) if picked} == expected


@pytest.mark.parametrize("text", ["", "ears", "mouth,", "all-but:", "all-but:all", "Mouth"])
def test_refused_names(text):
    with pytest.raises(UsageError, match="region"):
        parse_regions(text)


def test_groups_do_not_hide_regions():
    assert not set(GROUPS) & set(REGIONS)
