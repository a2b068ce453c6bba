"""The photo: what must not change, where pixels come from, and pictures of every kind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bfm import FaceParams
from bfm.bfm import PROVISIONED_MODEL, BFMModel
from reenactment.photo import Photographer, Posed, Source
from reenactment.photo.field import Box, displacement
from reenactment.photo.head import Head
from reenactment.photo.interior import Spots, made_up, recoloured
from reenactment.photo.lids import corrected, credible
from reenactment.photo.mouth import beyond
from reenactment.photo.parting import parted
from reenactment.photo.portrait import Portrait
from reenactment.photo.soft import blurred
from Sim3DR import interpolate, rasterise
from utils.assets import PROJECT_ROOT

SIZE = (360, 330)  # height and width of a picture that holds a face of some 200 pixels
LIDS = slice(10, 12)


@pytest.fixture(scope="module")
def bfm() -> BFMModel:
    if not (PROJECT_ROOT / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return BFMModel(PROVISIONED_MODEL, exp_dim=12)


@pytest.fixture(scope="module")
def photographer(bfm) -> Photographer:
    return Photographer(bfm)


def posed(
    expression: np.ndarray | None = None,
    *,
    height: float = 200,
    yaw: float = 0.0,
    middle: tuple[float, float] = (165, 180),
    shape: np.ndarray | None = None,
) -> Posed:
    """A face so many pixels high, turned to the side by degrees, around a place of the picture."""
    turn, scale = np.radians(yaw), height / 180_000
    axes = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    to_picture = np.zeros((3, 4))
    to_picture[:, :3] = scale * np.diag([1, -1, 1]) @ axes
    to_picture[:2, 3] = np.array(middle) + [0, -0.08 * height]
    expression = np.zeros(12) if expression is None else expression
    shape = np.zeros(40) if shape is None else shape
    parts = FaceParams(to_picture, shape.astype(np.float32), expression[None].astype(np.float32))
    return Posed(parts, to_picture)


def expression(bfm: BFMModel, seed: int, strength: float = 1.0) -> np.ndarray:
    """A random expression (12,) of which no vertex moves by more than about 12 mm."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=12)
    raw[LIDS] = 0
    moves = (bfm.w_exp @ raw).reshape(-1, 3) / 1000
    raw *= strength * 12 / np.linalg.norm(moves, axis=1).max()
    raw[LIDS] = rng.uniform(-0.2, 1, 2)
    return raw


def smiling(bfm: BFMModel, opening: float) -> np.ndarray:
    """The expression along the direction that opens the mouth most, by so many of its widths."""
    lips = bfm.topology
    upper, lower = (
        lips.lip_points(bfm.w_exp.reshape(-1, 3, 12)[:, 1, :10])[side].mean(axis=0)
        for side in (0, 1)
    )
    slope = (upper - lower) / 1000
    k = int(np.abs(slope).argmax())
    result = np.zeros(12)
    result[k] = opening * 45 / slope[k]
    return result


def smooth_noise(size: tuple[int, int], channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A picture with detail of a few pixels, around skin's colours."""
    rng = np.random.default_rng(0)
    most = np.iinfo(dtype).max
    noise = cv2.GaussianBlur(rng.normal(size=(*size, channels)), (0, 0), 2.0)
    noise = noise.reshape(*size, channels)
    tone = np.array([0.42, 0.5, 0.68, 0.8])[:channels]
    return np.clip(most * (tone + 0.6 * noise), 0, most).astype(dtype)


# what must not change


def test_the_own_expression_gives_the_same_picture(photographer, bfm):
    img = smooth_noise(SIZE)
    face = posed(expression(bfm, 1))
    photo = photographer(img, [face], [face], Source(face, img))
    assert photo is not img and np.array_equal(photo, img)


def test_little_change_gives_nearly_the_same_picture(photographer, bfm):
    img, own = smooth_noise(SIZE), expression(bfm, 1)
    result = posed(own + 0.01 * (expression(bfm, 2) - own))
    photo = photographer(img, [posed(own)], [result])
    error = np.square(photo.astype(float) - img)[60:300, 60:270].mean()
    assert 10 * np.log10(255**2 / error) > 45


@pytest.mark.parametrize("seed", range(3))
def test_pixels_away_from_the_face_stay(photographer, bfm, seed):
    img = smooth_noise((500, 520))
    face = posed(height=150, middle=(260, 250))
    before = img.copy()
    photo = photographer(img, [face], [posed(expression(bfm, seed), height=150, middle=(260, 250))])
    assert np.array_equal(img, before)
    points = photographer.model.head(face).vertices[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    reach = 0.5 * np.sqrt(np.prod(high - low)) + 12  # the new outline may be that much wider
    inside = np.zeros(img.shape[:2], bool)
    (left, top), (right, bottom) = (low - reach).astype(int), (high + reach).astype(int)
    inside[top:bottom, left:right] = True
    assert np.array_equal(photo[~inside], img[~inside]) and (photo != img).any()


def test_the_same_every_time(photographer, bfm):
    img, result = smooth_noise(SIZE), posed(expression(bfm, 3))
    first, again = (photographer(img, [posed()], [result]) for _ in range(2))
    assert np.array_equal(first, again)


def test_what_is_kept_changes_nothing(bfm):
    """A still target, frames that are written into one array, and a source's: as if each was the
    first photo."""
    often, frame = Photographer(bfm), smooth_noise(SIZE)
    sources = [posed(expression(bfm, seed), height=150) for seed in (1, 2, 1)]
    for step, source in enumerate(sources * 2):
        if step >= 3:
            frame[:, ::step] //= 2
        job = frame, [posed()], [posed(source.parts.expression[0])], Source(source, frame)
        assert np.array_equal(often(*job), Photographer(bfm)(*job))


def test_a_still_target_is_looked_at_once(bfm, monkeypatch):
    looked, of = [], Portrait.of
    monkeypatch.setattr(Portrait, "of", lambda *args: looked.append(args) or of(*args))
    photographer, img = Photographer(bfm), smooth_noise(SIZE)
    for seed in range(6):
        result = posed(expression(bfm, seed))
        photographer(img, [posed()], [result], Source(result, img.copy()))
    assert len(looked) == 1 + 6
    photographer(img, [posed()], [posed()], Source(posed(), img))
    assert len(looked) == 1 + 6  # and the own expression asks for nothing


def test_frames_flow(photographer, bfm):
    """A mouth that opens step by step, and eyes that open after sleep, do not jump, nor do pixels
    beyond the same box."""
    img, other = smooth_noise(SIZE), smooth_noise(SIZE)[:, ::-1].copy()
    asleep = np.zeros(12)
    asleep[LIDS] = 1.1
    photos, boxes = [], set()
    for opening in np.linspace(0, 0.2, 41):
        wide = smiling(bfm, opening)
        wide[LIDS] = 1.1 - 4 * opening
        result, source = posed(wide), Source(posed(wide), other)
        photos.append(photographer(img, [posed(asleep)], [result], source))
        before, after = photographer.heads(img, posed(asleep), result, source)
        boxes.add(displacement(before, after, SIZE).box)
    steps = np.abs(np.diff(np.array(photos[1:], np.float32), axis=0)).mean(axis=(1, 2, 3))
    assert len(boxes) == 1
    assert steps.min() > 0 and steps.max() < 1.5 * np.median(steps)


# where pixels come from


def heads(photographer: Photographer, target: Posed, result: Posed) -> tuple[Head, Head]:
    return photographer.heads(np.full((*SIZE, 3), 128, np.uint8), target, result)


def between(moves: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A field (h, w, 2) bilinear at places (k, 2)."""
    (x, y), (right, down) = np.floor(places).astype(int).T, (places % 1).T[..., None]
    top = moves[y, x] + right * (moves[y, x + 1] - moves[y, x])
    bottom = moves[y + 1, x] + right * (moves[y + 1, x + 1] - moves[y + 1, x])
    return top + down * (bottom - top)


@pytest.mark.parametrize("yaw", [0, 25, -40])
def test_the_field_leads_back_to_the_targets_vertices(photographer, bfm, yaw):
    before, after = heads(
        photographer, posed(yaw=yaw), posed(expression(bfm, 4, 0.7), yaw=yaw)
    )
    field = displacement(before, after, SIZE)
    topology = bfm.topology
    away = (np.abs(topology.slit) > 8) & (np.minimum(topology.above_lid, topology.below_lid) > 5)
    away |= (topology.above_lid > 12) & (np.abs(topology.slit) > 8)
    seen = before.seen & after.seen & away & (after.normals[:, 2] > 0.4)
    places = after.vertices[seen, :2] - (field.box.left, field.box.top)
    led = between(field.moves, places) + after.vertices[seen, :2]
    error = np.linalg.norm(led - before.vertices[seen, :2], axis=1)
    assert seen.sum() > 5000
    assert np.median(error) < 0.05 and np.percentile(error, 95) < 0.5


def test_the_field_is_nought_at_the_pictures_border(photographer, bfm):
    cut = dict(middle=(60, 90), height=220)
    before, after = heads(photographer, posed(**cut), posed(expression(bfm, 5), **cut))
    moves = displacement(before, after, (200, 180)).moves
    for edge in (moves[0], moves[-1], moves[:, 0], moves[:, -1]):
        assert not edge.any()
    assert np.abs(moves).max() > 2


def test_where_all_is_kept_nothing_moves(photographer, bfm):
    before, after = heads(photographer, posed(), posed(expression(bfm, 5)))
    with np.errstate(all="raise", under="ignore"):
        field = displacement(before, after, SIZE, np.ones(SIZE, bool))
    assert not field.known.any() and not field.moves.any()


def near_edge(bfm: BFMModel, part: str) -> np.ndarray:
    """Some vertices a few mm from an edge of a lip, or of a lid of the eye on the left."""
    topology, x = bfm.topology, bfm.u[::3, 0] / 1000
    distance, columns = {
        "upper lip": (topology.slit - 4, (-8, 0, 8)),
        "lower lip": (-topology.slit - 4, (-8, 0, 8)),
        "upper lid": (topology.above_lid - 3, (-36, -31, -26)),
        "lower lid": (topology.below_lid - 3, (-36, -31, -26)),
    }[part]
    front = bfm.u[2::3, 0] > 80_000
    costs = [np.abs(distance) + np.abs(x - column) + 1e3 * ~front for column in columns]
    return np.array([cost.argmin() for cost in costs])


def dotted(head: Head, vertices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A light picture with a dark dot at each vertex."""
    picture = np.full((*size, 3), 170, np.uint8)
    for x, y in head.vertices[vertices, :2]:
        cv2.circle(picture, (round(x * 16), round(y * 16)), 40, (20, 20, 20), -1, cv2.LINE_AA, 4)
    return picture


def dot_near(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The centre of darkness within some pixels of a place."""
    x, y = np.rint(place).astype(int)
    dark = np.maximum(145 - picture[y - 7 : y + 8, x - 7 : x + 8].mean(axis=2), 0)
    ys, xs = np.mgrid[y - 7 : y + 8, x - 7 : x + 8]
    return np.array([(dark * xs).sum(), (dark * ys).sum()]) / dark.sum()


@pytest.mark.parametrize("part", ["upper lip", "lower lip", "upper lid", "lower lid"])
def test_lips_and_lids_go_where_they_shall(photographer, bfm, part):
    """Dots painted beside the edges of an opening are found where the mesh puts them."""
    size, big = (900, 820), {"height": 560.0, "middle": (410.0, 450.0)}
    wider = smiling(bfm, 0.12)
    wider[LIDS] = -0.15  # opened: what closes is sampled away from the edges on purpose
    target, result = posed(smiling(bfm, 0.1), **big), posed(wider, **big)
    before, after = heads(photographer, target, result)
    vertices = near_edge(bfm, part)
    photo = photographer(dotted(before, vertices, size), [target], [result])
    moved = np.linalg.norm(after.vertices - before.vertices, axis=1)[vertices]
    assert moved.max() > 0.7
    for vertex in vertices:
        place = after.vertices[vertex, :2]
        assert np.linalg.norm(dot_near(photo, place) - place) < 0.7


# pictures of every kind


@pytest.mark.parametrize("shape, dtype", [((), np.uint8), ((1,), np.uint8), ((3,), np.uint16),
                                          ((4,), np.uint8), ((4,), np.uint16)])
def test_pictures_keep_their_kind(photographer, bfm, shape, dtype):
    img = smooth_noise(SIZE, *(shape or (1,)), dtype=dtype).reshape(*SIZE, *shape)
    photo = photographer(img, [posed()], [posed(smiling(bfm, 0.3))])
    assert photo.shape == img.shape and photo.dtype == img.dtype
    assert 0.01 < (photo != img).mean() < 0.9


def test_sixteen_bits_are_eight_in_more_detail(photographer, bfm):
    fine = smooth_noise(SIZE, dtype=np.uint16)
    coarse = (fine >> 8).astype(np.uint8)
    result = posed(expression(bfm, 6))
    photos = [photographer(img, [posed()], [result]) for img in (fine, coarse)]
    difference = np.abs(photos[0] / 257.0 - photos[1])
    assert np.percentile(difference, 99) < 3
    assert np.unique(photos[0]).size > 2000


@pytest.mark.parametrize("opening", [0.02, 0.3])
def test_alpha_has_no_holes(photographer, bfm, opening):
    """An even alpha stays even: each pixel's layers add up to one."""
    img = smooth_noise(SIZE, 4)
    img[..., 3] = 200
    photo = photographer(img, [posed()], [posed(smiling(bfm, opening))])
    assert (photo[..., 3] == 200).all()


def test_grey_pictures_stay_grey(photographer, bfm):
    grey = smooth_noise(SIZE, 1)
    img = np.repeat(grey, 3, axis=2)
    smile = posed(smiling(bfm, 0.4))
    photo = photographer(img, [posed()], [smile], Source(smile, img))
    assert np.ptp(photo.astype(int), axis=2).max() <= 1


@pytest.mark.parametrize("seed", range(12))
def test_any_faces_make_pictures(photographer, bfm, seed):
    """Every yaw, size and place, also off the picture, with and without a source's picture."""
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(40, 300, 2))
    img = smooth_noise(size)
    place = dict(
        height=float(rng.uniform(20, 400)), yaw=float(rng.uniform(-80, 80)),
        middle=tuple(rng.uniform(-50, 350, 2)), shape=rng.normal(size=40) * 2e4,
    )
    own, new = (posed(expression(bfm, 100 * k + seed, 2), **place) for k in (1, 2))
    seen = smooth_noise(SIZE) if seed % 2 else None
    photo = photographer(img, [own], [new], Source(posed(expression(bfm, seed), height=150), seen))
    assert photo.shape == img.shape
    assert np.abs(photo.astype(int) - img).max() <= 255


def test_several_faces_and_the_nearest_stays_whole(photographer, bfm):
    """A face behind another moves none of its pixels."""
    img = smooth_noise((400, 500))
    far = dict(height=160, middle=(180, 180))
    near = dict(height=260, middle=(320, 220))
    changed = expression(bfm, 7)
    alone = photographer(img, [posed(**near)], [posed(**near)])
    assert np.array_equal(alone, img)
    photo = photographer(
        img, [posed(**far), posed(**near)], [posed(changed, **far), posed(**near)]
    )
    head = photographer.model.head(posed(**near))
    inside = cv2.convexHull(np.rint(head.vertices[:, :2]).astype(np.int32))
    mask = cv2.fillConvexPoly(np.zeros(img.shape[:2], np.uint8), inside, 1)
    mask = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
    assert np.array_equal(photo[mask], img[mask])
    assert (photo != img).any()


def test_faces_that_cannot_be_drawn_stay(photographer, bfm):
    img = smooth_noise(SIZE)
    for place in (dict(height=4), dict(middle=(5000, 0)), dict(middle=(np.nan, 0))):
        photo = photographer(img, [posed(**place)], [posed(expression(bfm, 1), **place)])
        assert np.array_equal(photo, img)


def test_drawing_into_the_picture_itself(photographer, bfm):
    img, result = smooth_noise(SIZE), posed(expression(bfm, 8))
    photo = photographer(img, [posed()], [result])
    frame = img.copy()
    assert photographer(frame, [posed()], [result], out=frame) is frame
    assert np.array_equal(frame, photo)


def test_eyes_can_stay_as_they_are(bfm):
    img, shut = smooth_noise(SIZE), np.zeros(12)
    shut[LIDS] = 1
    with_eyes, without = (
        Photographer(bfm, eyes=eyes)(img, [posed()], [posed(shut)]) for eyes in (True, False)
    )
    assert (with_eyes != img).any()
    assert np.array_equal(without, img)


def test_shut_eyes_open_to_their_own_where_these_are_known(photographer, bfm):
    """Which are looked for only then; a source's eyes stand in for what is not known."""
    img, (green, red) = smooth_noise(SIZE), (np.full((*SIZE, 3), 60, np.uint8) for _ in range(2))
    green[..., 1], red[..., 2] = 200, 200
    shut, asked = np.zeros(12), []
    shut[LIDS] = 1.1
    source = Source(posed(), red)

    def drawn(before, own):
        def awake(place):
            asked.append(place)
            return own

        photo = photographer(img, [posed(before)], [posed()], source, awake=awake)
        return (photo - img.astype(int))[..., 1:].sum(axis=(0, 1))

    more_green, more_red = drawn(shut, Source(posed(), green)) - drawn(shut, None)
    assert more_green > 1000 and more_red < -1000
    assert set(asked) == {0}
    asked.clear()
    drawn(smiling(bfm, 0.1), Source(posed(), green))
    assert not asked


def test_the_programs_photo(tmp_path):
    """--opt photo keeps a file's alpha and 16 bits; --photo_eyes off keeps eyes."""
    import face_reenactment

    inputs = PROJECT_ROOT / "examples" / "inputs"
    deep = np.dstack([cv2.imread(str(inputs / "grace_hopper.jpg")), np.full((600, 512), 200)])
    cv2.imwrite(str(tmp_path / "deep.png"), (deep * 257).astype(np.uint16))
    photos = []
    for eyes in ("on", "off"):
        out = tmp_path / f"{eyes}.png"
        code = face_reenactment.main(
            ["-s", str(inputs / "astronaut.png"), "-t", str(tmp_path / "deep.png"),
             "--opt", "photo", "--photo_eyes", eyes, "-o", str(out)]
        )
        assert code == 0
        photos.append(cv2.imread(str(out), cv2.IMREAD_UNCHANGED))
    assert photos[0].dtype == np.uint16 and photos[0].shape == (600, 512, 4)
    assert (photos[0][..., 3] == 200 * 257).all()
    assert np.array_equal(photos[0][-100:], (deep[-100:] * 257).astype(np.uint16))
    assert not np.array_equal(*photos)


# teeth and lids


@pytest.mark.parametrize(
    "tone", [(0.02, 0.03, 0.06), (0.25, 0.35, 0.6), (0.3, 0.3, 0.3), (0.55, 0.58, 0.66)]
)
def test_teeth_are_not_blue(tone):
    """Made-up and borrowed ones: red is no less than green, and green no less than blue, pale skins
    and what is between the teeth not excepted."""
    skin = np.array(tone, np.float32)
    x, y = np.meshgrid(np.linspace(-15, 15, 60), np.linspace(-42, -33, 30))
    places = np.column_stack([x.ravel(), y.ravel()])
    down = (y.ravel() + 33) / -9
    spots = Spots(places, places, down, np.full(len(down), 0.4), places)
    blue_light = np.random.default_rng(0).uniform([0.5, 0.4, 0.3], [0.9, 0.8, 0.7], (900, 3))
    warm = np.array([0.05, 0.15, 0.6], np.float32)  # skin in candlelight
    for light in (made_up(skin, spots), *(recoloured(blue_light, s, skin) for s in (skin, warm))):
        assert np.isfinite(light).all() and light.min() >= 0 and light.max() <= 1
        assert (np.diff(light, axis=1) >= -1e-6).all()


@pytest.mark.parametrize("cloth, opens", [((200, 140, 70), False), ((215, 215, 215), False),
                                          ((30, 28, 27), False), ((75, 95, 140), True)])
def test_a_mask_does_not_open(photographer, bfm, cloth, opens):
    """Blue, white and black cloth over nose and chin; a tanned face's other skin is none."""
    head = photographer.model.head(posed())
    img = np.full((*SIZE, 3), (105, 130, 190), np.uint8)
    _, y, _ = bfm.u.reshape(-1, 3).T / 1000
    hull = cv2.convexHull(np.rint(head.vertices[y < -8, :2]).astype(np.int32))
    cv2.fillConvexPoly(img, hull, cloth)
    photo = photographer(img, [posed()], [posed(smiling(bfm, 0.3))])
    lips = head.lip_points()[..., :2].mean(axis=0)
    x, y = np.rint(lips[len(lips) // 2]).astype(int)
    changed = np.abs(photo[y - 8 : y + 20, x - 10 : x + 11].astype(int) - cloth).max()
    assert (changed > 40) == opens


@pytest.mark.parametrize("off", [-5.0, 0.0, 5.0])
def test_lips_are_found_where_the_picture_has_them(photographer, bfm, off):
    """Lips painted some pixels below or above the fit's; 18 pixels are a quarter of the nose."""
    face = posed(height=300, middle=(250, 260))
    head = photographer.model.head(face)
    img = np.full((520, 500, 3), (105, 130, 190), np.uint8)
    edge = head.vertices[bfm.landmarks[48:60], :2] + off * head.down
    cv2.fillPoly(img, [np.rint(edge).astype(np.int32)], (70, 70, 150))
    moved = Portrait.of(photographer.model, face, img, eyes=True).shift
    lip = moved[bfm.landmarks[51]]
    assert lip @ head.down == pytest.approx(off, abs=1.0)
    assert np.array_equal(moved[bfm.landmarks[36:48]], np.zeros((12, 2)))  # the eyes


def test_a_plain_picture_moves_no_lips(photographer, bfm):
    plain = np.full((*SIZE, 3), 128, np.uint8)
    shift = Portrait.of(photographer.model, posed(), plain, eyes=True).shift
    assert np.abs(shift).max() < 1e-3


@pytest.mark.parametrize("lip, sign", [(0, -1), (1, 1)])
def test_what_is_beyond_a_lip_is_its_edge_once_taken_back(photographer, bfm, lip, sign):
    """Five pixels beyond the middle of the edge are told as such; taken back, none are beyond."""
    head = photographer.model.head(posed(smiling(bfm, 0.1), height=300, middle=(250, 260)))
    edge = head.lip_points()[lip, :, :2]
    box = Box.around(edge, 20, Box(0, 0, 500, 520))
    moves = np.zeros((*box.size, 2), np.float32)
    far = beyond(head, lip, box, moves)
    x, y = edge[len(edge) // 2]
    row, column = round(y) - sign * 5 - box.top, round(x) - box.left
    assert far[row, column] == pytest.approx(5 + sign * (y - round(y)), abs=0.6)
    back = moves + sign * far[..., None] * head.down
    assert far.max() > 5 and beyond(head, lip, box, back).max() < 1e-3


@pytest.mark.parametrize("sigma", [3.0, 8.5, 21.0])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_wide_blurs_are_gaussian(sigma, channels):
    """As OpenCV's, within a hundredth of a step's height, away from the border."""
    step = np.zeros((303, 317, *channels), np.float32)
    step[100:, 140:] = 1
    soft, plain = blurred(step, sigma), cv2.GaussianBlur(step, (0, 0), sigma)
    assert soft.shape == plain.shape and np.abs(soft - plain)[30:-30, 30:-30].max() < 0.01


def test_new_light_has_no_edges(bfm, monkeypatch):
    """What it adds to a photo changes little from pixel to pixel, where lips' box ends, too."""
    face = posed(height=300, middle=(250, 260))
    result = posed(smiling(bfm, 0.35), height=300, middle=(250, 260))
    head = Photographer(bfm).model.head(face)
    raster = rasterise(head.vertices, bfm.tri, (520, 500))
    lit = 120 + 100 * interpolate(raster, head.normals[:, 1:2])
    img = np.where(raster.covered[..., None], lit, 120).repeat(3, axis=2).astype(np.uint8)
    photo = Photographer(bfm)(img, [face], [result]).astype(int)
    monkeypatch.setattr(Portrait, "light", None)
    added = photo - Photographer(bfm)(img, [face], [result])
    distance = interpolate(raster, np.abs(bfm.topology.slit)[:, None])[..., 0]
    skin = (distance > 14) & (distance < 30)  # mm from the slit
    added[~skin] = 0
    both = skin[1:] & skin[:-1], skin[:, 1:] & skin[:, :-1]
    steps = [np.abs(np.diff(added, axis=axis))[near].max() for axis, near in enumerate(both)]
    assert np.abs(added).max() > 20 and max(steps) <= 12


def test_lids_close_what_the_fit_leaves_open():
    """Openings keep their order; what is as open as the target stays; shut eyes become shut."""
    target = np.full(2, 0.30)
    wants = np.linspace(0.05, 0.45, 81)
    found = np.array([corrected(target, np.full(2, want))[1][0] for want in wants])
    assert (np.diff(found) >= -1e-12).all() and np.abs(np.diff(found)).max() < 0.02
    assert np.allclose(found[wants >= 0.30], wants[wants >= 0.30])
    assert found[0] == 0
    assert np.array_equal(corrected(target, target)[0], target)
    assert np.allclose(corrected(np.full(2, 0.10), np.full(2, 0.1)), 0)  # shut, and stays so
    for opening in np.linspace(0.05, 0.4, 36):  # an expression's hundredth moves no lid by much
        settled, near = corrected(np.full(2, opening), np.array([-1e-3, 1e-3]) + opening)
        assert np.abs(near - settled).max() < 0.01


def test_noise_moves_no_lids_and_winks_do():
    """What is less than the noise all but vanishes, what is far more stays, and in order."""
    changes = np.linspace(-0.3, 0.3, 601)
    both = np.array([credible(np.full(2, change)) for change in changes])
    wink = np.array([credible(np.array([change, 0.0])) for change in changes])
    assert np.array_equal(both[:, 0], both[:, 1]) and (np.diff(both[:, 0]) > 0).all()
    assert np.allclose(both, -both[::-1]) and np.allclose(wink, -wink[::-1])
    small, large = np.abs(changes) <= 0.02, np.abs(changes) >= 0.2
    assert np.abs(both[small]).max() < 0.2 * 0.02 and np.abs(wink[small]).max() < 0.2 * 0.02
    assert np.abs(both[large, 0] - changes[large]).max() < 1e-3
    assert np.abs(wink[large] - np.stack([changes[large], 0 * changes[large]], 1)).max() < 6e-3


def test_lips_differ_by_a_tenth_more(photographer, bfm):
    """In the mouth's middle; what does not change stays, and lips that meet do not cross."""
    shut, smile = (
        photographer.model.surface(posed(e)) for e in (np.zeros(12), smiling(bfm, 0.3))
    )

    def gap(surface: np.ndarray) -> np.ndarray:
        upper, lower = bfm.topology.lip_points(surface)
        return (upper[:, 1] - lower[:, 1])[18:31]

    assert parted(bfm, smile, smile) is smile
    wider, nearer = gap(parted(bfm, shut, smile)), gap(parted(bfm, smile, shut))
    change = gap(smile) - gap(shut)
    assert change.min() > 1  # mm
    assert wider - gap(shut) == pytest.approx(1.1 * change, rel=0.03)
    assert (nearer > -0.1).all() and (nearer < gap(shut)).all()


def test_the_line_of_lashes_is_between_the_eyes_corners(photographer, bfm):
    """On plain skin, shut eyes get a soft dark line and nothing bright."""
    face, shut = posed(height=300, middle=(250, 260)), np.zeros(12)
    shut[LIDS] = 1.3
    wink = posed(shut, height=300, middle=(250, 260))
    img = np.full((520, 500, 3), 150, np.uint8)
    head = photographer.model.head(wink)
    change = photographer(img, [face], [wink]).astype(int)[..., 0] - 150
    rows, columns = np.nonzero(change < -5)
    corners = head.vertices[bfm.landmarks[[36, 39, 42, 45]], 0]
    lids = head.vertices[bfm.topology.lids.ravel(), 1]
    assert len(rows) > 20 and change.max() <= 5 and change.min() > -0.5 * 150
    assert (np.searchsorted(corners, columns) % 2 == 1).all()
    assert rows.min() > lids.min() - 6 and rows.max() < lids.max() + 6
