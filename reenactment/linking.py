"""Which tracks are of one person, who has left and returned: told by shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reenactment.track import Track, steady_shape

# How far two shapes of one person are apart at most; those of two people are by 1, most often.
UNLIKE = 0.55


def link(tracks: Sequence[Track], likeness: np.ndarray) -> list[Track]:
    """One track a person: those of the most similar shapes are joined first.

    Nobody is in two places at a time. The mean shape of a track tells people apart far better than
    that of a frame.

    Parameters
    ----------
    likeness (shape_dim, k) : see `TDDFA`.
    """
    if not tracks:
        return []
    shapes = np.stack([steady_shape(track) for track in tracks]) @ likeness
    lengths = np.array([len(track) for track in tracks], float)
    apart = _together(tracks)
    groups = [[number] for number in range(len(tracks))]
    unlike = np.stack([apartness(shapes - shape) for shape in shapes])
    unlike[apart] = np.inf
    while unlike.min() < UNLIKE:
        one, other = np.unravel_index(np.argmin(unlike), unlike.shape)
        groups[one] += groups[other]
        shapes[one] = np.average(shapes[[one, other]], axis=0, weights=lengths[[one, other]])
        lengths[one] += lengths[other]
        apart[one] = apart[:, one] = apart[one] | apart[other]
        apart[other] = apart[:, other] = True
        unlike[one] = unlike[:, one] = apartness(shapes - shapes[one])
        unlike[apart] = np.inf
        groups[other] = []
    return [_joined([tracks[number] for number in group]) for group in groups if group]


def apartness(differences: np.ndarray) -> np.ndarray:
    """How unlike shapes are, (n,), by the differences (n, k) of their products with `likeness`."""
    unlike: np.ndarray = np.sqrt(np.mean(differences**2, axis=1))
    return unlike


def _together(tracks: Sequence[Track]) -> np.ndarray:
    """Which tracks cannot be of one person, (n, n) bool: those that share a frame."""
    frames = [frozenset(track.frames.tolist()) for track in tracks]
    return np.array([[not one.isdisjoint(other) for other in frames] for one in frames])


def _joined(tracks: Sequence[Track]) -> Track:
    whole = tracks[0]
    for track in tracks[1:]:
        whole = whole.then(track)
    return whole.part(np.argsort(whole.frames))
