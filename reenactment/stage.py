"""Opens what a job names: who drives, and what gets the expression."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from reenactment.faces import EVERY, Face, FrameInfo
from reenactment.job import AUTO, Job
from reenactment.param_file import is_param_file, load_source
from reenactment.performance import (
    Cast,
    Find,
    Live,
    Performance,
    Played,
    Still,
    check_numbers,
)
from reenactment.reenactor import Found, Reenactor
from reenactment.smoothing import Smoother
from reenactment.track import Track, choose_tracks
from reenactment.track_file import is_track_file, load_tracks
from reenactment.tracking import Tracker, follow
from reenactment.weights import face_of, is_weights_file, load_weights, load_weights_over_time
from utils.errors import InputError, NoFaceError
from utils.footage import Footage, Frame, Sound, is_footage, open_footage
from utils.metadata import Metadata

DOUBTFUL = 0.6  # confidence below which a face may be none; 99% of faces have more than 0.7
STILL_FPS = 25.0  # of what is made of pictures alone
_AS_IT_COMES = "as it comes"
# (frames, how many there may be, what is done with them) to the frames, while somebody looks on
Watch = Callable[[Iterable[Frame], "int | None", str], Iterable[Frame]]


@dataclass(frozen=True, eq=False)
class Target:
    """What gets an expression.

    name : of the file.
    frames : one after another; count : how many there may be, if that is known.
    faces : the faces that are meant, of the frame that came last; `Face.track` numbers them.
    summary : what was found, in words; found, picked, confidence : as in `Outcome`.
    fps : of the frames; sound : what is to be heard with them.
    age : of what a camera sees, gives the seconds since the last frame was taken.
    metadata, original : of a file that is to be changed as a whole, what it has besides pixels,
        and what gives these as they are there.
    """

    name: str
    frames: Iterable[Frame]
    faces: Find
    summary: str
    found: int
    picked: tuple[int, ...]
    confidence: tuple[float, ...]
    count: int | None = 1
    fps: float = STILL_FPS
    sound: Sound | None = None
    age: Callable[[], float] | None = None
    metadata: Metadata | None = None
    original: Callable[[], np.ndarray] | None = None


class Stage:
    """Opens sources and targets; the end of a `with` block closes them.

    Parameters
    ----------
    watch : is shown the frames that are followed before anything is drawn.
    """

    def __init__(self, reenactor: Reenactor, job: Job, watch: Watch) -> None:
        self._reenactor, self._job, self._watch = reenactor, job, watch
        self._opened = ExitStack()
        self._footages: list[Footage] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def warnings(self) -> list[str]:
        """What, once the end is reached, has to be said of damaged and missing frames."""
        return [f"{f.name}: {f.shortfall}" for f in self._footages if f.shortfall]

    def source(self) -> Cast:
        """Who drives.

        Raises
        ------
        InputError, NoFaceError : see `Reenactor.look`.
        """
        job = self._job
        if job.source is None:
            return Cast({}, "")
        cast = self._perform(job.source, EVERY if job.pairs else job.source_face, job.moving)
        return cast.paired(job.pairs, job.source)

    def neutral(self, source: Cast) -> Cast | None:
        """The source's person, to be seen at rest, where the transfer is relative to that."""
        job = self._job
        if job.neutral is None or job.neutral == AUTO:
            return source if job.neutral else None
        return self._perform(job.neutral, job.neutral_face, is_footage(job.neutral))

    def _perform(self, path: str, choice: str, moving: bool) -> Cast:
        for fits, perform in self._performers:
            if fits(path):
                return perform(self, path, choice, moving)
        picture, found = self._reenactor.look(path, choice)
        return self._still_cast(found, path, told(found, choice), picture.bgr)

    def _perform_weights(self, path: str, choice: str, moving: bool) -> Cast:
        shape_dim, sliders = self._reenactor.tddfa.layout.shape_dim, self._reenactor.sliders
        name, at = os.path.basename(path), self._job.at
        if not moving:
            face = face_of(load_weights(path, at), sliders, shape_dim, name)
            return Cast({1: Still(face)}, f"weights at {at:g} s")
        rows = load_weights_over_time(path)
        faces = [face_of(weights, sliders, shape_dim, name) for _, weights in rows]
        track = Track.of([
            replace(face, frame=face.frame._replace(number=number, seconds=rows[number][0]))
            for number, face in enumerate(faces)
        ], duration=rows[-1][0])
        performance = Played(track, [second for second, _ in rows], None, self._job.clip.loop)
        return Cast({1: performance}, f"weights over {track.duration:.2f} s")

    def _perform_params(self, path: str, choice: str, moving: bool) -> Cast:
        face = load_source(path, self._reenactor.tddfa.layout)
        return Cast({1: Still(face)}, "parameter file")

    def _perform_track(self, path: str, choice: str, moving: bool) -> Cast:
        tracks = load_tracks(path, self._reenactor.tddfa.layout)
        chosen = choose_tracks(tracks, choice, path)
        if not moving:
            at = self._job.at
            people = {track.number: Still(track.at(at)) for track in chosen}
            return Cast(people, f"track at {at:g} s, {told_tracks(chosen, len(tracks), choice)}")
        times = sorted({second for track in tracks for second in track.seconds.tolist()})
        return self._played_cast(chosen, len(tracks), choice, times)

    def _perform_footage(self, path: str, choice: str, moving: bool) -> Cast:
        if not moving:
            return self._perform_moment(path, choice)
        footage = self._open(path, (0.0, None) if self._job.target_moves else self._job.clip.trim)
        if footage.live:
            return Cast({1: Live(footage, self._live_finder(footage, choice))}, _AS_IT_COMES)
        chosen, people, times = self._follow(footage, path, choice)
        return self._played_cast(chosen, people, choice, times, footage)

    def _perform_moment(self, path: str, choice: str) -> Cast:
        """The frame of footage that a picture is made of."""
        at = self._job.at
        footage = self._open(path, (at, None))
        frame = next(iter(footage), None)
        if frame is None:
            raise InputError(f"cannot read {path} at {at:g} s: it ends before")
        found = self._reenactor.find(frame.img, choice, _info(footage, frame))
        return self._still_cast(found, path, f"at {at:g} s, {told(found, choice)}", frame.img)

    def _still_cast(self, found: Found, path: str, summary: str, img: np.ndarray) -> Cast:
        found.check_sure(self._job.min_confidence, path)
        people = {number: Still(face, img) for number, face in zip(found.numbers, found.faces)}
        return Cast(people, summary)

    def _played_cast(
        self,
        chosen: Sequence[Track],
        people: int,
        choice: str,
        times: Sequence[float],
        footage: Footage | None = None,
    ) -> Cast:
        loop = self._job.clip.loop
        played = {track.number: Played(track, times, footage, loop) for track in chosen}
        return Cast(played, told_tracks(chosen, people, choice))

    def target(self, source: Cast) -> Target:
        """What gets the expression; the source's times are those of a target that does not move.

        Raises
        ------
        InputError, NoFaceError : see `Reenactor.look`.
        """
        job = self._job
        choice = EVERY if job.pairs else job.target_face
        target = (self._moving_target if job.target_moves else self._still_target)(source, choice)
        if job.pairs:
            check_numbers(job.pairs, target.picked, job.target)
            every = target.faces
            target = replace(
                target,
                picked=tuple(number for number in target.picked if number in job.pairs),
                faces=lambda frame: [face for face in every(frame) if face.track in job.pairs],
            )
        return target

    def _still_target(self, source: Cast, choice: str) -> Target:
        job = self._job
        picture, found = self._reenactor.look(job.target, choice)
        found.check_sure(job.min_confidence, job.target)
        faces = [
            replace(face, track=number) for number, face in zip(found.numbers, found.faces)
        ]
        times = frame_times(job, source.lead)

        def at(frame: Frame) -> Sequence[Face]:
            seen = faces[0].frame._replace(number=frame.number, seconds=frame.seconds)
            return [replace(face, frame=seen) for face in faces]

        return Target(
            name=os.path.basename(job.target),
            frames=(Frame(picture.bgr, number, at) for number, at in enumerate(times)),
            faces=at,
            summary=told(found, choice),
            found=found.total,
            picked=found.numbers,
            confidence=confidence_of(faces),
            count=len(times) if isinstance(times, Sequence) else None,
            fps=job.clip.fps or (source.lead and source.lead.fps) or STILL_FPS,
            sound=self._sound(None, source.lead),
            metadata=picture.metadata,
            original=None if job.moving else lambda: picture.original,
        )

    def _moving_target(self, source: Cast, choice: str) -> Target:
        job = self._job
        footage = self._open(job.target, job.clip.trim, job.clip.fps)
        name = os.path.basename(footage.name)
        if footage.live:
            find = self._live_finder(footage, choice)
            target = Target(name, footage, find, _AS_IT_COMES, 0, (), ())
        else:
            chosen, people, times = self._follow(footage, job.target, choice)
            target = Target(
                name,
                _blank(footage.size, times) if job.is_of_faces_alone else footage,
                lambda frame: [face for track in chosen if (face := track.face(frame.number))],
                told_tracks(chosen, people, choice),
                people,
                tuple(track.number for track in chosen),
                tuple(track.confidence for track in chosen if track.confidence is not None),
            )
        return replace(
            target,
            count=footage.count,
            fps=footage.fps,
            sound=self._sound(footage.sound, source.lead),
            age=footage.age,
        )

    def _follow(
        self, footage: Footage, path: str, choice: str
    ) -> tuple[Sequence[Track], int, list[float]]:
        """The tracks that are meant, without trembling; how many people there are; all times."""
        name, times = os.path.basename(footage.name), list[float]()

        def noted() -> Iterator[Frame]:
            for frame in self._watch(footage, footage.count, f"following {name}"):
                times.append(frame.seconds)
                yield frame

        tracks = follow(self._reenactor, noted(), name, self._job.clip.smooth > 0)
        chosen = choose_tracks(tracks, choice, path)
        for track in chosen:
            self._check_sure(track, path)
        smoother = Smoother(self._reenactor, self._job.clip.smooth)
        return [*map(smoother.track, chosen)], len(tracks), times

    def _check_sure(self, track: Track, path: str) -> None:
        least = self._job.min_confidence
        if track.confidence is not None and track.confidence < least:
            raise NoFaceError(
                f"person {track.number} of {path} is too uncertain: the confidence is "
                f"{track.confidence:.2f} on average, and at least {least:g} is asked for"
            )

    def _live_finder(self, footage: Footage, choice: str) -> Find:
        tracker = Tracker(self._reenactor, choice, steady=self._job.clip.smooth > 0)
        smoother = Smoother(self._reenactor, self._job.clip.smooth)

        def find(frame: Frame) -> Sequence[Face]:
            return [*map(smoother, tracker(frame.img, _info(footage, frame)))]

        return find

    def _open(
        self, path: str, trim: tuple[float, float | None], fps: float | None = None
    ) -> Footage:
        footage = self._opened.enter_context(open_footage(path, trim, fps))
        self._footages.append(footage)
        return footage

    def _sound(self, of_target: Sound | None, source: Performance | None) -> Sound | None:
        of_source = source.sound if source else None
        return {
            "auto": of_target if self._job.target_moves else of_source,
            "target": of_target,
            "source": of_source,
            "none": None,
        }[self._job.clip.sound]

    _performers: tuple[tuple[Callable[[str], bool], Callable[..., Cast]], ...] = (
        (is_track_file, _perform_track),
        (is_weights_file, _perform_weights),
        (is_param_file, _perform_params),
        (is_footage, _perform_footage),
    )


def frame_times(job: Job, source: Performance | None) -> Iterable[float]:
    """When the frames are that are made of a picture, seconds."""
    if job.interpolate:
        return [number / (job.clip.fps or STILL_FPS) for number in range(job.interpolate)]
    if source is None or not job.moving:
        return [0.0]
    if job.clip.fps is None or not isinstance(source.times, Sequence):
        return source.times
    length = int(source.times[-1] * job.clip.fps + 0.5) + 1
    return [number / job.clip.fps for number in range(length)]


def _blank(size: tuple[int, int], times: Sequence[float]) -> Iterator[Frame]:
    """Frames without anything in them, where nobody looks at them."""
    img = np.zeros((size[1], size[0], 3), np.uint8)
    return (Frame(img, number, seconds) for number, seconds in enumerate(times))


def told(found: Found, choice: str) -> str:
    """Which of a picture's faces were picked, in words."""
    numbers = ", ".join(map(str, found.numbers))
    turned = f", in the picture turned by {90 * found.quarters}°" if found.quarters else ""
    unsure, doubt = confidence_of(found.faces), ""
    if unsure and min(unsure) < DOUBTFUL:
        doubt = f"; warning: it may be no face, or a guess (confidence {min(unsure):.2f})"
    return f"face {numbers} of {found.total} from the left ({choice}){turned}{doubt}"


def told_tracks(chosen: Sequence[Track], people: int, choice: str) -> str:
    """Which of the people of footage were picked, in words."""
    numbers = ", ".join(str(track.number) for track in chosen)
    return f"person {numbers} of {people} from the left ({choice})"


def confidence_of(faces: Sequence[Face]) -> tuple[float, ...]:
    """How sure the network is of faces, where it can tell."""
    return tuple(face.confidence for face in faces if face.confidence is not None)


def _info(footage: Footage, frame: Frame) -> FrameInfo:
    name = os.path.basename(footage.name)
    return FrameInfo(name, footage.size, frame.number, frame.seconds)
