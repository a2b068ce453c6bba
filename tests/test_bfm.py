"""bfm.bfm: loading and checking a 3DMM, its colour code and texture coordinates."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import face_arrays, save_arrays

from bfm import BFMModel
from bfm.bfm import PACKED_KEYS, read_basel_uv
from utils.errors import AssetError


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])  # ours, 3DDFA_V2's
def test_load(tmp_path, suffix):
    arrays = face_arrays()
    model = BFMModel(save_arrays(tmp_path / f"m{suffix}", arrays), shape_dim=6, exp_dim=4)
    assert model.num_vertices == 120
    assert model.tri.dtype == np.int32
    assert np.array_equal(model.tri, arrays["tri"])
    assert np.array_equal(model.u, arrays["u"])
    assert np.array_equal(model.w_shp, arrays["w_shp"][:, :6])
    assert np.array_equal(model.w_exp, arrays["w_exp"][:, :4])
    rows = arrays["keypoints"]
    assert np.array_equal(model.u_base, arrays["u"][rows])
    assert np.array_equal(model.w_shp_base, arrays["w_shp"][rows, :6])
    assert np.array_equal(model.w_exp_base, arrays["w_exp"][rows, :4])
    for name in ("u", "w_shp", "w_exp", "u_base", "w_shp_base", "w_exp_base"):
        assert getattr(model, name).dtype == np.float32
        assert getattr(model, name).flags.c_contiguous


def test_other_forms_of_the_same_model(tmp_path):
    """Triangles as columns, a flat mean, doubles and small integers give the same model."""
    arrays = face_arrays()
    other = {
        "u": arrays["u"].ravel().astype(np.float64),
        "w_shp": np.asfortranarray(arrays["w_shp"]),
        "w_exp": arrays["w_exp"].astype(np.float64),
        "keypoints": arrays["keypoints"].astype(np.uint16),
        "tri": arrays["tri"].T.astype(np.int64),
    }
    first = BFMModel(save_arrays(tmp_path / "a.npz", arrays), 8, 5)
    second = BFMModel(save_arrays(tmp_path / "b.pkl", other), 8, 5)
    for name in ("u", "w_shp", "w_exp", "keypoints", "tri", "w_exp_base"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"u": None}, "'u'"),  # no mean
        ({"w_shp": None}, "'w_shp'"),  # no shape basis
        ({"w_exp": None}, "'w_exp'"),  # no expression basis
        ({"keypoints": None}, "'keypoints'"),  # no landmarks
        ({"tri": None}, "triangles"),  # no triangles
        ({"u": np.zeros((361, 1))}, "361"),  # no whole number of vertices
        ({"u": np.zeros((0, 1))}, "u has 0"),  # no vertices
        ({"w_shp": np.zeros((357, 8))}, "w_shp"),  # basis of another mesh
        ({"w_shp": np.zeros(360)}, "w_shp"),  # basis without columns
        ({"w_exp": np.zeros((360, 4))}, "at least 5 columns"),  # too few columns
        ({"keypoints": np.zeros(204)}, "float64"),  # landmarks no integers
        ({"keypoints": np.zeros(203, int)}, "203"),  # no three rows for a landmark
        ({"keypoints": np.zeros(0, int)}, "keypoints"),  # no landmarks in the array
        ({"keypoints": np.full(204, -1)}, "-1"),  # negative row
        ({"keypoints": np.full(204, 360)}, "360"),  # row beyond the mean
        ({"tri": np.zeros((5, 4), int)}, r"\(5, 4\)"),  # quads
        ({"tri": np.zeros((0, 3), int)}, r"\(0, 3\)"),  # no faces
        ({"tri": np.zeros((5, 3))}, "float64"),  # triangles no integers
        ({"tri": np.full((5, 3), 120)}, "120"),  # vertex out of range
        ({"tri": np.full((5, 3), -1)}, "-1"),  # negative vertex
        ({"tri": np.full((5, 3), 2**32)}, "4294967296"),  # would wrap to 0 as int32
        ({"u": np.full((360, 1), "x")}, "u"),  # text
    ],
)
def test_damaged_models(tmp_path, change, message):
    arrays = {k: v for k, v in {**face_arrays(), **change}.items() if v is not None}
    path = save_arrays(tmp_path / "m.npz", arrays)
    with pytest.raises(AssetError, match=message) as caught:
        BFMModel(path, shape_dim=8, exp_dim=5)
    assert str(path) in str(caught.value)


def test_not_a_model(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros(3))
    with pytest.raises(AssetError, match="dict"):
        BFMModel(tmp_path / "m.npy")
    with pytest.raises(AssetError, match="missing file"):
        BFMModel(tmp_path / "absent.pkl")


def test_triangles_of_the_published_model_lie_beside_it(tmp_path):
    arrays = face_arrays()
    save_arrays(tmp_path / "tri.pkl", arrays["tri"][::-1].T)
    original = save_arrays(tmp_path / "bfm_noneck_v3.pkl", {**arrays, "tri": None})
    assert np.array_equal(BFMModel(original, 8, 5).tri, arrays["tri"][::-1])
    other = save_arrays(tmp_path / "other.pkl", arrays)
    assert np.array_equal(BFMModel(other, 8, 5).tri, arrays["tri"])


def test_packed_arrays_of_the_file_are_used(tmp_path):
    arrays = face_arrays()
    made = BFMModel(save_arrays(tmp_path / "without.npz", arrays), 8, 5).packed
    stored = dict(zip(PACKED_KEYS, (made.mean + 1, made.basis, made.units)))
    packed = BFMModel(save_arrays(tmp_path / "with.npz", {**arrays, **stored}), 6, 4).packed
    assert np.array_equal(packed.mean, made.mean + 1)
    assert packed.shape_dim == arrays["w_shp"].shape[1]  # all that the file has, not the 6 used
    stored["packed_units"] = made.units[1:]
    model = BFMModel(save_arrays(tmp_path / "damaged.npz", {**arrays, **stored}), 6, 4)
    with pytest.raises(AssetError, match="packed arrays do not fit"):
        model.packed  # noqa: B018


def test_ncc_is_the_mean_scaled_to_unit_range(tmp_path):
    arrays = face_arrays()
    ncc = BFMModel(save_arrays(tmp_path / "m.npz", arrays), 8, 5).ncc
    mean = arrays["u"].reshape(-1, 3).T.astype(np.float64)
    assert ncc.shape == (3, 120)
    for code, axis in zip(ncc, mean):
        np.testing.assert_allclose(code, (axis - axis.min()) / np.ptp(axis), atol=1e-6)


def test_uv_of_the_model_and_beside_it(tmp_path):
    savemat = pytest.importorskip("scipy.io", reason="scipy is not installed").savemat

    arrays = face_arrays()
    stored = BFMModel(save_arrays(tmp_path / "with.npz", arrays), 8, 5)
    assert np.array_equal(stored.uv, arrays["uv"])

    uv = arrays.pop("uv")
    bare = save_arrays(tmp_path / "without.npz", arrays)
    with pytest.raises(AssetError, match="BFM_UV.mat"):
        BFMModel(bare, 8, 5).uv  # noqa: B018
    indices = np.arange(len(uv), dtype=np.int32)[::-1]
    np.save(tmp_path / "indices.npy", indices)
    savemat(tmp_path / "BFM_UV.mat", {"UV": uv[::-1]})
    assert np.array_equal(BFMModel(bare, 8, 5).uv, uv)
    np.save(tmp_path / "indices.npy", indices + 1)
    with pytest.raises(AssetError, match="texture"):
        BFMModel(bare, 8, 5).uv  # noqa: B018
    np.save(tmp_path / "indices.npy", indices[:-1])
    with pytest.raises(AssetError, match="uv has shape"):
        BFMModel(bare, 8, 5).uv  # noqa: B018


def test_uv_of_a_checkout_asks_for_scipy(tmp_path, monkeypatch):
    for name in ("BFM_UV.mat", "indices.npy"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(AssetError, match="BFM_UV.mat without scipy: pip install scipy"):
        read_basel_uv(tmp_path)


def test_published_model(assets):
    model = BFMModel(assets / "configs" / "bfm_noneck_v3.pkl")
    assert model.u.shape == (115095, 1)
    assert model.w_shp.shape == (115095, 40)
    assert model.w_exp.shape == (115095, 10)
    assert model.tri.shape == (76073, 3)
    assert model.keypoints.shape == (204,)
    published = np.load(assets / "configs" / "ncc_code.npy")
    np.testing.assert_allclose(model.ncc, published, atol=1e-6)
    assert model.uv.shape == (38365, 2)
    assert 0 <= model.uv.min() < model.uv.max() <= 1
