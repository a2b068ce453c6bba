"""Sim3DR: normals, light and rasterisation against closed forms and slow references."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import grid_mesh
from hypothesis import given
from hypothesis import strategies as st

from Sim3DR import (
    RenderPipeline,
    draw,
    get_normal,
    interpolate,
    rasterise,
    rasterize,
    sample,
)

TRIANGLE = np.array([[0, 1, 2]], np.int32)


def sphere(count=40, radius=50.0):
    """A sphere's vertices and outward triangles, from a grid of longitudes and latitudes."""
    flat, tri = grid_mesh(count, 2 * count)
    longitude = flat[:, 0] / (2 * count - 1) * 2 * np.pi
    latitude = (flat[:, 1] + 0.5) / count * np.pi
    x, y = np.sin(latitude) * np.cos(longitude), np.sin(latitude) * np.sin(longitude)
    return radius * np.stack([x, y, np.cos(latitude)], axis=1), tri[:, ::-1]


def random_mesh(seed, count=30, size=24):
    """Random triangles, some of them partly outside a picture of `size` pixels."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-5, size + 5, (count, 3)).astype(np.float32)
    return vertices, rng.integers(0, count, (20, 3)), rng.random((count, 3), dtype=np.float32)


def test_normals_of_a_plane():
    vertices, tri = grid_mesh(5, 6)
    assert np.array_equal(get_normal(vertices, tri), np.tile([0, 0, 1], (30, 1)))
    assert np.array_equal(get_normal(vertices, tri[:, ::-1]), np.tile([0, 0, -1], (30, 1)))
    tilted = vertices @ np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32).T  # z = x
    expected = np.array([-1, 0, 1]) / np.sqrt(2)
    np.testing.assert_allclose(get_normal(tilted, tri), np.tile(expected, (30, 1)), atol=1e-6)


def test_normals_of_a_sphere_point_outward():
    vertices, tri = sphere()
    inner = np.abs(vertices[:, 2]) < 45  # the grid is open at the poles
    seam = (np.arange(len(vertices)) + 1) % 80 <= 1
    cosine = (get_normal(vertices, tri) * vertices / 50).sum(axis=1)
    assert cosine[inner & ~seam].min() > 0.999


def test_large_triangles_weigh_more():
    """Unnormalised cross products are summed: areas 1 and 3 along z and y."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]], np.float32)
    normals = get_normal(vertices, np.array([[0, 1, 2], [0, 3, 1]]))
    np.testing.assert_allclose(normals[0], np.array([0, 3, 1]) / np.sqrt(10), atol=1e-6)


def test_normals_without_a_proper_triangle_are_zero():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [np.nan, 0, 0], [9, 9, 9]], np.float32)
    normals = get_normal(vertices, np.array([[0, 1, 2], [0, 1, 3]]))  # degenerate, NaN
    assert not normals.any()


def slow_light(vertices, normals, light=(0, 0, 5)):
    """SPEC section 5 in float64, with the default intensities."""

    def unit(v):
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    v = vertices.astype(np.float64) - vertices.min(axis=0)
    v = v / v.max() * 2
    v -= v.max(axis=0) / 2
    direction, view = unit(np.array(light) - v), unit(np.array([0, 0, 5]) - v)
    cosine = (normals * direction).sum(axis=1, keepdims=True)
    reflected = 2 * cosine * normals - direction
    specular = ((view * reflected) ** 5).sum(axis=1, keepdims=True) * (cosine != 0)
    grey = 0.3 + 0.6 * cosine.clip(0, 1) + 0.1 * specular.clip(0, 1)
    return np.repeat(grey.clip(0, 1), 3, axis=1)


@pytest.mark.parametrize("light", [(0, 0, 5), (3, -2, 1)])  # default, from the side
def test_light_is_the_formula(light):
    vertices, tri = sphere(20)
    vertices = vertices * [1, 0.7, 1.3] + [100, 50, 0]
    pipeline = RenderPipeline()
    pipeline.update_light_pos(light)
    expected = slow_light(vertices, get_normal(vertices, tri).astype(np.float64), light)
    np.testing.assert_allclose(pipeline.light(vertices, tri), expected, atol=2e-5)


def test_light_colours():
    vertices, tri = sphere(10)
    pipeline = RenderPipeline(
        intensity_directional=0, intensity_specular=0, color_ambient=(1, 0.5, 0)
    )
    expected = np.tile([0.3, 0.15, 0], (len(vertices), 1))
    np.testing.assert_allclose(pipeline.light(vertices, tri), expected, atol=1e-6)
    with pytest.raises(ValueError, match="light_pos"):
        pipeline.update_light_pos((0, 0))


def slow_rasterize(vertices, triangles, colors, size):
    """Colours in [0, 1], and where rounding may decide differently."""
    image, doubt = np.zeros((size, size, 3)), np.zeros((size, size), bool)
    depths = np.full((size, size), -1e8)
    y, x = np.mgrid[:size, :size]
    for corners in triangles:
        a, b, c = vertices[corners].astype(np.float64)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area == 0:
            continue
        w1 = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
        w2 = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        weights = np.stack([1 - w1 - w2, w1, w2], axis=-1)
        z = weights @ np.array([a[2], b[2], c[2]])
        inside = weights.min(axis=-1)
        doubt |= np.abs(inside) < 1e-3
        doubt |= (inside > -1e-3) & (np.abs(z - depths) < 1e-2)
        seen = (inside > 0) & (z > depths)
        depths[seen] = z[seen]
        image[seen] = (weights @ colors[corners])[seen]
    return image, doubt


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rasterize_is_the_slow_reference(seed, dtype):
    vertices, tri, colors = random_mesh(seed)
    expected, doubt = slow_rasterize(vertices, tri, colors, 24)
    assert doubt.mean() < 0.2
    image = rasterize(vertices, tri, colors, bg=np.zeros((24, 24, 3), dtype))
    unit, tolerance = (255, 1) if dtype == np.uint8 else (1, 1e-3)
    difference = np.abs(image - np.trunc(expected * unit) if unit > 1 else image - expected)
    assert difference[~doubt].max() <= tolerance
    assert (image.any(axis=2) & ~doubt).any()


def test_rasterize_many_small_triangles():
    """More than are set up together, most of them smaller than a pixel, some of them wider."""
    vertices, tri = sphere(24, radius=11.0)
    vertices = (vertices * [1, 0.5, 1] + [12.3, 11.7, 0]).astype(np.float32)
    colors = np.random.default_rng(0).random((len(vertices), 3), dtype=np.float32)
    assert len(tri) > 2000
    expected, doubt = slow_rasterize(vertices, tri, colors, 24)
    image = rasterize(vertices, tri, colors, height=24, width=24, channel=3)
    assert np.abs(image - np.trunc(expected * 255))[~doubt].max() <= 1
    assert (~doubt & image.any(axis=2)).sum() > 50


@pytest.mark.parametrize("order", [1, -1])  # near one drawn last, first
def test_nearer_triangles_hide_others(order):
    far = [[0, 0, 0], [9, 0, 0], [0, 9, 0]]
    near = [[0, 0, 1], [9, 0, 1], [0, 9, 1]]
    tri = np.array([[0, 1, 2], [3, 4, 5]])[::order]
    colors = np.repeat([[0.2], [0.8]], 3, axis=0)
    image = rasterize(np.array(far + near), tri, colors, height=10, width=10, channel=1)
    drawn = image[image > 0]
    assert drawn.size > 30
    assert np.abs(drawn - 0.8 * 255).max() <= 1


@pytest.mark.parametrize(
    "color, pixel",
    [
        (0.0, 0),  # black
        (0.5, 127),  # truncated, not rounded
        (1.0, 255),  # white
        (1.7, 255),  # too bright: clamped, not wrapped
        (-0.3, 0),  # too dark
        (np.nan, 0),  # no number
        (np.inf, 255),  # infinite
    ],
)
def test_colours_are_clamped(color, pixel):
    vertices = np.array([[-5, -5, 0], [30, -5, 0], [-5, 30, 0]])
    image = rasterize(vertices, TRIANGLE, np.full((3, 1), color), height=4, width=4, channel=1)
    assert np.array_equal(image, np.full((4, 4, 1), pixel))


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0.3, 8))
def test_shared_edges_leave_no_pinholes(seed, step, spacing):
    """A grid over the whole picture, its corners moved, leaves no pixel out."""
    rng = np.random.default_rng(seed)
    cells = int(np.ceil(20 / spacing)) + 2
    vertices, tri = grid_mesh(cells + 1, cells + 1)
    jitter = rng.uniform(-0.24, 0.24, (len(vertices), 2))
    spacing = max(np.round(spacing), 1.0) if step else spacing
    vertices[:, :2] = (vertices[:, :2] + jitter - 1) * spacing
    if step:  # many edges pass exactly through pixel centres
        vertices[:, :2] = np.round(vertices[:, :2] / step) * step
    flipped = rng.random(len(tri)) < 0.5
    tri[flipped] = tri[flipped, ::-1]
    size = int((cells - 2) * spacing)
    image = rasterize(
        vertices, tri, np.ones((len(vertices), 1)), height=size, width=size, channel=1
    )
    assert image.all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_wild_vertices_spoil_their_own_triangles_only(value, axis):
    vertices, tri = grid_mesh(6, 6)
    wild = np.concatenate([vertices, vertices[:3] * 2])
    wild[-1, axis] = value
    tri = np.concatenate([tri, [[36, 37, 38]]])
    pipeline = RenderPipeline()
    for array in (get_normal(wild, tri), pipeline.light(wild, tri)):
        assert np.isfinite(array).all()
    assert np.array_equal(get_normal(wild, tri)[:36], get_normal(vertices, tri[:-1]))
    image = rasterize(wild, tri, np.ones((39, 1)), height=6, width=6, channel=1)
    plain = rasterize(vertices, tri[:-1], np.ones((36, 1)), height=6, width=6, channel=1)
    assert (image >= plain).all()


@pytest.mark.parametrize("channels", [None, 1, 3, 4, 7])  # None: (H, W)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_and_background(channels, dtype):
    shape = (8, 9) + (() if channels is None else (channels,))
    bg = np.full(shape, 7, dtype)
    vertices = np.array([[-1, -1, 0], [20, -1, 0], [-1, 4, 0]])
    image = rasterize(vertices, TRIANGLE, np.ones((3, channels or 1)), bg=bg)
    assert image.shape == shape
    assert image.dtype == dtype
    # weights that sum to 1 but for rounding, then truncated
    white, rounding = (255, 1) if dtype == np.uint8 else (1, 1e-6)
    assert np.abs(image[0] - np.float32(white)).max() <= rounding
    assert (image[5:] == 7).all()
    assert (bg == 7).all()


@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 1), (12, 12, 3), (12, 12, 4)])
def test_pipeline_on_any_picture(shape):
    vertices, tri = grid_mesh(6, 6)
    bg = np.zeros(shape, np.uint8)
    image = RenderPipeline()(vertices, tri, bg)
    assert image.shape == shape
    assert not bg.any()
    assert image[2, 2].min() > 200  # a plane that faces the light
    assert not image[8:].any()


def test_texture_multiplies_the_light():
    vertices, tri = grid_mesh(6, 6)
    bg = np.zeros((6, 6, 3), np.float32)
    pipeline = RenderPipeline()
    texture = np.tile(np.float32([1, 0.5, 0]), (36, 1))
    np.testing.assert_allclose(
        pipeline(vertices, tri, bg, texture), pipeline(vertices, tri, bg) * [1, 0.5, 0], atol=1e-6
    )


def test_reverse_turns_the_rows():
    vertices, tri, colors = random_mesh(1)
    bg = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    upright = rasterize(vertices, tri, colors, bg=bg[::-1])
    assert np.array_equal(rasterize(vertices, tri, colors, bg=bg, reverse=True), upright[::-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda v, t, c: (np.asfortranarray(v), t, c),  # by columns
        lambda v, t, c: (v[:, ::-1].copy()[:, ::-1], t, c),  # negative strides
        lambda v, t, c: (v.astype(np.float64), t.astype(np.uint16), c.astype(np.float64)),  # types
        lambda v, t, c: (v, np.asfortranarray(t), np.asfortranarray(c)),  # by columns
        lambda v, t, c: (v.tolist(), t.tolist(), c.tolist()),  # lists
    ],
)
def test_memory_layout_and_type_do_not_matter(change):
    mesh = random_mesh(2)
    bg = np.zeros((24, 24, 3), np.uint8)
    changed = change(*mesh)
    assert np.array_equal(rasterize(*changed, bg=bg), rasterize(*mesh, bg=bg))
    assert np.array_equal(get_normal(*changed[:2]), get_normal(*mesh[:2]))
    turned = rasterize(*mesh, bg=np.zeros((3, 24, 24), np.uint8).transpose(1, 2, 0))
    assert np.array_equal(turned, rasterize(*mesh, bg=bg))


def test_inputs_are_unchanged():
    arrays = [*random_mesh(3), np.full((24, 24, 3), 9, np.uint8)]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)  # read-only inputs are fine
    vertices, tri, colors, bg = arrays
    get_normal(vertices, tri)
    rasterize(vertices, tri, colors, bg=bg)
    RenderPipeline()(vertices, tri, bg, colors)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before))


def test_no_faces_and_no_pixels():
    vertices, none = np.zeros((3, 3)), np.zeros((0, 3), int)
    bg = np.full((4, 4, 3), 9, np.uint8)
    assert not get_normal(vertices, none).any()
    assert np.array_equal(rasterize(vertices, none, vertices, bg=bg), bg)
    assert np.array_equal(RenderPipeline()(vertices, none, bg), bg)
    assert np.array_equal(RenderPipeline()(vertices[:0], none, bg), bg)
    assert rasterize(vertices, TRIANGLE, vertices, bg=bg[:0]).shape == (0, 4, 3)


VERTICES, COLORS, BG = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((VERTICES, [[0, 1, 3]], COLORS, BG), "0 to 2"),  # index beyond
        ((VERTICES, [[0, 1, -1]], COLORS, BG), "-1"),  # negative index
        ((VERTICES, [[0, 1, 2**40]], COLORS, BG), "1099511627776"),  # index beyond 32 bits
        ((VERTICES[:0], TRIANGLE, COLORS[:0], BG), "triangles"),  # no vertices at all
        ((VERTICES, [[0.0, 1, 2]], COLORS, BG), "integers"),  # float indices
        ((VERTICES, [[0, 1, 2, 0]], COLORS, BG), "triangles"),  # quads
        ((VERTICES.T[:2].T, TRIANGLE, COLORS, BG), "vertices"),  # two coordinates
        ((VERTICES + 1j, TRIANGLE, COLORS, BG), "vertices"),  # complex
        ((VERTICES, TRIANGLE, COLORS[:, :1], BG), "colors"),  # too few channels
        ((VERTICES, TRIANGLE, COLORS[:2], BG), "colors"),  # too few colours
        ((VERTICES, TRIANGLE, COLORS, BG.astype(int)), "bg"),  # integer picture
        ((VERTICES, TRIANGLE, COLORS, BG[None]), "bg"),  # batch of pictures
        ((VERTICES, TRIANGLE, COLORS), "height"),  # neither picture nor size
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        rasterize(*arguments)


def test_threads_do_not_disturb_each_other():
    meshes = [random_mesh(seed, count=200, size=200) for seed in range(8)]
    bg = np.zeros((200, 200, 3), np.uint8)
    serial = [rasterize(*mesh, bg=bg) for mesh in meshes]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda mesh: rasterize(*mesh, bg=bg), meshes * 5))
    assert all(np.array_equal(a, b) for a, b in zip(parallel, serial * 5))


# Drawing in place


def test_drawing_into_a_rectangle_of_a_picture():
    """The same pixels as drawing the whole picture, and none outside the rectangle."""
    vertices, tri, colors = random_mesh(3)
    whole = rasterize(vertices, tri, colors, height=24, width=24, channel=3)
    picture = np.full((24, 24, 3), 9, np.uint8)
    draw(picture[4:20, 6:15], vertices, tri, colors, origin=(6, 4))
    drawn = rasterize(vertices, tri, np.ones((30, 3)), height=24, width=24, channel=3) > 0
    inside = np.zeros((24, 24, 1), bool)
    inside[4:20, 6:15] = True
    assert np.array_equal(picture, np.where(drawn & inside, whole, 9))


def test_one_colour_for_all_channels():
    vertices, tri, colors = random_mesh(4)
    grey = colors[:, :1]
    picture = np.zeros((24, 24, 3), np.uint8)
    draw(picture, vertices, tri, grey)
    expected = rasterize(vertices, tri, np.repeat(grey, 3, axis=1), bg=np.zeros_like(picture))
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("light_color", [(1, 1, 1), (1, 0.5, 0.2)])  # white: one channel is lit
def test_lighting_and_drawing_in_one_are_the_two_steps(light_color):
    vertices, tri = sphere(20, 15)
    vertices = (vertices + 17.3).astype(np.float32)
    pipeline = RenderPipeline(color_directional=light_color, light_pos=(3, -2, 5))
    picture = np.full((36, 30, 3), 80, np.uint8)
    expected = rasterize(vertices, tri, pipeline.light(vertices, tri), bg=picture)
    pipeline.draw(picture, vertices, tri)
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9, 3), np.int32),  # type
        np.zeros((9, 9, 3, 1), np.uint8),  # dimensions
        np.zeros((9, 9, 6), np.uint8)[..., ::2],  # pixels not side by side
        np.broadcast_to(np.uint8(0), (9, 9, 3)),  # read-only
    ],
)
def test_pictures_that_cannot_be_drawn_into(image):
    vertices, tri, colors = random_mesh(0)
    with pytest.raises(ValueError, match="image"):
        draw(image, vertices, tri, colors)
    with pytest.raises(ValueError, match="image"):
        RenderPipeline().draw(image, vertices, tri)


def test_sampling_is_bilinear_and_clamped():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 2), dtype=np.uint8)
    vertices = np.array(
        [[2, 3, 0], [2.25, 3, 0], [2, 3.5, 9], [-8, -8, 0], [99, 99, 0], [np.nan, 1, 0]]
    )
    p = image.astype(np.float64)
    expected = [
        p[3, 2],
        0.75 * p[3, 2] + 0.25 * p[3, 3],
        (p[3, 2] + p[4, 2]) / 2,
        p[0, 0],
        p[4, 6],
        p[1, 0],
    ]
    np.testing.assert_allclose(sample(image, vertices) * 255, expected, atol=1e-4)
    assert sample(image, vertices[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="image"):
        sample(image.astype(float), vertices)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_raster_is_coloured_as_the_mesh_is_drawn(seed, channels):
    vertices, tri, colors = random_mesh(seed)
    colors = np.ascontiguousarray(colors[:, :channels] * 1.4 - 0.2)  # some are clamped
    drawn = np.zeros((24, 30, channels), np.uint8)
    draw(drawn, vertices, tri, colors, origin=(3, -2))
    wide = np.zeros((24, 50, channels), np.uint8)
    wide[:, :10] = wide[:, 40:] = 7
    raster = rasterise(vertices, tri, (24, 30), origin=(3, -2))
    assert interpolate(raster, colors, wide[:, 10:40]).shape == drawn.shape
    assert np.array_equal(wide[:, 10:40], drawn) and drawn.any()
    assert (wide[:, :10] == 7).all() and (wide[:, 40:] == 7).all()


def test_a_raster_of_many_triangles():
    """Each pixel of a fine grid has its own colour."""
    vertices, tri = grid_mesh(300, 300)
    colors = np.random.default_rng(0).random((len(vertices), 3), dtype=np.float32)
    drawn, painted = (np.zeros((300, 300, 3), np.uint8) for _ in range(2))
    draw(drawn, vertices, tri, colors)
    interpolate(rasterise(vertices, tri, (300, 300)), colors, painted)
    assert np.array_equal(painted, drawn)


def test_a_raster_gives_places_and_depths():
    """The nearer of two triangles, and the vertices' own coordinates back at each pixel."""
    vertices = np.float32([[0, 0, 1], [8, 0, 1], [0, 8, 3], [0, 0, 5], [3, 0, 5], [0, 3, 5]])
    raster = rasterise(vertices, np.array([[0, 1, 2], [3, 4, 5]]), (9, 9))
    assert raster.number[1, 1] == 1 and raster.number[2, 3] == 0 and raster.number[7, 7] == -1
    y, x = np.nonzero(raster.covered)
    seen = interpolate(raster, vertices)
    assert np.allclose(seen[y, x, :2], np.column_stack([x, y]), atol=1e-5)
    assert np.allclose(seen[y, x, 2], raster.depth[y, x], atol=1e-5)
    assert np.allclose(raster.weights[y, x].sum(axis=1), 1, atol=1e-6)
    assert (raster.depth[~raster.covered] == -np.inf).all()
    assert not seen[~raster.covered].any() and not raster.weights[~raster.covered].any()


def test_a_raster_of_nothing_covers_nothing():
    raster = rasterise(np.zeros((0, 3)), np.zeros((0, 3), int), (4, 5))
    assert not raster.covered.any()
    assert not interpolate(raster, np.zeros((0, 2))).any()


@pytest.mark.parametrize(
    "picture, count, message",
    [
        (np.zeros((5, 4, 3), np.uint8), 3, r"out: expected \(4, 5, 3\), got \(5, 4, 3\)"),  # turned
        (np.zeros((4, 5, 3), np.float64), 3, "out: expected .* float64"),  # other pixels
        (np.zeros((4, 5, 3), np.uint8), 2, "attributes: expected 3 rows, got 2"),  # too few
        (np.zeros((4, 5), np.uint8), 3, r"out: expected \(4, 5, 3\)"),  # other channels
    ],
)
def test_rasters_check_what_is_interpolated(picture, count, message):
    raster = rasterise(np.zeros((3, 3)), TRIANGLE, (4, 5))
    with pytest.raises(ValueError, match=message):
        interpolate(raster, np.zeros((count, 3)), picture)
