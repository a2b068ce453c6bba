"""Training the regressor: fits, eyelids, augmentation, loss, schedule, checkpoint, export."""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can be trained")
pytest.importorskip("scipy", reason="scipy is not installed: the eyelids' curves need it")

from conftest import noise, random_module  # noqa: E402

from bfm.provision import BROWS  # noqa: E402
from models.mobilenet_v1 import MobileNet  # noqa: E402
from training.average import Average  # noqa: E402
from training.pictures import add_bytes  # noqa: E402
from training.regressor import (  # noqa: E402
    augment,
    evaluate,
    eyelids,
    fit,
    geometry,
    landmarks,
    likeness,
    measure,
    nothing,
    settle,
    settled,
    teach,
    train_tddfa,
    turn,
    widen,
)
from training.regressor.faces import (  # noqa: E402
    MADE,
    MIRROR,
    NO_FACE,
    Faces,
    Sample,
    Samples,
    normalise,
    shrink,
)
from training.regressor.geometry import CROP, Fit, Model  # noqa: E402
from training.regressor.kind import INNER, JAW, Kind  # noqa: E402
from training.regressor.landmarks import (  # noqa: E402
    EYE_CORNERS,
    EYES,
    LIPS,
    LOWER_LID,
    OPPOSITE_OF_68,
    UPPER_LID,
)
from utils.io import load_arrays  # noqa: E402
from utils.tddfa_util import similar_transform  # noqa: E402

SCORES = (
    "eyeBlinkLeft", "eyeBlinkRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight",
)  # fmt: skip

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
        "scores": rng.uniform(0, 1, (count, 52)).astype(np.float32),
        "score_names": np.array([*SCORES, *(f"s{i}" for i in range(52 - len(SCORES)))]),
        "found": np.ones(count, bool),
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


@pytest.mark.parametrize("name", ["mouthLeft", "mouthRight", "jawOpen", "mouthUpperUpLeft"])
def test_opposite_names(name):
    opposite = landmarks.opposite_name(name)
    assert landmarks.opposite_name(opposite) == name
    assert (opposite == name) == (name == "jawOpen")


def test_opposites_of_the_68_landmarks():
    assert OPPOSITE_OF_68[OPPOSITE_OF_68].tolist() == list(range(68))
    assert np.flatnonzero(np.arange(68) == OPPOSITE_OF_68).tolist() == [
        8, 27, 28, 29, 30, 33, 51, 57, 62, 66,
    ]  # fmt: skip
    assert OPPOSITE_OF_68[[0, 17, 36, 48]].tolist() == [16, 26, 45, 54]


def test_winks_have_a_side():
    points = np.zeros((2, 468, 2))
    points[:, 263, 0] = 100  # from 33, at the origin
    points[0, 386, 1], points[1, 159, 1] = 10, 20  # the left eye open, then the right
    np.testing.assert_allclose(landmarks.wink(points), [0.1, -0.2])


# Whose labels


def test_who_teaches_which_face():
    labels = {"found": np.array([True, True, True, True, False, False])}
    teacher = {
        "yaw": np.array([5.0, 5.0, -60.0, -60.0, 70.0, 10.0]),
        "doubt": np.array([0.01, 0.2, 0.05, 0.2, 0.05, 0.05]),
    }
    expected = [Kind.AHEAD, Kind.PLAIN, Kind.TURNED, Kind.PLAIN, Kind.LOST, Kind.LOST]
    assert fit.kinds(labels, teacher).tolist() == expected
    assert fit.is_sure(teacher).tolist() == [True, False, True, False, True, False]


def test_the_originals_landmarks_are_moved_to_mediapipes():
    """By as much as the face ahead says; for the turned one by that share of its size."""
    rng = np.random.default_rng(0)
    teacher = rng.uniform(0, 50, (2, 68, 2)).astype(np.float32)
    teacher[:, 0], teacher[:, 1] = 0, 50  # both are 50 pixels large
    teacher[1] *= 2
    seen = np.zeros((2, 468, 2), np.float32)
    for ours, theirs in landmarks.MEDIAPIPE_OF_68.items():
        seen[:, theirs] = teacher[:, ours] + [1, -2]
    seen[1] = np.nan
    kind = np.array([Kind.AHEAD, Kind.LOST])
    moved = fit.teacher_points(torch.from_numpy(seen), torch.from_numpy(teacher), kind)
    np.testing.assert_allclose(moved[0, 0], teacher[0] + [1, -2], atol=1e-4)
    np.testing.assert_allclose(moved[0, 1], teacher[1] + [2, -4], atol=1e-4)
    back = moved[1].numpy()[:, OPPOSITE_OF_68] * [-1, 1] + [CROP - 1, 0]
    np.testing.assert_allclose(back, moved[0], atol=1e-4)


def test_fits_follow_the_labels_of_their_kind():
    """Faces whose two sets of labels contradict each other: each goes with those it trusts."""
    model, kind = random_model(points=536), np.array([Kind.LOST, Kind.PLAIN, Kind.LOST])
    faces = [Fit(random_pose(3, seed), torch.zeros(3, 3), torch.zeros(3, 2)) for seed in (0, 1)]
    mediapipes, originals = (face.project(model) for face in faces)
    points = torch.cat([mediapipes[:, :468], originals[:, 468:]], 1)
    weights = fit.kind_weights(torch.ones(468))
    found = fit.fit_kinds(model, points, kind, weights, torch.full((5,), 0.01)).project(model)
    expected = torch.stack([originals[0], mediapipes[1], originals[2]])
    torch.testing.assert_close(found, expected, rtol=0, atol=0.3)


@pytest.mark.parametrize("kind", list(Kind))
def test_what_a_kind_trusts_has_weight(kind):
    weighted = np.flatnonzero(fit.kind_weights(torch.ones(468))[kind])
    assert np.isin(kind.seen, weighted).all()
    assert len(np.concatenate([JAW, INNER])) == 68


class Oracle:
    """Stands in for the original: whatever it sees, a face in the middle of the picture."""

    def __init__(self, model):
        self.model = model

    def outputs(self, pictures):
        pose = np.array([[5e-4, 0, 0, 60], [0, 5e-4, 0, 62], [0, 0, 5e-4, 0]], np.float32)
        return [np.tile(np.concatenate([pose.ravel(), np.zeros(5)]), (len(pictures), 1))]


def test_the_teacher_agrees_with_itself_about_symmetric_faces():
    model = random_model(points=68)
    mean = model.mean / 3
    symmetric = (mean + mean[OPPOSITE_OF_68] * torch.tensor([-1.0, 1, 1])) / 2
    oracle = Oracle(Model(symmetric, model.shape, model.exp))
    crops = np.stack([noise(CROP, CROP, s) for s in (0, 1)])
    roi = np.array([[95, -97, 140], [90, -100, 120]], np.float32)
    direct, _ = teach.look(oracle, crops, roi, mirrored=False)
    mirrored, _ = teach.look(oracle, crops, roi, mirrored=True)
    shift = np.array([1, 0]) * roi[:, None, 2:] / 120  # 60 in the ROI's frame is half a pixel off
    np.testing.assert_allclose(mirrored - direct, np.broadcast_to(shift, direct.shape), atol=1e-3)
    low, high = direct.min(1), direct.max(1)
    size = np.sqrt(np.prod(high - low, axis=1))
    np.testing.assert_allclose(teach.face_size(direct), size, rtol=1e-6)


# Turned pictures


def test_turned_poses():
    """The face looks where it is told to, its pivot stays, and so does its size."""
    pose = random_pose(1, turn=0.1)[0].numpy().astype(np.float64)
    pivot = pose[:, :3] @ turn.PIVOT + pose[:, 3]
    for yaw, pitch in ((50, 0), (-80, 0), (0, 20), (70, -25)):
        moved = turn.turned_pose(pose, turn.Move(yaw, pitch))
        np.testing.assert_allclose(moved[:, :3] @ turn.PIVOT + moved[:, 3], pivot, atol=1e-6)
        gram = moved[:, :3] @ moved[:, :3].T
        np.testing.assert_allclose(gram, pose[:, :3] @ pose[:, :3].T, atol=1e-12)
        if not pitch:
            assert turn.heading(moved) == pytest.approx(turn.heading(pose) + yaw)
    nodded = turn.turned_pose(np.eye(3, 4), turn.Move(pitch=20))
    assert nodded[1, 2] == pytest.approx(np.sin(np.deg2rad(20)))  # looks up


def test_moves_in_a_mirror():
    move = turn.Move(30.0, 10.0, (1.0, 0.2))
    assert move.mirrored == turn.Move(-30.0, 10.0, (0.2, 1.0))
    assert move.mirrored.mirrored == move


def sheet(turned_world):
    """A Turner whose mesh is a flat sheet of 20 x 20 vertices in the middle of the crop."""
    y, x = np.mgrid[-50_000:50_001:20j, -40_000:40_001:20j]
    mean = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    number = np.arange(400).reshape(20, 20)
    corners = (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:])
    a, b, c, d = (corner.ravel() for corner in corners)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)]).astype(np.int32)
    mesh = Model(torch.from_numpy(mean).float(), torch.zeros(400, 3, 40), torch.zeros(400, 3, 12))
    faces = Faces([(turned_world.folder, turned_world.folder)], False)
    points = geometry.with_eyelids(turned_world.model, turned_world.folder).at(np.arange(536))
    pose = np.array([[6e-4, 0, 0, 95.5], [0, 6e-4, 0, -95.5], [0, 0, 6e-4, 0]], np.float32)
    faces.pose = np.tile(pose, (2, 3, 1, 1))
    return turn.Turner(faces, mesh, points, triangles, np.zeros((1, 64, 64, 3), np.uint8))


def test_an_unmoved_picture_stays(world):
    turner = sheet(world)
    picture, found = turner.move(0, turn.Move())
    off = np.abs(picture.astype(int) - turner.faces.crop(0))
    assert np.median(off) <= 2 and off[40:150, 60:130].mean() < 4  # drawn between vertices
    for name in ("pose", "alpha", "beta"):
        np.testing.assert_allclose(found[name], getattr(turner.faces, name)[:, 0], atol=1e-3)


def test_a_turned_sheet_narrows(world):
    """A white stripe on the sheet: turned by 40 degrees it is so much narrower."""
    turner = sheet(world)
    white = np.zeros((CROP, CROP, 3), np.uint8)
    white[:, 84:108] = 255  # the sheet reaches from 71.5 to 119.5
    turner.faces.crops = [np.repeat(white[None], 6, 0)]
    picture, found = turner.move(0, turn.Move(yaw=40))
    _, x = np.nonzero(picture[90:100, :, 0] > 128)
    assert np.ptp(x) + 1 == pytest.approx(24 * np.cos(np.deg2rad(40)), abs=2)
    assert turn.heading(found["pose"]).tolist() == pytest.approx([40, -40])
    assert (x.min() + x.max()) / 2 == pytest.approx(95.5, abs=1.5)  # framed anew


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])  # as it is, more than half, shut
def test_lids_close_by_the_share_asked_for(world, share):
    turner = sheet(world)
    g = generator(4)
    turner.points = random_model(536, 40, 12, seed=8)
    for side in (0, 1):  # open eyes, and directions that close them
        upper, lower = list(UPPER_LID[side]), list(LOWER_LID[side])
        turner.points.mean[upper, 1] = turner.points.mean[lower, 1] + 9000
        turner.points.shape[upper + lower] = turner.points.exp[upper + lower] = 0
        turner.points.exp[upper, 1, 10 + side] = -9000 * (1 + 0.1 * torch.rand(7, generator=g))
    turner.faces.beta[:] = 0
    found = turner.closed(1, 0, (share, 0.0))
    vertices = turner.vertices(turner.points, turner.faces.alpha[0, 1], found)
    gaps = [
        (vertices[list(UPPER_LID[s][1:6])] - vertices[list(LOWER_LID[s][1:6])])[:, 1].mean()
        for s in (0, 1)
    ]
    np.testing.assert_allclose(gaps, [9000 * (1 - share), 9000], rtol=1e-3, atol=1)
    assert not found[:10].any()


def test_mirrored_points_of_new_pictures(world):
    faces = Faces([(world.folder, world.folder)], False)
    mirrored = turn.mirror_points(faces.points, faces.points[0])
    np.testing.assert_allclose(mirrored[:, :468], faces.points[1, :, :468], atol=1e-3)
    twice = turn.mirror_points(faces.points, mirrored)
    np.testing.assert_allclose(twice, faces.points[0], atol=1e-3)


def test_chosen_moves():
    rng = np.random.default_rng(0)
    for now in (0.0, 20.0, -20.0):
        moves = [turn.choose_turn(now, rng) for _ in range(200)]
        seen = now + np.array([move.yaw for move in moves])
        assert np.abs(seen).min() >= 25 and np.abs(seen).max() <= 92
        assert set(np.sign(seen)) == ({-1, 1} if now == 0 else {np.sign(now)})
    winks = [turn.choose_lids(rng).lids for _ in range(200)]
    assert {(right > 0, left > 0) for right, left in winks} == {(1, 0), (0, 1), (1, 1)}


def test_turned_pictures_are_written_as_faces(world, tmp_path):
    turner = sheet(world)
    todo = [(0, turn.Move(40.0)), (2, turn.Move(3.0, 0.0, (0.8, 0.0))), (1, turn.Move(-70.0))]
    turn.write(tmp_path, turner, "train", todo)
    faces = Faces([(tmp_path / "train",) * 2], False)
    assert faces.source.tolist() == ["turned", "lids", "turned"]
    assert faces.name.tolist() == ["n0", "n3", "n2"]
    assert np.isnan(faces.scores[1, :2]).all() and np.isfinite(faces.scores[[0, 2]]).all()
    fits = {name: getattr(faces, name) for name in ("pose", "alpha", "beta")}
    np.testing.assert_allclose(faces.points[0], turn.project_all(turner.points, fits)[0], atol=1e-3)


# Nothing


def test_pieces_of_pictures_keep_off_the_boxes():
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[:, :150] = 255
    taken = np.array([[0, 0, 150, 200]])
    rng = np.random.default_rng(0)
    found = [nothing.piece(picture, taken, rng) for _ in range(40)]
    assert all(piece is None or not piece.any() for piece in found)
    assert sum(piece is not None for piece in found) > 5
    everything = np.array([[0, 0, 300, 200]])
    assert nothing.piece(picture, everything, rng) is None


def test_only_scenes_with_boxes_show_nothing_for_sure(world, tmp_path):
    with tarfile.open(tmp_path / "people.tar", "w") as tar:
        add_bytes(tar, "boxes.json", b'{"train/a.webp": [[0, 0, 5, 5]]}')
        for name in ("train/a.webp", "train/b.webp", "val/c.webp"):
            add_bytes(tar, name, cv2.imencode(".png", noise(400, 500))[1].tobytes())
    assert 1 <= len(nothing.load_nothing([tmp_path / "people.tar"])) <= 2
    assert len(nothing.load_nothing([tmp_path / "people.tar"] * 3)) > 2


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
    model, g = random_model(600, 40, 10, seed=5), generator(6)
    pose = torch.stack([random_pose(count, seed) for seed in (1, 2)])
    alpha, beta = (torch.randn(2, count, k, generator=g) for k in (40, 12))
    lids = torch.randn(2, 3, 2, generator=g) * 1000
    np.savez(folder / "eyelids.npz", indices=np.array([3, 8]), displacement=lids.numpy())
    np.savez(folder / "correspondence.npz", vertex=np.arange(468), weight=np.ones(468))
    kind = np.array([Kind.PLAIN, Kind.AHEAD, Kind.AHEAD, Kind.TURNED, Kind.AHEAD, Kind.LOST])
    roi = np.tile(np.array([95, -97, 128], np.float32), (2, count, 1))
    fits = dict(pose=pose.numpy(), alpha=alpha.numpy(), beta=beta.numpy(), roi=roi)
    own = np.random.default_rng(2).uniform(50, 140, (2, count, 68, 2)) * [1, -1]
    points = np.concatenate([fit.load_points(labels).numpy(), own.astype(np.float32)], 2)
    np.savez(folder / "labels.npz", **labels)
    np.savez(folder / "fits.npz", **fits, points=points, kind=kind, keep=np.arange(count) != 1)
    np.save(folder / "crops.npy", np.stack([noise(CROP, CROP, s) for s in range(count)]))
    with tarfile.open(folder / "scenes.tar", "w") as tar:
        for name in ("train/a.webp", "train/b.webp", "val/c.webp"):
            add_bytes(tar, name, cv2.imencode(".png", noise())[1].tobytes())
    for split in ("train", "val"):  # `turn` writes the same files for each split
        (folder / "turned" / split).mkdir(parents=True)
        for name in ("labels.npz", "fits.npz", "crops.npy"):
            shutil.copy(folder / name, folder / "turned" / split)
    return SimpleNamespace(folder=folder, model=model, labels=labels, turned=folder / "turned")


def test_faces_of_a_split(world):
    train, val = (Faces([(world.folder, world.folder)], val) for val in (False, True))
    assert val.name.tolist() == ["n4", "n5"] and val.kind.tolist() == [Kind.AHEAD, Kind.LOST]
    assert train.name.tolist() == ["n0", "n2", "n3"] and train.pose.shape == (2, 3, 3, 4)
    assert np.array_equal(train.crop(1), noise(CROP, CROP, 2)) and len(val) == 2


def test_faces_of_several_folders_and_some_of_them(world):
    twice = Faces([(world.folder, world.folder)] * 2, False)
    assert twice.name.tolist() == ["n0", "n2", "n3"] * 2 and twice.alpha.shape == (2, 6, 40)
    some = twice.only(twice.kind == Kind.TURNED)
    assert some.name.tolist() == ["n3", "n3"] and some.points.shape == (2, 2, 536, 2)
    np.testing.assert_array_equal(some.crop(1), twice.crop(5))
    assert len(twice) == 6


def test_targets_are_the_fit_in_the_roi(world):
    faces = Faces([(world.folder, world.folder)], False)
    picture, param, points = faces.plain(1, roll=20)
    assert picture.shape == (120, 120, 3) and points.shape == (536, 2) and param.shape == (64,)
    model = geometry.with_eyelids(world.model, world.folder).at(np.arange(536))
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
    faces = Faces([(world.folder, world.folder)], False)
    crop = np.zeros((CROP, CROP, 3), np.float32)
    chosen = [10, 21, 33]
    y, x = np.mgrid[:CROP, :CROP]
    at = world.labels["points"][2, chosen, :2] * 0.5 + 0.5 * 95  # near the middle
    points = np.tile(world.labels["points"][2:3, :468], (1, 1, 1))
    points[0, chosen, :2] = at
    seen = {"points": points, "mirror": points[:, opposites()], "found": np.ones(1, bool)}
    faces.points[:, 1, :468] = fit.load_points(seen)[:, 0].numpy()
    for channel, (u, v) in enumerate(at):
        crop[..., channel] = 255 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18)
    faces.crops = [np.repeat(np.rint(crop).astype(np.uint8)[None], 6, 0)]
    draw = degrader()
    draw.degrade = lambda picture: picture
    samples, seen = Samples(faces, draw.scenes, draw.scenes, STILL, 0), set()
    v, u = np.mgrid[:120, :120]
    half = 0.5 - 0.5 / (128 / 120 / faces.scale[1])  # see network_matrix
    for _ in range(6):
        state = draw.rng.bit_generator.state
        mirrored = int(draw.rng.integers(2))
        draw.rng.bit_generator.state = state
        picture, _, found, scores, _ = samples.sample(1, draw)
        seen.add(mirrored)
        left_and_right = faces.scores[1, :2][::-1] if mirrored else faces.scores[1, :2]
        np.testing.assert_array_equal(scores[:2], left_and_right)
        for channel, landmark in enumerate(opposites()[chosen] if mirrored else chosen):
            light = picture[channel].numpy().astype(float)
            centroid = np.array([(light * u).sum(), (light * v).sum()]) / light.sum()
            network = centroid[0] + 1 + half, 120 - half - centroid[1]
            np.testing.assert_allclose(found[landmark], network, atol=0.2)
    assert seen == {0, 1}


def test_samples_of_the_stream(world):
    faces = Faces([(world.folder, world.folder)], False)
    scenes = nothing.load_scenes(world.folder / "scenes.tar", side=64)
    assert scenes.shape == (2, 64, 64, 3)  # those of the training split
    config, kinds = augment.AugmentConfig(p_nothing=0.5), set()
    streams = [iter(Samples(faces, scenes, scenes, config, 7)) for _ in range(2)]
    for _ in range(12):
        first, second = (next(stream) for stream in streams)
        shapes = [(3, 120, 120), (64,), (536, 2), (52,), ()]
        assert [tuple(t.shape) for t in first] == shapes
        assert [t.dtype for t in first] == [torch.uint8, *[torch.float32] * 3, torch.int64]
        for a, b in zip(first, second):  # seeded
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        kinds.add(int(first.kind))
        assert bool(torch.isnan(first.scores).all()) == (int(first.kind) == NO_FACE)
    assert NO_FACE in kinds and len(kinds) > 1


def test_pictures_of_everybody(world):
    faces = Faces([(world.folder, world.folder)] * 2, False)  # n0, and n2 and n3 of one person
    pictures, who = faces.people()
    assert [sorted(rows.tolist()) for rows in pictures] == [[0, 3], [1, 2, 4, 5]]
    assert all((who[rows] == number).all() for number, rows in enumerate(pictures))


def test_rare_faces_come_up_more_often(world):
    faces = Faces([(world.folder, world.folder)], False)
    faces.kind[:] = Kind.PLAIN
    faces.points = np.tile(faces.points[:, :1], (1, 3, 1, 1))
    faces.points[:, :, 14] = faces.points[:, :, 13]  # mouths shut ...
    faces.points[0, 2, 14, 0] += 0.3 * np.linalg.norm(
        faces.points[0, 2, 33] - faces.points[0, 2, 263]
    )  # ... but one
    faces.source = np.array(["portraits", "utkface", "utkface"])
    weights = faces.sampling_weights()
    assert weights.sum() == pytest.approx(1)
    wink = 2  # which all of them seem to do
    expected = np.array([2, 1, 4]) + wink
    np.testing.assert_allclose(weights / weights[1], expected / expected[1])


def test_made_pictures_have_their_share(world):
    faces = Faces([(world.folder, world.folder)] * 2, False)
    faces.source = np.array(["utkface", "turned", "turned", "lids", "portraits", "utkface"])
    weights = faces.sampling_weights()
    for source, share in MADE.items():
        assert weights[faces.source == source].sum() == pytest.approx(share)
    assert weights.sum() == pytest.approx(1)


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
    faces = Faces([(world.folder, world.folder)], False)
    pictures, points = measure.held_out(faces, count)
    assert pictures.shape == (rows, 120, 120, 3) and points.shape == (rows, 536, 2)
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
    assert eased.p_grey == pytest.approx(0.15) and eased.p_jpeg == config.p_jpeg / 2
    assert (eased.p_background, eased.p_roll_wide) == (0.5, config.p_roll_wide)  # no hardships
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


def test_a_network_with_all_heads_is_started_from(tmp_path):
    net = random_module(torch, lambda: MobileNet(0.125, 64, 3))
    torch.save({"state_dict": net.state_dict()}, tmp_path / "all_120x120.pth")
    numbers = dict(mean=np.zeros(64), std=np.ones(64), score_mean=np.zeros(3))
    np.savez(tmp_path / "all_param_mean_std.npz", **numbers)
    state, _, _ = widen.load_start(tmp_path / "all", 0.125)
    assert state.keys() == net.state_dict().keys()
    assert all(value.equal(state[name]) for name, value in net.state_dict().items())


def test_copies_of_a_channel_can_part(exported):
    """Who reads both copies weighs them differently, or they would stay equal for ever."""
    state, _, _ = widen.load_start(exported[0], 0.25)
    for name in ("dw3_1.conv_sep.weight", "fc.weight"):
        first, second = state[name].chunk(2, 1)
        assert (first - second).abs().max() > 0.1 * first.abs().max()


def test_weights_of_another_width_are_refused(exported):
    with pytest.raises(ValueError, match="neither as wide"):
        widen.load_start(exported[0], 1.0)


@pytest.mark.parametrize("layer", ["1", "dw2_1.dw", "dw2_2.dw", "dw3_1.sep"])  # every kind
def test_a_settled_layer_is_convolution_norm_and_relu(layer):
    """But for bfloat16's 8 bits; and so are its gradients."""
    net = random_module(torch, lambda: MobileNet(0.25, 64)).eval()
    *block, name = layer.split(".")
    home = net.get_submodule(".".join(block))
    join = "_" if block else ""
    conv, norm = getattr(home, f"conv{join}{name}"), getattr(home, f"bn{join}{name}")
    inputs = torch.randn(3, conv.in_channels, 15, 15, generator=generator(4))
    exact, close = torch.relu(norm(conv(inputs))), settled.convolve(inputs, conv, norm).float()
    torch.testing.assert_close(close, exact, rtol=0.02, atol=0.05)
    tensors = [conv.weight, norm.weight, norm.bias]
    gradients = (torch.autograd.grad(f.square().sum(), tensors) for f in (exact, close))
    for one, other in zip(*gradients):
        torch.testing.assert_close(other, one, rtol=0.05, atol=0.02 * float(one.abs().max()))


def test_settled_features_are_those_of_evaluation():
    net = random_module(torch, lambda: MobileNet(0.25, 64)).eval()
    inputs = torch.randn(4, 3, 96, 96, generator=generator(4))
    with torch.inference_mode():
        exact, close = net.features(inputs), settled.settled_features(net, inputs).float()
    assert float(torch.cosine_similarity(exact.flatten(), close.flatten(), 0)) > 0.98


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
    model = random_model(536, 40, 12, seed=8)
    pose = random_pose(2).flatten(1)
    param = torch.cat([pose, torch.randn(2, 52, generator=generator(9))], 1)
    scores = train_tddfa.ScoreStatistics(torch.full((3,), 0.5), torch.full((3,), 0.1))
    config = train_tddfa.TrainConfig()
    loss = train_tddfa.FaceLoss(model, torch.zeros(64), torch.ones(64), scores, config)
    vertices = model.vertices(param[:, 12:52], param[:, 52:])
    points = train_tddfa.project_3d(param, vertices)[..., :2]
    scores = torch.rand(2, 3, generator=generator(1))
    ahead = torch.full((2,), int(Kind.AHEAD))
    return loss, Sample(torch.zeros(2), param, points, scores, ahead)


def right_answers(loss, batch, log_error=-2.302585):
    """The outputs that `batch` asks for; the error of landmarks that are right counts as 0.1 px."""
    whitened = (batch.scores - loss.scores.mean) / loss.scores.std
    return batch.param, whitened, torch.full((2, 1), log_error)


def test_the_loss_of_the_target_is_zero(loss_case):
    loss, batch = loss_case
    terms = loss.terms(right_answers(loss, batch), batch)
    names = {"projected", "own", "expression", "opening", "wink", "param", "scores", "error"}
    assert set(terms) == names
    assert all(abs(float(term)) < 1e-4 for term in terms.values())


@pytest.mark.parametrize(
    "kind, free",
    [
        (Kind.AHEAD, set()),  # all is known
        (Kind.LOST, {"expression", "opening", "wink"}),  # nobody saw lids and lips well
        (NO_FACE, {"projected", "own", "expression", "opening", "wink", "param"}),  # nothing at all
    ],
)
def test_what_nobody_knows_costs_nothing(loss_case, kind, free):
    loss, batch = loss_case
    batch = batch._replace(kind=torch.full((2,), int(kind)))
    off = batch.param + torch.tensor([1.0] * 12 + [0.5] * 52)
    terms = loss.terms((off, batch.scores, torch.zeros(2, 1)), batch)
    assert {name for name, term in terms.items() if float(term) == 0} == free


def test_nothing_is_expected_to_be_far_off(loss_case):
    loss, batch = loss_case
    batch = batch._replace(kind=torch.full((2,), NO_FACE))
    for log_error, value in ((np.log(20), 0.0), (np.log(20) - 3, 0.1 * 2.5)):  # linear beyond 1
        terms = loss.terms(right_answers(loss, batch, log_error), batch)
        assert float(terms["error"]) == pytest.approx(value, abs=1e-6)


def test_a_teacher_counts_like_labels_but_for_the_error(loss_case):
    loss, batch = loss_case
    outputs = (batch.param + 0.1, batch.scores, torch.zeros(2, 1))
    terms = loss.terms(outputs, batch)
    del terms["error"]
    expected = loss.config.w_teacher * sum(map(float, terms.values()))
    assert float(loss.of_teacher(outputs, batch)) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_answers_with_what_it_sees(loss_case, tmp_path):
    """Its own parameters, where they put the landmarks, and scores of faces alone."""
    loss, batch = loss_case
    net = random_module(torch, lambda: MobileNet(1.0, 64, 3))
    torch.save({"state_dict": net.state_dict()}, tmp_path / "big_120x120.pth")
    numbers = dict(mean=np.float32(np.arange(64)), std=np.full(64, 2, np.float32))
    np.savez(tmp_path / "big_param_mean_std.npz", **numbers, score_mean=np.zeros(3))
    cpu = torch.device("cpu")
    teacher = train_tddfa.Teacher(tmp_path / "big", loss.model, loss.scores, cpu)
    inputs = torch.randn(2, 3, 120, 120, generator=generator(5))
    kind = torch.tensor([int(Kind.AHEAD), NO_FACE])
    answer = teacher.answer(inputs, batch._replace(kind=kind))
    told, scores, _ = net.heads(settled.settled_features(net.eval(), inputs).float())
    torch.testing.assert_close(answer.param, told * 2 + torch.arange(64.0), rtol=1e-3, atol=1e-3)
    seen = measure.landmarks_of(loss.model, answer.param)
    np.testing.assert_allclose(answer.points, seen, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(answer.scores[0], scores[0] * 0.1 + 0.5, rtol=1e-3, atol=1e-3)
    assert answer.scores[1].isnan().all() and torch.equal(answer.kind, kind)


def test_unknown_and_constant_scores_teach_nothing():
    statistics = train_tddfa.ScoreStatistics(
        *train_tddfa.score_statistics(np.float32([[0, 0.2, 0.5], [0, 0.4, np.nan], [0, 0.6, 0.7]]))
    )
    np.testing.assert_allclose(statistics.mean, [0, 0.4, 0.6], rtol=1e-6)
    assert statistics.std[0] == np.inf
    told = torch.ones(1, 3, requires_grad=True)
    loss = statistics.loss(told, torch.tensor([[0.3, 0.4, np.nan]]))
    loss.backward()
    assert float(loss) == 1  # of the second alone, a deviation off
    assert told.grad.tolist() == [[0, 2, 0]]


def test_the_loss_of_a_shifted_face(loss_case):
    """A shift by (3, 4) pixels: every landmark is 5 off, no gap and no shape is."""
    loss, batch = loss_case
    shifted = batch.param.clone()
    shifted[:, 3] += 3
    shifted[:, 7] += 4
    outputs = (shifted, *right_answers(loss, batch)[1:])
    terms = {name: float(term) for name, term in loss.terms(outputs, batch).items()}
    assert terms["projected"] == pytest.approx((25 + 2.25) ** 0.5 - 1.5, rel=1e-3)
    assert terms["param"] == pytest.approx(0.05 * 25 / 64, rel=1e-3)
    assert max(terms["own"], terms["expression"], abs(terms["opening"])) < 1e-4


@pytest.mark.parametrize("way, pixels", [(1, 0.0), (-1, 12.0)])  # both lids alike, a wink
def test_a_wink_is_one_eye_less_the_other(loss_case, way, pixels):
    """Upper lids 6 px lower: the eyes differ by 0 or by 12 px; linear above half a pixel."""
    loss, batch = loss_case
    points = batch.points.clone()
    for side, sign in enumerate((1, way)):
        points[:, list(UPPER_LID[side]), 1] -= 6 * sign
    terms = loss.terms(right_answers(loss, batch), batch._replace(points=points))
    expected = loss.config.w_wink * ((pixels**2 + 0.25) ** 0.5 - 0.5)
    assert float(terms["wink"]) == pytest.approx(expected, abs=1e-3)


def test_whitening_is_of_the_stream():
    param = torch.randn(12, 5, generator=generator())
    param[:, 2] = 4  # constant
    loader = [SimpleNamespace(param=part) for part in param.split(3)]
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
    basis = geometry.with_eyelids(world.model, world.folder).at(np.arange(536))
    monkeypatch.setattr(train_tddfa, "load_points_model", lambda fits, wheel: basis)
    monkeypatch.setattr(
        train_tddfa, "whitening", lambda loader, batches: (torch.zeros(64), torch.ones(64))
    )
    args = argparse.Namespace(
        labels=world.folder, fits=world.folder, scenes=[world.folder / "scenes.tar"], wheel=None,
        turned=world.turned, out=tmp_path,
        widen=0.125, from_weights=None, teacher=None, workers=1, minutes=1, eval_minutes=1,
    )  # fmt: skip
    yield lambda: train_tddfa.Trainer(args, train_tddfa.TrainConfig(batch=4))
    torch.distributed.destroy_process_group()


def batch_of(one, seed):
    samples = iter(Samples(one.faces, one.scenes, one.nothing, augment.AugmentConfig(), seed))
    return Sample(*(torch.stack(column) for column in zip(*(next(samples) for _ in range(4)))))


def test_resumed_trainer_goes_on_as_if_never_stopped(trainer, tmp_path):
    one = trainer()
    one.elapsed = 8.0
    one.train_step(batch_of(one, 0), train_tddfa.Stage(1, 64))
    one.step += 1
    one.save()
    two = trainer()
    assert (two.elapsed, two.step, two.average.steps) == (8.0, 1, 1)
    batch = batch_of(one, 1)
    terms = [t.train_step(batch, train_tddfa.Stage(1, 64)) for t in (one, two)]
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
    trained = random_module(torch, lambda: train_tddfa.MobileNet(0.125, 64, 52))
    one.average.state = trained.state_dict()
    one.evaluate(120, 2)
    argv = ["export", "--run", str(tmp_path), "--name", "tiny", "--weights", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    export.main()
    saved = torch.load(tmp_path / "average.pt", weights_only=True)
    net = train_tddfa.MobileNet(0.125, 64, 52).eval()
    net.load_state_dict(saved["state_dict"])
    pictures, _ = measure.held_out(one.val, 1)
    params, scores, log_error = (
        measure.predict(lambda inputs, k=k: net(inputs)[k], pictures) for k in range(3)
    )
    brows = load_arrays(BROWS)
    rows = [SCORES.index(str(name)) for name in brows["names"]]
    true = scores.numpy() * one.scores.std.numpy() + one.scores.mean.numpy()
    params = np.hstack([params, true[:, rows] @ brows["mix"]])
    wide = one.basis.with_exp(torch.zeros(536, 3, 4))
    whitening, both = str(tmp_path / "tiny_param_mean_std.npz"), []
    for suffix in (".onnx", ".pth"):
        weights = str(tmp_path / f"tiny_120x120{suffix}")
        regressor = evaluate.Regressor(weights, whitening, wide, 0.125)
        both.append(regressor.outputs(pictures))
        for ours, theirs in zip(both[-1], (params, scores, log_error)):
            np.testing.assert_allclose(ours, theirs, atol=0.05)  # rounded weights
        told = regressor(pictures)
        expected = both[-1][1] * one.scores.std.numpy() + one.scores.mean.numpy()
        np.testing.assert_allclose(told.scores, expected.clip(0, 1), atol=1e-6)
        np.testing.assert_allclose(told.error, np.exp(both[-1][2][:, 0]), rtol=1e-6)
    for ours, theirs in zip(*both):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    state = torch.load(tmp_path / "tiny_120x120.pth", weights_only=True)["state_dict"]
    assert "fc_param.weight" in state and "fc.weight" not in state


def test_folded_batch_norms_compute_the_same():
    from training.regressor import export

    net = random_module(torch, lambda: MobileNet(0.125, 64))
    generator_ = generator(2)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "bn" in name:
                value.copy_(0.5 + torch.rand(value.shape, generator=generator_))
    inputs = torch.randn(2, 3, 120, 120, generator=generator_)
    same = MobileNet(0.125, 64).eval()
    same.load_state_dict(export.folded(net.state_dict()))
    with torch.inference_mode():
        torch.testing.assert_close(same(inputs), net(inputs), rtol=1e-3, atol=1e-4)
    for name, value in same.state_dict().items():
        if name.endswith("running_var"):
            assert bool((value + 1e-5 == 1).all())  # nothing is left to divide by


@pytest.mark.parametrize("value", [0.0, 1.0, -0.7236, 3.1e-5, 255.9])
def test_rounded_numbers_pack_well(value):
    from training.regressor import export

    found = export.rounded(torch.tensor([value]))
    assert float(found) == pytest.approx(value, rel=2**-12)
    assert int(found.view(torch.int32)) % 2**12 == 0  # of 23 bits of mantissa 11 are left


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


OVAL = np.stack([80 + 40 * np.cos(np.linspace(0, 2 * np.pi, 37)[:-1]),
                 60 + 50 * np.sin(np.linspace(0, 2 * np.pi, 37)[:-1])], 1)  # fmt: skip


@pytest.mark.parametrize("away", [0.0, 6.0])  # on the outline, outside
def test_distance_to_the_outline(away):
    points = np.zeros((1, 536, 2))
    points[0, evaluate.FACE_OVAL] = OVAL
    middle = OVAL[:17] * 0.5 + np.roll(OVAL, -1, 0)[:17] * 0.5  # of the outline's edges
    edge = np.roll(OVAL, -1, 0)[:17] - OVAL[:17]
    outwards = np.stack([edge[:, 1], -edge[:, 0]], 1) / np.linalg.norm(edge, axis=1)[:, None]
    points[0, JAW] = middle + away * outwards
    np.testing.assert_allclose(evaluate.outline_distance(points), away, atol=1e-9)


class Perfect:
    """A regressor that knows the held-out faces' labels, and is off by (dx, 0) pixels."""

    def __init__(self, faces, dx=0.0):
        self.known = {p.tobytes(): i for i, p in enumerate(measure.held_out(faces, 99)[0])}
        self.points, self.faces, self.dx = measure.held_out(faces, 99)[1], faces, dx

    def __call__(self, pictures):
        rows = np.array([self.known.get(picture.tobytes(), -1) for picture in pictures])
        error = np.where(rows < 0, 20.0, 1 + rows)
        return measure.Told(self.points[rows] + [self.dx, 0], self.faces.scores[rows], error)


@pytest.fixture
def judged(world):
    return Faces([(world.folder, world.folder)], False)


def cells(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_table_of_turned_heads(judged):
    judged.pose[0, :, :, :3] = 1e-3 * np.eye(3)
    judged.pose[0, 1, :, :3] = 1e-3 * turn.yaw_matrix(-70)
    judged.kind[:] = Kind.AHEAD
    size = teach.face_size(measure.held_out(judged, 99)[1][:, 468:])
    rows = [cells(r) for r in evaluate.turned_rows("x", Perfect(judged, dx=2), judged)]
    assert [row[1] for row in rows] == ["real, 0–30° (2)", "real, 60–90° (1)"]
    assert float(rows[1][2]) == pytest.approx(200 / size[1], abs=0.01)
    assert float(rows[1][3]) == pytest.approx(200 / size[1], abs=0.01)


@pytest.mark.parametrize("turn_, size", [(0.0, 1.0), (0.6, 2.5)])  # upright, rolled and larger
def test_heights_of_brows(turn_, size):
    """The right outer half 3 above the eyes' corners and the left inner one 1, of eyes 4 apart."""
    points = np.zeros((1, 468, 2))
    points[0, list(EYE_CORNERS[0])] = [[-2, 0], [-1, 0]]
    points[0, list(EYE_CORNERS[1])] = [[2, 0], [1, 0]]
    right, left = np.array(landmarks.BROWS)
    points[0, right[:, :2]] = [-2, 3]
    points[0, left[:, 3:]] = [1, 1]
    c, s = np.cos(turn_), np.sin(turn_)
    moved = size * points @ np.array([[c, s], [-s, c]]) + [5, -9]
    np.testing.assert_allclose(landmarks.brow_heights(moved), [[[0.75, 0], [0, 0.25]]], atol=1e-9)


def test_table_of_winks(judged):
    judged.source = np.array(["lids"] * 3)
    assert cells(evaluate.wink_rows("x", Perfect(judged), judged)[0])[2:] == ["1.000", "1.000"]


def test_table_of_brows(judged):
    """Off by 3 pixels and moving as MediaPipe's; of the two faces of one person alone."""
    rows = [cells(r) for r in evaluate.brow_rows("x", Perfect(judged, dx=3), judged)]
    assert rows[0][1:3] == ["error, px (3)", "3.000"]
    assert [row[1] for row in rows[1:]] == [
        f"{half} halves, within persons (2)" for half in ("outer", "inner")
    ]
    assert all(row[2:] == ["1.000", "1.000"] for row in rows[1:])


def test_tables_of_scores_and_doubt(judged):
    regressor = Perfect(judged)
    first, *others = (cells(row) for row in evaluate.score_rows("x", regressor, judged))
    assert first[1:] == ["mean of 52", "1.000"] and len(others) == 52
    nothing_seen = np.stack([noise(120, 120, s) for s in (7, 8)])
    rows = [cells(r) for r in evaluate.sure_rows("x", regressor, judged, nothing_seen)]
    assert rows[0][2] == "1.0000" and rows[3][2] == "20.00"


def test_reliability_of_scores():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 1, (200, 3))
    told = np.stack([2 * true[:, 0], rng.uniform(0, 1, 200), true[:, 2]], 1)
    true[:, 2] = 0.5  # constant
    true[0] = np.nan
    found = measure.score_reliability(true, told)
    assert found[0] == pytest.approx(1) and abs(found[1]) < 0.3 and found[2] == 0


# Labels


def test_scores_of_a_picture_and_its_mirror_image(monkeypatch):
    """Both looks count, and left is right in the mirror."""
    from training.regressor import label

    names = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")
    looks = [
        label.Look(np.full((478, 3), 10.0), np.array([0.1, 0.2, 0.9]), names),
        label.Look(np.full((478, 3), 12.0), np.array([0.3, 0.7, 0.4]), names),
    ]
    monkeypatch.setattr(label, "detect", lambda landmarker, picture: looks.pop(0))
    direct, mirrored, look = label.detect_twice(None, noise(40, 60))
    np.testing.assert_allclose(look.scores, [0.2, 0.3, 0.8])
    assert direct[0, 0] == 10 and mirrored[0, 0] == 60 - 1 - 12


def test_faces_that_mediapipe_misses_have_their_box(monkeypatch):
    from training.regressor import label

    monkeypatch.setattr(label, "detect", lambda landmarker, picture: None)
    row = label.label_picture(None, noise(200, 200), [[50, 40, 130, 150]])
    assert row["crop"].shape == (CROP, CROP, 3) and not row["found"]
    assert np.isnan(row["points"]).all() and row["scale"] == pytest.approx(192 / 220)
    assert label.label_picture(None, noise(), []) is None
    assert label.label_picture(None, noise(), [[0, 0, 50, 50]] * 2) is None  # whose?


# Who is who


def people(directions, count=400, pictures=4, seed=0):
    """Shapes (n, 40) of people who differ along some axes, and whose pictures differ in all."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(count), pictures)
    differ = np.zeros((count, 40))
    differ[:, directions] = 3 * rng.normal(size=(count, len(directions)))
    sizes = rng.uniform(0.1, 10, 40)  # units of the coefficients
    return sizes * (differ[who] + rng.normal(size=(len(who), 40))), who


def test_likeness_is_what_people_differ_in():
    directions = list(range(3, 3 + likeness.DIRECTIONS))
    shapes, who = people(directions)
    found = likeness.likeness(shapes, who)
    assert found.shape == (40, 8) and found.dtype == np.float32
    weight = np.linalg.norm(found * shapes.std(0)[:, None], axis=1)
    assert sorted(np.argsort(weight)[-8:].tolist()) == directions
    one, other = np.random.default_rng(1).integers(len(who), size=(2, 20_000))
    apart = np.square((shapes[one] - shapes[other]) @ found).mean()
    assert apart == pytest.approx(1, rel=0.05)


def test_likeness_confuses_less():
    learned = likeness.likeness(*people(range(8)))
    rng = np.random.default_rng(0)
    shapes, who = people(range(8), count=60, seed=5)
    order = rng.permutation(len(who))
    shapes, who, picture = shapes[order], who[order], np.arange(len(who))
    assert likeness.confused(shapes @ learned, who, picture) < likeness.confused(
        shapes / shapes.std(0), who, picture
    )


def test_how_often_people_are_confused():
    """One person is seen at 0 and 0.5, another at 1 and 9."""
    seen = np.array([[0.0], [0.5], [1.0], [9.0]])
    who, picture = np.array([0, 0, 1, 1]), np.arange(4)
    # they are 0.5 and 8 from themselves; of 1, 9, 0.5 and 8.5 between them, none and two are less
    assert likeness.confused(seen, who, picture) == pytest.approx((0 + 2 / 4) / 2)


# Settling


def test_settling_tunes_the_heads_alone(loss_case):
    loss, batch = loss_case
    batch = batch._replace(picture=torch.randint(0, 256, (2, 3, 120, 120), dtype=torch.uint8))
    net = random_module(torch, lambda: MobileNet(0.125, 64, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def cost():
        with torch.no_grad():
            return float(sum(loss.terms(net(normalise(batch.picture)), batch).values()))

    start = cost()
    settle.tune_heads(net, loss, [batch] * 4, epochs=5)
    assert cost() < start
    moved = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    assert moved and all(name.startswith("fc") for name in moved)
