"""Training the detector: the loss, labels, crops, schedule, comparison, calibration."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can be trained")
pytest.importorskip("tqdm", reason="tqdm is not installed: the recipe shows progress with it")

from conftest import noise  # noqa: E402

from FaceBoxes.models.faceboxes import FaceBoxesNet  # noqa: E402
from FaceBoxes.utils.box_utils import decode  # noqa: E402
from FaceBoxes.utils.prior_box import prior_boxes  # noqa: E402
from training.detector import calibrate, crops, distillation, evaluate, harm, mine, train  # noqa: E402
from training.detector.detection import Detector, match_boxes, pairwise_iou, to_input  # noqa: E402
from training.detector.label import agreed, boxes_of_view  # noqa: E402
from training.detector.retinaface import RetinaFace, anchors  # noqa: E402
from training.pictures import add_bytes  # noqa: E402

NO_BOXES = np.zeros((0, 4))
FRAME = np.array([256, 192, 256, 192])
WIDTH, HEIGHT = 256, 192
FACES = np.array([[20.0, 30, 60, 80], [100, 20, 200, 150], [210, 150, 230, 170]])


def boxes(*rows, score=0.9):
    """(n, 5) boxes with one score."""
    return np.array([[*row, score] for row in rows], float).reshape(-1, 5)


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def net():
    """FaceBoxes with seeded random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FaceBoxesNet().eval()


# Geometry of boxes


@pytest.mark.parametrize(
    "a, b, iou",
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),  # the same
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),  # half shifted
        ([0, 0, 10, 10], [2, 2, 7, 6], 0.2),  # one inside the other
        ([0, 0, 10, 10], [10, 0, 20, 10], 0),  # touching
        ([0, 0, 10, 10], [30, 30, 40, 40], 0),  # apart in both directions
        ([3, 3, 3, 3], [3, 3, 3, 3], 0),  # empty
    ],
)
def test_iou(a, b, iou):
    np.testing.assert_allclose(pairwise_iou(np.array([a]), np.array([b, a]))[0, 0], iou)
    np.testing.assert_allclose(pairwise_iou(np.array([b]), np.array([a])), [[iou]])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])  # none on either side, none at all
def test_no_boxes_match_nothing(shape):
    a, b = (np.zeros((n, 4)) for n in shape)
    assert pairwise_iou(a, b).shape == shape and match_boxes(a, b) == []


def test_matches_are_one_to_one_and_best_first():
    truth = np.array([[0.0, 0, 10, 10], [4, 0, 14, 10], [50, 50, 60, 60]])
    found = np.array([[3.0, 0, 13, 10], [0, 0, 10, 9]])
    assert match_boxes(truth, found, 0.3) == [(0, 1), (1, 0)]  # IoU 0.9, then 9/11
    assert match_boxes(truth[1:], found, 0.3) == [(0, 0)]  # the other find overlaps 0.43 but ...
    assert match_boxes(truth[:1], found, 0.95) == []  # ... here nothing is good enough


def test_network_input_is_free_of_the_mean():
    picture = np.zeros((1, 4, 5, 3), np.uint8)
    picture[..., 2] = 200
    blob = to_input(picture)
    assert blob.shape == (1, 3, 4, 5) and blob.dtype == torch.float32
    np.testing.assert_allclose(blob[0, :, 1, 2], [-104, -117, 200 - 123])


def test_detector_gives_the_boxes_of_a_perfect_network():
    """A network that outputs encoded faces: the detector gives them back, best first."""
    priors = prior_boxes(HEIGHT, WIDTH)
    halves = priors[:, 2:] / 2
    corners = np.concatenate([priors[:, :2] - halves, priors[:, :2] + halves], 1)
    iou = pairwise_iou(corners, FACES / FRAME)
    nearest, own = iou.argmax(1), iou.max(1) >= iou.max(0).min()
    offsets = distillation.encode((FACES / FRAME)[nearest], priors).astype(np.float32)
    score = np.where(own, np.where(nearest == 1, 0.9, 0.8), 0.1)

    class Perfect(FaceBoxesNet):
        def forward(self, x):
            conf = np.stack([1 - score, score], 1).astype(np.float32)
            return torch.from_numpy(offsets[None]), torch.from_numpy(conf[None])

    found = Detector(Perfect())(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert len(found) == len(FACES)
    np.testing.assert_allclose(found[0], [*FACES[1], 0.9], atol=1e-3)
    np.testing.assert_allclose(found[found[:, 0].argsort(), :4], FACES, atol=1e-3)
    assert Detector(Perfect())(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0.95).shape == (0, 5)


# Distillation


def test_boxes_of_offsets_are_the_detectors():
    priors = prior_boxes(HEIGHT, WIDTH)
    offsets = np.random.default_rng(0).normal(0, 2, priors.shape).astype(np.float32)
    found = distillation.corner_boxes(torch.from_numpy(offsets), torch.tensor(priors))
    np.testing.assert_allclose(found.numpy(), decode(offsets, priors), atol=1e-5)


@pytest.mark.parametrize(
    "a, b, giou",
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1),  # the same
        ([0, 0, 2, 1], [1, 0, 3, 1], 1 / 3),  # half shifted: the hull is the union
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),  # apart: a third of the hull is empty
        ([0, 0, 4, 4], [1, 1, 3, 3], 0.25),  # one inside the other
    ],
)
def test_generalised_iou(a, b, giou):
    pair = torch.tensor([a], dtype=torch.float32), torch.tensor([b], dtype=torch.float32)
    assert float(distillation.generalised_iou(*pair)) == pytest.approx(giou)
    assert float(distillation.generalised_iou(*pair[::-1])) == pytest.approx(giou)


def losses_of(logits, scores, offsets=0.0, wanted_offsets=0.0, counts=True):
    """The losses of a batch of one where all anchors are the unit square.

    logits, scores : of the student and of the teacher for each anchor.
    """
    count = len(logits)
    logits, scores = torch.tensor([logits]), torch.tensor([scores])
    student = torch.full((1, count, 4), offsets), torch.stack([0 * logits, logits], 2)
    teacher = torch.full((1, count, 4), wanted_offsets), torch.stack([1 - scores, scores], 2)
    priors = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).expand(count, -1)
    return distillation.distillation_losses(
        student, teacher, priors, torch.full((1, count), fill_value=counts)
    )


def test_who_says_the_same_loses_nothing():
    scores = [0.001, 0.3, 0.99]
    losses = losses_of(torch.logit(torch.tensor(scores)).tolist(), scores, 0.7, 0.7)
    np.testing.assert_allclose(losses, 0, atol=1e-5)


def test_scores_lose_the_divergence_for_each_face():
    """Of sigmoid(0) from 0.9, three times, over the 2.7 faces that the teacher sees."""
    losses = losses_of([0.0, 0.0, 0.0], [0.9, 0.9, 0.9])
    divergence = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    assert float(losses.scores) == pytest.approx(3 * divergence / 2.7, rel=1e-4)
    assert float(losses.logits) == pytest.approx(3 * (np.log(9) - 0.5) / 2.7, rel=1e-4)


def test_a_sure_teacher_is_followed_up_to_a_limit():
    assert float(losses_of([9.0], [1.0]).logits) == pytest.approx(0, abs=1e-6)


def test_boxes_lose_their_giou_weighted_by_the_score():
    """Offsets of -5 and 5 move the unit square by a half to either corner, and shrink or grow it
    e-fold. The second score is no trace of a face; the loss is over one face at least."""
    [box], [wanted] = (
        decode(np.full((1, 4), offset), np.array([[0.5, 0.5, 1, 1]])) for offset in (-5.0, 5.0)
    )
    giou = distillation.generalised_iou(torch.tensor(box[None]), torch.tensor(wanted[None]))
    losses = losses_of([0.0, 0.0], [0.9, 0.04], -5.0, 5.0)
    assert float(losses.boxes) == pytest.approx(0.9 * (1 - float(giou)), rel=1e-4)


def test_what_does_not_count_loses_nothing():
    np.testing.assert_allclose(losses_of([5.0], [0.0], 1.0, -1.0, counts=False), 0)


def test_a_picture_without_faces_has_finite_losses():
    losses = losses_of([-30.0, -30.0], [0.0, 0.0])
    assert float(losses.scores) == pytest.approx(0) and losses.boxes == losses.logits == 0


def test_false_alarms_count_more_the_surer_they_are():
    """Of sigmoid(0) and sigmoid(3) where the teacher sees no trace; a doubt of 0.06 is a trace."""
    for logit in (0.0, 3.0):
        score = 1 / (1 + np.exp(-logit))
        alarm = -np.log(1 - score) * (1 + distillation.ALARM_WEIGHT * score)
        assert float(losses_of([logit], [0.0]).scores) == pytest.approx(alarm, rel=1e-4)
    doubt = 0.06 * np.log(0.06 / 0.5) + 0.94 * np.log(0.94 / 0.5)
    assert float(losses_of([0.0], [0.06]).scores) == pytest.approx(doubt, rel=1e-4)


def test_touching_priors():
    priors = prior_boxes(HEIGHT, WIDTH)
    area = np.array([[10.0, 20, 120, 130]]) / FRAME
    touching = distillation.touching(priors, area)
    centre = priors[:, :2]
    within = ((centre > area[0, :2]) & (centre < area[0, 2:])).all(1)
    corners = np.concatenate([centre - priors[:, 2:] / 2, centre + priors[:, 2:] / 2], 1)
    overlap = pairwise_iou(corners, area)[:, 0] > 0.2
    assert np.array_equal(touching, within | overlap)
    assert within.any() and (overlap & ~within).any() and not touching.all()
    assert not distillation.touching(priors, NO_BOXES).any()


def amended(score, faces=NO_BOXES, unclear=NO_BOXES, doubtful=NO_BOXES):
    """What `amend` makes of a teacher that gives the anchors on the second face one score."""
    priors = prior_boxes(HEIGHT, WIDTH)
    on_face = pairwise_iou(distillation.corners_of(priors), FACES[1:2] / FRAME)[:, 0] > 0.4
    offsets, scores = np.zeros_like(priors), np.where(on_face, score, 0.01).astype(np.float32)
    areas = (np.asarray(area).reshape(-1, 4) / FRAME for area in (faces, unclear, doubtful))
    counts = distillation.amend(offsets, scores, priors, *areas)
    return on_face, offsets, scores, counts


@pytest.mark.parametrize("known", ["faces", "unclear"])
def test_a_teacher_who_finds_what_is_known_is_believed(known):
    on_face, offsets, scores, counts = amended(0.9, **{known: FACES[1]})
    assert counts.all() and not offsets.any()
    np.testing.assert_allclose(scores, np.where(on_face, 0.9, 0.01), rtol=1e-6)


def test_a_face_that_the_teacher_misses_is_taught_by_its_best_anchors():
    """Their offsets decode to the face; around them nothing is learned, elsewhere all is."""
    _, offsets, scores, counts = amended(0.3, faces=FACES[1])
    priors = prior_boxes(HEIGHT, WIDTH)
    taught = scores == np.float32(distillation.TAUGHT)
    assert taught.any() and counts[taught].all()
    np.testing.assert_allclose(
        decode(offsets[taught], priors[taught]) * FRAME, FACES[[1] * taught.sum()], atol=0.01
    )
    near = distillation.touching(priors, FACES[1:2] / FRAME)
    assert np.array_equal(counts, ~near | taught)


@pytest.mark.parametrize("known", ["unclear", "doubtful"])
def test_nothing_is_learned_of_what_is_unclear_and_missed_or_doubtful(known):
    _, offsets, scores, counts = amended(0.3, **{known: FACES[1]})
    near = distillation.touching(prior_boxes(HEIGHT, WIDTH), FACES[1:2] / FRAME)
    assert np.array_equal(counts, ~near) and not offsets.any() and scores.max() < 0.31


def test_nothing_is_learned_where_only_the_teacher_sees_a_face():
    """Its doubts are learned, where nobody else has noticed anything either."""
    on_face, *_, counts = amended(0.9)
    assert not counts[on_face].any() and counts[~on_face].all()
    assert amended(0.4)[-1].all()


def test_the_hint_is_learned_by_a_linear_map(net):
    """Which starts at random, so that even a student with the teacher's weights starts apart."""
    student = FaceBoxesNet()
    student.load_state_dict(net.state_dict())
    hint = distillation.Hint(student, net)
    inputs = 60 * torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net(inputs), student.eval()(inputs)
    optimizer, losses = torch.optim.Adam(hint.parameters(), lr=0.3), []
    for _ in range(60):
        losses.append(hint())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


# Labels


def test_views_of_a_picture_are_mapped_back():
    """A detector that finds the white square: its box comes back in the picture's pixels."""
    picture = np.zeros((80, 120, 3), np.uint8)
    picture[20:50, 30:70] = 255

    def detector(shown, min_score):
        y, x = np.nonzero(shown[..., 0] > 127)
        return boxes([x.min(), y.min(), x.max() + 1, y.max() + 1])

    for border, side in [(0.0, 120), (0.25, 120), (0.25, 240), (0.2, 60)]:
        [found] = boxes_of_view(detector, picture, border, side)
        np.testing.assert_allclose(found, [30, 20, 70, 50, 0.9], atol=120 / side)


A, B = [0, 0, 10, 10], [30, 0, 40, 10]
WIDER = [0, 0, 10, 12]  # IoU 5/6 with A


@pytest.mark.parametrize(
    "opinions, faces, ignore",
    [
        ([boxes(A), boxes(A)], [A], []),  # two are sure
        ([boxes(A), boxes(WIDER)], [A], []),  # about there: the first one's box
        ([boxes(A, score=0.3), boxes(WIDER), boxes(A)], [WIDER], []),  # the first that is sure
        ([boxes(A), boxes()], [], [A]),  # one misses it
        ([boxes(A), boxes(A, score=0.4)], [], [A]),  # one doubts it
        ([boxes(A), boxes(B)], [], [A, B]),  # at different places
        ([boxes(A, WIDER), boxes()], [], [A]),  # one who says it twice
        ([boxes(), boxes()], [], []),  # nobody
    ],
)
def test_agreement_of_observers(opinions, faces, ignore):
    assert agreed(opinions) == (faces, ignore)


def test_retinafaces_boxes_come_back_in_the_pictures_pixels(monkeypatch):
    """A network that is sure of one anchor, in a picture that is halved to fit in its input."""
    chosen = 16000
    conf = np.zeros((1, len(anchors()), 2), np.float32)
    conf[0, chosen, 1] = 0.8

    class Session:
        def run(self, names, feed):
            [blob] = feed.values()
            assert blob.shape == (1, 3, 640, 640) and not blob[0, :, 320:].any()
            return [np.zeros((1, len(anchors()), 4), np.float32), conf, None]

    detector = RetinaFace.__new__(RetinaFace)
    detector.session = Session()
    [found] = detector(np.full((640, 1280, 3), 200, np.uint8))
    x, y, width, height = anchors()[chosen] * 1280
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    np.testing.assert_allclose(found, [*corners, 0.8], rtol=1e-5)
    assert len(anchors()) == 16800


# Crops


def test_cuts_tile_the_side():
    rng = np.random.default_rng(0)
    counts = set()
    for _ in range(100):
        parts = crops.cuts(rng, 100)
        counts.add(len(parts))
        assert parts[0][0] == 0 and parts[-1][1] == 100
        assert all(a[1] == b[0] for a, b in zip(parts, parts[1:]))
        assert all(15 < stop - start <= 100 for start, stop in parts)
    assert counts == {1, 2, 3}


def test_choice_follows_the_shares():
    rng = np.random.default_rng(0)
    chosen = [crops.choose(rng, (("a", 3.0), ("b", 1.0))) for _ in range(2000)]
    assert chosen.count("a") / 2000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("degrees", [0, 90, 180, 37])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])  # shrunk by areas first, kept, enlarged
def test_boxes_move_with_their_pixels(degrees, scale):
    """A white ellipse in a box: where it goes is where its box goes."""
    picture, box = np.zeros((200, 240, 3), np.uint8), np.array([[80.0, 60, 140, 140]])
    cv2.ellipse(picture, (110, 100), (30, 40), 0, 0, 360, (255,) * 3, -1)
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([linear, np.array([150, 150]) - linear @ [110, 100]])
    y, x = np.nonzero(crops.warp(picture, matrix, (300, 300))[..., 0] > 127)
    found = [x.min(), y.min(), x.max(), y.max()]
    np.testing.assert_allclose(crops.moved(box, matrix)[0], found, atol=1.6)


def test_visible_share():
    given = np.array([[0.0, 0, 10, 10], [-5, 0, 5, 10], [95, 45, 105, 55], [200, 0, 210, 10]])
    np.testing.assert_allclose(crops.visible_share(given, 100, 50), [1, 0.5, 0.25, 0])


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            add_bytes(tar, name, content)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two sets of labelled pictures: one face; none, in one of them an alarm; one of a split."""
    folder = tmp_path_factory.mktemp("data")
    pictures = {
        f"train/{i}.webp": cv2.imencode(".webp", noise(160, 120, i))[1].tobytes() for i in range(3)
    }
    labels = {}
    for name in ("scenes_people", "portraits"):
        write_tar(folder / f"{name}.tar", pictures)
        labels[f"{name}/train/0.webp"] = {"faces": [[30, 40, 80, 100]], "ignore": []}
        labels[f"{name}/train/1.webp"] = {"faces": [], "ignore": [[30, 40, 80, 100]]}
        labels[f"{name}/val/2.webp"] = {"faces": [], "ignore": []}
    labels["scenes_people/train/1.webp"]["alarms"] = [[10, 20, 30, 40]]
    (folder / "faces.json").write_text(json.dumps(labels))
    return crops.load_sources(folder, folder / "faces.json", "train")


def test_sources_are_the_labelled_pictures_of_a_split(sources):
    assert {name: len(found) for name, found in sources.items()} == dict(
        scenes_people=2, portraits=2, alarms=1
    )
    first, second = sources["scenes_people"]
    assert first.content.shape == (160, 120, 3)  # decoded
    assert isinstance(sources["portraits"][0].content, bytes)
    assert (len(first.faces), len(first.doubtful)) == (1, 0)
    assert (len(second.faces), len(second.doubtful)) == (0, 1)
    assert [len(source.alarms) for source in (first, second, *sources["alarms"])] == [0, 0, 1]


def test_crops_of_any_kind_are_pictures_with_boxes_inside(sources):
    cutter = crops.Cutter(sources, crops.CropConfig(p_collage=0.5, p_hidden=0.5), 0)
    cut = [cutter.crop(128) for _ in range(60)]
    for crop in cut:
        assert crop.picture.shape == (128, 128, 3) and crop.picture.dtype == np.uint8
        assert all(boxes.shape == (len(boxes), 4) for boxes in crop[1:])
        assert (crop.faces[:, 3] - crop.faces[:, 1] >= 18).all()
        assert (crops.visible_share(np.concatenate(crop[1:]), 128, 128) > 0).all()
    assert all(any(len(crop[kind]) for crop in cut) for kind in (1, 2, 3))
    again = crops.Cutter(sources, cutter.cfg, 0)
    assert np.array_equal(again.crop(128).picture, cut[0].picture)  # the seed decides


def test_alarms_are_looked_at(sources):
    """Where alarms are all there is, each crop shows one, about as large as it was found."""
    cutter = crops.Cutter({"alarms": sources["alarms"]}, crops.CropConfig(), 0)
    source = sources["alarms"][0]
    height, width = source.content.shape[:2]
    low, high = cutter.cfg.alarm_zoom
    for _ in range(20):
        matrix = cutter._placement(source.content, source, 384, 384)
        assert (crops.visible_share(crops.moved(source.alarms, matrix), 384, 384) > 0).all()
        scale = np.sqrt(abs(np.linalg.det(matrix[:, :2]))) * max(height, width)
        assert low * crops.ALARM_VIEW <= scale <= high * crops.ALARM_VIEW


def test_beyond_a_picture_is_a_colour_or_its_edge():
    picture = np.full((10, 10, 3), 200, np.uint8)
    there = np.array([[1.0, 0, 20], [0, 1, 20]])
    bordered = crops.warp(picture, there, (50, 50), np.array([10, 20, 30]))
    assert bordered[5, 5].tolist() == [10, 20, 30] and (bordered[21:29, 21:29] == 200).all()
    assert (crops.warp(picture, there, (50, 50)) == 200).all()


def test_what_is_out_of_focus_may_be_missed():
    grain = np.random.default_rng(0).integers(256, size=(60, 60, 3), dtype=np.uint8)
    crop = crops.Crop(grain, FACES[:1], FACES[1:2], FACES[2:])
    blurred = crops.unsharp(np.random.default_rng(0), crop)
    assert blurred.picture.std() < crop.picture.std() / 4
    assert not len(blurred.faces) and np.array_equal(blurred.unclear, FACES[:2])
    assert np.array_equal(blurred.doubtful, FACES[2:])


def test_alarms_are_what_only_the_student_sees():
    """Finds: a face, a doubtful place, one that the original sees, a neighbour, and an alarm."""
    face, doubtful, theirs = ([0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10])
    near, alone = [1, 1, 9, 12], [60, 20, 70, 30]
    asked = []

    def ours(picture, min_score):
        return boxes(face, doubtful, theirs, near, alone)

    def original(picture, min_score):
        asked.append(picture.shape)
        return boxes(theirs)

    picture = np.zeros((mine.ALARM_VIEW // 2, mine.ALARM_VIEW, 3), np.uint8)
    label = {"faces": [face], "ignore": [doubtful]}
    np.testing.assert_allclose(mine.mine_scene(ours, original, picture, label), [alone])
    assert asked == [picture.shape]
    everything = {"faces": [face, theirs, alone], "ignore": [doubtful]}
    assert not len(mine.mine_scene(ours, original, picture, everything)) and len(asked) == 1
    assert len(mine.mine_scene(ours, original, picture, {"faces": [], "ignore": []})) == 4


def test_a_hidden_part_shows_another():
    picture = noise(64, 64)
    before = picture.copy()
    x1, y1, x2, y2 = harm.hide(np.random.default_rng(1), picture).astype(int)
    changed = (picture != before).any(2)
    assert changed[y1:y2, x1:x2].any()
    changed[y1:y2, x1:x2] = False
    assert not changed.any()


def test_harm_leaves_its_input_alone_and_says_when_it_was_hard():
    picture, hard = noise(64, 64), []
    picture.setflags(write=False)
    for seed in range(60):
        suffered = harm.Harm(np.random.default_rng(seed))
        result = suffered(picture)
        assert result.shape == picture.shape and result.dtype == np.uint8
        hard.append(suffered.hard)
    assert 0 < sum(hard) < 30


def test_tone_of_strength_zero_is_the_identity():
    every = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.array_equal(harm.tone(np.random.default_rng(0), every, 0), every)


def test_log_uniform_stays_in_its_range_with_uniform_logarithm():
    rng = np.random.default_rng(0)
    values = np.array([harm.log_uniform(rng, 2, 200) for _ in range(2000)])
    assert values.min() >= 2 and values.max() <= 200
    assert np.median(values) == pytest.approx(20, rel=0.15)  # the geometric mean
    assert harm.log_uniform(rng, 5, 3) == pytest.approx(5)  # an empty range is its lower end


# Training


CFG = train.TrainConfig(batch=4, side=96, wide_side=192, warmup_steps=2)


def test_batches_of_crops(sources):
    batches = (batch for batch, _ in zip(train.Crops(sources, CFG, 0), range(20)))
    shapes = {tuple(crop.picture.shape for crop in batch) for batch in batches}
    assert shapes == {((96, 96, 3),) * 4, ((192, 192, 3),)}  # as many pixels, in fewer crops


@pytest.mark.parametrize(
    "step, progress, share",
    [
        (0, 0.0, 1 / 200),  # the first step of the warm-up
        (199, 0.0, 1),  # warm
        (10_000, 0.5, 0.5),  # half a cosine, half way
        (10_000, 1.0, 0.005),  # the end: the final share
        (10_000, 1.7, 0.005),  # beyond the end
    ],
)
def test_learning_rate_of_the_detector(step, progress, share):
    cfg = train.TrainConfig(warmup_steps=200, final_share=0.005)
    rate = train.learning_rate(cfg, step, progress)
    assert rate == pytest.approx(cfg.learning_rate * share)


def random_batch(seed):
    face = np.array([[10.0, 10, 40, 50]])
    return [crops.Crop(noise(128, 128, seed + i), face, NO_BOXES, NO_BOXES) for i in range(2)]


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_resumed_run_goes_on_as_if_never_stopped(net, tmp_path):
    run = train.Run(CFG, tmp_path, "cpu", net)
    run.net.train()
    run.learn(random_batch(0), 0.1)
    run.elapsed = 12.5
    run.save()
    resumed = train.Run(CFG, tmp_path, "cpu", net)
    resumed.resume()
    resumed.net.train()
    assert (resumed.step, resumed.elapsed) == (1, 12.5)
    losses = [one.learn(random_batch(1), 0.2) for one in (run, resumed)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)
    for name, value in run.net.state_dict().items():
        torch.testing.assert_close(resumed.net.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    shipped = torch.load(tmp_path / "faceboxes.pth", weights_only=True)
    assert shipped.keys() == FaceBoxesNet().state_dict().keys()
    assert not list(tmp_path.glob("*.partial"))


def test_a_run_without_checkpoint_starts_anew(net, tmp_path):
    run = train.Run(train.TrainConfig(), tmp_path, "cpu", net)
    run.resume()
    assert (run.step, run.elapsed) == (0, 0.0)


def test_a_run_starts_from_given_weights_unless_it_resumes(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "given.pth")
    cfg = replace(CFG, seed=5)
    run = train.Run(cfg, tmp_path, "cpu", net, tmp_path / "given.pth")
    assert same_tensors(run.net.state_dict(), net.state_dict())
    assert same_tensors(run.averaged.state, net.state_dict())
    run.net.train()
    run.learn(random_batch(0), 0.1)
    run.save()
    resumed = train.Run(cfg, tmp_path, "cpu", net, tmp_path / "given.pth")
    resumed.resume()
    assert same_tensors(resumed.net.state_dict(), run.net.state_dict())
    assert not same_tensors(resumed.net.state_dict(), net.state_dict())


def test_learning_brings_a_student_nearer_to_its_teacher(net, tmp_path):
    cfg = replace(CFG, seed=1, warmup_steps=1)
    run = train.Run(cfg, tmp_path, "cpu", net)
    run.net.train()
    first, *_, last = (run.learn(random_batch(0), 0.0) for _ in range(12))
    assert last["scores"] < 0.5 * first["scores"] and last["boxes"] < first["boxes"]
    assert run.averaged.steps == run.step == 12


def test_log_has_one_header(tmp_path, capsys):
    for row in ({"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}):
        train.append_log(tmp_path / "log.csv", row)
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss", "1,0.5", "2,0.25"]
    assert "step=2 loss=0.25" in capsys.readouterr().out


# Comparison


TALL, SMALL, SPURIOUS = [0, 0, 50, 50], [100, 0, 125, 25], [200, 200, 260, 260]
SHIFTED = [0, 10, 50, 60]  # IoU 2/3 with TALL


def scored(*rows):
    """(n, 5) boxes, each with its score."""
    return np.array([[*box, score] for box, score in rows], float).reshape(-1, 5)


@pytest.fixture
def finds():
    """Two pictures of a tall and a small face: three of the four found, two extra boxes."""
    found = evaluate.Finds()
    faces = np.array([TALL, SMALL], float)
    found.add(scored((TALL, 0.9), (SHIFTED, 0.8), (SMALL, 0.3)), faces)
    found.add(scored((SPURIOUS, 0.7), (SHIFTED, 0.6)), faces)
    return found


def test_recall_and_extra_boxes_above_a_threshold(finds):
    assert [finds.extra(t) for t in (0.85, 0.75, 0.5)] == [0, 0.5, 1.0]  # SHIFTED came second
    assert [finds.recall(t) for t in (0.85, 0.5, 0.1)] == [0.25, 0.5, 0.75]
    assert finds.recall(0.1, 20, 30) == 0.5 and finds.recall(0.1, 40, 80) == 1
    assert np.isnan(finds.recall(0.1, 300, 400))


@pytest.mark.parametrize(
    "extra, threshold",
    [
        (0.0, 0.8),  # none: above the best extra box
        (0.5, 0.7),  # one in two pictures
        (0.9, 0.7),  # not quite two
        (1.0, evaluate.LOWEST),  # all there are
    ],
)
def test_threshold_of_so_many_extra_boxes(finds, extra, threshold):
    assert finds.threshold(extra) == pytest.approx(threshold)
    assert finds.extra(finds.threshold(extra)) <= extra


def test_pictures_without_faces_and_without_finds():
    found = evaluate.Finds()
    found.add(np.zeros((0, 5)), np.array([TALL], float))
    found.add(scored((SPURIOUS, 0.9)), NO_BOXES)
    assert (found.recall(0.5), found.extra(0.5), found.pictures) == (0, 0.5, 2)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_quarter_turns_are_numpys(degrees):
    """Clockwise, with the boxes of the turned pixels."""
    case = evaluate.Case(noise(60, 80), np.array([[10.0, 5, 30, 45]]))
    turned = evaluate.turned(case, degrees)
    expected = np.rot90(case.picture, -degrees // 90)
    assert turned.picture.shape == expected.shape
    assert np.abs(turned.picture.astype(int) - expected).max() <= 2
    mask = np.zeros((60, 80), np.uint8)
    mask[5:45, 10:30] = 1
    y, x = np.nonzero(np.rot90(mask, -degrees // 90))
    np.testing.assert_allclose(turned.faces[0], [x.min(), y.min(), x.max(), y.max()], atol=1.01)


def test_light_and_border():
    case = evaluate.Case(np.full((40, 60, 3), 200, np.uint8), np.array([[10.0, 5, 30, 35]]))
    assert (evaluate.lit(case, 1.0, 0.5, 2.0).picture == (200, 100, 255)).all()
    wide = evaluate.bordered(case)
    assert wide.picture.shape == (70, 90, 3) and not wide.picture[:15].any()
    assert np.array_equal(wide.faces, [[25, 20, 45, 50]])


def test_the_table_has_a_row_for_every_detector_and_the_weakest_kind_first(monkeypatch):
    """The judged detector misses the tall face; the second kind has no tall one."""
    tall, small = (evaluate.Case(noise(), np.array([box], float)) for box in (TALL, SMALL))
    monkeypatch.setattr(evaluate, "kinds", lambda data, labels: {"easy": [small], "hard": [tall]})
    detectors = {
        "original": lambda picture, low: scored((TALL, 0.9), (SMALL, 0.8)),
        "ours": lambda picture, low: scored((SMALL, 0.9)),
    }
    rows = evaluate.table(detectors, None, {})
    assert [(row["kind"], row["detector"], row["recall"]) for row in rows] == [
        ("hard", "original", 1),
        ("hard", "ours", 0),
        ("easy", "original", 1),
        ("easy", "ours", 1),
    ]
    lines = evaluate.as_markdown(rows).splitlines()
    assert len(lines) == 6 and lines[3].startswith("| hard | ours | 1 | 1.000 | 0.000 |")


def test_the_product_counts_its_looks(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "random.pth")
    pictures = [noise(720, 1280), noise(96, 96)]
    looks = {}
    for fast in (False, True):
        product = evaluate.Product(tmp_path / "random.pth", fast)
        product.network = lambda batch: (
            np.zeros((1, len(prior_boxes(*batch.shape[2:])), size), np.float32) for size in (4, 2)
        )
        assert [product(picture).shape for picture in pictures] == [(0, 5)] * 2
        looks[fast] = product.looks
    assert looks == {False: [1, 1], True: [2, 1]}  # nothing found: once more, if large


def test_rows_of_pictures(tmp_path, monkeypatch):
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), noise())
    (tmp_path / "notes.txt").write_text("no picture")

    found = {
        ("theirs", False): boxes(TALL, SPURIOUS),
        ("ours", False): boxes(TALL),
        ("ours", True): boxes(SHIFTED),
    }

    class Product:
        looks = [2]

        def __init__(self, weights_fp, fast):
            self.found = found[weights_fp, fast]

        def __call__(self, picture):
            return self.found

    monkeypatch.setattr(evaluate, "Product", Product)
    rows = evaluate.on_pictures("theirs", "ours", [tmp_path])
    assert [row["picture"] for row in rows] == ["a.png", "b.png"]
    assert rows[0] == dict(
        picture="a.png", theirs=2, ours=1, worst_iou=1.0, fast=1, iou_of_fast=0.667, looks=2
    )


# Calibration


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])  # too careful, right, too bold
def test_calibrated_scores(net, threshold):
    """A score s becomes sigmoid(logit s - logit t): the threshold becomes 0.5, and boxes stay."""
    shifted = FaceBoxesNet()
    shifted.load_state_dict(calibrate.shift_scores(net.state_dict(), threshold))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inputs = 100 * torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (loc, old), (new_loc, new) = net(inputs), shifted.eval()(inputs)
    logit = torch.logit(old[0, :, 1]) - torch.logit(torch.tensor(threshold))
    torch.testing.assert_close(new[0, :, 1], torch.sigmoid(logit), atol=1e-5, rtol=1e-4)
    assert torch.equal(loc, new_loc)
    assert same_tensors(net.state_dict(), before)  # the input is unchanged
