"""What ships has to work on its own: our detector, regressors, lids and brows on our pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import REPO

from bfm.bfm import LID_COLUMNS, PROVISIONED_MODEL
from bfm.provision import BROWS
from FaceBoxes import FaceBoxes
from models.sessions import open_session
from reenactment.linking import UNLIKE, apartness
from reenactment.reenactor import DEFAULT_CONFIG
from TDDFA import TDDFA
from utils.config import load_config
from utils.image import read_image
from utils.io import load_arrays
from utils.pose import calc_pose

FAST_CONFIG = REPO / "configs" / "reenact_mb05_120x120.yml"
RIGHT_EYE, LEFT_EYE = (37, 41, 36, 39), (44, 46, 42, 45)  # upper, lower lid, corners
MOUTH = (62, 66, 60, 64)  # upper, lower inner lip, corners


def opening(landmarks, feature):
    """Height over width of an eye or the mouth in landmarks (3, 68)."""
    upper, lower, outer, inner = (landmarks[:2, i] for i in feature)
    return np.linalg.norm(upper - lower) / np.linalg.norm(outer - inner)


@pytest.fixture(scope="module", params=[DEFAULT_CONFIG, FAST_CONFIG], ids=["default", "fast"])
def config(request):
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return load_config(request.param)


@pytest.fixture(scope="module")
def tddfa(config):
    return TDDFA(**config)


@pytest.fixture(scope="module")
def detector(config):
    return FaceBoxes(weights_fp=config["detector_fp"])


def example(name):
    return read_image(REPO / "examples" / "inputs" / name)


def regress(tddfa, detector, img):
    """The parameters and landmarks of the best face."""
    params, rois = tddfa(img, detector(img)[:1])
    return params[0], tddfa.recon_vers(params, rois)[0]


@pytest.mark.parametrize(
    ("name", "eyes"),
    [
        ("astronaut.png", ((204, 103), (246, 105))),  # right and left eye, pixels
        ("grace_hopper.jpg", ((224, 193), (306, 191))),  # glasses, and a cap above
    ],
)
def test_one_face_with_its_eyes_in_place(tddfa, detector, name, eyes):
    img = example(name)
    boxes = detector(img)
    assert len(boxes) == 1
    landmarks = tddfa.recon_vers(*tddfa(img, boxes))[0]
    width = np.ptp(landmarks[0])
    for place, feature in zip(eyes, (range(36, 42), range(42, 48))):
        center = landmarks[:2, list(feature)].mean(axis=1)
        assert np.linalg.norm(center - place) < 0.08 * width


def test_an_open_mouth_is_told_from_a_shut_one(tddfa, detector):
    smile, calm = (
        opening(regress(tddfa, detector, example(name))[1], MOUTH)
        for name in ("astronaut.png", "grace_hopper.jpg")
    )
    assert smile > calm + 0.05


@pytest.mark.parametrize("angle", [-30, -15, 15, 30])
def test_roll_follows_the_picture(tddfa, detector, angle):
    img = example("astronaut.png")
    box = detector(img)[0]
    center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    turned = cv2.warpAffine(img, cv2.getRotationMatrix2D(center, angle, 1), img.shape[1::-1])
    rolls = [calc_pose(tddfa(picture, [box])[0][0])[1][2] for picture in (img, turned)]
    assert rolls[1] - rolls[0] == pytest.approx(angle, abs=6)


def test_eyelid_directions_shut_one_eye_each(tddfa):
    mean = tddfa.bfm.u_base[:, 0]
    for column, (shut, other) in ((10, (RIGHT_EYE, LEFT_EYE)), (11, (LEFT_EYE, RIGHT_EYE))):
        moved = mean + tddfa.bfm.w_exp_base[:, column]
        before, after = mean.reshape(-1, 3).T, moved.reshape(-1, 3).T
        assert opening(after, shut) < 0.25 * opening(before, shut)
        assert opening(after, other) == pytest.approx(opening(before, other))


@pytest.mark.parametrize(
    ("column", "raised"),
    [
        (12, [21, 20]),  # inner half of the right brow, from its inner end
        (13, [22, 23]),
        (14, [18, 19]),  # outer half of the right one
        (15, [25, 24]),
    ],
)
def test_brow_directions_raise_one_half_each(tddfa, column, raised):
    rise = tddfa.bfm.w_exp_base[:, column].reshape(68, 3)[:, 1]
    half, other = rise[raised].min(), np.delete(rise, range(17, 27))
    own = range(17, 22) if raised[0] < 22 else range(22, 27)
    elsewhere = np.delete(rise[17:27], np.array(own) - 17)
    assert half > 2000 > 1000 > np.abs(elsewhere).max()  # µm
    assert np.abs(other).max() < 500 and rise[own].argmax() in np.array(raised) - own[0]


def test_brows_are_what_the_scores_say(tddfa, config):
    numbers, brows = load_arrays(REPO / config["param_mean_std_fp"]), load_arrays(BROWS)
    session = open_session(REPO / config["onnx_fp"])
    crops = np.random.default_rng(0).uniform(-1, 1, (4, 3, 120, 120)).astype(np.float32)
    params, scores, _ = session.run(None, {session.get_inputs()[0].name: crops})
    told = scores * numbers["score_std"] + numbers["score_mean"]
    rows = [tddfa.scores.names.index(str(name)) for name in brows["names"]]
    found = tddfa.layout.split(params * numbers["std"] + numbers["mean"]).expression
    found, expected = found[:, LID_COLUMNS.stop :], told[:, rows] @ brows["mix"]
    np.testing.assert_allclose(found, expected, atol=0.01)  # rounded weights


def test_engines_agree(config):
    pytest.importorskip("torch", reason="torch is not installed: no .pth can be read")
    img = example("astronaut.png")
    boxes, params = [], []
    for engine in ("onnx", "torch"):
        boxes.append(FaceBoxes(weights_fp=config["detector_fp"], engine=engine)(img))
        params.append(TDDFA(**{**config, "engine": engine})(img, boxes[0][:1])[0][0])
    np.testing.assert_allclose(*boxes, atol=0.05)
    np.testing.assert_allclose(*params, rtol=1e-3, atol=1e-3)


def test_scores_see_a_smile_and_an_open_mouth(tddfa, detector):
    smile, calm = (
        dict(zip(tddfa.scores.names, tddfa.regress(img, detector(img)[:1]).scores[0]))
        for img in (example("astronaut.png"), example("grace_hopper.jpg"))
    )
    for name in ("mouthSmileLeft", "mouthSmileRight"):
        assert smile[name] > 0.5 > calm[name]


def test_scores_say_how_far_they_are_to_be_trusted(tddfa, detector):
    scores = tddfa.scores
    assert len(set(scores.names)) == 52 and "tongueOut" in scores.names
    taught = scores.std > 0
    assert 40 <= taught.sum() < 52 and not scores.mean[~taught].any()
    assert (scores.reliability[~taught] == 0).all() and scores.reliability.max() <= 1
    img = example("astronaut.png")
    told = tddfa.regress(img, detector(img)).scores[0]
    assert not told[~taught].any() and told[taught].any()


def test_faces_are_believed_and_other_things_are_not(tddfa, detector):
    for name in ("astronaut.png", "grace_hopper.jpg"):
        img = example(name)
        box = detector(img)[0][:4]
        side = box[2] - box[0]
        corners = [(0, 0), (0, img.shape[0] - side)]  # flag and shuttle, badges and cloth
        things = [[x, y, x + side, y + side] for x, y in corners]
        error = tddfa.regress(img, [box, *things]).error
        assert error[0] < 4 < 8 < error[1:].min()


def test_a_mirrored_picture_looks_the_other_way(tddfa, detector):
    img = example("astronaut.png")
    left, top, right, bottom = detector(img)[0][:4]
    width = img.shape[1] - 1
    there = tddfa(img, [[left, top, right, bottom]])[0][0]
    back = tddfa(img[:, ::-1], [[width - right, top, width - left, bottom]])[0][0]
    yaws = [calc_pose(param)[1][0] for param in (there, back)]
    assert yaws[0] + yaws[1] == pytest.approx(0, abs=6)


@pytest.mark.parametrize("config", [DEFAULT_CONFIG], ids=["default"], indirect=True)
def test_who_is_who(tddfa, detector):
    """Six people, and each of them blurred and in half the light."""
    names = ["astronaut.png", "grace_hopper.jpg", "mona_lisa.jpg", "lady_agnew.jpg",
             "girl_with_a_pearl_earring.jpg", "la_velata.jpg"]  # fmt: skip
    seen = []
    for img in map(example, names):
        looks = img, np.uint8(cv2.GaussianBlur(img, (0, 0), 1.5) * 0.5)
        params = [tddfa(look, detector(look)[:1])[0][0] for look in looks]
        seen.append([tddfa.layout.split(param).shape @ tddfa.likeness for param in params])
    first, again = np.array(seen).transpose(1, 0, 2)
    unlike = np.stack([apartness(first - look) for look in again])
    assert unlike.argmin(axis=1).tolist() == list(range(len(names)))
    assert unlike.diagonal().max() < UNLIKE
