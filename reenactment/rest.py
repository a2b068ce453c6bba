"""A person at rest, or awake, of frames that show somebody who moves and talks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from reenactment.blinks import usual_of
from reenactment.faces import Face
from reenactment.openings import MIDDLE_COLUMNS, Openings
from reenactment.track import Track

# Which of the frames are left: those of which the network is surest, and that turn away least; of
# these, those whose eyes are open as usual; whose lips are shut; and that move least, which alone
# has to do for models without lids.
_SURE, _FACING, _AWAKE, _SHUT, _CALM, _CALM_ALONE = 0.9, 0.9, 0.6, 0.1, 0.5, 0.2
_WIDE = 90  # percentile of an eye's openings that are wide, and no mistake of the network
_SECONDS = 0.3  # over which lips have to be shut, and movement counts


def rest_of(track: Track, openings: Openings | None = None) -> Face:
    """The person at rest: sure, facing, open-eyed, lips shut for a while, and calm.

    The expression is the median over the frames that are the most so; the rest of the face is that
    of the frame that comes nearest to it.

    Parameters
    ----------
    openings : of the track's model, if it has lids.
    """
    calm = np.arange(len(track))
    for unrest, share in _unrests(track, openings):
        calm = _least(calm, unrest, share)
    rows = _rows(track)[calm]
    nearest = calm[np.argmin(np.linalg.norm(rows - np.median(rows, axis=0), axis=1))]
    expression = np.median(track.expressions[calm], axis=0).astype(np.float32)
    scores = None
    if track.scores is not None:
        scores = np.median(track.scores[calm], axis=0).astype(np.float32)
    return replace(track[int(nearest)], expression=expression, scores=scores)


def awake_of(track: Track, openings: Openings) -> Face:
    """The person in a sure and facing frame that shows both eyes about as open as they come."""
    clear = np.arange(len(track))
    for doubt, share in _doubts(track):
        clear = _least(clear, doubt, share)
    open_by = _eyes(track, openings).min(axis=1)[clear]
    wide = np.percentile(open_by, _WIDE)
    return track[int(clear[np.argmin(np.abs(open_by - wide))])]


def _least(places: np.ndarray, values: np.ndarray, share: float) -> np.ndarray:
    """That share of some places that have the least values (T,)."""
    most = np.sort(values[places])[max(1, round(share * len(places))) - 1]
    return places[values[places] <= most]


def _doubts(track: Track) -> Iterator[tuple[np.ndarray, float]]:
    """What there is little of in clear frames, (T,), and the share of them that may be so."""
    if track.errors is not None:
        yield track.errors, _SURE
    away = track.poses[:, 2, :3]
    yield -away[:, 2] / np.linalg.norm(away, axis=1), _FACING


def _unrests(track: Track, openings: Openings | None) -> Iterator[tuple[np.ndarray, float]]:
    """The same of frames at rest."""
    yield from _doubts(track)
    if openings:
        faces = [track[place] for place in range(len(track))]
        eyes = _eyes(track, openings)
        yield np.abs(eyes - usual_of(eyes)).max(axis=1), _AWAKE
        lips = np.array([openings.lips(face)[MIDDLE_COLUMNS].mean() for face in faces])
        yield _around(np.maximum(lips, 0)[:, None], track.seconds, np.mean), _SHUT
    yield _around(_rows(track), track.seconds, np.std), _CALM if openings else _CALM_ALONE


def _eyes(track: Track, openings: Openings) -> np.ndarray:
    """How far the eyes are open, (T, 2)."""
    return np.array([openings.eyes(track[place]) for place in range(len(track))])


def _rows(track: Track) -> np.ndarray:
    """The expressions, (T, n), in deviations of the track's."""
    rows = track.expressions.reshape(len(track), -1).astype(np.float64)
    rows /= np.maximum(rows.std(axis=0), 1e-9)
    return rows


def _around(
    rows: np.ndarray, seconds: np.ndarray, statistic: Callable[..., np.ndarray]
) -> np.ndarray:
    """What a statistic tells of the rows (T, n) in a time around each, on average, (T,)."""
    first = np.searchsorted(seconds, seconds - _SECONDS / 2)
    last = np.searchsorted(seconds, seconds + _SECONDS / 2, side="right")
    return np.array([statistic(rows[i:j], axis=0).mean() for i, j in zip(first, last)])
