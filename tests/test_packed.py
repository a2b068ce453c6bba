"""bfm.packed: 16-bit bases and the native reconstruction."""

from __future__ import annotations

import numpy as np
import pytest

from bfm.lib import native
from bfm.packed import PackedModel


def random_bases(vertices, shapes=4, exps=3, seed=0):
    """u (3n, 1), w_shp (3n, shapes), w_exp (3n, exps) of a head's size, µm."""
    rng = np.random.default_rng(seed)
    u = rng.normal(0, 6e4, (3 * vertices, 1))
    bases = [rng.normal(0, 3e3, (3 * vertices, k)) for k in (shapes, exps)]
    return [array.astype(np.float32) for array in (u, *bases)]


def plain(bases, shape, expression, affine):
    """The same in double precision, step by step."""
    u, w_shp, w_exp = (array.astype(np.float64) for array in bases)
    column = u[:, 0] + w_shp @ shape + w_exp @ expression
    vertices = affine[:, :3] @ column.reshape(-1, 3).T + affine[:, 3:]
    vertices[2] -= vertices[2].min()
    return vertices


# less than a tile, whole tiles, one vertex more, one vertex
@pytest.mark.parametrize("vertices", [50, 2 * native.TILE, native.TILE + 1, 1])
@pytest.mark.parametrize("faces", [1, 3])
def test_reconstruction(vertices, faces):
    bases = random_bases(vertices)
    rng = np.random.default_rng(1)
    shape, expression = rng.normal(size=(faces, 4)), rng.normal(size=(faces, 3))
    affines = rng.normal(0, 1e-3, (faces, 3, 4))
    affines[..., 3] = rng.uniform(0, 500, (faces, 3))
    packed = PackedModel.pack(*bases)
    found = packed.reconstruct(shape, expression[:, None], affines)
    assert found.shape == (faces, 3, vertices) and found.dtype == np.float32
    for face in range(faces):
        expected = plain(bases, shape[face], expression[face], affines[face])
        # rounding of a unit is 3 sigma / 32,767 / 2 ~ 0.2 µm, times 7 columns and 0.001 px/µm
        np.testing.assert_allclose(found[face], expected, atol=2e-3)


@pytest.mark.parametrize("vertices", [50, 2 * native.TILE, native.TILE + 1])
def test_rows_by_region(vertices):
    """A vertex wears the mixture of the rows that its weights say."""
    bases, rng = random_bases(vertices), np.random.default_rng(2)
    shape, rows = rng.normal(size=(2, 4)), rng.normal(size=(2, 3, 3))
    regions = rng.dirichlet(np.ones(3), vertices).T
    affines = rng.normal(0, 1e-3, (2, 3, 4))
    found = PackedModel.pack(*bases).reconstruct(shape, rows, affines, regions)
    for face in range(2):
        pure = [plain(bases, shape[face], row, affines[face]) for row in rows[face]]
        mixed = sum(weight * ver for weight, ver in zip(regions, pure))
        np.testing.assert_allclose(found[face, :2], mixed[:2], atol=2e-3)


def test_equal_rows_are_one_row():
    bases, rng = random_bases(70), np.random.default_rng(3)
    packed, affine = PackedModel.pack(*bases), np.eye(3, 4)[None] * 1e-3
    shape, row = rng.normal(size=(1, 4)), rng.normal(size=(1, 1, 3))
    regions = np.stack([np.linspace(0, 1, 70), np.linspace(1, 0, 70)])
    twice = packed.reconstruct(shape, np.repeat(row, 2, axis=1), affine, regions)
    np.testing.assert_allclose(twice, packed.reconstruct(shape, row, affine), atol=1e-4)


@pytest.mark.parametrize("regions", [None, np.ones((2, 69)), np.ones((3, 70))])
def test_regions_have_to_fit(regions):
    packed = PackedModel.pack(*random_bases(70))
    with pytest.raises(ValueError, match=r"regions: expected \(2, 70\)"):
        packed.reconstruct(np.ones((1, 4)), np.ones((1, 2, 3)), np.ones((1, 3, 4)), regions)


def test_fewer_coefficients_than_columns():
    """Missing ones, at the end of shape and of expression, are zero."""
    bases = random_bases(70)
    packed, affine = PackedModel.pack(*bases), np.eye(3, 4)[None] * 1e-3
    short = packed.reconstruct(np.array([[1.0, -2]]), np.array([[[0.5]]]), affine)
    full = packed.reconstruct(np.array([[1.0, -2, 0, 0]]), np.array([[[0.5, 0, 0]]]), affine)
    assert np.array_equal(short, full)


def test_rounding_stays_within_half_a_unit():
    u, w_shp, w_exp = random_bases(100)
    w_exp[:, 1] = 0  # a direction that moves nothing
    packed = PackedModel.pack(u, w_shp, w_exp)
    steps = packed.basis.transpose(0, 3, 2, 1).reshape(-1, 7)[:300].astype(np.float64)
    error = np.abs(steps * packed.units - np.hstack([w_shp, w_exp]))
    assert (error <= 0.51 * packed.units).all()
    assert np.abs(packed.basis[:, :4]).max() == np.iinfo(np.int16).max


@pytest.mark.parametrize(
    "change",
    [
        {"num_vertices": 300},  # of another mesh
        {"units": np.ones(6, np.float32)},  # of another number of columns
        {"basis": np.zeros((2, 7, 3, native.TILE), np.float32)},  # of another type
        {"mean": np.zeros((2, 3, native.TILE - 1), np.float32)},  # of other tiles
    ],
)
def test_inconsistent_arrays(change):
    packed = PackedModel.pack(*random_bases(100))
    assert packed.is_consistent()
    assert not PackedModel(**{**vars(packed), **change}).is_consistent()
