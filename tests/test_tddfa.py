"""TDDFA against the original's numbers; engines, batches, crops, and errors."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest
from conftest import PICTURES, heavy_modules_after, noise, random_module

from TDDFA import TDDFA
from TDDFA_ONNX import TDDFA_ONNX
from utils.errors import AssetError, UsageError
from utils.io import load_arrays
from utils.tddfa_util import _parse_param, _to_ctype, similar_transform, str2bool

BOXES = [[20, 10, 70, 60], [50, 30, 110, 85, 0.9], [-20, -15, 40, 50]]


def assert_params_agree(tddfa_assets, ours, golden):
    """SPEC section 8: within 1e-3 of each parameter's deviation."""
    std = load_arrays(tddfa_assets / "configs" / "param_mean_std_62d_120x120.pkl")["std"]
    assert np.abs((ours - golden) / std).max() < 1e-3


@pytest.mark.parametrize("name", PICTURES)
def test_golden_params_and_vertices(tddfa, assets, picture, golden, name):
    expected = golden(name)
    params, rois = tddfa(picture(name), expected["boxes"].tolist())
    np.testing.assert_allclose(rois, expected["roi_boxes"], atol=0.05)
    assert_params_agree(assets, np.array(params), expected["params"])
    sparse = tddfa.recon_vers(params, rois)
    np.testing.assert_allclose(sparse, expected["sparse"], atol=0.05)
    dense = tddfa.recon_vers(params[:1], rois[:1], dense_flag=True)[0]
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, expected["dense0"], atol=0.05)


@pytest.mark.parametrize("name", PICTURES)
def test_golden_landmark_crop(tddfa, assets, picture, golden, name):
    expected = golden(name)
    params, rois = tddfa(picture(name), [expected["sparse"][0]], crop_policy="landmark")
    np.testing.assert_allclose(rois[0], expected["roi_landmark_crop"], atol=0.05)
    assert_params_agree(assets, params[0], expected["params_landmark_crop"])


@pytest.mark.parametrize(
    "source, target",
    [
        ("JianzhuGuo", "trump_hillary"),  # one way
        ("trump_hillary", "JianzhuGuo"),  # and back
    ],
)
def test_golden_reenactment(tddfa, assets, golden, source, target):
    expected = golden(f"reenact_{source}_to_{target}")
    layout = tddfa.layout
    expression = layout.split(golden(source)["params"][0]).expression
    param = layout.splice(golden(target)["params"][0], expression)
    assert_params_agree(assets, param, expected["param"])
    roi = golden(target)["roi_boxes"][0]
    dense = tddfa.recon_vers([param], [roi], dense_flag=True)[0]
    np.testing.assert_allclose(dense, expected["dense"], atol=0.05)


def test_published_surface(tddfa):
    assert tddfa.tri.shape == (76073, 3)
    assert tddfa.tri.dtype == np.int32
    assert tddfa.size == 120


def test_engines_agree(tiny_config):
    img = noise()
    params = [np.array(TDDFA(**tiny_config, engine=e)(img, BOXES)[0]) for e in ("onnx", "torch")]
    np.testing.assert_allclose(*params, atol=1e-4)
    assert np.ptp(params[0], axis=0).max() > 1e-3  # faces differ


def test_batch_is_the_loop(tiny_tddfa):
    img = noise()
    params, rois = tiny_tddfa(img, BOXES)
    assert [p.shape for p in params] == [(22,)] * 3
    assert all(p.dtype == np.float32 for p in params)
    for i, box in enumerate(BOXES):
        (param,), (roi,) = tiny_tddfa(img, [box])
        assert roi == rois[i]
        np.testing.assert_allclose(param, params[i], atol=1e-5)
        for dense in (False, True):
            alone = tiny_tddfa.recon_vers([param], [roi], dense)[0]
            np.testing.assert_allclose(
                alone, tiny_tddfa.recon_vers(params, rois, dense)[i], atol=1e-3
            )


def test_one_network_call_for_all_faces(tiny_config, monkeypatch):
    tddfa = TDDFA(**tiny_config, engine="torch")
    shapes, network = [], tddfa._net
    monkeypatch.setattr(tddfa, "_net", lambda batch: shapes.append(batch.shape) or network(batch))
    tddfa(noise(), BOXES)
    assert shapes == [(3, 3, 48, 48)]


def test_sparse_vertices_are_the_dense_keypoints(tiny_tddfa):
    params, rois = tiny_tddfa(noise(), BOXES)
    keypoints = tiny_tddfa.bfm.keypoints[::3] // 3
    pairs = zip(tiny_tddfa.recon_vers(params, rois), tiny_tddfa.recon_vers(params, rois, True))
    for sparse, dense in pairs:
        assert sparse.shape == (3, 68)
        np.testing.assert_allclose(sparse[:2], dense[:2, keypoints], atol=1e-3)
        relative = dense[2, keypoints] - dense[2, keypoints].min()  # each has its own z = 0
        np.testing.assert_allclose(sparse[2], relative, atol=1e-3)


def test_rows_of_expression_by_region(tiny_tddfa):
    """Landmarks and dense mesh mix a face's rows as the regions say, beside faces of one row."""
    rng = np.random.default_rng(0)
    params, rois = tiny_tddfa(noise(), BOXES[:2])
    whole, split = (tiny_tddfa.layout.split(param) for param in params)
    rows = split.expression + rng.normal(size=(3, 4)).astype(np.float32)
    regions = rng.dirichlet(np.ones(3), tiny_tddfa.bfm.num_vertices).T
    faces = [whole, split._replace(expression=rows)]
    dense = tiny_tddfa.reconstruct(faces, rois, dense=True, regions=regions)
    sparse = tiny_tddfa.reconstruct(faces, rois, regions=regions)
    keypoints = tiny_tddfa.bfm.keypoints[::3] // 3
    plain = tiny_tddfa.recon_vers(params, rois, dense_flag=True)
    np.testing.assert_allclose(dense[0], plain[0], atol=1e-3)
    for landmarks, mesh in zip(sparse, dense):
        np.testing.assert_allclose(landmarks[:2], mesh[:2, keypoints], atol=1e-3)
    pure = [tiny_tddfa.reconstruct([split._replace(expression=row)], rois[1:], True)[0]
            for row in rows]
    mixed = sum(weight * mesh for weight, mesh in zip(regions, pure))
    np.testing.assert_allclose(dense[1][:2], mixed[:2], atol=1e-3)
    assert np.abs(dense[1] - plain[1]).max() > 0.1


def test_reconstruction_formula(tiny_tddfa):
    """SPEC section 4 in float64, in an ROI that is not square."""
    bfm, rng = tiny_tddfa.bfm, np.random.default_rng(0)
    param = tiny_tddfa(noise(), BOXES)[0][0] + np.append(np.zeros(12), rng.normal(0, 1, 10))
    x0, y0, x1, y1 = roi = [10, 20, 106, 68]
    column = bfm.u[:, 0] + bfm.w_shp @ param[12:18] + bfm.w_exp @ param[18:]
    pose = param[:12].reshape(3, 4)
    x, y, z = pose[:, :3] @ column.reshape(-1, 3).T + pose[:, 3:]
    z = (z - 1) * ((x1 - x0) + (y1 - y0)) / 48 / 2
    expected = [(x - 1) * (x1 - x0) / 48 + x0, (48 - y) * (y1 - y0) / 48 + y0, z - z.min()]
    dense = tiny_tddfa.recon_vers([param], [roi], dense_flag=True)[0]
    np.testing.assert_allclose(dense, expected, atol=1e-2)


def test_landmark_crop_follows_the_landmarks(tiny_tddfa):
    vertices = [np.array([[30.0, 70, 50], [20, 60, 40], [0, 0, 0]])]
    params, rois = tiny_tddfa(noise(), vertices, crop_policy="landmark")
    half = 20 * np.sqrt(2)
    np.testing.assert_allclose(rois[0], [50 - half, 40 - half, 50 + half, 40 + half])
    assert params[0].shape == (22,)


def test_other_forms_of_a_picture(tiny_tddfa):
    img = noise()
    expected = tiny_tddfa(img, BOXES)[0]
    for other in (img[:, ::-1].copy()[:, ::-1], np.dstack([img, img[..., 0]])):
        np.testing.assert_allclose(tiny_tddfa(other, BOXES)[0], expected, atol=1e-5)
    grey = img[..., 0]
    np.testing.assert_allclose(
        tiny_tddfa(grey, BOXES)[0], tiny_tddfa(np.dstack([grey] * 3), BOXES)[0], atol=1e-5
    )


def test_inputs_are_unchanged(tiny_tddfa):
    img, boxes = noise(), np.array([[20.0, 10, 70, 60]])
    params, rois = tiny_tddfa(img, boxes)
    arrays = [img, boxes, params[0], np.array(rois[0])]
    before = [array.copy() for array in arrays]
    tiny_tddfa(img, boxes)
    tiny_tddfa.recon_vers(params, [arrays[3]], dense_flag=True)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before))


def test_no_faces(tiny_tddfa):
    assert tiny_tddfa(noise(), []) == ([], [])
    assert tiny_tddfa.recon_vers([], []) == []


@pytest.mark.parametrize("policy", ["Box", "", None])
def test_bad_crop_policy(tiny_tddfa, policy):
    with pytest.raises(ValueError, match="crop_policy: expected 'box' or 'landmark'"):
        tiny_tddfa(noise(), BOXES, crop_policy=policy)


@pytest.mark.parametrize(
    "box",
    [
        [20, 10, np.nan, 60],  # not a number
        [20, 10, np.inf, 60],  # infinite
        [20, 10, 20, 10],  # empty
        [70, 60, 20, 10],  # corners swapped
    ],
)
def test_bad_boxes(tiny_tddfa, box):
    with pytest.raises(ValueError):
        tiny_tddfa(noise(), [box])


@pytest.mark.parametrize(
    "change, error",
    [
        ({"sizes": 48}, UsageError),  # misspelt key
        ({"num_params": 23}, UsageError),  # contradicting dimensions
        ({"shape_dim": 9, "num_params": None}, AssetError),  # more than the 3DMM has
        ({"shape_dim": 7, "num_params": None}, AssetError),  # mean of another length
        ({"widen_factor": 0.25, "engine": "torch"}, AssetError),  # weights of another network
        ({"bfm_fp": "configs/absent.npz"}, AssetError),  # no 3DMM
        ({"checkpoint_fp": "weights/absent.pth"}, AssetError),  # no weights
    ],
)
def test_bad_configs(tiny_config, change, error):
    with pytest.raises(error):
        TDDFA(**{**tiny_config, **change})


def test_onnx_path_imports_no_torch(tiny_config):
    TDDFA_ONNX(**tiny_config)  # exports, with torch
    program = (
        "import sys, numpy as np\n"
        "import face_reenactment\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "from TDDFA_ONNX import TDDFA_ONNX\n"
        f"tddfa = TDDFA_ONNX(**{tiny_config!r})\n"
        "tddfa(np.zeros((64, 64, 3), np.uint8), [[10, 10, 50, 50]])"
    )
    assert heavy_modules_after(program) == "[]"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles_open_the_same_files(tiny_config, monkeypatch, tmp_path, copied):
    tddfa = TDDFA_ONNX(**tiny_config)
    monkeypatch.chdir(tmp_path)
    again = copied(tddfa)
    assert (type(again), again.config) == (TDDFA_ONNX, tddfa.config)
    ours, theirs = again(noise(), BOXES), tddfa(noise(), BOXES)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    assert ours[1] == theirs[1]


def test_a_process_pool_can_take_them(tiny_config):
    tddfa = TDDFA_ONNX(**tiny_config)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        params, _ = pool.submit(tddfa, noise(), BOXES).result()
    np.testing.assert_allclose(params, tddfa(noise(), BOXES)[0], atol=1e-5)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_time_is_shown_where_it_is_wanted(tiny_tddfa, capsys, wanted):
    """3DDFA_V2's callers may ask for it, as `tddfa(img, boxes, timer_flag=True)`."""
    tiny_tddfa(noise(), BOXES, timer_flag=wanted)
    assert bool(re.fullmatch(r"TDDFA: \d+\.\d ms\n", capsys.readouterr().out)) == wanted


def test_similar_transform_of_the_whole_crop():
    """The crop's Matlab pixel (1, size) is the ROI's corner; depth starts at 0."""
    points = np.array([[1.0, 121], [120, 0], [5, 7]])
    moved = similar_transform(points, [10, 20, 250, 260], 120)
    np.testing.assert_allclose(moved, [[10, 250], [20, 260], [0, 4]])


def test_parse_param():
    rotation, offset, shape, expression = _parse_param(np.arange(62.0))
    assert np.array_equal(np.hstack([rotation, offset]), np.arange(12.0).reshape(3, 4))
    assert np.array_equal(np.vstack([shape, expression])[:, 0], np.arange(12.0, 62))
    assert (shape.shape, expression.shape) == ((40, 1), (10, 1))


def test_small_helpers():
    array = np.zeros((3, 4))
    assert _to_ctype(array) is array
    assert _to_ctype(array.T).flags.c_contiguous
    assert [str2bool(word) for word in ("true", "Yes", "1", "False", "no", "0")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(Exception, match="true or false"):
        str2bool("maybe")


SCORING = {"widen_factor": 0.125, "num_classes": 22, "num_scores": 3}


@pytest.fixture(scope="module")
def scoring_config(tiny_config, tmp_path_factory, torch):
    """The tiny config with three scores, the last of which nobody taught."""
    from models import mobilenet

    folder = tmp_path_factory.mktemp("scoring")
    numbers = dict(np.load(tiny_config["param_mean_std_fp"]))
    taught = np.array([0.2, 0.3, 0], np.float32)
    scores = dict(score_names=["jawOpen", "mouthPucker", "tongueOut"], score_reliability=taught)
    np.savez(folder / "mean_std.npz", **numbers, **scores, score_mean=taught, score_std=taught)
    module = random_module(torch, partial(mobilenet, **SCORING))
    torch.save(module.state_dict(), folder / "tiny.pth")
    files = {"checkpoint_fp": folder / "tiny.pth", "param_mean_std_fp": folder / "mean_std.npz"}
    return {**tiny_config, "num_scores": 3, **{key: str(path) for key, path in files.items()}}


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_scores_and_error(scoring_config, torch, engine):
    from models import mobilenet
    from models.checkpoints import load_model

    tddfa = TDDFA(**scoring_config, engine=engine)
    told = tddfa.regress(noise(), BOXES)
    crops = np.stack([tddfa._crop(noise(), box) for box in told.roi_boxes])
    module = load_model(mobilenet(**SCORING), scoring_config["checkpoint_fp"])
    with torch.inference_mode():
        _, outputs, log_error = (x.numpy() for x in module.eval()(torch.from_numpy(crops)))
    expected = np.clip(outputs * [0.2, 0.3, 0] + [0.2, 0.3, 0], 0, 1)
    np.testing.assert_allclose(told.scores, expected, atol=1e-4)
    np.testing.assert_allclose(told.error, np.exp(log_error[:, 0]), rtol=1e-3)
    assert (told.scores[:, 2] == 0).all() and np.ptp(told.scores[:, 0]) > 0
    params, roi_boxes = tddfa(noise(), BOXES)
    np.testing.assert_array_equal(params, told.params)
    assert roi_boxes == told.roi_boxes
    assert tddfa.scores.names == ("jawOpen", "mouthPucker", "tongueOut")


def test_no_faces_have_no_scores(scoring_config, tiny_tddfa):
    none = TDDFA(**scoring_config).regress(noise(), [])
    assert none.params == [] and none.scores.shape == (0, 3) and none.error.shape == (0,)
    assert tiny_tddfa.regress(noise(), BOXES)[2:] == (None, None)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"score_std": None}, "'score_std' of 3 numbers"),  # missing
        ({"score_mean": np.zeros(2)}, "'score_mean' of 3 numbers"),  # another network's
        ({"score_names": ["jawOpen"]}, "'score_names' of 3 names"),  # too few
    ],
)
def test_damaged_scores(scoring_config, tmp_path, changes, message):
    numbers = dict(np.load(scoring_config["param_mean_std_fp"])) | changes
    kept = {key: value for key, value in numbers.items() if value is not None}
    np.savez(tmp_path / "numbers.npz", **kept)
    config = {**scoring_config, "param_mean_std_fp": str(tmp_path / "numbers.npz")}
    with pytest.raises(AssetError, match=message):
        TDDFA(**config)


def with_numbers(config, folder, **columns):
    """A config whose numbers of the parameters are joined by columns."""
    path = folder / "numbers.npz"
    np.savez(path, **np.load(config["param_mean_std_fp"]), **columns)
    return {**config, "param_mean_std_fp": str(path)}


def test_likeness_is_read_or_of_all_coefficients(tiny_config, tiny_tddfa, tmp_path):
    expected = np.diag(1 / tiny_tddfa.spread.shape)
    np.testing.assert_allclose(tiny_tddfa.likeness, expected, rtol=1e-6)
    told = np.arange(12, dtype=np.float32).reshape(6, 2)
    tddfa = TDDFA(**with_numbers(tiny_config, tmp_path, likeness=told))
    np.testing.assert_array_equal(tddfa.likeness, told)


def test_likeness_of_another_model(tiny_config, tmp_path):
    config = with_numbers(tiny_config, tmp_path, likeness=np.zeros((10, 8)))
    with pytest.raises(AssetError, match="'likeness' of 6 rows"):
        TDDFA(**config)


def test_a_network_of_something_else_is_refused(tiny_tddfa):
    tddfa = copy.copy(tiny_tddfa)
    tddfa._net = lambda crops: (np.zeros((len(crops), 341, 4), np.float32),)
    with pytest.raises(AssetError, match=r"bad regressor .* shape \(1, 341, 4\), expected \(1, 2"):
        tddfa(noise(40, 40), [[0, 0, 20, 20]])


def test_scores_need_a_network_that_tells_them(scoring_config):
    with pytest.raises(UsageError, match="num_scores"):
        TDDFA(**{**scoring_config, "arch": "resnet22"})
