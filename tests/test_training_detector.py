"""Training the detector: the loss, labels, scenes, schedule, comparison, calibration."""

from __future__ import annotations

import json
import tarfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can be trained")
pytest.importorskip("tqdm", reason="tqdm is not installed: the recipe shows progress with it")

from conftest import noise  # noqa: E402

from FaceBoxes.models.faceboxes import FaceBoxesNet  # noqa: E402
from FaceBoxes.utils.box_utils import decode  # noqa: E402
from FaceBoxes.utils.prior_box import prior_boxes  # noqa: E402
from training.detector import (  # noqa: E402
    calibrate,
    distillation,
    evaluate,  # noqa: E402
    train,
)
from training.detector import compose_scenes as compose  # noqa: E402
from training.detector.composition import Person  # noqa: E402
from training.detector.detection import Detector, match_boxes, pairwise_iou, to_input  # noqa: E402
from training.detector.label import boxes_of_view, consensus  # noqa: E402
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


def encode(wanted, priors):
    """Offsets (P, 4) that `decode` turns into boxes (P, 4), relative to the picture."""
    centre, size = (wanted[:, :2] + wanted[:, 2:]) / 2, wanted[:, 2:] - wanted[:, :2]
    shift = (centre - priors[:, :2]) / (0.1 * priors[:, 2:])
    return np.concatenate([shift, np.log(size / priors[:, 2:]) / 0.2], 1).astype(np.float32)


def test_detector_gives_the_boxes_of_a_perfect_network():
    """A network that outputs encoded faces: the detector gives them back, best first."""
    priors = prior_boxes(HEIGHT, WIDTH)
    halves = priors[:, 2:] / 2
    corners = np.concatenate([priors[:, :2] - halves, priors[:, :2] + halves], 1)
    iou = pairwise_iou(corners, FACES / FRAME)
    nearest, own = iou.argmax(1), iou.max(1) >= iou.max(0).min()
    offsets = encode((FACES / FRAME)[nearest], priors)
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
    losses = losses_of([0.0, -30.0], [0.0, 0.0])
    assert float(losses.scores) == pytest.approx(np.log(2)) and losses.boxes == losses.logits == 0


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


# Labels by consensus


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


@pytest.mark.parametrize(
    "views, faces, ignore",
    [
        ([boxes([0, 0, 10, 10])] * 2, [[0, 0, 10, 10]], []),  # seen in every view
        ([boxes([0, 0, 10, 10]), boxes([0, 0, 10, 12])], [[0, 0, 10, 11]], []),  # about there: mean
        ([boxes([0, 0, 10, 10]), boxes()], [], [[0, 0, 10, 10]]),  # one view misses it
        (
            [boxes([0, 0, 10, 10]), boxes([0, 0, 10, 10], score=0.4)],
            [],
            [[0, 0, 10, 10]],
        ),  # one view doubts it
        (
            [boxes([0, 0, 10, 10]), boxes([30, 0, 40, 10])],
            [],
            [[0, 0, 10, 10], [30, 0, 40, 10]],
        ),  # at different places
        ([boxes(), boxes()], [], []),  # nobody
    ],
)
def test_consensus_of_views(views, faces, ignore):
    assert consensus(views) == (faces, ignore)


# Scenes


def test_cuts_tile_the_side():
    rng = np.random.default_rng(0)
    counts = set()
    for _ in range(60):
        intervals = compose.cuts(rng, 100)
        counts.add(len(intervals))
        assert intervals[0][0] == 0 and intervals[-1][1] == 100
        assert all(a[1] == b[0] for a, b in zip(intervals, intervals[1:]))
        assert all(15 < stop - start <= 100 for start, stop in intervals)
    assert counts == {1, 2, 3}


def test_choice_follows_the_shares():
    rng = np.random.default_rng(0)
    drawn = [compose.choose(rng, (("a", 3.0), ("b", 1.0), ("never", 0.0))) for _ in range(800)]
    assert drawn.count("a") / 800 == pytest.approx(0.75, abs=0.05) and "never" not in drawn


@pytest.mark.parametrize(
    "new, covered, clear",
    [
        ([60, 60, 90, 90], [60, 60, 90, 90], True),  # apart
        ([20, 20, 50, 50], [20, 20, 50, 50], False),  # the faces overlap
        ([60, 60, 90, 90], [0, 0, 90, 90], False),  # the body hides the other face
        ([60, 60, 90, 90], [38, 38, 90, 90], True),  # the body covers a corner of it
    ],
)
def test_new_people_leave_the_faces_visible(new, covered, clear):
    mask = np.zeros((100, 100), np.float32)
    x1, y1, x2, y2 = covered
    mask[y1:y2, x1:x2] = 1
    there = [np.array([10.0, 10, 40, 40])]
    assert compose.placed_boxes_clear(np.array(new, float), mask, there) is clear


def test_added_person_is_where_its_box_is():
    """A red face on a black person on a green canvas: red pixels fill the box that is returned."""
    picture = np.zeros((120, 120, 3), np.uint8)
    picture[30:80, 40:80, 2] = 255
    person = Person(picture, np.ones((120, 120), np.float32), np.array([40.0, 30, 80, 80]))
    canvas = np.zeros((200, 200, 3), np.uint8)
    canvas[..., 1] = 120
    before = canvas.copy()
    for seed in range(3):
        shown, box = compose.add_person(np.random.default_rng(seed), canvas, person, 60.0, [])
        red = shown[..., 2].astype(float) > 60
        y, x = np.nonzero(red)
        assert box[3] - box[1] == pytest.approx(60)
        inside = (box > 0).all() and (box < 200).all()
        if inside:  # the box is upright, the face may be tilted by some degrees
            np.testing.assert_allclose([x.mean(), y.mean()], (box[:2] + box[2:]) / 2, atol=2.5)
    assert np.array_equal(canvas, before)


def test_no_room_leaves_the_canvas_alone():
    person = Person(noise(), np.ones((90, 120), np.float32), np.array([40.0, 20, 80, 70]))
    canvas = noise(100, 100)
    everywhere = [np.array([0.0, 0, 100, 100])]
    shown, box = compose.add_person(np.random.default_rng(0), canvas, person, 30.0, everywhere)
    assert shown is canvas and box is None


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            add_bytes(tar, name, content)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """One picture with a face in each set of people, and two scenes: without and with a face."""
    folder, labels, masks = tmp_path_factory.mktemp("library"), {}, {}
    for name in ("portraits", "lfw_imfdb", "utkface", "scenes"):
        labels[f"{name}/val/0.webp"] = {"faces": [[40, 20, 80, 70]], "ignore": []}
        labels[f"{name}/val/1.webp"] = {"faces": [], "ignore": []}
        pictures = {
            f"val/{i}.webp": cv2.imencode(".webp", noise(seed=i))[1].tobytes() for i in range(2)
        }
        write_tar(folder / f"{name}.tar", pictures)
        if name != "scenes":
            masks[f"{name}/val/0.png"] = cv2.imencode(".png", np.full((90, 120), 255))[1].tobytes()
    write_tar(folder / "masks.tar", masks)
    (folder / "faces.json").write_text(json.dumps(labels))
    return compose.Library(folder, folder / "faces.json", folder / "masks.tar", "val")


@pytest.mark.parametrize("kind", compose.KINDS)
@pytest.mark.parametrize("size", [(96, 96), (160, 90)])  # square, wide
def test_scenes_have_their_size(library, kind, size):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        picture, put = compose.KINDS[kind](rng, library, compose.ComposeConfig(), size)
        assert picture.shape == (*size[::-1], 3) and picture.dtype == np.uint8
        for x1, y1, x2, y2, visible in put:
            assert 0 <= x1 <= x2 <= size[0] and 0 <= y1 <= y2 <= size[1] and 0 <= visible <= 1
    assert (kind == "empty") == (not put)


def test_wide_scenes_are_used_to_their_edges(library):
    cfg, reach = compose.ComposeConfig(face_heights=(10, 20)), []
    for seed in range(8):
        _, put = compose.composite(np.random.default_rng(seed), library, cfg, (400, 100))
        reach += [box[2] for box in put]
    assert max(reach) > 300


@pytest.mark.parametrize("text, size", [("448", (448, 448)), ("1280x720", (1280, 720))])
def test_sizes_are_squares_or_both_sides(text, size):
    assert compose.parse_size(text) == size


def test_the_label_of_a_scene():
    """What is all but gone was not put there."""
    found = boxes([12, 10, 60, 62])
    put = [[10, 10, 60, 60, 1.0], [70, 10, 90, 60, 0.05]]
    label = compose.label_scene(lambda picture, min_score: found, noise(), put)
    assert label == {"put": put[:1], "found": found.tolist()}


# Training


def scene_tar(folder, name, kind="composite", size=96):
    """A shard of two scenes with one face each, the second without anything found."""
    put = [[20, 20, 70, 70, 1.0]]
    labels = {
        "000000.jpg": {"put": put, "kind": kind, "found": [[20, 20, 70, 70, 0.9]]},
        "000001.jpg": {"put": put, "kind": kind, "found": []},
    }
    with tarfile.open(folder / name, "w") as tar:
        for i, file in enumerate(labels):
            encoded = cv2.imencode(".jpg", noise(size, size, seed=i))[1]
            add_bytes(tar, file, encoded.tobytes())
        add_bytes(tar, "labels.json", json.dumps(labels).encode())


THERE, ELSEWHERE = [10, 10, 60, 60], [100, 10, 150, 60]


@pytest.mark.parametrize(
    "put, found, kind, expected",
    [
        ([THERE], [[12, 10, 60, 62]], "composite", []),  # in its own framing
        ([THERE], [], "composite", [THERE]),  # missed
        ([], [THERE], "empty", [THERE]),  # nobody put it there
        ([], [THERE], "real", []),  # the same in a real picture
        ([THERE, ELSEWHERE], [ELSEWHERE], "real", [THERE]),  # one missed
        ([THERE], [ELSEWHERE], "collage", [THERE, ELSEWHERE]),  # missed, and found elsewhere
        ([], [], "empty", []),  # nothing
    ],
)
def test_disputed_places(put, found, kind, expected):
    label = {"put": boxes(*put).tolist(), "found": boxes(*found).tolist(), "kind": kind}
    areas = train.disputed(label)
    assert areas.tolist() == expected and areas.shape == (len(expected), 4)


class Still:
    """A random generator for `augment`: mirror or not, corner of the part, tone of strength 0.

    Its logarithmic zoom is in the middle of the range.
    """

    def __init__(self, mirrored, corner):
        self.random = lambda: 0.1 if mirrored else 0.9
        self.integers = lambda high, size: np.array(corner)
        self.uniform = lambda low, high: 0.0 if low == 0 else (low + high) / 2
        self.normal = np.random.default_rng(0).normal


@pytest.mark.parametrize("mirrored", [False, True])  # as it is, mirrored
@pytest.mark.parametrize(
    "side, zoom",
    [
        (80, (1.0, 1.0)),  # cut out
        (120, (1.5, 1.5)),  # cut out and enlarged
        (40, (0.5, 0.5)),  # cut out and shrunk
        (192, (0.1, 0.1)),  # all there is, enlarged
    ],
)
def test_areas_stay_on_their_pixels(mirrored, side, zoom):
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[20:60, 30:50] = 255
    areas = np.array([[30, 20, 50, 60]])
    corner = (0, 0) if side == 192 else (8, 12)
    shown, moved = train.augment(Still(mirrored, corner), picture, areas, side, zoom)
    y, x = np.nonzero(shown[..., 0] > 127)
    np.testing.assert_allclose(moved, [[x.min(), y.min(), x.max() + 1, y.max() + 1]], atol=1)
    assert shown.shape == (side, side, 3)


def test_mirroring_boxes_twice_is_the_identity():
    once = train.mirror(FACES, 256)
    assert np.array_equal(train.mirror(once, 256), FACES)
    np.testing.assert_allclose(once[0], [196, 30, 236, 80])


def test_batches_of_scenes(tmp_path):
    scene_tar(tmp_path, "train_96_000.tar")
    cfg = train.TrainConfig(sides=(64,), batch_pixels=2 * 64 * 64)
    scenes = train.Scenes(tmp_path, cfg, seed=0)
    stream = iter(scenes)
    pictures, counts = next(stream)
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == torch.uint8
    assert counts.shape == (2, len(prior_boxes(64, 64))) and counts.dtype == torch.bool
    assert sorted(counts.all(1).tolist()) == [False, True]  # the face that was missed is disputed
    scene_tar(tmp_path, "train_96_001.tar")  # appears while training
    next(stream)
    assert len(scenes.scenes) == 4


def test_training_without_scenes_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no train_"):
        next(iter(train.Scenes(tmp_path, train.TrainConfig(), 0)))


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
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return torch.from_numpy(pictures), torch.ones(2, len(prior_boxes(64, 64)), dtype=torch.bool)


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_resumed_run_goes_on_as_if_never_stopped(net, tmp_path):
    cfg = train.TrainConfig(warmup_steps=2)
    run = train.Run(cfg, tmp_path, "cpu", net)
    run.net.train()
    run.learn(random_batch(0), 0.1)
    run.elapsed = 12.5
    run.save()
    resumed = train.Run(cfg, tmp_path, "cpu", net)
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
    cfg = train.TrainConfig(seed=5)
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
    cfg = train.TrainConfig(seed=1, warmup_steps=1)
    run = train.Run(cfg, tmp_path, "cpu", net)
    run.net.train()
    first, *_, last = (run.learn(random_batch(0), 0.0) for _ in range(12))
    assert last.scores < 0.5 * first.scores and last.boxes < first.boxes
    assert run.averaged.steps == run.step == 12


def test_log_has_one_header(tmp_path, capsys):
    for row in ({"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}):
        train.append_log(tmp_path / "log.csv", row)
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss", "1,0.5", "2,0.25"]
    assert "step=2 loss=0.25" in capsys.readouterr().out


# Comparison


TALL, SMALL, SPURIOUS = [0, 0, 50, 50], [100, 0, 130, 30], [200, 200, 260, 260]
SHIFTED = [0, 10, 50, 60]  # IoU 2/3 with TALL


@pytest.mark.parametrize(
    "theirs, ours, expected",
    [
        ([TALL, SMALL], [TALL, SMALL], (1, 1, 0, 0, [1.0])),  # alike; the small one is not asked
        ([TALL], [SHIFTED], (1, 1, 0, 0, [2 / 3])),  # framed differently
        ([TALL], [], (1, 0, 0, 0, [])),  # missed
        ([], [TALL], (0, 0, 0, 0, [])),  # a known face that only ours finds
        ([TALL], [TALL, SPURIOUS], (1, 1, 1, 0, [1.0])),  # false alarm of ours
        ([TALL, SPURIOUS], [TALL], (2, 1, 0, 1, [1.0])),  # of theirs
        ([], [], (0, 0, 0, 0, [])),  # nothing
    ],
)
def test_compare_counts(theirs, ours, expected):
    counts = evaluate.Counts()
    evaluate.compare(boxes(*theirs), boxes(*ours), np.array([TALL, SMALL], float), counts)
    found = (counts.reference, counts.recalled, counts.false_ours, counts.false_theirs)
    assert (counts.pictures, *found) == (1, *expected[:4])
    assert counts.ious == pytest.approx(expected[4])


def test_summary_is_of_all_pictures():
    counts = evaluate.Counts()
    for ours in ([TALL], [SHIFTED, SPURIOUS], [], [SPURIOUS]):
        evaluate.compare(boxes(TALL), boxes(*ours), np.array([TALL], float), counts)
    assert counts.summary() == {
        "pictures": 4,
        "faces": 4,
        "recall": 0.5,
        "mean_iou": round((1 + 2 / 3) / 2, 4),
        "false_ours": 0.5,
        "false_theirs": 0,
    }
    assert evaluate.Counts().summary()["recall"] == 0  # no division by zero


def test_held_out_scenes_are_compared_by_kind(tmp_path):
    scene_tar(tmp_path, "val_96_000.tar", "composite")
    scene_tar(tmp_path, "val_96_001.tar", "collage")
    scenes = evaluate.load_scenes(tmp_path)
    assert len(scenes) == 4 and scenes[0][0].shape == (96, 96, 3)
    assert [label["found"].shape for _, label in scenes] == [(1, 5), (0, 5)] * 2
    tables = evaluate.on_scenes(lambda picture: boxes([20, 20, 70, 70]), scenes)
    assert {name: c.pictures for name, c in tables.items()} == dict(all=4, composite=2, collage=2)
    assert tables["all"].summary()["recall"] == 1 and tables["all"].false_ours == 0


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


def test_frames_compare_all_three(tmp_path):
    scene_tar(tmp_path, "val_96_000.tar")
    theirs, full, fast = boxes(TALL), boxes(TALL, SPURIOUS), boxes(SHIFTED)
    tables = evaluate.on_frames(
        lambda p: theirs, lambda p: full, lambda p: fast, evaluate.load_scenes(tmp_path)
    )
    ious = {name: counts.summary()["mean_iou"] for name, counts in tables.items()}
    assert ious == pytest.approx(
        {"full size": 1, "fast": 2 / 3, "fast against full size": 2 / 3}, abs=1e-4
    )
    assert [counts.reference for counts in tables.values()] == [2, 2, 4]  # in two pictures


def test_rows_of_pictures(tmp_path):
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), noise())
    (tmp_path / "notes.txt").write_text("no picture")

    class Fast:
        looks = [2]

        def __call__(self, picture):
            return boxes(SHIFTED)

    rows = evaluate.on_pictures(
        lambda p: boxes(TALL, SPURIOUS), lambda p: boxes(TALL), Fast(), [tmp_path]
    )
    assert [row["picture"] for row in rows] == ["a.png", "b.png"]
    assert rows[0] == dict(
        picture="a.png", theirs=2, ours=1, worst_iou=1.0, fast=1, iou_of_fast=0.667, looks=2
    )


# Calibration


def test_collected_finds():
    """A tall face that the original finds, too, one that it does not, a small one, a false one."""
    theirs = boxes(TALL, SMALL)
    label = {"found": theirs, "put": np.array([[*TALL, 1], [*SMALL, 1], [300, 0, 350, 50, 1.0]])}
    ours = boxes(SHIFTED, [300, 0, 350, 50], SMALL, SPURIOUS)
    ours[:, 4] = 0.9, 0.8, 0.7, 0.6
    finds, faces, false_theirs = calibrate.collect(lambda *_: ours, [(noise(), label)] * 2)
    np.testing.assert_allclose(finds, [[0.9, 1, 0], [0.8, 0, 0], [0.7, 0, 0], [0.6, 0, 1]] * 2)
    assert (faces, false_theirs) == (2, 0)
    assert calibrate.collect(lambda *_: ours, [])[0].shape == (0, 3)


@pytest.mark.parametrize(
    "faces, threshold",
    [
        (25, 0.79),  # the 24th of 25 faces has the score 0.8
        (10, 0.89),  # ten are found at once
        (30, 0.1),  # never enough: the lowest
    ],
)
def test_threshold_finds_enough(faces, threshold):
    scores = np.array([0.9] * 20 + [0.8] * 4 + [0.3] * 2)
    finds = np.column_stack([scores, np.ones(26), np.zeros(26)])
    finds = np.concatenate([finds, [[0.95, 0, 1]]])  # a false box buys nothing
    assert calibrate.choose_threshold(finds, faces) == pytest.approx(threshold, abs=0.0101)


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


# Masks of people: the module needs mediapipe, of which nothing is used here


@pytest.fixture
def segment(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace())
    monkeypatch.delitem(sys.modules, "training.detector.segment_people", raising=False)
    import training.detector.segment_people as module

    yield module
    sys.modules.pop("training.detector.segment_people", None)


def test_person_mask_is_the_larger_opinion(segment):
    class Segmenter:
        def process(self, picture):
            tight = picture.shape == (40, 60, 3)
            mask = np.full(picture.shape[:2], 0.2 if tight else 0.4, np.float32)
            if tight:
                mask[:10] = 0.9
            return SimpleNamespace(segmentation_mask=mask)

    mask = segment.person_mask(Segmenter(), noise(40, 60))
    assert mask.shape == (40, 60) and mask.dtype == np.uint8
    assert (mask[:10] == int(0.9 * 255)).all() and (mask[10:] == int(0.4 * 255)).all()


@pytest.mark.parametrize(
    "box, covered",
    [
        ([20, 20, 60, 60], True),  # on the person
        ([20, 60, 60, 100], False),  # half beside it
        ([-20, 20, 30, 60], True),  # reaching out of the picture
        ([50, 50, 50, 50], False),  # empty
    ],
)
def test_mask_covers_the_face(segment, box, covered):
    mask = np.zeros((100, 100), np.uint8)
    mask[:80] = 255
    assert bool(segment.covers_face(mask, box)) is covered
