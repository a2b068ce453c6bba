"""reenactment.Reenactor: arrays in, arrays out."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import REPO

from bfm.bfm import PROVISIONED_MODEL
from reenactment import Reenactor
from utils.errors import NoFaceError

INPUTS = REPO / "examples" / "inputs"


@pytest.fixture(scope="module")
def reenactor():
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    return Reenactor()


@pytest.fixture(scope="module")
def pictures():
    return [cv2.imread(str(INPUTS / name)) for name in ("astronaut.png", "grace_hopper.jpg")]


def test_the_readme_in_short(reenactor, pictures, capfd):
    smiling_img, calm_img = pictures
    (source,), (target,) = (reenactor.faces(img) for img in pictures)
    result = reenactor.transfer(source, target)
    assert np.array_equal(result.expression, source.expression)
    drawn = reenactor.render(calm_img, result, "3d")
    assert drawn.shape == calm_img.shape and (drawn != calm_img).any()
    assert reenactor.render(smiling_img, [source], "ply").startswith(b"ply")
    assert [ver.shape for ver in reenactor.vertices([source, target])] == [(3, 38514)] * 2
    assert [ver.shape for ver in reenactor.landmarks([source])] == [(3, 68)]
    assert capfd.readouterr() == ("", "")


def test_photos_leave_no_trace_in_what_is_drawn_or_copied_later(reenactor, pictures):
    smiling_img, calm_img = pictures
    (source,), (target,) = (reenactor.faces(img) for img in pictures)
    result = reenactor.transfer(source, target)
    options = {"targets": target, "source": (source, smiling_img)}
    photo = reenactor.render(calm_img, result, "photo", **options)
    reenactor.render(calm_img[:300, :300], result, "photo", **options)  # cut through the face
    assert np.array_equal(reenactor.render(calm_img, result, "photo", **options), photo)
    again = pickle.loads(pickle.dumps(reenactor))
    assert np.array_equal(again.render(calm_img, result, "photo", **options), photo)


def test_an_unknown_view(reenactor, pictures):
    with pytest.raises(ValueError, match="view: expected one of 3d, .* got 'poster'"):
        reenactor.render(pictures[0], [], "poster")


def test_a_small_face_in_a_long_picture_is_found(reenactor, pictures):
    long = np.full((512, 9000, 3), 90, np.uint8)
    long[:, 5000:5512] = pictures[0]
    (face,) = reenactor.faces(long)
    (alone,) = reenactor.faces(pictures[0])
    assert np.abs(np.subtract(face.roi_box, alone.roi_box) - [5000, 0, 5000, 0]).max() < 15


def test_faces_come_from_left_to_right_and_know_their_box(reenactor, pictures):
    smile, calm = pictures
    row = np.hstack([smile, smile[:, ::-1]])
    faces = reenactor.faces(row)
    lefts = [face.roi_box[0] for face in faces]
    assert len(lefts) == 2 and lefts == sorted(lefts)
    for face in faces:
        assert face.box is not None and face.box[4] > 0.5
        assert face.frame.size == (row.shape[1], row.shape[0])
    found = reenactor.find(row, "right-left")
    assert (found.numbers, found.total) == ((2,), 2)
    assert found.faces[0].roi_box == faces[1].roi_box


def test_gain_and_neutral(reenactor, pictures):
    (source,), (target,) = (reenactor.faces(img) for img in pictures)
    doubled = reenactor.transfer(source, target, gain=2)
    np.testing.assert_allclose(doubled.expression, 2 * source.expression, rtol=1e-6)
    still = reenactor.transfer(source, target, gain=2, neutral=source)
    assert np.array_equal(still.expression, target.expression)


def test_an_empty_picture(reenactor):
    sky = np.full((200, 300, 3), 200, np.uint8)
    assert reenactor.faces(sky) == []
    with pytest.raises(NoFaceError, match="no face found in the picture"):
        reenactor.find(sky)


def test_works_in_any_folder(reenactor, tmp_path):
    program = (
        "import cv2, sys; from reenactment import Reenactor; r = Reenactor();"
        "print(len(r.faces(cv2.imread(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(INPUTS / "astronaut.png")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True,
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
    assert not list(tmp_path.iterdir())


def test_a_picture_on_its_side_is_turned_where_nothing_is_found(reenactor, pictures, monkeypatch):
    smile, _ = pictures
    on_its_side = np.ascontiguousarray(np.rot90(smile, -1))
    detect = reenactor.detect
    only_upright = lambda img: detect(img) if np.array_equal(img, smile) else []  # noqa: E731
    monkeypatch.setattr(reenactor, "detect", only_upright)
    found = reenactor.find(on_its_side)
    assert (found.quarters, found.total) == (1, 1)
    (upright,), (turned,) = reenactor.faces(smile), found.faces
    assert np.array_equal(turned.expression, upright.expression)
    height = len(smile)
    x, y, _ = reenactor.landmarks([upright])[0]
    np.testing.assert_allclose(reenactor.landmarks([turned])[0][:2], [height - 1 - y, x], atol=0.01)


def test_uncertain_faces_are_refused(reenactor, pictures):
    found = reenactor.find(pictures[0])
    (face,) = found.faces
    assert face.confidence > 0.7
    found.check_sure(face.confidence, "a.png")
    with pytest.raises(NoFaceError, match=r"face 1 of a\.png is too uncertain"):
        found.check_sure(1.0, "a.png")


def test_a_photo_from_arrays(reenactor, pictures):
    smile, calm = pictures
    (source,), (target,) = (reenactor.faces(img) for img in pictures)
    result = reenactor.transfer(source, target)
    photo = reenactor.render(calm, result, "photo", targets=target, source=(source, smile))
    changed = np.argwhere((photo != calm).any(axis=2))
    x0, y0, x1, y1 = target.roi_box
    assert len(changed) > 5000
    assert (changed >= [y0 - 80, x0 - 80]).all() and (changed <= [y1 + 80, x1 + 80]).all()
    same = reenactor.render(calm, target, "photo", targets=target)
    assert np.array_equal(same, calm)
    with pytest.raises(ValueError, match="targets"):
        reenactor.render(calm, result, "photo")
    with pytest.raises(ValueError, match="expected 1"):
        reenactor.render(calm, result, "3d", targets=[target, target])
