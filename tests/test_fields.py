"""Moving pixels by a field, and extending a field over where it is not known."""

from __future__ import annotations

import numpy as np
import pytest

from Sim3DR import extend, sample_lanczos, sample_moved


def grid(height: int, width: int) -> np.ndarray:
    """Places (height, width, 2) of the pixels."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 4), dtype=np.float32)


def test_whole_pixels_are_given_back():
    picture = noise(20, 30)
    assert np.array_equal(sample_lanczos(picture, grid(20, 30)), picture)
    shifted = sample_lanczos(picture, grid(20, 30) + [2, -3])
    assert np.array_equal(shifted[3:, :-2], picture[:-3, 2:])


def test_smooth_pictures_are_met_between_pixels():
    def wave(places: np.ndarray) -> np.ndarray:
        x, y = places[..., :1], places[..., 1:]
        return np.concatenate([np.sin(x / 4), np.cos(y / 5), x / 40 + y / 30, 0 * x + 1], axis=-1)

    places = np.random.default_rng(1).uniform(5, 34, (500, 2)).astype(np.float32)
    seen = sample_lanczos(wave(grid(40, 40)).astype(np.float32), places)
    assert np.abs(seen - wave(places)).max() < 0.01


def test_moving_is_sampling_at_moved_places():
    picture = noise(25, 18)
    moves = np.random.default_rng(2).normal(size=(9, 7, 2)).astype(np.float32) * 8
    moves[3, 3] = np.nan
    expected = sample_lanczos(picture, grid(9, 7) + np.float32([4, 11]) + moves)
    assert np.array_equal(sample_moved(picture, moves, (4, 11)), expected)
    assert np.array_equal(sample_moved(picture, 0 * noise(25, 18)[..., :2]), picture)
    with pytest.raises(ValueError, match="moves: expected"):
        sample_moved(picture, moves[0])


@pytest.mark.parametrize("place", [(-50, -50), (np.nan, -np.inf), (-0.0, -1e30)])
def test_beyond_the_border_a_picture_continues(place):
    picture = noise(8, 9)
    assert np.array_equal(sample_lanczos(picture, np.float32(place)), picture[0, 0])


def test_a_constant_stays_constant_up_to_the_border():
    picture = np.full((7, 9, 4), 0.25, np.float32)
    places = np.random.default_rng(1).uniform(-2, 10, (300, 2))
    assert np.abs(sample_lanczos(picture, places) - 0.25).max() < 1e-6


@pytest.mark.parametrize("shape", [(60, 60), (33, 90), (5, 7)])
def test_a_plane_is_extended_as_a_plane(shape):
    """Linear fields are harmonic: known along the border and a patch, they are met inside."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    field = np.stack([x - 2 * y + 3, 0 * x + 1])
    known = (x == 0) | (y == 0) | (x == x.max()) | (y == y.max()) | ((x < 4) & (y < 3))
    found = extend(np.where(known, field, np.nan), known)
    assert np.array_equal(found[:, known], field[:, known])
    error = np.abs(found[0] - field[0]) / np.ptp(field[0])
    assert error.max() < 0.02
    assert np.abs(found[1] - 1).max() < 1e-3


def test_an_extension_stays_within_what_is_known():
    rng = np.random.default_rng(2)
    values, known = rng.normal(size=(1, 70, 50)), rng.random((70, 50)) < 0.05
    found = extend(values, known)[0]
    assert found.min() >= values[0][known].min() and found.max() <= values[0][known].max()
    assert not extend(values, np.zeros((70, 50), bool)).any()  # nothing is known


def test_inputs_are_checked_and_left_alone():
    values, known = np.ones((2, 4, 5)), np.zeros((4, 5), bool)
    extend(values, known)
    assert (values == 1).all()
    with pytest.raises(ValueError, match=r"known: expected \(4, 5\), got \(5, 4\)"):
        extend(values, known.T)
    with pytest.raises(ValueError, match="picture: expected .* float64"):
        sample_lanczos(np.ones((4, 5, 4)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="places: expected"):
        sample_lanczos(np.ones((4, 5, 4), np.float32), np.zeros((2, 3)))
