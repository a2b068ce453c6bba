"""Training the regressor: fits, eyelids, augmentation, loss, schedule, checkpoint, export."""

from __future__ import annotations

import argparse
import sys
import tarfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can be trained")
pytest.importorskip("scipy", reason="scipy is not installed: the eyelids' curves need it")

from conftest import noise, random_module  # noqa: E402

from models.mobilenet_v1 import MobileNet  # noqa: E402
from training.average import Average  # noqa: E402
from training.pictures import add_bytes  # noqa: E402
from training.regressor import (  # noqa: E402
    augment,
    evaluate,
    eyelids,
    fit,
    geometry,
    measure,
    train_tddfa,
    widen,
)
from training.regressor.faces import MIRROR, Faces, Samples, normalise, shrink  # noqa: E402
from training.regressor.geometry import CROP, Fit, Model  # noqa: E402
from training.regressor.landmarks import EYE_CORNERS, EYES, LIPS, LOWER_LID, UPPER_LID  # noqa: E402
from utils.tddfa_util import similar_transform  # noqa: E402

STILL = augment.AugmentConfig(
    roi_scale=0, roi_shift=0, p_background=0, p_occluder=0, p_coarse=0, p_grey=0, p_noise=0
)


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_model(points=60, shapes=3, exps=2, seed=0):
    """A model with a head-sized random mean; a coefficient of 1 moves a vertex by about 5 mm."""
    g = generator(seed)
    mean = 60_000 * torch.randn(points, 3, generator=g)
    bases = (5000 * torch.randn(points, 3, k, generator=g) for k in (shapes, exps))
    return Model(mean, *bases)


def random_pose(count, seed=0, turn=0.5):
    """Poses of faces about 90 pixels high in the stored crop."""
    g = generator(seed)
    matrix = geometry.rotation(turn * torch.randn(count, 3, generator=g))
    matrix = matrix * (4e-4 + 2e-4 * torch.rand(count, 1, 1, generator=g))
    shift = torch.tensor([96.0, -96, 0]) + torch.randn(count, 3, generator=g)
    return torch.cat([matrix, shift[..., None]], 2)


# Geometry


def test_rotations():
    omega = torch.tensor([[0, 0, np.pi / 2], [0.3, -0.2, 0.9], [0, 0, 0]], dtype=torch.float64)
    matrix = geometry.rotation(omega)
    quarter = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(matrix[0], quarter)
    torch.testing.assert_close(matrix[2], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(matrix @ geometry.rotation(-omega), matrix[2].expand(3, 3, 3))
    torch.testing.assert_close((matrix @ omega[..., None])[..., 0], omega)  # the axis stays
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(3, dtype=torch.float64))


def test_vertices_and_subsets_of_the_model():
    model = random_model()
    alpha, beta = (
        torch.randn(4, 3, generator=generator(1)),
        torch.randn(4, 2, generator=generator(2)),
    )
    full = model.vertices(alpha, beta)
    expected = model.mean + torch.einsum("lis,ns->nli", model.shape, alpha)
    expected = expected + torch.einsum("lie,ne->nli", model.exp, beta)
    torch.testing.assert_close(full, expected, rtol=1e-4, atol=0.1)
    index = np.array([7, 3, 50])
    torch.testing.assert_close(model.at(index).vertices(alpha, beta), full[:, index])
    extra = torch.randn(60, 3, 1)
    more = model.with_exp(extra).vertices(alpha, torch.cat([beta, 2 * torch.ones(4, 1)], 1))
    torch.testing.assert_close(more, full + 2 * extra[..., 0], rtol=1e-4, atol=0.1)


def test_pose_jacobian_is_the_derivative():
    turned = torch.randn(1, 5, 3, dtype=torch.float64, generator=generator())

    def moved(delta):
        turn = geometry.rotation(delta[None, :3]) * delta[3].exp()
        return ((turned @ turn.transpose(1, 2))[..., :2] + delta[4:])[0]

    zero = torch.zeros(6, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(moved, zero)
    torch.testing.assert_close(geometry.pose_jacobian(turned)[0], expected)


def test_initial_pose_of_an_undeformed_face_is_exact():
    model, pose = random_model(), random_pose(5)
    points = geometry.project(pose, model.mean.expand(5, -1, 3))
    found = geometry.initial_pose(points, model.mean)
    torch.testing.assert_close(found[:, :, :3], pose[:, :, :3], rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(found[:, :2, 3], pose[:, :2, 3], rtol=1e-4, atol=1e-3)


def test_fit_recovers_the_parameters_of_synthetic_faces():
    """Batches of two, so that their joining is tested, too; weights do not matter without noise."""
    model, count = random_model(), 5
    g = generator(3)
    true = Fit(random_pose(count), *(torch.randn(count, k, generator=g) for k in (3, 2)))
    points, weight = true.project(model), torch.rand(60, generator=g) + 0.5
    found = geometry.fit_all(
        model, points, weight, torch.full((5,), 3.0), noise=0.01, iterations=8, batch=2
    )
    torch.testing.assert_close(found.alpha, true.alpha, rtol=0, atol=5e-3)
    torch.testing.assert_close(found.beta, true.beta, rtol=0, atol=5e-3)
    torch.testing.assert_close(found.pose[:, :, :3], true.pose[:, :, :3], rtol=0, atol=1e-6)
    assert float((found.project(model) - points).abs().max()) < 0.05
    one = found[2:3]
    torch.testing.assert_close(one.project(model), found.project(model)[2:3])


def test_a_tight_prior_keeps_the_mean_face():
    model = random_model()
    true = Fit(random_pose(3), torch.ones(3, 3), torch.ones(3, 2))
    weight, prior = torch.ones(60), torch.full((5,), 1e-5)
    found = geometry.fit_all(model, true.project(model), weight, prior)
    assert float(found.alpha.abs().max()) < 1e-3 and float(found.beta.abs().max()) < 1e-3


def test_eyelids_are_appended_where_their_indices_say(tmp_path):
    displacement = np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)
    np.savez(tmp_path / "eyelids.npz", indices=np.array([9, 4]), displacement=displacement)
    model = geometry.with_eyelids(random_model(), tmp_path)
    assert model.exp.shape == (60, 3, 4)
    np.testing.assert_array_equal(model.exp[[9, 4], :, 2:], displacement)
    assert int((model.exp[..., 2:] != 0).any(2).any(1).sum()) == 2


# From labels to fits


def opposites(count=468):
    """A pairing of landmarks: neighbours are opposite, the last four lie on the axis."""
    pairs = np.arange(count)
    pairs[:-4] = pairs[:-4].reshape(-1, 2)[:, ::-1].ravel()
    return pairs


def synthetic_labels(count=6):
    """`labels.npz` of faces whose landmarks a mirror sees exactly."""
    rng = np.random.default_rng(0)
    points = rng.uniform(50, 140, (count, 478, 3)).astype(np.float32)
    return {
        "points": points,
        "mirror": points[:, opposites(478)],
        "inside": np.tile(np.array([0, 0, CROP - 1, CROP - 1], np.float32), (count, 1)),
        "scale": rng.uniform(0.5, 2, count).astype(np.float32),
        "name": np.array([f"n{i}" for i in range(count)]),
        "person": np.array([f"p{i // 2}" for i in range(count)]),
        "source": np.array(["portraits", "utkface"] * (count // 2)),
        "val": np.arange(count) >= count - 2,
    }


def test_landmarks_of_pictures_and_mirror_images():
    labels = synthetic_labels()
    # indices that the mirror's pairing must find among 468: the last four of 478 are irises
    labels["mirror"][:, :468] = labels["points"][:, :468][:, opposites()]
    points = fit.load_points(labels)
    plane = labels["points"][:, :468, :2] * [1, -1]
    np.testing.assert_allclose(points[0], plane, atol=1e-4)
    back = points[1].numpy()[:, opposites()] * [-1, 1] + [CROP - 1, 0]  # mirrored twice
    np.testing.assert_allclose(back, plane, atol=1e-4)


def test_expected_roi_of_hand_made_landmarks():
    points = torch.zeros(1, 68, 2)
    points[0, :2] = torch.tensor([[10.0, -50], [66, -10]])
    points[0, 2:] = torch.tensor([30.0, -30])
    expected = [[38, -30, (56 + 40) / 2 / 0.56]]
    np.testing.assert_allclose(fit.expected_roi(points), expected, rtol=1e-6)


def test_landmarks_find_their_vertices():
    """Landmarks on vertices of turned faces: each finds its own, but not outside `allowed`."""
    model = random_model(points=40)
    faces = Fit(random_pose(70), torch.randn(70, 3), torch.randn(70, 2))
    own = np.array([30, 5, 17])
    points = faces.project(model.at(own))
    vertex, error = fit.nearest_vertices(model, faces, points, np.arange(40))
    assert vertex.tolist() == own.tolist() and error.max() < 0.3  # float32 sums of squares
    vertex, error = fit.nearest_vertices(model, faces, points, np.arange(10, 40))
    assert vertex[[0, 2]].tolist() == [30, 17] and vertex[1] >= 10 and error[1] > 1


def test_landmarks_off_the_surface_weigh_less():
    error = np.ones(468)
    error[200] = 9.0  # on the cheek
    weight = fit.landmark_weight(error)
    assert weight.dtype == np.float32 and weight.mean() == pytest.approx(1)
    assert 200 not in LIPS and 200 not in EYES and 50 not in LIPS and 50 not in EYES
    assert weight[200] / weight[50] == pytest.approx(2 / (1 + 81))
    assert weight[LIPS[0]] / weight[50] == pytest.approx(2.5)
    assert weight[EYES[0]] / weight[50] == pytest.approx(4)


# Eyelids


def test_differences_within_persons():
    values = np.array([[1.0, 10], [3, 20], [5, 7]])
    person = np.array(["b", "b", "a"])
    np.testing.assert_allclose(eyelids.within_persons(values, person), [[-1, -5], [1, 5], [0, 0]])


@pytest.mark.parametrize(
    "distance, value",
    [
        (-5, 1),  # on the inner side
        (0, 1),  # at the edge
        (5, 0.5),  # half way
        (10, 0),  # at the reach
        (99, 0),  # beyond
    ],
)
def test_fade(distance, value):
    assert eyelids.fade(np.array([distance]), 10) == pytest.approx(value)
    ends = eyelids.fade(np.array([1e-3, 10 - 1e-3]), 10)
    np.testing.assert_allclose(ends, [1, 0], atol=1e-6)  # flat at both ends


def blinking_faces(side_moves):
    """Faces of five persons with eyes of different sizes, each more or less open; and the model."""
    rng = np.random.default_rng(0)
    model = random_model(points=468)
    person = np.repeat(np.arange(5), 4)
    moved = np.repeat(model.mean.numpy()[None, :, :2], 20, 0).astype(np.float64)
    for side in (0, 1):
        lids = list(UPPER_LID[side] + LOWER_LID[side])
        moved[:, lids, 1] += rng.normal(0, 3000, (5, 14))[person]  # of the person
        moved[:, lids, 1] += rng.normal(0, 1, (20, 1)) * side_moves[side].ravel()
    pose = torch.tensor([[5e-4, 0, 0, 90], [0, 5e-4, 0, -80], [0, 0, 5e-4, 0]]).expand(20, 3, 4)
    points = torch.from_numpy(moved * 5e-4 + [90, -80]).float()
    return model, Fit(pose.clone(), torch.zeros(20, 3), torch.zeros(20, 2)), points, person


def test_lid_slopes_and_the_moves_that_close_the_eyes():
    moves = np.random.default_rng(1).normal(0, 1000, (2, 2, 7)) + [[[4000], [-1000]]]
    model, faces, points, person = blinking_faces(moves)
    for side in (0, 1):
        expected = moves[side] / (moves[side, 0, 3] - moves[side, 1, 3])
        found = eyelids.lid_slopes(faces, points, person, side)
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)
    closing = eyelids.learn_eyelids(model, faces, points, person)
    assert not closing[:, :, [0, 8]].any()  # corners
    y = model.mean.numpy()[:, 1]
    for side in (0, 1):
        gap = y[list(UPPER_LID[side])] - y[list(LOWER_LID[side])]
        left = gap + closing[side, 0, 1:8] - closing[side, 1, 1:8]
        np.testing.assert_allclose(left, 0, atol=1e-2)


def test_turned_faces_teach_no_slopes():
    """Faces turned by more than MAX_YAW are left out: spoiling them changes nothing."""
    moves = np.full((2, 2, 7), 1000.0) * [[[1], [-1]]]
    _, faces, points, person = blinking_faces(moves)
    frontal = eyelids.lid_slopes(faces[:12], points[:12], person[:12], 0)
    faces.pose[12:, :, :3] = 5e-4 * geometry.rotation(torch.tensor([[0, 0.6, 0.0]]))
    points[12:] = 0
    np.testing.assert_allclose(eyelids.lid_slopes(faces, points, person, 0), frontal, rtol=1e-6)


X = 100.0 * np.array([-150, -112, -75, -37, 0, 37, 75, 112, 150])  # on the curves' grid
REACH = (14_000.0, 9_000.0)


def eye_edges():
    """Lid edges (2, 9, 3): arcs 5 mm above and 3 mm below the corners, on a ball."""
    arc = 1 - (X / 15_000) ** 2
    return np.stack([np.stack([X, y * arc, 20_000 + 4000 * arc], 1) for y in (5000, -3000)])


def eye_moves():
    gap = eye_edges()[0, :, 1] - eye_edges()[1, :, 1]
    return np.stack([-0.85 * gap, 0.15 * gap])


def eye_surface():
    """A grid of vertices over the eye and the skin around it: (61, 31, 3), rows upwards."""
    y, x = np.mgrid[-18_000:24_001:700, -21_000:21_001:1400].astype(float)
    arc = np.clip(1 - (x / 15_000) ** 2, 0, None)
    return np.stack([x, y, 20_000 + 5000 * arc], -1)


def moved_eye(vertices):
    return eyelids.Eye(eye_edges(), eye_moves(), REACH).move(vertices)


def test_coefficient_one_closes_the_eye_and_leaves_its_corners():
    edges, ball = eye_edges(), eye_surface().reshape(-1, 3)
    vertical, depth = moved_eye(np.concatenate([edges.reshape(-1, 3), ball]))
    up, down = edges[..., 1] + vertical[:18].reshape(2, 9)
    np.testing.assert_allclose(up, down, atol=1)  # µm
    corners = [0, 8, 9, 17]
    np.testing.assert_allclose(vertical[corners], 0, atol=1e-6)
    np.testing.assert_allclose(depth[corners], 0, atol=1e-6)
    np.testing.assert_allclose(vertical[:18].reshape(2, 9), eye_moves(), atol=1)
    assert np.isfinite(depth).all()


def test_skin_beyond_the_reach_stays():
    grid = eye_surface()
    vertical, depth = (part.reshape(grid.shape[:2]) for part in moved_eye(grid.reshape(-1, 3)))
    away = (grid[..., 1] > 5000 + REACH[0]) | (grid[..., 1] < -3000 - REACH[1])
    assert away.any() and not vertical[away].any() and np.abs(depth[away]).max() < 1e-6


@pytest.mark.parametrize("coefficient", [-0.6, 0.5, 1.0])  # wide open, half closed, closed
def test_no_coefficient_folds_the_surface(coefficient):
    grid = eye_surface()
    vertical, _ = moved_eye(grid.reshape(-1, 3))
    y = grid[..., 1] + coefficient * vertical.reshape(grid.shape[:2])
    assert (np.diff(y, axis=0) > -1).all()  # the order along each column, to a µm


def test_eyelids_of_a_face_stay_on_their_side():
    grid = eye_surface().reshape(-1, 3)
    mean, vertex = [np.zeros((1, 3))], np.zeros(468, int)
    for side, middle in ((0, -32_000), (1, 32_000)):
        start = sum(map(len, mean))
        outer, inner = EYE_CORNERS[side]
        edges = eye_edges() if side == 0 else eye_edges()[:, ::-1]  # from outer to inner corner
        for lid, edge in zip((UPPER_LID, LOWER_LID), edges):
            vertex[[outer, *lid[side], inner]] = start + np.arange(9)
            mean.append(edge + [middle, 0, 0])
            start += 9
        mean.append(grid + [middle, 0, 0])
    mean = np.concatenate(mean)
    basel = Model(torch.from_numpy(mean).float(), torch.zeros(len(mean), 3, 1), None)
    indices, direction = eyelids.spread_eyelids(basel, vertex, np.stack([eye_moves()] * 2), REACH)
    assert direction.shape == (len(indices), 3, 2) and direction.dtype == np.float32
    assert (np.diff(indices) > 0).all() and not direction[:, 0].any()  # nothing moves sideways
    here = mean[indices, 0] < 0
    assert direction[here, :, 0].any() and direction[~here, :, 1].any()
    assert not direction[~here, :, 0].any() and not direction[here, :, 1].any()
    edge = vertex[np.array([UPPER_LID[0][3], LOWER_LID[0][3]])]
    found = direction[np.searchsorted(indices, edge), 1, 0]
    np.testing.assert_allclose(found, eye_moves()[:, 4], rtol=1e-3)


# Augmentation


@pytest.mark.parametrize(
    "roll, right",
    [
        (0, (119.5, 59.5)),  # upright
        (90, (59.5, -0.5)),  # counter-clockwise: what was right is up
        (180, (-0.5, 59.5)),  # upside down
    ],
)
def test_roi_matrix(roll, right):
    matrix = augment.roi_matrix(np.array([100, -80, 60.0]), roll)
    np.testing.assert_allclose(matrix @ [100, 80, 1], [59.5, 59.5])
    np.testing.assert_allclose(matrix @ [130, 80, 1], right, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 0.4, 2.5])  # stored-crop pixels per picture pixel
def test_network_frame_is_the_originals(scale):
    """A landmark, put into the network's frame, is where the original's pipeline then sees it.

    The picture is the stored crop enlarged by 1 / scale; the ROI starts at pixel (left, top).
    """
    side, left, top = 150.0, 12, 7  # picture pixels
    crop_side = side * scale
    corner = (np.array([left, top]) - 0.5 + side / 2) * scale + 0.5 * scale - 0.5  # ROI's middle
    matrix = augment.roi_matrix(np.array([corner[0], -corner[1], crop_side]), 0)
    to_network = augment.network_matrix(matrix, crop_side / augment.SIZE / scale)
    picture = np.random.default_rng(0).uniform(20, 150, (2, 8))
    crop = (picture + 0.5) * scale - 0.5
    plane = np.vstack([crop * [[1], [-1]], np.zeros(8)])
    seen = to_network[:, :3] @ plane + to_network[:, 3:]
    box = [left, top, left + side, top + side]
    found = similar_transform(seen, box, augment.SIZE)
    np.testing.assert_allclose(found[:2], picture, atol=2e-3)


@pytest.mark.parametrize("roll", [0.0, 25.0, -140.0])  # upright, turned, upside down
def test_moved_pose_projects_to_the_moved_landmarks(roll):
    model, pose = random_model(), random_pose(1)
    points = geometry.project(pose, model.mean[None])[0].numpy()
    matrix = augment.roi_matrix(np.array([90, -100, 130.0]), roll)
    to_network = augment.network_matrix(matrix, 0.8)
    moved = augment.pose_in_roi(to_network, pose[0].numpy())
    seen = model.mean.numpy() @ moved[:, :3].T + moved[:, 3]
    np.testing.assert_allclose(
        seen[:, :2], points @ to_network[:2, :2].T + to_network[:2, 3], atol=2e-3
    )
    rows = moved[:, :3] / np.linalg.norm(moved[:, :3], axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-5)  # still a scaled rotation
    assert np.linalg.det(rows) == pytest.approx(1, abs=1e-5)
    gains = np.linalg.norm(moved[:, :3], axis=1) / np.linalg.norm(pose[0, :, :3], axis=1)
    np.testing.assert_allclose(gains, augment.SIZE / 130, rtol=1e-5)


def degrader(config=STILL, seed=0):
    return augment.Degrader(config, np.stack([noise(64, 64, s) for s in (1, 2)]), seed)


def test_random_rois_have_the_spread_asked_for():
    config = augment.AugmentConfig(roi_scale=0.1, roi_shift=0.03, p_roll_wide=0.5)
    draw, roi = degrader(config), np.array([90, -100, 120.0])
    rois, rolls = zip(*(draw.random_roi(roi) for _ in range(1500)))
    rois, rolls = np.array(rois), np.array(rolls)
    assert np.log(rois[:, 2] / 120).std() == pytest.approx(0.1, rel=0.1)
    assert (rois[:, :2] - roi[:2]).std() / 120 == pytest.approx(0.03, rel=0.1)
    variance = 0.5 * 45**2 / 3 + 0.5 * 10**2  # of a uniform and a normal distribution
    assert rolls.std() == pytest.approx(variance**0.5, rel=0.1)


def test_random_roi_without_spread_is_the_roi():
    config = augment.AugmentConfig(roi_scale=0, roi_shift=0, roll=0, p_roll_wide=0)
    found, roll = degrader(config).random_roi(np.array([90, -100, 120.0]))
    np.testing.assert_allclose(found, [90, -100, 120])
    assert roll == 0


def test_wide_rolls_stay_in_their_limits():
    draw = degrader(augment.AugmentConfig(roll_wide=20, p_roll_wide=1))
    rolls = [draw.random_roi(np.array([0, 0, 100.0]))[1] for _ in range(200)]
    assert -20 <= min(rolls) < -15 and 15 < max(rolls) <= 20


@pytest.mark.parametrize(
    "inside",
    [
        (0, 0, 191, 191),  # all of it: nothing to fill
        (30.4, -5, 220, 170.2),  # black on the left and below
        (60, 70, 130, 125),  # a small picture
    ],
)
def test_filling_the_outside_keeps_the_picture(inside):
    x0, y0, x1, y1 = inside
    crop = np.zeros((CROP, CROP, 3), np.uint8)
    rows, columns = (
        slice(max(int(start), 0), min(int(stop) + 1, CROP)) for start, stop in ((y0, y1), (x0, x1))
    )
    crop[rows, columns] = 100 + noise(CROP, CROP)[rows, columns] // 2
    before = crop.copy()
    for seed in range(6):  # all kinds of filling
        filled = degrader(seed=seed).fill_outside(crop, np.array(inside, np.float32))
        assert filled.shape == crop.shape and filled.dtype == np.uint8
        inner = (slice(rows.start + 2, rows.stop - 2), slice(columns.start + 2, columns.stop - 2))
        assert np.array_equal(filled[inner], crop[inner])
        assert (filled.max(2) > 0).mean() > 0.99
    assert np.array_equal(crop, before)


def test_occluder_covers_at_most_a_part():
    for seed in range(5):
        picture = np.full((120, 120, 3), 255, np.uint8)
        draw = degrader(seed=seed)
        draw.occlude(picture)
        y, x = np.nonzero((picture != 255).any(2))
        assert np.ptp(x) < 44 and np.ptp(y) < 44 and len(x) > 50


def test_degraded_pictures_are_pictures():
    always = dict.fromkeys(("p_occluder", "p_coarse", "p_grey", "p_noise", "p_jpeg"), 1.0)
    draw = degrader(augment.AugmentConfig(**always))
    for _ in range(5):
        picture = draw.degrade(noise(120, 120))
        assert picture.shape == (120, 120, 3) and picture.dtype == np.uint8


# Faces


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Labels, fits and scenes of six synthetic faces in a folder, and their model."""
    folder = tmp_path_factory.mktemp("faces")
    labels, count = synthetic_labels(), 6
    labels["mirror"][:, :468] = labels["points"][:, :468][:, opposites()]
    model, g = random_model(500, 40, 10, seed=5), generator(6)
    pose = torch.stack([random_pose(count, seed) for seed in (1, 2)])
    alpha, beta = (torch.randn(2, count, k, generator=g) for k in (40, 12))
    lids = torch.randn(2, 3, 2, generator=g) * 1000
    np.savez(folder / "eyelids.npz", indices=np.array([3, 8]), displacement=lids.numpy())
    np.savez(folder / "correspondence.npz", vertex=np.arange(468), weight=np.ones(468))
    roi = np.tile(np.array([95, -97, 128], np.float32), (2, count, 1))
    fits = dict(pose=pose.numpy(), alpha=alpha.numpy(), beta=beta.numpy(), roi=roi)
    points = fit.load_points(labels).numpy()
    np.savez(folder / "labels.npz", **labels)
    np.savez(folder / "fits.npz", **fits, points=points, keep=np.arange(count) != 1)
    np.save(folder / "crops.npy", np.stack([noise(CROP, CROP, s) for s in range(count)]))
    with tarfile.open(folder / "scenes.tar", "w") as tar:
        for name in ("train/a.webp", "train/b.webp", "val/c.webp"):
            add_bytes(tar, name, cv2.imencode(".png", noise())[1].tobytes())
    return SimpleNamespace(folder=folder, model=model, labels=labels)


def test_faces_of_a_split(world):
    train, val = (Faces(world.folder, world.folder, val) for val in (False, True))
    assert train.index.tolist() == [0, 2, 3] and val.index.tolist() == [4, 5]
    assert train.name.tolist() == ["n0", "n2", "n3"] and train.pose.shape == (2, 3, 3, 4)
    assert np.array_equal(train.crop(1), noise(CROP, CROP, 2)) and len(val) == 2


def test_targets_are_the_fit_in_the_roi(world):
    faces = Faces(world.folder, world.folder, False)
    picture, param, points = faces.plain(1, roll=20)
    assert picture.shape == (120, 120, 3) and points.shape == (468, 2) and param.shape == (64,)
    model = geometry.with_eyelids(world.model, world.folder).at(np.arange(468))
    seen = measure.landmarks_of(model, torch.from_numpy(param).float()[None])[0]
    own = Fit(*(torch.from_numpy(a[0, 1:2]) for a in (faces.pose, faces.alpha, faces.beta)))
    to_network = augment.network_matrix(
        augment.roi_matrix(faces.roi[0, 1], 20), 128 / 120 / faces.scale[1]
    )
    moved = own.project(model)[0].numpy() @ to_network[:2, :2].T + to_network[:2, 3]
    np.testing.assert_allclose(seen, moved, atol=1e-2)
    np.testing.assert_allclose(param[12:52], faces.alpha[0, 1])


def test_mirroring_the_crop_twice_is_the_identity():
    np.testing.assert_array_equal(MIRROR @ MIRROR, np.eye(3))
    np.testing.assert_array_equal(MIRROR @ [0, 5, 1], [CROP - 1, 5, 1])


def test_dots_land_where_the_landmarks_say(world):
    """Dots at three landmarks, one per channel, through random rolls and mirror images."""
    faces = Faces(world.folder, world.folder, False)
    crop = np.zeros((CROP, CROP, 3), np.float32)
    chosen = [10, 21, 33]
    y, x = np.mgrid[:CROP, :CROP]
    at = world.labels["points"][2, chosen, :2] * 0.5 + 0.5 * 95  # near the middle
    points = np.tile(world.labels["points"][2:3, :468], (1, 1, 1))
    points[0, chosen, :2] = at
    faces.points[:, 1] = fit.load_points({"points": points, "mirror": points[:, opposites()]})[
        :, 0
    ].numpy()
    for channel, (u, v) in enumerate(at):
        crop[..., channel] = 255 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18)
    faces.crops = np.repeat(np.rint(crop).astype(np.uint8)[None], 6, 0)
    draw = degrader()
    draw.degrade = lambda picture: picture
    samples, seen = Samples(faces, draw.scenes, STILL, 0), set()
    v, u = np.mgrid[:120, :120]
    half = 0.5 - 0.5 / (128 / 120 / faces.scale[1])  # see network_matrix
    for _ in range(6):
        state = draw.rng.bit_generator.state
        mirrored = int(draw.rng.integers(2))
        draw.rng.bit_generator.state = state
        picture, _, found = samples.sample(1, draw)
        seen.add(mirrored)
        for channel, landmark in enumerate(opposites()[chosen] if mirrored else chosen):
            light = picture[channel].numpy().astype(float)
            centroid = np.array([(light * u).sum(), (light * v).sum()]) / light.sum()
            network = centroid[0] + 1 + half, 120 - half - centroid[1]
            np.testing.assert_allclose(found[landmark], network, atol=0.2)
    assert seen == {0, 1}


def test_samples_of_the_stream(world):
    faces = Faces(world.folder, world.folder, False)
    scenes = train_tddfa.load_scenes(world.folder / "scenes.tar", side=64)
    assert scenes.shape == (2, 64, 64, 3)  # those of the training split
    streams = [iter(Samples(faces, scenes, augment.AugmentConfig(), 7)) for _ in range(2)]
    for _ in range(3):
        first, second = (next(stream) for stream in streams)
        assert [tuple(t.shape) for t in first] == [(3, 120, 120), (64,), (468, 2)]
        assert [t.dtype for t in first] == [torch.uint8, torch.float32, torch.float32]
        assert all(torch.equal(a, b) for a, b in zip(first, second))  # seeded


def test_rare_faces_come_up_more_often(world):
    faces = Faces(world.folder, world.folder, False)
    faces.points = np.tile(faces.points[:, :1], (1, 3, 1, 1))
    faces.points[:, :, 14] = faces.points[:, :, 13]  # mouths shut ...
    faces.points[0, 2, 14, 0] += 0.3 * np.linalg.norm(
        faces.points[0, 2, 33] - faces.points[0, 2, 263]
    )  # ... but one
    faces.source = np.array(["portraits", "utkface", "utkface"])
    weights = faces.sampling_weights()
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights / weights[1], [2, 1, 4])


@pytest.mark.parametrize("side", [120, 80, 60])  # as it is, the first stage's, half
def test_shrinking_keeps_flat_pictures_and_ramps(side):
    ramp = torch.linspace(-1, 1, 120).expand(1, 3, 120, 120)
    small = shrink(ramp, side)
    assert small.shape == (1, 3, side, side)
    centres = (torch.arange(side) + 0.5) * 120 / side - 0.5  # of pixels, as those of the input
    expected = -1 + 2 * centres / 119
    torch.testing.assert_close(small[0, 0, 5, 5:-5], expected[5:-5], atol=1e-3, rtol=0)
    assert side != 120 or small is ramp
    torch.testing.assert_close(shrink(torch.ones(1, 3, 120, 120), side), torch.ones_like(small))


def test_normalised_pictures_are_in_the_networks_range():
    values = normalise(torch.tensor([0, 255], dtype=torch.uint8))
    torch.testing.assert_close(values, torch.tensor([-127.5 / 128, 127.5 / 128]))


# Measures


def test_summary_of_identical_landmarks():
    true = np.random.default_rng(0).uniform(0, 120, (9, 468, 2))
    table = measure.summary(true, true)
    assert list(table) == list(measure.COLUMNS)
    np.testing.assert_allclose(list(table.values()), [0, 0, 0, 1, 1, 1, 1], atol=1e-12)
    moved = measure.summary(true, true + [3, 4])  # openings do not move along
    np.testing.assert_allclose(list(moved.values()), [5, 5, 5, 1, 1, 1, 1], rtol=1e-9)
    shrunken = measure.summary(true, true * [0.5, 0.5])  # nor do they shrink with the face
    assert shrunken["mouth_slope"] == pytest.approx(1) and shrunken["mean"] > 10
    assert measure.one_line({"mean": 1.0, "lips": 2}) == "mean 1.000  lips 2.000"


def test_predictions_do_not_depend_on_the_batch():
    pictures = np.stack([noise(120, 120, s) for s in range(5)])
    sides = []

    def network(x):
        sides.append(x.shape[-1])
        return x.mean((2, 3))

    parts, whole = (measure.predict(network, pictures, 60, batch) for batch in (2, 100))
    torch.testing.assert_close(parts, whole)
    assert set(sides) == {60}
    expected = (pictures.mean((1, 2)) - 127.5) / 128
    np.testing.assert_allclose(whole, expected, atol=1e-3)  # BGR stays BGR


@pytest.mark.parametrize("count, rows", [(1, 1), (2, 2), (99, 3)])  # one, some, no more than all
def test_held_out_faces(world, count, rows):
    faces = Faces(world.folder, world.folder, False)
    pictures, points = measure.held_out(faces, count)
    assert pictures.shape == (rows, 120, 120, 3) and points.shape == (rows, 468, 2)
    np.testing.assert_array_equal(pictures[0], faces.plain(0)[0])


# Training


@pytest.mark.parametrize(
    "progress, share",
    [
        (0.0, 0),  # start
        (0.01, 0.5),  # half warm
        (0.02, 1),  # warm: the peak
        (0.51, 0.5),  # half a cosine, half way
        (1.0, 0),  # end
        (1.3, 0),  # beyond the end
    ],
)
def test_learning_rate_of_the_regressor(progress, share):
    config = train_tddfa.TrainConfig(peak_lr=2e-3, warmup=0.02)
    assert train_tddfa.rate(progress, config) == pytest.approx(2e-3 * share, abs=1e-12)


@pytest.mark.parametrize(
    "progress, side, hardship",
    [
        (0.0, 80, 1),  # start
        (0.4, 80, 1),  # end of the first stage
        (0.41, 120, 1),  # second stage
        (0.76, 120, 0.5),  # third stage
        (1.0, 120, 0.5),  # end
    ],
)
def test_stages(progress, side, hardship):
    stage = train_tddfa.stage_at(progress, train_tddfa.TrainConfig())
    assert (stage.side, stage.hardship) == (side, hardship)


def test_eased_augmentation():
    config = augment.AugmentConfig(p_grey=0.3, p_background=0.5)
    eased = config.eased(0.5)
    assert eased.p_grey == pytest.approx(0.15) and eased.p_roll_wide == config.p_roll_wide / 2
    assert (eased.p_background, eased.roll) == (0.5, config.roll)  # no hardships
    assert config.eased(1) == config


# Starting from weights


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The prefix of a small trained network's files, and the network."""
    net = random_module(torch, lambda: MobileNet(0.125, 64))
    prefix = tmp_path_factory.mktemp("exported") / "tiny"
    torch.save({"state_dict": net.state_dict()}, f"{prefix}_120x120.pth")
    np.savez(f"{prefix}_param_mean_std.npz", mean=np.arange(64.0), std=np.ones(64))
    return prefix, net


@pytest.mark.parametrize("widen_factor", [0.125, 0.25])  # as wide, twice as wide
def test_start_from_weights(exported, widen_factor):
    prefix, narrow = exported
    state, mean, std = widen.load_start(prefix, widen_factor)
    net = MobileNet(widen_factor, 64)
    net.load_state_dict(state)
    inputs = torch.randn(2, 3, 120, 120, generator=generator(3))
    with torch.inference_mode():
        torch.testing.assert_close(net.eval()(inputs), narrow.eval()(inputs), atol=1e-4, rtol=1e-3)
    assert torch.equal(mean, torch.arange(64.0)) and torch.equal(std, torch.ones(64))


def test_copies_of_a_channel_can_part(exported):
    """Who reads both copies weighs them differently, or they would stay equal for ever."""
    state, _, _ = widen.load_start(exported[0], 0.25)
    for name in ("dw3_1.conv_sep.weight", "fc.weight"):
        first, second = state[name].chunk(2, 1)
        assert (first - second).abs().max() > 0.1 * first.abs().max()


def test_weights_of_another_width_are_refused(exported):
    with pytest.raises(ValueError, match="neither as wide"):
        widen.load_start(exported[0], 1.0)


@pytest.mark.parametrize(
    "error, value",
    [
        ([0, 0, 0], 0),  # none
        ([0, 2.0, 0], 1),  # sqrt(4 + 2.25) - 1.5
        ([3e4, 4e4, 0], 5e4 - 1.5),  # linear far away
        ([1e-2, 0, 0], 1e-4 / 3),  # square nearby
    ],
)
def test_robust_length(error, value):
    found = train_tddfa.robust(torch.tensor(error, dtype=torch.float64))
    assert float(found) == pytest.approx(value, rel=1e-4)


@pytest.fixture(scope="module")
def loss_case():
    """The loss without whitening, a target (2, 64) and its own landmarks."""
    model = random_model(468, 40, 12, seed=8)
    pose = random_pose(2).flatten(1)
    param = torch.cat([pose, torch.randn(2, 52, generator=generator(9))], 1)
    loss = train_tddfa.FaceLoss(model, torch.zeros(64), torch.ones(64), train_tddfa.TrainConfig())
    vertices = model.vertices(param[:, 12:52], param[:, 52:])
    return loss, param, train_tddfa.project_3d(param, vertices)[..., :2]


def test_the_loss_of_the_target_is_zero(loss_case):
    loss, param, points = loss_case
    terms = loss.terms(param, param, points)
    assert set(terms) == {"projected", "own", "expression", "opening", "param"}
    assert all(abs(float(term)) < 1e-4 for term in terms.values())


def test_the_loss_of_a_shifted_face(loss_case):
    """A shift by (3, 4) pixels: every landmark is 5 off, no gap and no shape is."""
    loss, param, points = loss_case
    shifted = param.clone()
    shifted[:, 3] += 3
    shifted[:, 7] += 4
    terms = {name: float(term) for name, term in loss.terms(shifted, param, points).items()}
    assert terms["projected"] == pytest.approx((25 + 2.25) ** 0.5 - 1.5, rel=1e-3)
    assert terms["param"] == pytest.approx(0.05 * 25 / 64, rel=1e-3)
    assert max(terms["own"], terms["expression"], abs(terms["opening"])) < 1e-4


def test_whitening_is_of_the_stream():
    param = torch.randn(12, 5, generator=generator())
    param[:, 2] = 4  # constant
    loader = [(None, part, None) for part in param.split(3)]
    mean, std = train_tddfa.whitening(loader, 4)
    torch.testing.assert_close(mean, param.mean(0))
    expected = param.std(0)
    expected[2] = 1
    torch.testing.assert_close(std, expected)


def test_average_is_an_exponential_moving_average():
    """After few steps the first decays, (1 + k) / (10 + k); later the one that was asked for."""
    net = torch.nn.BatchNorm1d(1)
    average, expected = Average(net, decay=0.5), 1.0
    for k in range(1, 15):
        with torch.no_grad():
            net.weight.fill_(k)
        net.num_batches_tracked += 1
        average.update(net)
        keep = min(0.5, (1 + k) / (10 + k))
        expected = keep * expected + (1 - keep) * k
        assert float(average.state["weight"]) == pytest.approx(expected, rel=1e-5)
    assert int(average.state["num_batches_tracked"]) == 14  # counted, not averaged
    assert average.steps == 14 and float(net.weight.detach()) == 14


@pytest.fixture
def trainer(world, tmp_path, monkeypatch):
    """A function that makes a Trainer in a group of one process, resumed if it can be."""
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    monkeypatch.setattr(train_tddfa, "load_basel", lambda wheel: (world.model, None))
    monkeypatch.setattr(
        train_tddfa, "whitening", lambda loader, batches: (torch.zeros(64), torch.ones(64))
    )
    args = argparse.Namespace(
        labels=world.folder, fits=world.folder, scenes=world.folder / "scenes.tar", wheel=None,
        out=tmp_path, widen=0.125, from_weights=None, workers=1, minutes=1, eval_minutes=1,
    )  # fmt: skip
    yield lambda: train_tddfa.Trainer(args, train_tddfa.TrainConfig(batch=4))
    torch.distributed.destroy_process_group()


def batch_of(one, seed):
    samples = iter(Samples(one.faces, one.scenes, augment.AugmentConfig(), seed))
    return [torch.stack(column) for column in zip(*(next(samples) for _ in range(4)))]


def test_resumed_trainer_goes_on_as_if_never_stopped(trainer, tmp_path):
    one = trainer()
    one.elapsed = 8.0
    one.train_step(batch_of(one, 0), 64)
    one.step += 1
    one.save()
    two = trainer()
    assert (two.elapsed, two.step, two.average.steps) == (8.0, 1, 1)
    batch = batch_of(one, 1)
    terms = [t.train_step(batch, 64) for t in (one, two)]
    for name, value in terms[0].items():
        torch.testing.assert_close(terms[1][name], value, rtol=1e-3, atol=1e-4)
    for name, value in one.average.state.items():
        torch.testing.assert_close(two.average.state[name], value, rtol=1e-3, atol=1e-4)
    assert not list(tmp_path.glob("*.part"))


def test_average_is_exported_as_it_was_measured(trainer, tmp_path, monkeypatch):
    """Trainer.evaluate -> export -> both files give the averaged network's outputs."""
    pytest.importorskip("onnx", reason="onnx is not installed: no network can be exported")
    from training.regressor import export

    one = trainer()
    trained = random_module(torch, lambda: train_tddfa.MobileNet(0.125, 64))
    one.average.state = trained.state_dict()
    one.evaluate(120, 2)
    argv = ["export", "--run", str(tmp_path), "--name", "tiny", "--weights", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    export.main()
    saved = torch.load(tmp_path / "average.pt", weights_only=True)
    net = train_tddfa.MobileNet(0.125, 64).eval()
    net.load_state_dict(saved["state_dict"])
    pictures, _ = measure.held_out(one.val, 2)
    expected = measure.predict(net, pictures)
    for suffix in (".onnx", ".pth"):
        weights = str(tmp_path / f"tiny_120x120{suffix}")
        whitening = str(tmp_path / "tiny_param_mean_std.npz")
        regressor = evaluate.Regressor(weights, whitening, one.basis, 0.125)
        found = measure.predict(regressor.network, pictures)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    state = torch.load(tmp_path / "tiny_120x120.pth", weights_only=True)["state_dict"]
    assert "fc_param.weight" in state and "fc.weight" not in state


# Tables


def test_grey_pictures_are_as_opencvs():
    pictures = np.stack([noise(30, 40, s) for s in range(2)])
    grey = evaluate.to_grey(pictures)
    assert grey.shape == pictures.shape and grey.dtype == np.uint8
    expected = np.stack([cv2.cvtColor(p, cv2.COLOR_BGR2GRAY) for p in pictures])
    assert np.abs(grey.astype(int) - expected[..., None]).max() <= 1


def test_subsets_of_the_held_out_faces():
    colour = noise(120, 120)
    pictures = np.stack([colour, evaluate.to_grey(colour[None])[0], colour, colour])
    names = ["9_0_1_2017", "9_0_1_2017", "61_1_4_2017", "somebody_0001"]
    faces = SimpleNamespace(
        source=np.array(["a", "utkface", "utkface", "utkface"]), name=np.array(names)
    )
    masks = {name: mask.tolist() for name, mask in evaluate.subsets(faces, pictures).items()}
    nobody = [False] * 4
    assert masks == {
        "all": [True] * 4,
        "colour pictures": [True, False, True, True],
        "grey pictures": [False, True, False, False],
        "a": [True, False, False, False],
        "utkface": [False, True, True, True],
        "utkface, aged 0 to 9": [False, True, False, False],  # another set's name tells nothing
        "utkface, aged 10 to 17": nobody,
        "utkface, aged 18 to 59": nobody,
        "utkface, aged 60 or more": [False, False, True, False],
        "utkface, White": nobody,
        "utkface, Black": [False, True, False, False],
        "utkface, Asian": nobody,
        "utkface, Indian": nobody,
        "utkface, other": [False, False, True, False],
    }
