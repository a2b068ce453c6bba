"""Pictures: the original's golden ones, and what must hold on any mesh."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import PICTURES, grid_mesh, noise

from reenactment import Look, Scene
from reenactment.faces import Face, FrameInfo
from reenactment.scene import Driver
from reenactment.views import PANEL_SIZE, VIEWS
from utils.depth import depth
from utils.draw import LANDMARK_GROUPS, cv_draw_landmark, draw_landmarks
from utils.errors import AssetError, UsageError
from utils.functions import get_suffix
from utils.pncc import pncc
from utils.pose import viz_pose
from utils.render import render, render_mask
from utils.uv import uv_tex

BOXES = [[20, 10, 70, 60], [50, 30, 110, 85]]
GOLDEN_VIEWS = {
    "3d": lambda img, dense, sparse, params, t: render(img, dense, t.tri),
    "3d_nobg": lambda img, dense, sparse, params, t: render(img, dense, t.tri, with_bg_flag=False),
    "depth": lambda img, dense, sparse, params, t: depth(img, dense, t.tri),
    "pncc": lambda img, dense, sparse, params, t: pncc(img, dense, t.tri, ncc=t.bfm.ncc),
    "uv_tex": lambda img, dense, sparse, params, t: uv_tex(
        img, dense, t.tri, raster=t.bfm.texture_raster(256, 256)
    ),
    "pose": lambda img, dense, sparse, params, t: viz_pose(img, params, sparse),
}


def assert_pictures_agree(picture, golden_fp):
    """SPEC section 8: a mean absolute difference under half a grey level."""
    expected = cv2.imread(str(golden_fp))
    assert picture.shape == expected.shape
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - expected).mean() < 0.5


@pytest.mark.parametrize("view", GOLDEN_VIEWS)
@pytest.mark.parametrize("name", [n for n in PICTURES if n != "emma"])
def test_golden_views(open_tddfa, picture, golden, goldens, name, view):
    tddfa, arrays = open_tddfa("onnx"), golden(name)
    params, rois = arrays["params"], arrays["roi_boxes"]
    dense = tddfa.recon_vers(params, rois, dense_flag=True)
    sparse = tddfa.recon_vers(params, rois)
    drawn = GOLDEN_VIEWS[view](picture(name), dense, sparse, params, tddfa)
    assert_pictures_agree(drawn, goldens / f"{name}_{view}.png")


@pytest.mark.parametrize(
    "source, target",
    [
        ("JianzhuGuo", "trump_hillary"),  # one way
        ("trump_hillary", "JianzhuGuo"),  # and back
    ],
)
def test_golden_reenactment(open_tddfa, picture, golden, goldens, source, target):
    name = f"reenact_{source}_to_{target}"
    drawn = render(picture(target), [golden(name)["dense"]], open_tddfa("onnx").tri)
    assert_pictures_agree(drawn, goldens / f"{name}_3d.png")


@pytest.fixture
def scene(tiny_tddfa):
    """Two faces of a random picture, their expressions swapped."""
    img = noise()
    faces = []
    for param, roi_box in zip(*tiny_tddfa(img, BOXES)):
        pose, shape, expression = tiny_tddfa.layout.split(param)
        faces.append(Face(FrameInfo.of(img, "a.png"), roi_box, pose, shape, expression[None]))
    results = [replace(a, expression=b.expression) for a, b in zip(faces, faces[::-1])]
    return Scene(tiny_tddfa, img, faces, results, [Driver(faces[0])] * 2)


# a photo needs lips that open: see test_photo.py
OF_ANY_MESH = {name: view for name, view in VIEWS.items() if name != "photo"}


def test_every_view(scene):
    """Each makes a picture or a file of its own, and leaves the target as it is."""
    before = scene.img.copy()
    for name, view in OF_ANY_MESH.items():
        output = view.compose(scene, Look())
        assert len(output) > 0
        assert isinstance(output, bytes) == (name in ("ply", "obj"))
        if name in ("3d", "2d_sparse", "2d_dense", "depth", "pncc", "pose"):
            assert output.shape == scene.img.shape
            assert (output != scene.img).any()
    assert np.array_equal(scene.img, before)


def test_a_mesh_without_a_mouth_makes_no_photo(scene):
    with pytest.raises(AssetError, match="one opening"):
        VIEWS["photo"].compose(scene, Look())


@pytest.mark.parametrize("name", ["3d", "2d_sparse", "2d_dense"])
def test_views_that_draw_into_the_frame(scene, name):
    expected = VIEWS[name].compose(scene, Look())
    frame = scene.img.copy()
    drawn = VIEWS[name].compose(replace(scene, img=frame), Look(), out=frame)
    assert drawn is frame
    assert np.array_equal(drawn, expected)


def test_a_media_encodes_for_each_of_its_endings(scene):
    for view in OF_ANY_MESH.values():
        output = view.compose(scene, Look())
        for suffix in view.medium.suffixes:
            assert view.medium.holds(f"out{suffix.upper()}", False)
            assert len(view.medium.encode(output, suffix)) > 100
        assert not view.medium.holds("out.txt", False)


def test_look(scene):
    on_black = VIEWS["3d"].compose(scene, Look(over_picture=False))
    assert (on_black == 0).all(axis=2).mean() > 0.3
    assert np.array_equal(VIEWS["3d"].compose(scene, Look(alpha=0)), scene.img)
    with pytest.raises(UsageError, match="alpha"):
        Look(alpha=1.01)


def test_colours_are_taken_where_the_target_is(scene):
    """A picture whose colour tells the place: OBJ and texture know the old places, not the new."""
    height, width = scene.img.shape[:2]
    ramp = np.zeros_like(scene.img)
    ramp[..., 0], ramp[..., 2] = np.mgrid[:height, :width]
    moved = [replace(face, expression=face.expression + 6) for face in scene.targets]
    painted = replace(scene, img=ramp, results=moved)
    rows = [line.split() for line in VIEWS["obj"].compose(painted, Look()).splitlines()]
    rows = np.array([row[1:] for row in rows if row[0] == b"v"], np.float64)
    before, after = (np.concatenate(ver, axis=1) for ver in (painted.before, painted.after))
    np.testing.assert_allclose(rows[:, 0], after[0], atol=0.006)
    inside = (before[0] > 0) & (before[0] < width - 1)
    assert np.abs(before[0] - after[0])[inside].max() > 3
    np.testing.assert_allclose(255 * rows[inside, 3], before[0][inside], atol=2)
    still = replace(painted, results=painted.targets)
    texture, expected = (VIEWS["uv_tex"].compose(s, Look()) for s in (painted, still))
    assert np.array_equal(texture, expected)


def test_panel_has_a_row_per_face(scene):
    panel = VIEWS["panel"].compose(scene, Look())
    rows, columns = panel.shape[0] // 2, panel.shape[1] // 3
    assert columns == PANEL_SIZE <= rows
    squares = panel.reshape(2, rows, 3, columns, 3).transpose(0, 2, 1, 3, 4)
    assert (squares[:, :, :PANEL_SIZE].max(axis=(2, 3, 4)) > 100).all()  # a mask in each
    assert (squares[:, :, PANEL_SIZE:].max(axis=(2, 3, 4)) > 100).all()  # a label under each
    without_source = VIEWS["panel"].compose(replace(scene, drivers=()), Look())
    assert np.array_equal(without_source, panel[:, PANEL_SIZE:])


def test_panel_shows_the_photo_where_it_is_wanted(scene, monkeypatch):
    """As large as the mask beside it, and about the same middle."""
    photo = np.full_like(scene.img, 40)
    for k, vertices in enumerate(scene.after):
        middle = np.rint((vertices[:2].min(axis=1) + vertices[:2].max(axis=1)) / 2).astype(int)
        cv2.circle(photo, (int(middle[0]), int(middle[1])), 2, (0, 90, 120 + 60 * k), -1)
    monkeypatch.setattr("reenactment.views._photo", lambda *_: photo)
    plain, panel = (VIEWS["panel"].compose(scene, Look(photo_in_panel=p)) for p in (False, True))
    assert np.array_equal(panel[:, : plain.shape[1]], plain)
    column = panel[:, plain.shape[1] :].reshape(len(scene.after), -1, PANEL_SIZE, 3)
    for k, square in enumerate(column):
        shown = square[PANEL_SIZE // 2, PANEL_SIZE // 2].astype(int)
        assert np.abs(shown - [0, 90, 120 + 60 * k]).max() <= 4


def square(x0, x1, z=0.0):
    """A flat square, vertices (3, 4), and its triangles."""
    vertices = np.array([[x0, x1, x0, x1], [x0, x0, x1, x1], [z] * 4], np.float32)
    return vertices, np.array([[0, 1, 2], [1, 3, 2]])


def test_render_blends_and_keeps_the_rest():
    img = noise()
    vertices, tri = square(20, 40)
    opaque = render(img, [vertices], tri, alpha=1)
    half = render(img, [vertices], tri, alpha=0.5)
    assert np.array_equal(render(img, [vertices], tri, alpha=0), img)
    assert np.array_equal(render(img, [], tri), img)
    inside = (slice(21, 40), slice(21, 40))
    mean = (img[inside].astype(int) + opaque[inside]) / 2
    assert np.abs(half[inside] - mean).max() <= 0.5
    changed = (opaque != img).any(axis=2)
    changed[20:41, 20:41] = False
    assert not changed.any()


@pytest.mark.parametrize("draw", [render, depth])
def test_without_background(draw):
    vertices, tri = square(20, 40)
    drawn = draw(noise(), [vertices], tri, with_bg_flag=False)
    assert not drawn[:20].any()
    assert not draw(noise(), [], tri, with_bg_flag=False).any()


@pytest.mark.parametrize(
    "vertices",
    [
        square(-300, -200)[0],  # off the picture
        square(-20, 300)[0],  # larger than the picture
        np.full((3, 4), np.nan, np.float32),  # not a number
        np.float32([[20, np.inf, 20, 40], [20, 20, 40, 40], [0] * 4]),  # one corner infinite
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_any_mesh_can_be_drawn(vertices):
    img, tri = noise(), square(0, 1)[1]
    ncc, uv = np.ones((3, 4)), np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    for drawn in (
        render(img, [vertices], tri),
        depth(img, [vertices], tri),
        pncc(img, [vertices], tri, ncc=ncc),
        draw_landmarks(img, [vertices]),
        draw_landmarks(img, [vertices], dense_flag=True),
    ):
        assert drawn.shape == img.shape
    assert uv_tex(img, [vertices], tri, uv=uv).shape == (256, 256, 3)


@pytest.mark.parametrize("alpha, opacity", [(1.0, 255), (0.4, 102), (0.0, 0)])
def test_mask_is_transparent_elsewhere(alpha, opacity):
    vertices, tri = square(20, 40)
    mask = render_mask(noise(), [vertices], tri, alpha)
    assert mask.shape == (90, 120, 4)
    assert (mask[21:40, 21:40, 3] == opacity).all()
    mask[20:41, 20:41] = 0
    assert not mask.any()


def test_depth_runs_from_black_to_white():
    vertices, tri = square(10, 60)
    vertices[2] = [5, 15, 5, 15]  # z grows with x
    row = depth(noise(), [vertices], tri)[30, 11:60].astype(int)
    assert (row == row[:, :1]).all()  # grey
    expected = 255 * (np.arange(11, 60) - 10) / 50
    assert np.abs(row[:, 0] - expected).max() <= 1


def test_pncc_paints_the_code():
    vertices, tri = square(10, 60)
    drawn = pncc(noise(), [vertices], tri, ncc=np.tile([[0.2], [0.4], [0.8]], 4))
    assert np.array_equal(drawn[30, 30], [51, 102, 204])


def test_uv_tex_of_a_square_is_the_picture():
    """A mesh whose texture coordinates are its own pixels gives the picture back."""
    img = cv2.resize(noise(), (64, 64))
    grid, tri = grid_mesh(64, 64)
    vertices, uv = grid.T, np.stack([grid[:, 0] / 63, 1 - grid[:, 1] / 63], axis=1)
    texture = uv_tex(img, [vertices] * 2, tri, uv_h=64, uv_w=64, uv=uv)
    assert texture.shape == (64, 128, 3)
    assert np.array_equal(texture[:, :64], texture[:, 64:])
    inside = slice(1, 63)  # pixels on the outer border may belong to no triangle
    assert np.abs(texture[inside, inside].astype(int) - img[inside, inside]).max() <= 1
    assert uv_tex(img, [vertices], tri, 32, 48, 1, uv=uv).shape == (32, 48, 1)
    assert uv_tex(img, [], tri, uv=uv).shape == (256, 0, 3)


def test_uv_tex_notices_a_changed_layout():
    img = cv2.resize(noise(), (64, 64))
    grid, tri = grid_mesh(64, 64)
    uv = np.stack([grid[:, 0] / 63, 1 - grid[:, 1] / 63], axis=1)
    upright = uv_tex(img, [grid.T], tri, 64, 64, uv=uv)
    uv[:, 0] = 1 - uv[:, 0]
    mirrored = uv_tex(img, [grid.T], tri, 64, 64, uv=uv)
    assert np.abs(mirrored[1:63, 1:63].astype(int) - upright[1:63, 62:0:-1]).max() <= 1
    assert not uv_tex(img, [grid.T], tri[:0], 64, 64, uv=uv).any()  # without its triangles


def test_draw_landmarks():
    img = noise()
    before = img.copy()
    points = np.random.default_rng(0).uniform(20, 70, (3, 68))
    fancy, simple = draw_landmarks(img, [points]), draw_landmarks(img, [points], style="simple")
    assert (fancy != simple).any()
    assert np.array_equal(draw_landmarks(img, points), fancy)  # one face without a list
    assert np.array_equal(draw_landmarks(img, []), img)
    for column, row in np.rint(points[:2].T).astype(int):
        assert np.abs(simple[row, column].astype(int) - [0, 255, 0]).max() < 130
    assert np.array_equal(img, before)
    with pytest.raises(ValueError, match="style"):
        draw_landmarks(img, [points], style="plain")


def test_landmark_groups_cover_all_68_points_once():
    covered = [i for first, last, _ in LANDMARK_GROUPS for i in range(first, last + 1)]
    assert covered == list(range(68))
    closed = [first for first, _, closed in LANDMARK_GROUPS if closed]
    assert closed == [36, 42, 48, 60]  # eyes, lips


def test_cv_draw_landmark():
    img = noise()
    before = img.copy()
    drawn = cv_draw_landmark(img, np.array([[50.0], [40]]), [10, 10, 80, 80], (0, 0, 255), 2)
    assert drawn[40, 50].tolist() == [0, 0, 255]
    assert drawn[10, 30].tolist() == [0, 255, 0]
    assert np.array_equal(img, before)


def test_viz_pose_draws_every_head(scene):
    params, sparse = [face.pose.ravel() for face in scene.results], scene.landmarks
    drawn = viz_pose(scene.img, params, sparse)
    assert (drawn != viz_pose(scene.img, params[:1], sparse[:1])).any()
    assert np.array_equal(viz_pose(scene.img, [], []), scene.img)


@pytest.mark.parametrize("name, suffix", [("a/b.jpg", ".jpg"), ("b.tar.PNG", ".PNG"), ("b", "")])
def test_get_suffix(name, suffix):
    assert get_suffix(name) == suffix


@pytest.mark.parametrize("with_bg_flag", [True, False])
def test_rendering_into_the_picture_itself(with_bg_flag):
    grid, tri = grid_mesh(30, 30)
    ver, img = grid.T + np.float32(5.5), noise()
    expected = render(img, [ver], tri, with_bg_flag=with_bg_flag)
    frame = img.copy()
    assert render(frame, [ver], tri, with_bg_flag=with_bg_flag, out=frame) is frame
    assert np.array_equal(frame, expected)
    with pytest.raises(ValueError, match="out: expected"):
        render(img, [ver], tri, out=frame[1:])
