"""Opens what a job names: who drives, and what gets the expression."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from reenactment.faces import EVERY, Face
from reenactment.job import AUTO, Job
from reenactment.outputs import is_track
from reenactment.param_file import is_param_file, load_source
from reenactment.performance import (
    STILL_FPS,
    Cast,
    Performance,
    Still,
    Target,
    Watch,
    check_numbers,
)
from reenactment.reenactor import Found, Reenactor
from reenactment.weights import face_of, is_weights_file, load_weights
from utils.footage import Frame, is_footage
from utils.footage.times import whole_frames

if TYPE_CHECKING:  # else pictures would load what videos need
    from reenactment.moving import Moving

DOUBTFUL = 0.6  # confidence below which a face may be none; 99% of faces have more than 0.7


class Stage:
    """Opens sources and targets; the end of a `with` block closes them.

    Parameters
    ----------
    watch : is shown the frames that are followed before anything is drawn.
    """

    def __init__(self, reenactor: Reenactor, job: Job, watch: Watch) -> None:
        self._reenactor, self._job, self._watch = reenactor, job, watch

    @cached_property
    def _moving(self) -> Moving:
        from reenactment.moving import Moving

        return Moving(self._reenactor, self._job, self._watch)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *error: object) -> None:
        if "_moving" in vars(self):
            self._moving.close()

    def warnings(self) -> list[str]:
        """What, once the end is reached, has to be said of damaged and missing frames."""
        return self._moving.warnings() if "_moving" in vars(self) else []

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

    def _perform_track(self, path: str, choice: str, moving: bool) -> Cast:
        cast = self._moving.tracks(path, choice)
        return cast if moving else cast.stopped(self._job.at)

    def _perform_weights(self, path: str, choice: str, moving: bool) -> Cast:
        if moving:
            return self._moving.weights(path)
        weights, at = load_weights(path, self._job.at), self._job.at
        shape_dim, sliders = self._reenactor.tddfa.layout.shape_dim, self._reenactor.sliders
        face = face_of(weights, sliders, shape_dim, os.path.basename(path))
        return Cast({1: Still(face)}, f"weights at {at:g} s")

    def _perform_params(self, path: str, choice: str, moving: bool) -> Cast:
        face = load_source(path, self._reenactor.tddfa.layout)
        return Cast({1: Still(face)}, "parameter file")

    def _perform_footage(self, path: str, choice: str, moving: bool) -> Cast:
        if moving:
            return self._moving.footage(path, choice)
        img, frame = self._moving.moment(path, self._job.at)
        found = self._reenactor.find(img, choice, frame)
        return self._still_cast(found, path, f"at {self._job.at:g} s, {told(found, choice)}", img)

    def _still_cast(self, found: Found, path: str, summary: str, img: np.ndarray) -> Cast:
        found.check_sure(self._job.min_confidence, path)
        people = {number: Still(face, img) for number, face in zip(found.numbers, found.faces)}
        return Cast(people, summary)

    def target(self, source: Cast) -> Target:
        """What gets the expression; the source's times are those of a target that does not move.

        Raises
        ------
        InputError, NoFaceError : see `Reenactor.look`.
        """
        job = self._job
        choice = EVERY if job.pairs else job.target_face
        target = self._moving.target(choice) if job.target_moves else self._still_target(choice)
        target = self._accompanied(target, source.lead)
        if job.pairs:
            check_numbers(job.pairs, target.picked, job.target)
            every = target.faces
            target = replace(
                target,
                picked=tuple(number for number in target.picked if number in job.pairs),
                faces=lambda frame: [face for face in every(frame) if face.track in job.pairs],
            )
        return target

    def _still_target(self, choice: str) -> Target:
        job = self._job
        picture, found = self._reenactor.look(job.target, choice)
        found.check_sure(job.min_confidence, job.target)
        faces = [
            replace(face, track=number) for number, face in zip(found.numbers, found.faces)
        ]

        def at(frame: Frame) -> Sequence[Face]:
            seen = faces[0].frame._replace(number=frame.number, seconds=frame.seconds)
            return [replace(face, frame=seen) for face in faces]

        return Target(
            name=os.path.basename(job.target),
            frames=[Frame(picture.bgr, 0, 0.0, alpha=picture.alpha if job.moving else None)],
            faces=at,
            summary=told(found, choice),
            found=found.total,
            picked=found.numbers,
            confidence=confidence_of(faces),
            metadata=picture.metadata,
            original=Frame.with_alpha if job.moving else lambda _: picture.original,
        )

    def _accompanied(self, target: Target, lead: Performance | None) -> Target:
        """A target with the sound that is asked for; a still one also lasts as long as the lead."""
        job = self._job
        of_source = lead.sound if lead else None
        sounds = {"target": target.sound, "source": of_source, "none": None}
        sounds["auto"] = target.sound if job.target_moves else of_source
        target = replace(target, sound=sounds[job.clip.sound])
        if job.target_moves:
            return target
        (still,), times = target.frames, frame_times(job, lead)
        return replace(
            target,
            frames=(still._replace(number=number, seconds=at) for number, at in enumerate(times)),
            count=len(times) if isinstance(times, Sequence) else None,
            fps=job.clip.fps or (lead and lead.fps) or STILL_FPS,
            age=lead.age if lead else None,
        )

    _performers: tuple[tuple[Callable[[str], bool], Callable[..., Cast]], ...] = (
        (is_track, _perform_track),
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
    times = source.times
    end = times[-1] * (1 + 1 / max(len(times) - 1, 1))  # the last one is seen as long as others
    return [number / job.clip.fps for number in range(max(whole_frames(end, job.clip.fps), 1))]


def told(found: Found, choice: str) -> str:
    """Which of a picture's faces were picked, in words."""
    numbers = ", ".join(map(str, found.numbers))
    turned = f", in the picture turned by {90 * found.quarters}°" if found.quarters else ""
    unsure, doubt = confidence_of(found.faces), ""
    if unsure and min(unsure) < DOUBTFUL:
        doubt = f"; warning: it may be no face, or a guess (confidence {min(unsure):.2f})"
    return f"face {numbers} of {found.total} from the left ({choice}){turned}{doubt}"


def confidence_of(faces: Sequence[Face]) -> tuple[float, ...]:
    """How sure the network is of faces, where it can tell."""
    return tuple(face.confidence for face in faces if face.confidence is not None)
