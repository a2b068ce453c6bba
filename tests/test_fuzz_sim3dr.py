"""Sim3DR on random meshes. `make sanitize` runs this file under ASan and UBSan.

It imports numpy, hypothesis and Sim3DR only: other native libraries would drown the
sanitizers' reports. More examples: pytest --hypothesis-profile=thorough.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from Sim3DR import (
    RenderPipeline,
    draw,
    extend,
    get_normal,
    interpolate,
    rasterise,
    rasterize,
    sample,
    sample_lanczos,
)

pytestmark = pytest.mark.sanitize

NUMBERS = st.one_of(
    st.floats(width=32),  # anything: NaN, infinities, subnormal, huge
    st.floats(-4, 20, width=32),  # near the picture
    st.integers(-2, 18).map(float),  # on pixel centres
    st.sampled_from([1e-38, 2.0**31, 2.0**63, 3.4e38, -3.4e38]),  # near limits of types
)


@st.composite
def meshes(draw):
    """Vertices (n, 3), triangles (m, 3) and the colour count."""
    count = draw(st.integers(1, 12))
    numbers = draw(st.lists(NUMBERS, min_size=3 * count, max_size=3 * count))
    corners = st.lists(st.integers(0, count - 1), min_size=3, max_size=3)
    tri = draw(st.lists(corners, max_size=12))
    vertices = np.array(numbers, np.float64).astype(np.float32).reshape(-1, 3)
    return vertices, np.array(tri, np.int32).reshape(-1, 3)


@given(meshes(), st.integers(0, 9), st.integers(0, 9), st.integers(1, 5), st.booleans(), NUMBERS)
def test_rasterize(mesh, height, width, channels, reverse, color):
    vertices, tri = mesh
    colors = np.full((len(vertices), channels), color, np.float32)
    for dtype in (np.uint8, np.float32):
        bg = np.ones((height, width, channels), dtype)
        image = rasterize(vertices, tri, colors, bg=bg, reverse=reverse)
        assert image.shape == bg.shape
        assert (bg == 1).all()


@given(meshes(), st.integers(0, 9), st.integers(0, 9), st.lists(NUMBERS, min_size=2, max_size=2))
def test_drawing_stays_in_its_rectangle(mesh, height, width, origin):
    vertices, tri = mesh
    colors = np.ones((len(vertices), 1), np.float32)
    for put in (
        lambda patch: draw(patch, vertices, tri, colors, origin),
        lambda patch: RenderPipeline().draw(patch, vertices, tri, origin=origin),
    ):
        picture = np.full((12, 12, 3), 7, np.uint8)
        put(picture[2 : 2 + height, 1 : 1 + width])
        picture[2 : 2 + height, 1 : 1 + width] = 7
        assert (picture == 7).all()


@given(meshes(), st.integers(0, 9), st.integers(0, 9), st.integers(1, 4))
def test_rasters_are_coloured_as_meshes_are_drawn(mesh, height, width, channels):
    vertices, tri = mesh
    colors = np.linspace(-0.2, 1.2, len(vertices) * channels, dtype=np.float32)
    colors = colors.reshape(-1, channels)
    raster = rasterise(vertices, tri, (height, width))
    for dtype in (np.uint8, np.float32):
        drawn, painted = (np.full((height, width, channels), 7, dtype) for _ in range(2))
        draw(drawn, vertices, tri, colors)
        interpolate(raster, colors, painted)
        assert np.array_equal(painted, drawn, equal_nan=True)
    assert (raster.number < max(len(tri), 1)).all()


@given(meshes(), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_samples_are_the_pictures_own(mesh, height, width, channels):
    image = np.full((height, width, channels), 51, np.uint8)
    assert np.allclose(sample(image, mesh[0]), 0.2, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.lists(NUMBERS, min_size=2, max_size=40))
def test_lanczos_reads_the_picture_alone(height, width, numbers):
    places = np.array(numbers[: len(numbers) // 2 * 2], np.float64).astype(np.float32)
    picture = np.full((height, width, 4), 0.5, np.float32)
    assert np.allclose(sample_lanczos(picture, places.reshape(-1, 2)), 0.5, atol=1e-5)


@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_extensions_of_any_size(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    values, known = rng.random((channels, height, width)), rng.random((height, width)) < 0.1
    found = extend(values, known)
    assert ((found >= 0) & (found <= 1)).all()
    assert np.allclose(found[:, known], values[:, known])


@given(meshes())
def test_normals_are_unit_or_zero(mesh):
    lengths = np.linalg.norm(get_normal(*mesh), axis=1)
    assert (np.isclose(lengths, 1, atol=1e-3) | (lengths == 0)).all()


@given(meshes(), st.lists(NUMBERS, min_size=3, max_size=3), NUMBERS)
def test_light_stays_in_range(mesh, position, exponent):
    pipeline = RenderPipeline(light_pos=position, view_pos=position[::-1], specular_exp=exponent)
    colors = pipeline.light(*mesh)
    assert ((colors >= 0) & (colors <= 1)).all()
    assert pipeline(*mesh, np.zeros((7, 6, 3), np.uint8)).shape == (7, 6, 3)


@given(meshes(), st.integers(-(2**63), 2**63 - 1))
def test_indices_out_of_range_are_an_error(mesh, index):
    vertices, tri = mesh
    tri = np.concatenate([tri, [[0, 0, index]]]).astype(np.int64)
    if not 0 <= index < len(vertices):
        with pytest.raises(ValueError, match="triangles"):
            get_normal(vertices, tri)
