"""Where the results of a run go: files of single pictures, or files over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

from reenactment.job import Job
from reenactment.param_file import encode_params
from reenactment.parts import Numbered, Part, Setting, is_numbered
from reenactment.performance import Target
from reenactment.scene import Scene
from reenactment.views import VIEWS, Medium
from utils.footage import Frame
from utils.footage.pictures import numbered_name
from utils.io import WholeFiles, write_all


class Stills:
    """Single pictures and documents, which are written together.

    Attributes
    ----------
    written : the files, in order; names : the same as they were asked for, numbered ones by their
        pattern; replaced : those that were there before.
    frames, faceless : how many frames there were, and how many of them without a face.
    """

    def __init__(self, job: Job, config: Mapping[str, Any], target: Target) -> None:
        self._job, self._config, self._target = job, config, target
        self._steps = job.steps()
        self._contents: dict[str, bytes] = {}
        self._to_show: list[tuple[Medium, Any]] = []
        self.frames = self.faceless = 0
        self.written: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ()
        self.replaced: frozenset[str] = frozenset()

    def take(self, scene: Scene, frame: Frame) -> None:
        """Keep what is made of a scene, which is the next of the job's steps."""
        job, (share, outputs) = self._job, self._steps[self.frames]
        metadata = self._target.metadata
        shown = scene.on_the_way(share)
        for kind, path in outputs.items():
            assert path is not None  # only what moves may be shown without being kept
            medium = VIEWS[kind].medium
            output = VIEWS[kind].compose(shown, job.look)
            self._contents[path] = medium.encode(output, Path(path).suffix, job.quality, metadata)
            if job.show:
                self._to_show.append((medium, output))
        self.frames += 1
        if job.save_params and self.frames == len(self._steps):
            faces = scene.source, scene.targets, scene.results
            content = encode_params(Path(job.save_params).suffix, self._config, *faces)
            self._contents[job.save_params] = content

    def close(self) -> None:
        """Write all files, and show what is to be shown."""
        self.replaced = frozenset(write_all(self._contents))
        self.written = self.names = tuple(self._contents)
        for medium, output in self._to_show:
            medium.show(output)


class Clips:
    """Moving pictures, and documents over time; the attributes are those of `Stills`.

    Parameters
    ----------
    files : take their places after the last frame.
    """

    def __init__(
        self, job: Job, config: Mapping[str, Any], target: Target, files: WholeFiles
    ) -> None:
        self._job, self._files = job, files
        self._parts = [*_kept(job, target, files), *_not_kept(job, target)]
        if job.save_params:
            self._parts.append(("track", _part("track", job.save_params, job, target, files)))
        self.frames = self.faceless = 0
        self.names = tuple(filter(None, (*job.outputs.values(), job.save_params)))
        self.replaced: frozenset[str] = frozenset()

    def take(self, scene: Scene, frame: Frame) -> None:
        """Keep what is made of a scene."""
        shown = scene.on_the_way(self._job.share(frame.number))
        outputs = {
            kind: VIEWS[kind].compose(shown, self._job.look)
            for kind in dict.fromkeys(kind for kind, _ in self._parts)
        }
        for kind, part in self._parts:
            part.write(outputs[kind], frame)
        self.frames += 1
        self.faceless += not scene.results

    @property
    def written(self) -> tuple[str, ...]:
        """The files, in order."""
        return tuple(
            numbered_name(name, number)
            for name in self.names
            for number in range(self.frames if is_numbered(name) else 1)
        )

    def close(self) -> None:
        """Finish the files, of as many frames as there were."""
        for _, part in self._parts:
            part.close()


def _kept(job: Job, target: Target, files: WholeFiles) -> Iterator[tuple[str, Part]]:
    """The kinds of output that go to files, and what makes these."""
    for kind, path in job.outputs.items():
        if path is not None:
            yield kind, _part(kind, path, job, target, files)


def _part(kind: str, path: str, job: Job, target: Target, files: WholeFiles) -> Part:
    medium = VIEWS[kind].medium
    make = Numbered if is_numbered(path) else medium.part
    return make(Setting(
        files, path, medium.encode, job.quality, job.clip, target.fps, target.sound,
        medium.comment(),
    ))


def _not_kept(job: Job, target: Target) -> Iterator[tuple[str, Part]]:
    """The same of those that go to a window, a virtual camera or an avatar."""
    if not (job.show or job.clip.virtual_camera or job.clip.osc):
        return
    from reenactment import live

    pictures = [kind for kind in job.outputs if VIEWS[kind].medium.holds("%d.png", True)]
    for kind in pictures if job.show else ():
        yield kind, live.Window(f"{kind} {target.name}", target.age)
    paced: Callable[[Part], Part] = live.Paced if target.age is None else lambda part: part
    for kind in pictures[:1] if job.clip.virtual_camera else ():
        yield kind, paced(live.VirtualCamera(target.fps))
    if job.clip.osc:
        yield "arkit", paced(live.Avatar(job.clip.osc))


Recording = Union[Stills, Clips]


@contextmanager
def open_recording(job: Job, config: Mapping[str, Any], target: Target) -> Iterator[Recording]:
    """What takes a job's scenes; the files are there after a `with` block that has not failed.

    Moving pictures are kept if the user stops the run: as far as they came.

    Raises
    ------
    OutputError : a place cannot be written; KeyboardInterrupt : says what is there.
    """
    if not job.moving:
        stills = Stills(job, config, target)
        yield stills
        stills.close()
        return
    stop: KeyboardInterrupt | None = None
    with WholeFiles() as files:
        clips = Clips(job, config, target, files)
        try:
            yield clips
        except KeyboardInterrupt as error:
            if not clips.frames:
                raise
            stop = error
        finally:
            clips.close()
    clips.replaced = frozenset(str(path) for path in files.replaced)
    if stop:
        kept = ", ".join(clips.names)
        raise KeyboardInterrupt(f"stopped after {clips.frames} frames, which are in {kept}")
