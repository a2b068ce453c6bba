"""What moves: footage that is followed, tracks and weights over time, cameras."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial

import numpy as np

from reenactment.faces import Face, FrameInfo
from reenactment.following import follow
from reenactment.job import Job
from reenactment.openings import Openings
from reenactment.performance import Cast, Find, Target, Watch
from reenactment.reenactor import Reenactor
from reenactment.rest import awake_of, rest_of
from reenactment.scene import Driver
from reenactment.smoothing import Smoother
from reenactment.track import Track, choose_tracks
from reenactment.track_file import load_tracks
from reenactment.tracking import Tracker
from reenactment.weights import face_of, load_weights_over_time
from utils.errors import InputError, NoFaceError
from utils.footage import Footage, Frame, open_footage
from utils.threads import opencv_in_one_thread

_AS_IT_COMES = "as it comes"


class Played:
    """A `Performance` that is known from its beginning to its end.

    Parameters
    ----------
    times : of all its frames, those without a face, too.
    footage : what it was seen in; None for what comes from numbers alone.
    loop : whether it begins again where it ends, or holds its last expression.
    openings : of the track's model, which tell a face at rest, if it has any.
    """

    def __init__(
        self,
        track: Track,
        times: Sequence[float],
        footage: Footage | None,
        loop: bool,
        openings: Openings | None = None,
    ) -> None:
        self._track, self._footage, self._loop = track, footage, loop
        self._openings = openings
        self.times = times
        self._frames: Generator[Frame, None, None] | None = None
        self._frame: Frame | None = None
        self.fps = footage.fps if footage else None
        self.sound = footage.sound if footage else None
        if self.sound and loop and track.duration:
            self.sound = replace(self.sound, period=track.duration)
        self.age = None

    def at(self, seconds: float) -> Driver:
        """The expression between two frames, on the face of the nearer one."""
        face = self._track.at(seconds, self._loop)
        return Driver(face, lambda: self._seen(face.frame.number))

    def rest(self) -> Face:
        """What the calmest frames show."""
        return rest_of(self._track, self._openings)

    def _seen(self, number: int) -> np.ndarray | None:
        """The picture of a frame; they are read in order, and from the start where it is past."""
        if self._footage is None:
            return None
        if self._frames is None or self._frame is None or self._frame.number > number:
            if self._frames:
                self._frames.close()  # it may not have come to its end
            self._frames = iter(self._footage)
            self._frame = next(self._frames, None)
        while self._frame is not None and self._frame.number < number:
            self._frame = next(self._frames, None) or self._frame._replace(number=number)
        return None if self._frame is None else self._frame.img


class Live:
    """A `Performance` before a camera; every moment is the newest one."""

    def __init__(self, footage: Footage, find: Find) -> None:
        self._frames, self._find = iter(footage), find
        self._frame: Frame | None = None
        self._last: Driver | None = None
        self.fps, self.age = footage.fps, footage.age
        self.sound = None

    @property
    def times(self) -> Iterator[float]:
        """The moments of its frames, as long as they come."""
        for frame in self._frames:
            self._frame = frame
            yield frame.seconds

    def at(self, seconds: float) -> Driver:
        """The face in the frame of `times`, or else in the newest one, or the last that was seen.

        Waits for the first face; raises NoFaceError where none comes.
        """
        frame = self._frame or next(self._frames, None)
        self._frame = None
        while frame is not None:
            for face in self._find(frame)[:1]:
                self._last = Driver(face, partial(np.asarray, frame.img))
            if self._last:
                break
            frame = next(self._frames, None)
        if self._last is None:
            raise NoFaceError("the camera has shown no face")
        return self._last

    def rest(self) -> Face:
        """What is seen now; raises NoFaceError where nobody is."""
        face = self.at(0.0).face
        assert face is not None
        return face


class Moving:
    """Opens what moves of a job; `close` closes it. Meanwhile OpenCV does with one thread."""

    def __init__(self, reenactor: Reenactor, job: Job, watch: Watch) -> None:
        self._reenactor, self._job, self._watch = reenactor, job, watch
        self._opened = ExitStack()
        self._opened.enter_context(opencv_in_one_thread())
        self._footages: list[Footage] = []

    def close(self) -> None:
        """Close all footage."""
        self._opened.close()

    def warnings(self) -> list[str]:
        """What, once the end is reached, has to be said of damaged and missing frames."""
        return [f"{f.name}: {f.shortfall}" for f in self._footages if f.shortfall]

    def weights(self, path: str) -> Cast:
        """Weights over time."""
        shape_dim, sliders = self._reenactor.tddfa.layout.shape_dim, self._reenactor.sliders
        rows, name = load_weights_over_time(path), os.path.basename(path)
        faces = [face_of(weights, sliders, shape_dim, name) for _, weights in rows]
        track = Track.of([
            replace(face, frame=face.frame._replace(number=number, seconds=rows[number][0]))
            for number, face in enumerate(faces)
        ], duration=rows[-1][0])
        (track,) = self._trimmed([track], path)
        performance = self._performance(track, track.seconds.tolist(), None)
        return Cast({1: performance}, f"weights over {track.duration:.2f} s")

    def tracks(self, path: str, choice: str) -> Cast:
        """The people of a track file."""
        tracks = self._trimmed(load_tracks(path, self._reenactor.tddfa.layout), path)
        chosen = choose_tracks(tracks, choice, path)
        times = sorted({second for track in tracks for second in track.seconds.tolist()})
        return self._played(chosen, len(tracks), choice, times)

    def _trimmed(self, tracks: Sequence[Track], path: str) -> list[Track]:
        """What is taken of tracks that drive; raises InputError where that is nothing."""
        start, end = self._of_source
        parts = [part for track in tracks if (part := track.within(start, end))]
        if not parts:
            raise InputError(f"cannot read {path} from second {start:g}: nobody is seen there")
        return parts

    @property
    def _of_source(self) -> tuple[float, float | None]:
        """The seconds that are taken of what drives; a target that moves is trimmed itself."""
        return (0.0, None) if self._job.target_moves else self._job.clip.trim

    def footage(self, path: str, choice: str) -> Cast:
        """The people of footage, or whom a camera sees."""
        footage = self._open(path, self._of_source)
        if footage.live:
            return Cast({1: Live(footage, self._live_finder(footage, choice))}, _AS_IT_COMES)
        chosen, people, times = self._follow(footage, path, choice)
        return self._played(chosen, people, choice, times, footage)

    def moment(
        self, path: str, at: float, fps: float | None = None
    ) -> tuple[np.ndarray, FrameInfo]:
        """The frame of footage that is seen then, and where it was seen.

        fps : as in `open_footage`.
        """
        footage = self._open(path, (at, None), fps)
        frame = next(iter(footage), None)
        if frame is None:
            raise InputError(f"cannot read {path} at {at:g} s: it ends before")
        return frame.img, _info(footage, frame)

    def _played(
        self,
        chosen: Sequence[Track],
        people: int,
        choice: str,
        times: Sequence[float],
        footage: Footage | None = None,
    ) -> Cast:
        played = {track.number: self._performance(track, times, footage) for track in chosen}
        return Cast(played, told_tracks(chosen, people, choice))

    def _performance(
        self, track: Track, times: Sequence[float], footage: Footage | None
    ) -> Played:
        loop = self._job.clip.loop and self._job.target_moves  # or else it gives the length
        openings = self._reenactor.openings
        return Played(track, times, footage, loop, openings)

    def target(self, choice: str) -> Target:
        """The people of footage who get an expression; its own sound is heard."""
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
                self._awake(chosen),
            )
        return replace(
            target,
            count=footage.count,
            fps=footage.fps,
            sound=footage.sound,
            age=footage.age,
        )

    def _awake(self, tracks: Sequence[Track]) -> Callable[[Face], Driver]:
        """Gives the people of the target with open eyes; each is looked for once, when asked for.

        Models without lids know of no eyes.
        """
        openings = self._reenactor.openings
        if openings is None:
            return lambda _: Driver()
        by_number = {track.number: track for track in tracks}

        @cache
        def of(number: int) -> Driver:
            face = awake_of(by_number[number], openings)
            at = self._job.clip.trim[0] + face.frame.seconds
            try:
                img, _ = self.moment(self._job.target, at, self._job.clip.fps)
            except InputError:  # damaged files can be read in order only
                return Driver()
            return Driver(face, lambda: img)

        return lambda face: of(face.track or 0)

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
        least = self._job.min_confidence

        def find(frame: Frame) -> Sequence[Face]:
            """Whoever is too uncertain is as if not there."""
            faces = tracker(frame.img, _info(footage, frame))
            return [smoother(f) for f in faces if f.confidence is None or f.confidence >= least]

        return find

    def _open(
        self, path: str, trim: tuple[float, float | None], fps: float | None = None
    ) -> Footage:
        footage = self._opened.enter_context(open_footage(path, trim, fps))
        self._footages.append(footage)
        return footage


def told_tracks(chosen: Sequence[Track], people: int, choice: str) -> str:
    """Which of the people of footage were picked, in words."""
    numbers = ", ".join(str(track.number) for track in chosen)
    return f"person {numbers} of {people} from the left ({choice})"


def _blank(size: tuple[int, int], times: Sequence[float]) -> Iterator[Frame]:
    """Frames without anything in them, where nobody looks at them."""
    img = np.zeros((size[1], size[0], 3), np.uint8)
    return (Frame(img, number, seconds) for number, seconds in enumerate(times))


def _info(footage: Footage, frame: Frame) -> FrameInfo:
    name = os.path.basename(footage.name)
    return FrameInfo(name, footage.size, frame.number, frame.seconds)
