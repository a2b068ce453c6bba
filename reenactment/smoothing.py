"""Smoothing: what trembles in a track is taken out of it, what moves stays.

The filter is the One Euro (Casiez, Roussel and Vogel, "1€ filter", CHI 2012): a low pass whose
cutoff rises with the speed of what it filters. Pose, expression, lids and scores have filters of
their own; a shape is a person's and does not move at all. A whole track is filtered forwards and
backwards, by cutoffs that are the same both ways, so that nothing lags. Eyes and lips never come
to be open much farther, or less, than they were: blinks and the closures of speech are too short
for any filter; eyes that were all but shut are shut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bfm.bfm import LID_COLUMNS
from reenactment.blinks import UsualEyes, shut, usual_of
from reenactment.faces import Face
from reenactment.openings import MIDDLE_COLUMNS
from reenactment.reenactor import Reenactor
from reenactment.track import SteadyShape, Track, steady_shape
from utils.errors import UsageError
from utils.tddfa_util import crop_to_image

DEFAULT_AMOUNT = 0.5
_MM = 1e-3  # of a µm
_LONGEST_GAP = 0.25  # seconds without a face after which a filter begins anew
_LARGEST_JUMP = 0.5  # of the face's size between two frames, after which it does, too
_SHORTEST_STEP = 1e-3  # seconds; times in files may be equal
_LOWEST = 1e-6  # Hz; a mean over days
_FASTER = 4  # measured: trembling is a fourth, and no face is 0.7% of its size off its place
# How far an opening may come to be off what it was: three deviations of what the network says of
# a still face in noise. Parts of the eye's opening at rest; mm between the lips.
_EYES_MARGIN, _LIPS_MARGIN = 0.04, 0.25


class Band(NamedTuple):
    """Constants of a One Euro filter, at the amount 0.5.

    cutoff : Hz, of what does not move; slope : Hz that a unit of speed adds to it.
    speed_cutoff : Hz, of the filter for the speed.
    apart : whether every number has a speed of its own; else all move together.
    """

    cutoff: float
    slope: float
    speed_cutoff: float
    apart: bool = False

    @property
    def both_ways(self) -> Band:
        """For a pass forwards and one backwards, which smooth more, and know of speed before."""
        return self._replace(slope=_FASTER * self.slope, speed_cutoff=_FASTER * self.speed_cutoff)

    def at_speed(self, speed: np.ndarray, amount: float) -> np.ndarray:
        """The cutoff, Hz: without bounds at an amount of 0, next to none at 1."""
        cutoff = (self.cutoff + self.slope * speed) * (1 - amount) / amount
        return np.maximum(cutoff, _LOWEST)

    def speed_of(self, velocity: np.ndarray) -> np.ndarray:
        """(..., n) to (..., n or 1)."""
        if self.apart:
            return np.abs(velocity)
        speed: np.ndarray = np.linalg.norm(velocity, axis=-1, keepdims=True)
        return speed


# Units: size, its natural logarithm; turn, entries of the rotation; place, face sizes; expression,
# mm that the landmarks move (root mean square); lids, shares of shut; scores as they are.
BANDS = {
    "size": Band(0.2, 30.0, 0.4),
    "turn": Band(0.2, 15.0, 0.4),
    "place": Band(0.2, 45.0, 0.4),
    "expression": Band(0.4, 0.5, 1.0),
    "lids": Band(0.4, 4.0, 2.0, apart=True),
    "scores": Band(0.4, 8.0, 2.0, apart=True),
}

Signals = dict[str, np.ndarray]  # by the names of `BANDS`, each (T, n)


class Smoother:
    """Smooths faces as they come, each person's apart, or whole tracks.

    Parameters
    ----------
    reenactor : knows the model.
    amount : 0 leaves everything as it is, 1 takes all motion out.

    Raises
    ------
    UsageError : another amount.
    """

    def __init__(self, reenactor: Reenactor, amount: float = DEFAULT_AMOUNT) -> None:
        if not 0 <= amount <= 1:
            raise UsageError(f"smooth: expected 0 to 1, got {amount}")
        bfm = reenactor.tddfa.bfm
        self._amount = amount
        self._size = reenactor.tddfa.size
        self._spread = reenactor.tddfa.spread.shape
        self._middle = bfm.u_base.reshape(-1, 3).mean(axis=0)  # of the landmarks, µm
        moves = bfm.w_exp_base.astype(np.float64) * _MM
        self._moves = np.sqrt((moves**2).sum(axis=0) / (len(moves) / 3))  # mm a unit, (exp_dim,)
        self._openings = reenactor.openings
        self._people: dict[int | None, _Live] = {}

    def __call__(self, face: Face) -> Face:
        """The next face of a person, who is told by `Face.track`; it lags by what is not known."""
        if not self._amount:
            return face
        track = Track.of([face])
        signals = self._apart(track)
        person = self._people.get(face.track)
        if person is None or not person.goes_on(track):
            person = self._people[face.track] = _Live(self._spread, person)
        steady = person.shape.add(face.shape)
        smooth = self._joined(track, person(track, signals, self._amount))[0]
        smooth = replace(face, pose=smooth.pose, shape=steady, expression=smooth.expression,
                         scores=smooth.scores)
        if self._openings is None:
            return smooth
        return self._with_openings(face, smooth, person.usual.add(self._openings.eyes(face)))

    def track(self, track: Track) -> Track:
        """A whole track; nothing in it comes later than it did."""
        if not self._amount:
            return track
        starts = [*_beginnings(track), len(track)]
        parts = [self._scene(track.part(slice(*ends))) for ends in zip(starts, starts[1:])]
        shape = steady_shape(track)
        smooth = replace(
            track,
            poses=np.concatenate([part.poses for part in parts]),
            shapes=np.broadcast_to(shape, (len(track), len(shape))),
            expressions=np.concatenate([part.expressions for part in parts]),
            scores=None if track.scores is None else np.concatenate([p.scores for p in parts]),
        )
        if self._openings is None:
            return smooth
        raw = [track[place] for place in range(len(track))]
        usual = usual_of(np.array([self._openings.eyes(face) for face in raw]))
        faces = [self._with_openings(face, smooth[i], usual) for i, face in enumerate(raw)]
        return replace(smooth, expressions=np.stack([face.expression for face in faces]))

    def _scene(self, track: Track) -> Track:
        """A track without gaps."""
        sides = track.sides[:, None]
        units = {"place": sides}
        return self._joined(track, {
            name: _both_ways(values, track.seconds, BANDS[name], self._amount, units.get(name, 1.0))
            for name, values in self._apart(track).items()
        })

    def _apart(self, track: Track) -> Signals:
        """What is filtered, in the units of `BANDS`, but places in pixels of the frame."""
        poses = _to_frame(track.roi_boxes, self._size) @ _square(track.poses)
        size = np.linalg.norm(poses[:, :2, :3], axis=2).mean(axis=1)
        place = poses[:, :2, :3] @ self._middle + poses[:, :2, 3]
        rows = track.expressions * self._moves
        signals = {
            "size": np.log(size)[:, None],
            "turn": (poses[:, :3, :3] / size[:, None, None]).reshape(-1, 9),
            "place": place,
            "expression": rows[..., self._others].reshape(len(track), -1),
        }
        if self._openings:
            lids = track.expressions[..., LID_COLUMNS]
            signals["lids"] = lids.reshape(len(track), -1).astype(np.float64)
        if track.scores is not None:
            signals["scores"] = track.scores
        return signals

    @property
    def _others(self) -> np.ndarray:
        """Which columns of the expression are not the lids'."""
        columns = np.arange(len(self._moves))
        return np.delete(columns, LID_COLUMNS) if self._openings else columns

    def _joined(self, track: Track, signals: Signals) -> Track:
        """The track with other signals; inverts `_apart`."""
        count, rows = track.expressions.shape[:2]
        to_frame = _to_frame(track.roi_boxes, self._size)
        poses = to_frame @ _square(track.poses)  # the third row's offset means nothing
        poses[:, :3, :3] = signals["turn"].reshape(-1, 3, 3) * np.exp(signals["size"])[..., None]
        poses[:, :2, 3] = signals["place"] - poses[:, :2, :3] @ self._middle
        expressions = track.expressions.copy()
        moved = signals["expression"].reshape(count, rows, -1)
        expressions[..., self._others] = moved / self._moves[self._others]
        if "lids" in signals:
            expressions[..., LID_COLUMNS] = signals["lids"].reshape(count, rows, -1)
        scores = signals.get("scores")
        return replace(
            track,
            poses=(np.linalg.inv(to_frame) @ poses)[:, :3].astype(np.float32),
            expressions=expressions,
            scores=None if scores is None else scores.astype(np.float32),
        )

    def _with_openings(self, raw: Face, smooth: Face, usual: np.ndarray) -> Face:
        """The smoothed face with its eyes and lips about as far open as they were.

        usual (2,) : how open the person's eyes are when they do not blink.
        """
        openings = self._openings
        assert openings is not None
        lips = [openings.lips(face)[MIDDLE_COLUMNS].mean() for face in (raw, smooth)]
        off = lips[1] - lips[0]
        expression = smooth.expression.copy()
        if abs(off) > _LIPS_MARGIN:
            share = 1 - _LIPS_MARGIN / abs(off)
            others = slice(0, LID_COLUMNS.start)
            expression[:, others] += share * (raw.expression - smooth.expression)[:, others]
        closed = openings.eyes(replace(smooth, expression=expression))
        lids = expression.copy()
        lids[:, LID_COLUMNS] += 1
        slope = openings.eyes(replace(smooth, expression=lids)) - closed
        wanted = shut(openings.eyes(raw), usual)
        wanted += np.clip(shut(closed, usual) - wanted, -_EYES_MARGIN, _EYES_MARGIN)
        expression[:, LID_COLUMNS] += (wanted - closed) / slope
        return replace(smooth, expression=expression)


class _Live:
    """The filters of one person, who has been seen without a gap; what is known from before."""

    def __init__(self, spread: np.ndarray, before: _Live | None) -> None:
        self.shape: SteadyShape = before.shape if before else SteadyShape(spread)
        self.usual: UsualEyes = before.usual if before else UsualEyes()
        self._last: Track | None = None
        self._filters = {name: _OneEuro(band) for name, band in BANDS.items()}

    def goes_on(self, track: Track) -> bool:
        """Whether a track of one frame follows on the last one."""
        assert self._last is not None
        return len(_beginnings(self._last.then(track))) == 1

    def __call__(self, track: Track, signals: Signals, amount: float) -> Signals:
        last, self._last = self._last, track
        step = _SHORTEST_STEP if last is None else float(track.seconds[0] - last.seconds[0])
        units = {"place": float(track.sides[0])}
        return {
            name: self._filters[name](values[0], step, amount, units.get(name, 1.0))[None]
            for name, values in signals.items()
        }


class _OneEuro:
    """A filter of numbers (n,) that come one after the other."""

    def __init__(self, band: Band) -> None:
        self._band = band
        self._value: np.ndarray | None = None
        self._velocity = np.zeros(1)

    def __call__(
        self, values: np.ndarray, step: float, amount: float, unit: float = 1.0
    ) -> np.ndarray:
        """The next numbers, some seconds after the last.

        unit : what their speed is measured in.
        """
        if self._value is None:
            self._value = values.astype(np.float64)
            return self._value
        step = max(step, _SHORTEST_STEP)
        velocity = (values - self._value) / step / unit
        share = _share(self._band.speed_cutoff, step)
        self._velocity = self._velocity + share * (velocity - self._velocity)
        cutoff = self._band.at_speed(self._band.speed_of(self._velocity), amount)
        share = _share(cutoff, step)
        self._value = self._value + share * (values - self._value)
        return self._value


def _share(cutoff: np.ndarray | float, step: np.ndarray | float) -> np.ndarray:
    """How much of a new value a low pass of first order takes, 0 to 1."""
    turns = 2 * np.pi * np.asarray(cutoff) * step
    return turns / (1 + turns)


def _both_ways(
    values: np.ndarray, seconds: np.ndarray, band: Band, amount: float, unit: np.ndarray | float
) -> np.ndarray:
    """Values (T, n) filtered forwards and then backwards.

    unit : what their speed is measured in; a number or (T, 1).
    """
    if len(values) == 1:
        return values
    steps = np.maximum(np.diff(seconds), _SHORTEST_STEP)[:, None]  # (T - 1, 1)
    velocity = np.diff(values, axis=0) / steps
    velocity = np.concatenate([velocity, velocity[-1:]])
    velocity[1:-1] = (velocity[1:-1] + velocity[:-2]) / 2
    band = band.both_ways
    speed = band.speed_of(_passes(velocity / unit, _share(band.speed_cutoff, steps)))
    cutoff = band.at_speed(speed, amount)
    return _passes(values, _share((cutoff[1:] + cutoff[:-1]) / 2, steps))


def _passes(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Values (T, n) through a low pass of first order, and back.

    It begins with nothing, and what it gives is divided by what it makes of ones: so the first and
    the last values are means like all others.

    shares (T - 1, n or 1) : how much of a value is new, from each to the next.
    """
    ones = np.ones((len(values), shares.shape[1]))
    forth = [_pass(array, shares) for array in (values, ones)]
    back = [_pass(array[::-1], shares[::-1])[::-1] for array in forth]
    return back[0] / back[1]


def _pass(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    shares = np.concatenate([shares[:1], shares])
    passed = np.empty((len(values), max(values.shape[1], shares.shape[1])))
    last = np.zeros(passed.shape[1])
    for i, share in enumerate(shares):
        last = passed[i] = last + share * (values[i] - last)
    return passed


def _beginnings(track: Track) -> list[int]:
    """Where a track begins, and begins anew after a gap or in a new scene."""
    x0, y0, x1, y1 = track.roi_boxes.T
    centers = np.stack([x0 + x1, y0 + y1], axis=1) / 2
    jumps = np.linalg.norm(np.diff(centers, axis=0), axis=1) / track.sides[1:]
    gaps = np.diff(track.seconds)
    anew = (gaps > _LONGEST_GAP) | (gaps < 0) | (jumps > _LARGEST_JUMP)
    return [0, *(np.flatnonzero(anew) + 1).tolist()]


def _to_frame(roi_boxes: np.ndarray, size: int) -> np.ndarray:
    """Affine maps (T, 4, 4) from crops to the frame."""
    return _square(np.stack([crop_to_image(roi_box, size) for roi_box in roi_boxes]))


def _square(affine: np.ndarray) -> np.ndarray:
    """(T, 3, 4) to (T, 4, 4) float64."""
    last = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (len(affine), 1, 4))
    return np.concatenate([affine, last], axis=1)
