"""reenactment.smoothing: what trembles and what moves, on tracks made up of our model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPO

from bfm import BFMModel, FaceParams
from bfm.bfm import LID_COLUMNS, PROVISIONED_MODEL
from bfm.sliders import Sliders
from reenactment.faces import Face, FrameInfo
from reenactment.openings import MIDDLE_COLUMNS, Openings
from reenactment.smoothing import Smoother
from reenactment.track import Track
from utils.errors import UsageError

RATE = 25.0
FRAMES = 100
EXP_DIM = Sliders.load().rest.shape[1]


@cache
def model():
    """What a `Reenactor` has of it."""
    if not (REPO / PROVISIONED_MODEL).is_file():
        pytest.skip(f"no {PROVISIONED_MODEL}: run `python -m bfm.provision`")
    bfm = BFMModel(REPO / PROVISIONED_MODEL, 40, EXP_DIM)
    spread = FaceParams(np.ones((3, 4)), np.full(40, 3e5), np.ones(EXP_DIM))
    return SimpleNamespace(
        tddfa=SimpleNamespace(bfm=bfm, size=120, spread=spread),
        openings=Openings(bfm, Sliders.load().rest),
    )


def make_track(x=None, blink=None, jaw=None, noise=0.0, times=None):
    """A face 300 pixels high, somewhere in a picture.

    x (T,) : how far it has moved, pixels; blink (T,) : lids' coefficients; jaw (T,) : how open.
    noise : of the pose, pixels of the frame.
    """
    rng, still = np.random.default_rng(0), np.zeros(FRAMES)
    x, blink, jaw = (still if v is None else np.asarray(v) for v in (x, blink, jaw))
    times = np.arange(FRAMES) / RATE if times is None else times
    sliders, faces = Sliders.load(), []
    for k, seconds in enumerate(times):
        trembling = rng.normal(0, noise, 2)
        # the crop goes where the face does, and the pose in it says where that really is
        corner = np.array([200 + x[k], 150]) + rng.normal(0, 2, 2)
        place = (np.array([350 + x[k], 300]) + trembling - corner) / 2.5
        pose = np.float32([[6e-4, 0, 0, place[0]], [0, 6e-4, 0, 120 - place[1]], [0, 0, 6e-4, 0]])
        rows = sliders.rest + sliders.rows({"jawOpen": float(jaw[k])})
        rows[:, LID_COLUMNS] += blink[k]
        shape = rng.normal(0, 1e4, 40)
        faces.append(Face(FrameInfo("a.mp4", (900, 700), k, float(seconds)),
                          [*corner, *(corner + 300)], pose, np.float32(shape), np.float32(rows),
                          scores=np.full(52, rng.uniform(0.47, 0.53), np.float32), track=1))
    return Track.of(faces, 1, FRAMES / RATE)


def smoothed(track, kind, amount=0.5):
    smoother = Smoother(model(), amount)
    if kind == "offline":
        return smoother.track(track)
    return Track.of([smoother(track[k]) for k in range(len(track))], 1, track.duration)


def centers(track):
    """Where the model's origin is in the frame, (T, 2) pixels."""
    scale = track.sides / 120
    x = track.roi_boxes[:, 0] + scale * (track.poses[:, 0, 3] - 1)
    y = track.roi_boxes[:, 1] + scale * (120 - track.poses[:, 1, 3])
    return np.stack([x, y], axis=1)


both = pytest.mark.parametrize("kind", ["offline", "live"])


@both
def test_nothing_is_changed_by_an_amount_of_zero(kind):
    raw = make_track(noise=1)
    same = smoothed(raw, kind, 0.0)
    for name in ("poses", "shapes", "expressions", "scores", "roi_boxes"):
        np.testing.assert_array_equal(getattr(same, name), getattr(raw, name))


@both
def test_an_amount_of_one_takes_all_motion_out(kind):
    smooth = smoothed(make_track(noise=1), kind, 1.0)
    assert np.ptp(smooth.poses[..., :3], axis=0).max() < 1e-6 * smooth.poses.max()
    assert np.isfinite(smooth.poses).all() and np.isfinite(smooth.expressions).all()


@both
def test_a_still_face_that_is_sure_stays_where_it_is(kind):
    raw = make_track()
    smooth = smoothed(raw, kind)
    np.testing.assert_allclose(centers(smooth), centers(raw), atol=0.02)
    np.testing.assert_allclose(smooth.poses[..., :3], raw.poses[..., :3], rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(smooth.roi_boxes, raw.roi_boxes)


@both
def test_trembling_is_a_third_at_most(kind):
    raw = make_track(noise=0.4)
    smooth = smoothed(raw, kind)
    assert centers(smooth)[25:].std(axis=0).max() < centers(raw)[25:].std(axis=0).max() / 3
    assert smooth.scores[25:].std() < raw.scores[25:].std() / 2


@both
def test_every_coefficient_trembles_less(kind):
    """Those beyond the lids', too."""
    raw = make_track()
    trembling = np.random.default_rng(1).normal(0, 0.02, raw.expressions.shape)
    raw = replace(raw, expressions=raw.expressions + np.float32(trembling))
    smooth = smoothed(raw, kind)
    spread = [track.expressions[25:].std(axis=(0, 1)) for track in (raw, smooth)]
    assert (spread[1] < 0.8 * spread[0]).all()


@pytest.mark.parametrize(("kind", "most"), [("offline", 0.1), ("live", 1.0)])
def test_a_moving_face_lags_by_at_most_a_frame(kind, most):
    """Up to 0.4 faces a second, back and forth."""
    seconds = np.arange(FRAMES) / RATE
    swing = 40 * np.sin(2 * np.pi * seconds / 2)
    truth = centers(make_track(x=swing))[:, 0]
    smooth = centers(smoothed(make_track(x=swing, noise=0.3), kind))[:, 0]
    lags = np.arange(0, 3, 0.05)
    misses = [np.square(np.interp(seconds - lag / RATE, seconds, truth) - smooth)[20:].sum()
              for lag in lags]
    assert lags[int(np.argmin(misses))] <= most


@both
@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_blinks_keep_their_depth(kind, length):
    """However short: all but 0.04 of the eye's opening."""
    blink = np.zeros(FRAMES)
    blink[50 : 50 + length] = 1.0
    raw = make_track(blink=blink)
    smooth = smoothed(raw, kind)
    opened = model().openings.eyes(raw[40])
    depth = opened - np.min([model().openings.eyes(smooth[k]) for k in range(48, 62)], axis=0)
    assert (depth > 0.9 * (opened - model().openings.eyes(raw[50]))).all()


@both
def test_lids_that_all_but_shut_are_shut(kind):
    eyes, usual = model().openings.eyes, model().openings.eyes(make_track()[0])
    coefficient = 0.7 * usual / (usual - eyes(make_track(blink=np.ones(FRAMES))[0]))
    blink = np.zeros(FRAMES)
    blink[50:53] = coefficient.mean()
    raw = make_track(blink=blink)
    assert (eyes(raw[51]) > 0.25 * usual).all()
    smooth = smoothed(raw, kind)
    assert (eyes(smooth[51]) < 0.06).all()
    np.testing.assert_allclose(eyes(smooth[40]), usual, atol=0.05)


@both
def test_the_lips_of_a_plosive_close(kind):
    jaw = np.full(FRAMES, 0.5)
    jaw[50:52] = 0.0
    raw = make_track(jaw=jaw)
    gaps = [
        [model().openings.lips(track[k])[MIDDLE_COLUMNS].mean() for k in (40, 50, 51)]
        for track in (raw, smoothed(raw, kind))
    ]
    assert gaps[0][0] > 5
    np.testing.assert_allclose(gaps[1], gaps[0], atol=0.5)


@both
def test_a_person_has_one_shape(kind):
    raw = make_track()
    shapes = smoothed(raw, kind).shapes
    truth_spread = raw.shapes.std(axis=0).max()
    assert np.abs(shapes[60:]).max() < truth_spread / 2
    if kind == "offline":
        assert np.ptp(shapes, axis=0).max() == 0


@both
@pytest.mark.parametrize("anew", ["gap", "jump"])
def test_what_was_before_a_gap_or_a_cut_does_not_drag(kind, anew):
    times = np.arange(FRAMES) / RATE + (np.arange(FRAMES) >= 50) * (anew == "gap")
    x = 250.0 * (np.arange(FRAMES) >= 50)
    raw = make_track(x=x, times=times)
    np.testing.assert_allclose(centers(smoothed(raw, kind)), centers(raw), atol=0.02)


def test_people_are_smoothed_apart():
    one, other = make_track(noise=0.5), make_track(x=np.full(FRAMES, 300.0))
    smoother, alone = Smoother(model()), Smoother(model())
    for k in range(20):
        mixed = smoother(one[k])
        smoother(replace(other[k], track=2))
        np.testing.assert_array_equal(mixed.pose, alone(one[k]).pose)


def test_tracks_of_a_frame_or_two_can_be_smoothed():
    raw = make_track(noise=0.5)
    for count in (1, 2):
        part = raw.part(slice(0, count))
        np.testing.assert_allclose(centers(smoothed(part, "offline")), centers(part), atol=2)


def test_equal_times_are_no_reason_to_fail():
    raw = make_track(noise=0.5, times=np.zeros(FRAMES))
    for kind in ("offline", "live"):
        assert np.isfinite(smoothed(raw, kind).poses).all()


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_amounts_that_cannot_be(amount):
    with pytest.raises(UsageError, match="smooth: expected 0 to 1"):
        Smoother(model(), amount)
