"""Learning the brows' directions: what is measured, how it is laid out, and what tells it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can be trained")
pytest.importorskip("scipy", reason="scipy is not installed: the brows' curves need it")

from bfm.provision import BROWS as SHIPPED  # noqa: E402
from models.mobilenet_v1 import MobileNet  # noqa: E402
from training.regressor import brows, widen  # noqa: E402
from training.regressor.geometry import Fit, Model, fit_all, rotation  # noqa: E402
from training.regressor.landmarks import EYE_CORNERS, UPPER_LID  # noqa: E402
from utils.io import load_arrays  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

BROW_MARKS = np.array(brows.BROWS).ravel()
LID = np.linspace([15_000, 24_000, 0], [45_000, 24_000, 0], 9) + [0, 6_000, 0] * np.sin(
    np.linspace(0, np.pi, 9)
)[:, None]
EDGE_X = np.linspace(55_000, 14_000, 5)  # from the outer to the inner end, as the landmarks
BROW = np.stack([np.stack([EDGE_X, np.full(5, y), 0 * EDGE_X], 1) for y in (48e3, 42e3)])
MOVES = np.stack([np.linspace([-300, 500], [900, 5500], 5)] * 2)  # of both edges alike


def random_face(seed=0):
    """A model of 468 landmarks, one shape and one expression, with brows above all others."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, [60e3, 30e3, 30e3], (468, 3))
    mean[:, 1] = np.minimum(mean[:, 1], 30e3)
    mean[BROW_MARKS, 1] = 45e3 + rng.uniform(0, 5e3, len(BROW_MARKS))
    bases = rng.normal(0, 1000, (2, 468, 3, 1))
    return Model(*(torch.from_numpy(array).float() for array in (mean, *bases)))


def poses(count, turn=0.0):
    matrix = 5e-4 * rotation(torch.tensor([[0.0, 0.0, turn]])).expand(count, 3, 3)
    return torch.cat([matrix, torch.tensor([90.0, -80, 0])[:, None].expand(count, 3, 1)], 2)


def raised(model, pose, moves):
    """Landmarks (n, 468, 2) of faces at rest whose brows do `moves` (2 sides, 2, 5, 2)."""
    vertices = model.mean.clone()
    vertices[np.array(brows.BROWS), :2] += torch.from_numpy(moves).float()
    return (vertices @ pose[:, :2, :3].transpose(1, 2)) + pose[:, None, :2, 3]


@pytest.mark.parametrize("turn", [0.0, 0.7])  # upright, rolled
def test_moves_are_measured_in_the_faces_own_frame(turn):
    model, pose = random_face(), poses(3, turn)
    moves = np.random.default_rng(1).normal(0, 3000, (2, 2, 5, 2))
    still = Fit(pose, torch.zeros(3, 1), torch.zeros(3, 1))
    found = brows.brow_moves(still, raised(model, pose, moves), model)
    outwards = moves * np.array([[-1, 1], [1, 1]])[:, None, None]
    np.testing.assert_allclose(found, np.repeat(outwards[:, None], 3, 1), atol=2)  # µm


def test_a_raised_brow_is_no_raised_head():
    """A fit of all landmarks takes part of it for pose; the free one, nothing."""
    model, pose = random_face(), poses(2)
    points = raised(model, pose, np.full((2, 2, 5, 2), [0, 6000.0]))
    weight, prior = torch.ones(468), torch.full((2,), 0.01)
    free = brows.free_fit(model, points, weight, prior)
    torch.testing.assert_close(free.pose[:, :2], pose[:, :2], rtol=0, atol=1e-2)
    whole = fit_all(model, points, weight, prior)
    assert float((whole.pose[:, 1, 3] - pose[:, 1, 3]).abs().min()) > 0.05


def test_two_movements_and_their_scores_are_found():
    rng = np.random.default_rng(2)
    inner, outer = rng.normal(0, 3000, (2, 2, 5, 2))
    person = np.repeat(np.arange(10), 6)
    scores = rng.uniform(0, 1, (2, 60, 3))
    caused = [inner, -0.4 * inner - 1.1 * outer, outer]
    moves = np.einsum("snk,keix->sneix", scores, caused)
    moves += rng.normal(0, 9000, (2, 10, 2, 5, 2))[:, person]  # how people's brows lie at rest
    found, mix = brows.learn_brows(moves, scores, person)
    np.testing.assert_allclose(found, [inner, outer], atol=1e-6 * 3000)
    np.testing.assert_allclose(mix, [[1, 0], [-0.4, -1.1], [0, 1]], atol=1e-9)


def test_a_brow_keeps_its_form_and_the_lid_its_place():
    spread = lambda points: brows.spread_brow(points, BROW, LID, MOVES)  # noqa: E731
    outer, inner = slice(0, 4), slice(4, 5)  # the inner end fades already, towards the other brow
    for edge in BROW:
        np.testing.assert_allclose(spread(edge)[outer], MOVES[0, outer], rtol=1e-6)
        assert (spread(edge)[inner] <= MOVES[0, inner]).all()
    assert not spread(LID).any()
    above = BROW[0] + [0, brows.ABOVE, 0]
    other_side = BROW[0] * [0, 1, 1] - [brows.ACROSS, 0, 0]
    outside = BROW[0, :1] + [brows.OUTER, 0, 0]
    assert not spread(np.concatenate([above, other_side, outside])).any()


@pytest.mark.parametrize("coefficient", [-1.0, 0.5, 1.5])  # lowered, raised, raised beyond a score
def test_no_coefficient_folds_the_skin(coefficient):
    y, x = np.mgrid[10_000:90_001:500, -12_000:80_001:2_000].astype(float)
    grid = np.stack([x, y, 0 * x], -1)
    move = brows.spread_brow(grid.reshape(-1, 3), BROW, LID, MOVES).reshape(*x.shape, 2)
    assert (np.diff(y + coefficient * move[..., 1], axis=0) > 0).all()
    assert (np.diff(x + coefficient * move[..., 0], axis=1) > 0).all()


@pytest.fixture(scope="module")
def laid_out():
    """The mean (n, 3) of a slanting plane with the landmarks on it, and the directions there."""
    marks = np.zeros((468, 3))
    for side, sign in ((0, -1), (1, 1)):
        marks[np.array(brows.BROWS[side])] = BROW * [sign, 1, 1]
        outer, inner = EYE_CORNERS[side]
        marks[[inner, *UPPER_LID[side][::-1], outer]] = LID * [sign, 1, 1]
    y, x = np.mgrid[0:80_001:2_000, -80_000:80_001:2_000].astype(float)
    mean = np.concatenate([marks, np.stack([x, y, 0 * x], -1).reshape(-1, 3)])
    mean[:, 2] = 0.5 * mean[:, 1]
    basel = Model(torch.from_numpy(mean).float(), None, None)
    indices, displacement = brows.spread_brows(
        basel, np.arange(468), np.stack([MOVES, 0.5 * MOVES])
    )
    full = np.zeros((len(mean), 3, 4))
    full[indices] = displacement
    return mean, full


def test_both_sides_are_mirror_images(laid_out):
    mean, full = laid_out
    grid = full[468:].reshape(41, 81, 3, 4)
    mirrored = grid[:, ::-1] * np.array([-1, 1, 1])[:, None]
    np.testing.assert_allclose(grid[..., 0], mirrored[..., 1], atol=brows.STEP)
    np.testing.assert_allclose(2 * full[..., 2:], full[..., :2], atol=2 * brows.STEP)
    far = mean[:, 0] > brows.ACROSS
    assert full[~far, :, 0].any() and not full[far, :, 0].any()


def test_skin_slides_along_the_face(laid_out):
    _, full = laid_out
    np.testing.assert_allclose(full[:, 2], 0.5 * full[:, 1], atol=brows.STEP)


@pytest.fixture
def trained():
    """What a run leaves: a small network with the brows' scores, and its numbers."""
    names = [*map(str, load_arrays(SHIPPED)["names"]), "jawOpen"]
    net = MobileNet(0.125, widen.TRAINED, len(names)).eval()
    numbers = {key: torch.rand(len(names)) for key in ("score_mean", "score_std")}
    return net, dict(
        numbers, score_names=names, widen=0.125, state_dict=net.state_dict(),
        mean=torch.zeros(widen.TRAINED), std=torch.ones(widen.TRAINED),
    )  # fmt: skip


def test_the_rows_of_the_brows_say_what_the_scores_say(trained):
    net, saved = trained
    before, arrays = dict(saved["state_dict"]), load_arrays(SHIPPED)
    more = brows.with_brow_rows(saved, arrays)
    wide = MobileNet(0.125, len(more["mean"]), 6).eval()
    wide.load_state_dict(more["state_dict"])
    inputs = torch.randn(3, 3, 120, 120, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (params, scores, _), (same, *_) = wide(inputs), net(inputs)
    params, scores = params * more["std"] + more["mean"], scores * more["score_std"]
    told = (scores + more["score_mean"])[:, :5] @ torch.from_numpy(arrays["mix"])
    torch.testing.assert_close(params[:, widen.TRAINED :], told, rtol=1e-4, atol=1e-5)
    assert torch.equal(params[:, : widen.TRAINED], same)
    assert all(value is saved["state_dict"][key] for key, value in before.items())


def test_training_goes_on_without_them(trained, tmp_path):
    _, saved = trained
    more = brows.with_brow_rows(saved, load_arrays(SHIPPED))
    torch.save({"state_dict": more["state_dict"]}, tmp_path / "a_120x120.pth")
    numbers = {key: more[key].numpy() for key in ("mean", "std", "score_mean")}
    np.savez(tmp_path / "a_param_mean_std.npz", **numbers)
    state, mean, std = widen.load_start(tmp_path / "a", 0.125)
    assert len(mean) == len(std) == widen.TRAINED
    assert all(torch.equal(state[key], value) for key, value in saved["state_dict"].items())


def test_the_shipped_directions_are_what_the_names_say():
    """Raising by a score moves up, more at its end of the brow; a frown lowers both halves."""
    arrays = load_arrays(SHIPPED)
    assert arrays["displacement"].shape[2] == arrays["mix"].shape[1] == 4
    table = dict(zip(map(str, arrays["names"]), arrays["mix"]))
    for number, side in enumerate(brows.SIDES):
        own = np.isin(np.arange(4), [number, number + 2])
        for shape in brows.shapes_of(side)[1:]:
            assert not table[shape][~own].any()
        assert (table[f"browDown{side}"][own] < 0).all()
        assert table[f"browOuterUp{side}"][own].tolist() == [0, 1]
    assert table["browInnerUp"].tolist() == [1, 1, 0, 0]
