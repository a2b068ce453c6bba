"""What is asked for, and what came of it, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from bfm.regions import parse_regions
from reenactment.clip import Clip
from reenactment.faces import EVERY, parse_choice, parse_pairs
from reenactment.knobs import (
    MAX_GAIN,
    Knobs,
    checked_number,
    make_transfer,
    parse_gains,
    parse_knobs,
)
from reenactment.outputs import check_outputs, is_track, numbered
from reenactment.param_file import SUFFIXES, is_param_file
from reenactment.scene import Look
from reenactment.transfer import Transfer
from reenactment.views import VIEWS
from reenactment.weights import is_weights_file
from utils.errors import UsageError
from utils.footage import is_footage
from utils.io import check_place
from utils.sinks import check_sink, is_sink

AUTO = "auto"  # the neutral face that a moving source shows by itself
_QUALITIES = range(1, 101)
_STEPS = range(2, 1001)
_PARSERS: dict[str, Callable[[str], object]] = {  # of fields that are written like options
    "regions": parse_regions,
    "gain": parse_gains,
    "set": parse_knobs,
    "preset": lambda text: parse_knobs(presets=text),
}
# Fields that say what is taken of a source, their options, and what they are without one.
_NEED_A_SOURCE = (
    ("regions", "regions", "all"), ("gain", "gain", ""), ("neutral", "neutral_img_fp", None)
)


@contextmanager
def naming(field_name: str) -> Iterator[None]:
    """Let the message of a UsageError begin with the name of a job's field."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{field_name}: {error}") from error


@dataclass(frozen=True)
class Job:
    """One transfer. Files are named as the user names them.

    source : picture or footage whose expression is taken, a parameter file or one of weights; None
        for sliders alone.
    target : picture or footage whose faces get it.
    outputs : kinds of output (`VIEWS`) and the files they go to; None for what is not kept.
    moving : whether these are moving pictures, and documents over time.
    at : seconds into a source that moves, where they are not.
    source_face, target_face, neutral_face : which face is meant; see `parse_choice`.
    pair : which faces of the source drive which of the target, as 'SOURCE:TARGET,...'; empty for
        the one that drives all.
    neutral : the source person at rest, anything that can be a source, or `AUTO` for the calmest
        frames of a source that moves; the transfer is then relative to it.
    regions : which of them get the expression, as in `bfm.regions.parse_regions`.
    min_confidence : faces that the network is less sure of are refused, 0 to 1.
    exp_gain : strength of the expression; gain : factors to it, as in `parse_gains`.
    set, preset : sliders and presets to add, neutralise : whether to keep nothing of the target's
        own expression; see `parse_knobs`.
    interpolate : how many results to make, from the target's own expression to the new one, each
        with its number in the file's name; None is the new one alone.
    look : how things are drawn; clip : how moving pictures are made.
    quality : of JPEG and WebP files, 1 to 100; None leaves it to the encoder.
    save_params : a parameter file to write.
    show : open a window with each picture.

    Raises
    ------
    UsageError : a value that cannot be; the message begins with the field's name.
    """

    source: str | None
    target: str
    outputs: Mapping[str, str | None]
    moving: bool = False
    at: float = 0.0
    source_face: str = "largest"
    target_face: str = "largest"
    pair: str = ""
    neutral: str | None = None
    neutral_face: str = "largest"
    min_confidence: float = 0.0
    regions: str = "all"
    exp_gain: float = 1.0
    gain: str = ""
    set: str = ""
    preset: str = ""
    neutralise: bool = False
    interpolate: int | None = None
    look: Look = field(default_factory=Look)
    clip: Clip = field(default_factory=Clip)
    quality: int | None = None
    save_params: str | None = None
    show: bool = False

    def __post_init__(self) -> None:
        for name in ("source_face", "target_face", "neutral_face"):
            self._check_choice(name)
        checked_number("exp_gain", self.exp_gain, MAX_GAIN)
        for name, parse in _PARSERS.items():
            with naming(name):
                parse(getattr(self, name))
        if self.source is None:
            self._check_without_source()
        if self.interpolate is not None and self.interpolate not in _STEPS:
            raise UsageError(f"interpolate: expected 2 to {_STEPS[-1]}, got {self.interpolate}")
        if self.interpolate and self.target_moves:
            raise UsageError("interpolate: it is for targets that do not move")
        if self.pairs and self.target_face != "largest":
            raise UsageError("pair: it says which faces are meant, and so does target_face")
        if self.pairs and (self.neutral or self.source is None):
            raise UsageError("pair: it needs a source, and goes without neutral_img_fp")
        if self.neutral == AUTO and not self.source_moves:
            raise UsageError("neutral_img_fp: auto is for sources that move; name a picture")
        if not 0 <= self.at < float("inf"):
            raise UsageError(f"at: expected seconds from 0 on, got {self.at:g}")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"min_confidence: expected 0 to 1, got {self.min_confidence}")
        if self.quality is not None and self.quality not in _QUALITIES:
            raise UsageError(f"quality: expected 1 to 100, got {self.quality}")
        if self.save_params and not self._can_hold_params(self.save_params):
            endings = " or ".join(SUFFIXES)
            raise UsageError(f"save_params: {self.save_params} must end in {endings}")

    def check_files(self) -> None:
        """Refuse outputs that would replace an input, or each other, or cannot be made.

        Raises
        ------
        UsageError : the former, or what shows moving pictures is missing.
        OutputError : so is an encoder, or a file cannot be written, or what moves has a URL.
        """
        inputs = [path for path in (self.source, self.target, self.neutral) if path]
        check_outputs(self.files(), inputs)
        for _, path in self.files() if self.moving else ():
            check_place(path)
            if is_sink(path):
                check_sink(path, self.clip.encoder)
        if self.clip.virtual_camera or self.clip.osc:
            from reenactment.live import check_live

            check_live(self.clip)
        elif self.moving and not any(self.outputs.values()):
            from reenactment.live import check_window

            check_window()

    def _can_hold_params(self, path: str) -> bool:
        return is_param_file(path) or (self.moving and VIEWS["track"].medium.holds(path, True))

    def files(self) -> list[tuple[str, str]]:
        """All files that it writes, each after the option that names it."""
        steps = (path for _, outputs in self.steps() for path in outputs.values())
        named = [*(("output_fp", path) for path in steps), ("save_params", self.save_params)]
        return [(option, path) for option, path in named if path]

    @property
    def pairs(self) -> dict[int, int]:
        """The numbers of the targets' faces that are meant, and of the source's that drive them."""
        with naming("pair"):
            return parse_pairs(self.pair)

    @property
    def target_moves(self) -> bool:
        """Whether the target is footage."""
        return is_footage(self.target)

    @property
    def source_moves(self) -> bool:
        """Whether the result follows a source through time: footage, a track or weights."""
        through_time = (is_footage, is_track, is_weights_file)
        return self.moving and self.source is not None and any(
            fits(self.source) for fits in through_time
        )

    @property
    def is_of_faces_alone(self) -> bool:
        """Whether all outputs can do without the pixels of frames, and so without a source."""
        return all(VIEWS[kind].of_faces_alone for kind in self.outputs)

    def share(self, number: int) -> float:
        """How far frame `number` goes from the target's own expression, 0 to 1."""
        return 1.0 if self.interpolate is None else number / (self.interpolate - 1)

    def steps(self) -> list[tuple[float, Mapping[str, str | None]]]:
        """How far each result goes from the target's own expression, 0 to 1, and where it goes.

        The latter are kinds of output and files; what moves is a single result.
        """
        if self.interpolate is None or self.moving:
            return [(1.0, self.outputs)]
        last = self.interpolate - 1
        return [
            (number / last, {
                kind: path and numbered(path, number) for kind, path in self.outputs.items()
            })
            for number in range(self.interpolate)
        ]

    def _check_without_source(self) -> None:
        for name, option, default in _NEED_A_SOURCE:
            if getattr(self, name) != default:
                raise UsageError(f"{option}: it says what is taken of a source, and there is none")
        if self.knobs is None and not self.is_of_faces_alone:
            raise UsageError("source_img_fp: give one, or --set, --preset or --neutralise")

    def _check_choice(self, name: str) -> None:
        with naming(name):
            choice = parse_choice(getattr(self, name))
        if choice == EVERY and name != "target_face":
            raise UsageError(f"{name}: all is for targets only")

    @property
    def transfer(self) -> Transfer:
        """How expressions are transferred, but for the neutral face."""
        if self.source is None:
            return Transfer(keep=1, gain=0)
        return make_transfer(self.regions, self.exp_gain, self.gain)

    @property
    def knobs(self) -> Knobs | None:
        """What is added to that by name, if anything."""
        return parse_knobs(self.set, self.preset, self.neutralise)

    @property
    def digest(self) -> str:
        """Tells jobs apart that ask for different things: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    job : its digest.
    found, picked : how many faces the target shows, and which of them, counted from the left,
        got the expression; confidence : the network's, of those.
    written : the files, in order; replaced : those of them that were there before.
    frames : how many the target has, and faceless : how many of them show no face.
    """

    job: str
    found: int
    picked: tuple[int, ...]
    confidence: tuple[float, ...]
    written: tuple[str, ...]
    replaced: frozenset[str] = frozenset()
    frames: int = 1
    faceless: int = 0
