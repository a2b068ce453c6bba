"""A person's face through time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from reenactment.faces import EVERY, Box, Face, FrameInfo, choose_faces
from utils.errors import NoFaceError

_OUTLIER = 0.5  # deviations between people that a shape in a single frame may be off a mean
_MANY_FRAMES = 300  # that a running mean goes over


@dataclass(frozen=True, eq=False)
class Track:
    """One person in T frames of a video, in order.

    number : the person's, from 1 on.
    name, size : of the video; width and height, pixels.
    duration : of the whole video, seconds.
    frames (T,) int64 : the numbers of the frames that show the person.
    seconds (T,) float64 : when they are shown, from the video's beginning on.
    roi_boxes (T, 4) float64, poses (T, 3, 4), shapes (T, shape_dim),
    expressions (T, regions, exp_dim), scores (T, 52), errors (T,), all float32 : as those of
        `Face`; the last two are None where the network does not tell them.
    """

    number: int
    name: str
    size: tuple[int, int]
    duration: float
    frames: np.ndarray
    seconds: np.ndarray
    roi_boxes: np.ndarray
    poses: np.ndarray
    shapes: np.ndarray
    expressions: np.ndarray
    scores: np.ndarray | None = None
    errors: np.ndarray | None = None

    @classmethod
    def of(cls, faces: Sequence[Face], number: int = 1, duration: float = 0.0) -> Track:
        """The track of a person's faces, one or more, in the order of their frames."""
        first = faces[0]
        return cls(
            number,
            first.frame.name,
            first.frame.size,
            duration,
            np.array([face.frame.number for face in faces], np.int64),
            np.array([face.frame.seconds for face in faces], np.float64),
            np.array([face.roi_box for face in faces], np.float64),
            np.stack([face.pose for face in faces]).astype(np.float32),
            np.stack([face.shape for face in faces]).astype(np.float32),
            np.stack([face.expression for face in faces]).astype(np.float32),
            _stacked([face.scores for face in faces]),
            _stacked([face.error for face in faces]),
        )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, place: int) -> Face:
        """The face in the frame at a place in `frames`."""
        return Face(
            FrameInfo(self.name, self.size, int(self.frames[place]), float(self.seconds[place])),
            self.roi_boxes[place].tolist(),
            self.poses[place],
            self.shapes[place],
            self.expressions[place],
            track=self.number,
            scores=None if self.scores is None else self.scores[place],
            error=None if self.errors is None else float(self.errors[place]),
        )

    def face(self, number: int) -> Face | None:
        """The face in the frame of that number; None if it does not show the person."""
        place = int(np.searchsorted(self.frames, number))
        seen = place < len(self) and self.frames[place] == number
        return self[place] if seen else None

    def at(self, seconds: float, loop: bool = False) -> Face:
        """The face at any time: in the nearest frame, with the expression of that very time.

        Between frames the expression is interpolated; before the first and after the last it is
        theirs.

        loop : whether the video begins anew where it ends.
        """
        if loop and self.duration > 0:
            seconds = seconds % self.duration
        place = np.interp(seconds, self.seconds, np.arange(len(self)))
        before, share = int(place), float(place % 1)
        face = self[int(np.rint(place))]
        if not share:
            return face
        expression = _between(self.expressions, before, share)
        scores = None if self.scores is None else _between(self.scores, before, share)
        return replace(face, expression=expression, scores=scores)

    def within(self, start: float, end: float | None) -> Track | None:
        """What some seconds show of the person, counted from their first; None if that is nothing.

        end : None is that of the video.
        """
        shown = self.seconds >= start
        if end is not None:
            shown &= self.seconds < end
        if not shown.any():
            return None
        part, until = self.part(shown), self.duration if end is None else min(end, self.duration)
        return replace(part, seconds=part.seconds - start, duration=until - start)

    def part(self, places: slice | np.ndarray) -> Track:
        """The frames at some places."""
        return self._each(lambda values, _: values[places], self)

    def then(self, later: Track) -> Track:
        """These frames, and those of a later part."""
        return self._each(lambda *both: np.concatenate(both), later)

    def _each(self, change: Callable[[np.ndarray, np.ndarray], np.ndarray], other: Track) -> Track:
        """The track with all changed that has a row for every frame, given another's, too."""
        changed: dict[str, Any] = {}
        for field in fields(self)[4:]:
            mine, others = getattr(self, field.name), getattr(other, field.name)
            changed[field.name] = None if mine is None else change(mine, others)
        return replace(self, **changed)

    @property
    def sides(self) -> np.ndarray:
        """Of the crops, pixels (T,)."""
        sides: np.ndarray = self.roi_boxes[:, 2] - self.roi_boxes[:, 0]
        return sides

    @cached_property
    def confidence(self) -> float | None:
        """The network's, on average over the frames; see `Face.confidence`."""
        if self.errors is None:
            return None
        return float(np.mean([self[place].confidence for place in range(len(self))]))

    def typical_box(self, frames: int) -> Box:
        """Where the person is in most frames, and as large as on average over so many frames.

        Who is seen for longer is larger; the score is the confidence.
        """
        x0, y0, x1, y1 = self.roi_boxes.T
        side = np.sqrt(np.sum((x1 - x0) * (y1 - y0)) / max(frames, len(self)))
        x, y = np.median((x0 + x1) / 2), np.median((y0 + y1) / 2)
        score = 1.0 if self.confidence is None else self.confidence
        corners = x - side / 2, y - side / 2, x + side / 2, y + side / 2
        return [*map(float, corners), score]


class SteadyShape:
    """The shape of one person: a running mean that single bad frames do not move far.

    spread (shape_dim,) : the coefficients' deviations between people.
    """

    def __init__(self, spread: np.ndarray) -> None:
        self._limit = _OUTLIER * spread
        self._count = 0
        self.mean: np.ndarray = np.zeros_like(spread)

    def add(self, shape: np.ndarray) -> np.ndarray:
        """The mean (shape_dim,) float32 with one more shape."""
        self._count = min(self._count + 1, _MANY_FRAMES)
        off = shape - self.mean
        if self._count > 1:
            off = np.clip(off, -self._limit, self._limit)
        self.mean = (self.mean + off / self._count).astype(np.float32)
        return self.mean


def steady_shape(track: Track) -> np.ndarray:
    """The shape (shape_dim,) of a person: the median of the surer half of the frames."""
    surer = np.arange(len(track))
    if track.errors is not None:
        surer = np.argsort(track.errors, kind="stable")[: (len(track) + 1) // 2]
    median: np.ndarray = np.median(track.shapes[surer], axis=0).astype(np.float32)
    return median


def choose_tracks(tracks: Sequence[Track], choice: str, name: str) -> list[Track]:
    """Pick people of a video, as `choose_faces` picks faces of a picture.

    Raises
    ------
    NoFaceError : there is nobody, or fewer people than the number asked for.
    """
    if not tracks:
        raise NoFaceError(f"no face found in {name}; give a video that shows one clearly")
    longest = max(map(len, tracks))
    boxes = [track.typical_box(longest) for track in tracks]
    return [tracks[place] for place in choose_faces(boxes, choice, name)]


def tracks_of(faces: Iterable[Face]) -> list[Track]:
    """The tracks of faces in the order of their frames, by `Face.track`, as they are drawn."""
    people: dict[int, list[Face]] = {}
    for face in faces:
        drawn = replace(face, expression=face.parts.expression, correction=None)
        people.setdefault(face.track or 1, []).append(drawn)
    return [
        Track.of(seen, number, duration_of([face.frame.seconds for face in seen]))
        for number, seen in sorted(people.items())
    ]


def duration_of(times: Sequence[float]) -> float:
    """Seconds until the last frame ends, which lasts as long as the others."""
    return times[-1] + float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def left_to_right(tracks: Sequence[Track]) -> list[Track]:
    """Tracks numbered from 1 on as `choose_tracks` counts them."""
    chosen = choose_tracks(tracks, EVERY, "") if tracks else []
    return [replace(track, number=number) for number, track in enumerate(chosen, 1)]


def _between(values: np.ndarray, place: int, share: float) -> np.ndarray:
    """The value a share of the way from a place to the next."""
    mixed: np.ndarray = (1 - share) * values[place] + share * values[place + 1]
    return mixed.astype(np.float32)


def _stacked(values: Sequence[np.ndarray | float | None]) -> np.ndarray | None:
    """float32; None if one of the values is."""
    known = [value for value in values if value is not None]
    return np.array(known, np.float32) if len(known) == len(values) else None
