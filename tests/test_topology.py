"""Where the face mesh opens: found on the shipped model, and on meshes without an opening."""

from __future__ import annotations

import numpy as np
import pytest

from bfm.bfm import PROVISIONED_MODEL, BFMModel
from bfm.topology import COLUMNS, FAR, Topology


@pytest.fixture(scope="module")
def model() -> BFMModel:
    return BFMModel(PROVISIONED_MODEL, exp_dim=12)


def rest(model: BFMModel) -> np.ndarray:
    """The mean face (n, 3), mm."""
    return model.u.reshape(-1, 3) / 1000


def test_lips_run_from_corner_to_corner(model):
    upper, lower = model.topology.lip_points(rest(model))
    assert upper.shape == (COLUMNS, 3)
    for lip in (upper, lower):
        assert (np.diff(lip[:, 0]) > -0.5).all()  # mm; a corner may curl a little
    assert np.allclose(upper[[0, -1]], lower[[0, -1]])
    assert (upper[12:-12, 1] > lower[12:-12, 1]).all()  # the mean face's mouth is a little open
    landmarks = rest(model)[model.landmarks]
    assert np.linalg.norm((upper[COLUMNS // 2] - landmarks[62])[:2]) < 2  # the upper lip's middle
    assert np.linalg.norm((lower[COLUMNS // 2] - landmarks[66])[:2]) < 2


def test_the_slit_tells_upper_from_lower(model):
    slit, (jaw, nose) = model.topology.slit, model.landmarks[[8, 33]]
    assert slit[jaw] < -20 and slit[nose] > 10
    upper, lower = model.topology.lip_points(np.repeat(slit[:, None], 3, axis=1))[..., 0]
    assert (upper[12:-12] > 0).all() and (lower[12:-12] < 0).all()


def test_lids_enclose_the_eyes(model):
    topology, points = model.topology, rest(model)
    between = np.maximum(topology.above_lid, topology.below_lid) < 0
    for eye, corners in enumerate(((36, 39), (42, 45))):
        left, right = points[model.landmarks[list(corners)], 0]
        inside = between & (points[:, 0] > left) & (points[:, 0] < right)
        assert inside.sum() > 200
        top, bottom = points[topology.lids[eye]]
        assert (top[:, 1] - bottom[:, 1] > 3).all()
        assert np.abs(top[:, 0] - bottom[:, 0]).max() < 1.5
    assert between.sum() < 1000
    far = topology.above_lid == FAR
    assert far[model.landmarks[[0, 8, 16, 30, 48, 54]]].all()  # jaw, nose tip, mouth corners


def test_shutting_an_eye_closes_its_gap(model):
    points, lids = rest(model), model.topology.lids
    shut = points.copy()
    shut[model.lid_moves.vertices] += model.lid_moves.moves.sum(axis=2) / 1000
    for eye in (0, 1):
        gap, left = ((p[lids[eye, 0], 1] - p[lids[eye, 1], 1])[2:7].mean() for p in (points, shut))
        assert gap > 6 and abs(left) < 1.5


def test_what_is_stored_is_what_would_be_found(model):
    closing = model.w_exp[1::3, 10:]
    found = Topology.of(model.u.reshape(-1, 3), model.tri, model.landmarks, closing)
    for name, array in vars(model.topology).items():
        assert np.array_equal(array, getattr(found, name)), name


def test_without_lid_directions_no_eye_opens(model):
    closing = np.zeros((model.num_vertices, 0))
    found = Topology.of(model.u.reshape(-1, 3), model.tri, model.landmarks, closing)
    assert (found.above_lid == FAR).all() and (found.below_lid == FAR).all()
    assert np.array_equal(found.slit, model.topology.slit)


def test_a_mesh_without_a_mouth_is_refused():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match="one opening"):
        Topology.of(square, np.array([[0, 1, 2], [0, 2, 3]]), np.zeros(68, int), np.zeros((4, 0)))
