"""FaceBoxes: priors, decoding, suppression, and the detector against the original's boxes."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from conftest import PICTURES, REPO, heavy_modules_after, noise, random_module
from hypothesis import given
from hypothesis import strategies as st

from FaceBoxes import FaceBoxes
from FaceBoxes.FaceBoxes import (
    CLEAR,
    DOUBTFUL,
    FIRST_FRAME,
    FULL_FRAME,
    MEAN_BGR,
    SURE,
    settled,
    shrink_factor,
)
from FaceBoxes.FaceBoxes_ONNX import FaceBoxes_ONNX
from FaceBoxes.utils.box_utils import decode, nms
from FaceBoxes.utils.prior_box import prior_boxes
from FaceBoxes.utils.timer import Timer
from utils.errors import UsageError


def slow_priors(height, width):
    """SPEC section 2, one prior at a time."""
    offsets = {32: (0, 0.25, 0.5, 0.75), 64: (0, 0.5)}
    priors = []
    for step, sizes in ((32, (32, 64, 128)), (64, (256,)), (128, (512,))):
        for row in range(-(-height // step)):
            for column in range(-(-width // step)):
                for size in sizes:
                    for y in offsets.get(size, (0.5,)):
                        for x in offsets.get(size, (0.5,)):
                            center = (column + x) * step / width, (row + y) * step / height
                            priors.append((*center, size / width, size / height))
    return np.array(priors)


@pytest.mark.parametrize(
    "height, width, count",
    [
        (128, 128, 16 * 21 + 4 + 1),  # whole cells
        (1, 1, 23),  # one cell of each scale
        (129, 97, 20 * 21 + 6 + 2),  # cells over the border
        (720, 1080, 23 * 34 * 21 + 12 * 17 + 6 * 9),  # the largest input
    ],
)
def test_priors(height, width, count):
    priors = prior_boxes(height, width)
    assert priors.dtype == np.float32
    assert priors.shape == (count, 4)
    np.testing.assert_allclose(priors, slow_priors(height, width), rtol=1e-6)


def test_priors_are_cached_and_read_only():
    assert prior_boxes(64, 96) is prior_boxes(64, 96)
    with pytest.raises(ValueError, match="read-only"):
        prior_boxes(64, 96)[0] = 0


def encode(boxes, priors):
    """The offsets whose `decode` gives `boxes`."""
    centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return np.concatenate(
        [(centers - priors[:, :2]) / (0.1 * priors[:, 2:]), np.log(sizes / priors[:, 2:]) / 0.2], 1
    )


def test_decode_inverts_encode():
    rng = np.random.default_rng(0)
    priors = prior_boxes(200, 300)
    low = rng.random((len(priors), 2))
    boxes = np.concatenate([low, low + 0.01 + rng.random((len(priors), 2))], axis=1)
    np.testing.assert_allclose(decode(encode(boxes, priors), priors), boxes, atol=1e-5)


def slow_nms(boxes, scores, threshold):
    """One pair at a time, areas counting both border pixels."""

    def area(x0, y0, x1, y1):
        return max(x1 - x0 + 1, 0) * max(y1 - y0 + 1, 0)

    def iou(a, b):
        both = area(*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:]))
        return both / (area(*a) + area(*b) - both)

    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j]) < threshold for j in kept):
            kept.append(i)
    return kept


@given(
    st.lists(
        st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(0, 9)] * 2, st.integers(0, 5)),
        max_size=25,
    ),
    st.sampled_from([0.1, 0.3, 0.5, 1.0]),
)
def test_nms_is_the_naive_loop(rows, threshold):
    rows = np.array(rows, np.float64).reshape(-1, 5)
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    kept = nms(boxes, rows[:, 4], threshold)
    assert kept.tolist() == slow_nms(boxes, rows[:, 4], threshold)


def test_network_has_the_published_tensors(torch, state_dicts):
    from FaceBoxes.models.faceboxes import FaceBoxesNet

    own = {
        name: list(tensor.shape)
        for name, tensor in FaceBoxesNet().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert own == state_dicts["faceboxes"]


@pytest.mark.parametrize("height, width", [(128, 160), (33, 70), (1, 1)])
def test_network_gives_one_row_per_prior(torch, height, width):
    from FaceBoxes.models.faceboxes import FaceBoxesNet

    with torch.no_grad():
        loc, conf = FaceBoxesNet().eval()(torch.zeros(2, 3, height, width))
    count = len(prior_boxes(height, width))
    assert loc.shape == (2, count, 4)
    assert conf.shape == (2, count, 2)
    np.testing.assert_allclose(conf.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("name", PICTURES)
def test_golden_boxes(detector, picture, golden, name):
    expected = golden(name)["boxes"]
    boxes = np.array(detector(picture(name)))
    assert boxes.shape == expected.shape
    np.testing.assert_allclose(boxes[:, :4], expected[:, :4], atol=0.05)
    np.testing.assert_allclose(boxes[:, 4], expected[:, 4], atol=1e-3)


def test_other_forms_of_a_picture(detector, picture):
    """Negative strides, grey and alpha give what the plain picture gives."""
    img = picture("JianzhuGuo")
    flipped = np.ascontiguousarray(img[:, ::-1])
    assert detector(flipped[:, ::-1]) == detector(img)
    assert detector(np.dstack([img, img[..., 0]])) == detector(img)
    grey = img[..., 1]
    assert detector(grey) == detector(np.dstack([grey] * 3)) != []


@pytest.mark.parametrize(
    "shape",
    [
        (300, 200, 3),  # nothing to see
        (1, 1, 3),  # one pixel
        (2, 4000, 3),  # shrinks to a row
        (4000, 2, 3),  # shrinks to a column
    ],
)
def test_no_face(detector, shape):
    assert detector(np.full(shape, 128, np.uint8)) == []


@pytest.fixture(scope="module")
def random_detector_fp(torch, tmp_path_factory):
    """Weights of a detector that sees faces everywhere."""
    from FaceBoxes.models.faceboxes import FaceBoxesNet

    path = tmp_path_factory.mktemp("detector") / "random.pth"
    module = random_module(torch, FaceBoxesNet, scale=64)
    torch.save(module.state_dict(), path)
    return path


def test_engines_agree_on_random_weights(random_detector_fp):
    img = noise(150, 210)
    by_onnx, by_torch = (
        np.array(FaceBoxes(weights_fp=random_detector_fp, engine=engine)(img))
        for engine in ("onnx", "torch")
    )
    assert len(by_onnx) > 0
    assert by_onnx.shape == by_torch.shape
    np.testing.assert_allclose(by_onnx, by_torch, rtol=1e-4, atol=0.05)
    assert (np.diff(by_onnx[:, 4]) <= 0).all()  # best first


OURS = REPO / "FaceBoxes" / "weights" / "reenact_faceboxes.onnx"


@pytest.mark.parametrize("height, width", [(720, 1280), (2000, 1000), (90, 120)])
def test_pictures_are_shrunk_to_the_frame(height, width):
    for frame in (FULL_FRAME, FIRST_FRAME):
        scale = shrink_factor((height, width, 3), frame)
        fitted = scale * height / frame[0], scale * width / frame[1]
        assert max(fitted) == pytest.approx(1) if scale < 1 else max(fitted) <= 1


def trace(score, height=2 * CLEAR):
    return [10, 10, 10 + height, 10 + height, score]


@pytest.mark.parametrize(
    "traces, scale, enough",
    [
        ([], 1, False),  # nothing found
        ([trace(SURE + 0.01)], 1, True),  # one sure face
        ([trace(SURE + 0.01), trace(SURE - 0.01)], 1, False),  # and one that is not sure
        ([trace(SURE + 0.01), trace(DOUBTFUL + 0.01)], 1, False),  # and a trace of one
        ([trace(0.99), trace(0.99, CLEAR - 1)], 1, False),  # a small one: there may be smaller
        ([trace(0.99, CLEAR + 1)], 0.5, False),  # small for the network, not in the picture
    ],
)
def test_what_a_first_look_settles(traces, scale, enough):
    assert settled(np.array(traces, np.float32).reshape(-1, 5), scale) == enough


class Seer:
    """A network that sees one face, of the given score for every width of its input."""

    def __init__(self, scores):
        self.scores, self.batches = scores, []

    def __call__(self, batch):
        self.batches.append(batch)
        priors = prior_boxes(*batch.shape[2:])
        conf = np.zeros((1, len(priors), 2), np.float32)
        conf[0, -1, 1] = self.scores[batch.shape[3]]
        return np.zeros((1, len(priors), 4), np.float32), conf


@pytest.mark.parametrize(
    "scores, fast, widths",
    [
        ({640: 0.9, 1080: 0.8}, True, [640]),  # sure at once
        ({640: 0.0, 1080: 0.8}, True, [640, 1080]),  # nothing
        ({640: 0.6, 1080: 0.8}, True, [640, 1080]),  # a doubtful find
        ({640: 0.3, 1080: 0.0}, True, [640, 1080]),  # a trace that turns out to be nothing
        ({640: 0.9, 1080: 0.8}, False, [1080]),  # not asked to be fast
    ],
)
def test_second_looks(scores, fast, widths):
    detector = FaceBoxes(weights_fp=OURS, fast=fast)
    detector.net = Seer(scores)
    img = noise(720, 1280)
    before = img.copy()
    boxes = detector(img)
    assert [batch.shape[3] for batch in detector.net.batches] == widths
    assert [box[4] for box in boxes] == pytest.approx([s for s in [scores[widths[-1]]] if s])
    if boxes:
        last = prior_boxes(*detector.net.batches[-1].shape[2:])[-1:]
        [corners] = decode(np.zeros((1, 4)), last) * (1280, 720, 1280, 720)
        np.testing.assert_allclose(boxes[0][:4], corners, rtol=2e-3)
    assert np.array_equal(img, before)


@pytest.mark.parametrize("score, found", [(0.9, 1), (0.4, 0)])
def test_a_glance_looks_but_once(score, found):
    detector = FaceBoxes(weights_fp=OURS)
    detector.net = Seer({640: score})
    boxes = detector.glance(noise(720, 1280))
    assert [batch.shape[3] for batch in detector.net.batches] == [640]
    assert len(boxes) == found and all(box[2] > 640 for box in boxes)  # of the whole picture


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("min_score, found", [(0.3, 1), (0.8, 0), (0.95, 0)])
def test_what_is_a_face_is_for_the_caller_to_say(fast, min_score, found):
    detector = FaceBoxes(weights_fp=OURS, fast=fast, min_score=min_score)
    detector.net = Seer({640: 0.92 if min_score > 0.9 else 0.0, 1080: 0.7})
    assert len(detector(noise(720, 1280))) == found


@pytest.mark.parametrize("min_score", [-0.1, 1.5, float("nan")])
def test_scores_are_shares(min_score):
    with pytest.raises(UsageError, match="min_score is .* from 0 to 1"):
        FaceBoxes(weights_fp=OURS, min_score=min_score)


@pytest.mark.parametrize("height, width", [(512, 512), (427, 640), (300, 200)])
def test_small_pictures_get_one_look_as_they_are(height, width):
    detector = FaceBoxes(weights_fp=OURS, fast=True)
    detector.net = Seer({width: 0.0})
    img = noise(height, width)
    assert detector(img) == []
    [batch] = detector.net.batches
    np.testing.assert_array_equal(batch[0], img.transpose(2, 0, 1) - MEAN_BGR[:, None, None])
    assert batch.dtype == np.float32 and batch.flags.c_contiguous


def test_one_look_at_the_full_size_is_the_default(detector):
    assert not detector.fast and not FaceBoxes(weights_fp=OURS).fast


def test_onnx_path_imports_no_torch(random_detector_fp):
    FaceBoxes(weights_fp=random_detector_fp, engine="onnx")  # exports, with torch
    program = (
        "import numpy as np\n"
        "from FaceBoxes.FaceBoxes_ONNX import FaceBoxes_ONNX\n"
        f"FaceBoxes_ONNX(weights_fp={str(random_detector_fp)!r})(np.zeros((64, 64, 3), np.uint8))"
    )
    assert heavy_modules_after(program) == "[]"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles_open_the_same_weights(random_detector_fp, copied):
    detector = FaceBoxes_ONNX(True, weights_fp=random_detector_fp, fast=True, min_score=0.3)
    again = copied(detector)
    assert (type(again), again.timer_flag, again.fast) == (FaceBoxes_ONNX, True, True)
    assert again.min_score == 0.3
    batch = np.ones((1, 3, 64, 64), np.float32)
    for ours, theirs in zip(again.net(batch), detector.net(batch)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("wanted", [True, False])
def test_the_time_is_shown_where_it_is_wanted(random_detector_fp, capsys, wanted):
    FaceBoxes(wanted, weights_fp=random_detector_fp)(noise())
    shown = re.fullmatch(r"FaceBoxes: \d+\.\d ms\n", capsys.readouterr().out)
    assert bool(shown) == wanted


def test_timer(monkeypatch):
    clock = iter([10.0, 11.0, 20.0, 23.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    timer = Timer()
    assert timer.average_time == 0
    timer.tic()
    assert timer.toc() == 1
    timer.tic()
    assert timer.toc(average=False) == 3
    assert (timer.average_time, timer.total_time, timer.calls) == (2, 4, 2)
    timer.clear()
    assert (timer.average_time, timer.calls) == (0, 0)
