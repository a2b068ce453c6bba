"""Where results go: their names, and what they must not replace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Formatter

from reenactment.parts import is_numbered
from reenactment.views import VIEWS
from reenactment.weights import is_weights_file
from utils.errors import UsageError
from utils.footage import is_footage
from utils.footage.pictures import files_of, is_numbered_as

EVERY, DEFAULT_KIND = "all", "3d"
DEFAULT_PATTERN = "{index}_{source_name}_to_{target_name}_{opt}.{ext}"
PATTERN_KEYS = ("index", "shard", "source_name", "target_name", "opt", "ext")
SHARD_ROWS = 1000  # of a sub-folder
RESULTS_FOLDER = Path("examples/results")


def names_folder(path: str) -> bool:
    """Whether an output path is a folder's, there or to be made."""
    return path.endswith(("/", os.sep)) or os.path.isdir(path)


def parse_kinds(groups: Iterable[Iterable[str]] | None, moving: bool = False) -> list[str]:
    """The kinds of output that `--opt` asks for: names joined by commas, or 'all'.

    groups : the words of each time it was given; None is the default.
    moving : whether 'all' is all that a file over time can hold.

    Raises
    ------
    UsageError : an unknown kind.
    """
    words = [word for group in groups for word in group] if groups else [DEFAULT_KIND]
    kinds = dict.fromkeys(kind.strip() for word in words for kind in word.split(","))
    for kind in kinds:
        if kind not in VIEWS and kind != EVERY:
            raise UsageError(f"opt: unknown kind {kind!r}; choose from {', '.join(VIEWS)}, {EVERY}")
    if EVERY in kinds:
        return [kind for kind, view in VIEWS.items() if view.medium.suffixes_of(moving)]
    return list(kinds)


def is_track(path: str) -> bool:
    """Whether a file holds people through time, and not parameters, weights or a picture."""
    if not VIEWS["track"].medium.holds(path, True):
        return False
    from reenactment.track_file import is_track_file

    return is_track_file(path)


def is_moving(
    source: str | None, target: str, output_fp: str | None, steps: bool, moment: bool
) -> bool:
    """Whether what is asked for moves: that of footage does, that of two pictures does not.

    Else the source and the ending of the output decide.

    Parameters
    ----------
    steps : whether results on the way to the new expression are asked for.
    moment : whether a moment of the source is.

    Raises
    ------
    UsageError : a name for moving pictures where nothing moves.
    """
    if is_footage(target):
        return True
    filmed = source is not None and (is_footage(source) or is_track(source))
    if output_fp is None or names_folder(output_fp):
        return filmed and not moment
    timed = (filmed or (source is not None and is_weights_file(source))) and not moment
    media = [view.medium for view in VIEWS.values()]
    if any(medium.holds(output_fp, False) for medium in media) and not is_numbered(output_fp):
        return timed and any(medium.holds(output_fp, True) for medium in media)
    if not any(medium.holds(output_fp, True) for medium in media):
        return filmed and not moment
    if not (timed or steps):
        raise UsageError(
            f"output_fp: {output_fp} is for what moves, and here nothing does; name a picture, "
            "or use --interpolate"
        )
    return True


def name_outputs(
    source: str | None,
    target: str,
    kinds: Sequence[str],
    output_fp: str | None = None,
    moving: bool = False,
) -> dict[str, str]:
    """Where each kind of output of a transfer goes.

    Parameters
    ----------
    kinds : keys of `VIEWS`.
    moving : whether they are moving pictures, and documents over time.
    output_fp : a file; or a folder, by default `RESULTS_FOLDER`, for names made of the inputs'.
        With several kinds, the kind becomes a part of the name.

    Raises
    ------
    UsageError : the file's ending cannot hold the only kind, or none of several.
    """
    if output_fp is None or names_folder(output_fp):
        folder = str(RESULTS_FOLDER) if output_fp is None else output_fp
        stem = f"{_stem(source)}_to_{_stem(target)}" if source else _stem(target)
        return {
            kind: os.path.join(folder, f"{stem}_{kind}{_default_suffix(kind, moving)}")
            for kind in kinds
        }
    stem, suffix = os.path.splitext(output_fp)
    fitting = [kind for kind in kinds if VIEWS[kind].medium.holds(output_fp, moving)]
    if not fitting:
        endings = (VIEWS[kind].medium.suffixes_of(moving) for kind in kinds)
        wanted = dict.fromkeys(suffix for suffixes in endings for suffix in suffixes)
        raise UsageError(
            f"output_fp: {output_fp} cannot hold {', '.join(kinds)}{' of what moves' * moving}; "
            "let it end in "
            + ", ".join(wanted) + (", and have no %d" if is_numbered(output_fp) else "")
        )
    if len(kinds) == 1:
        return {kinds[0]: output_fp}
    return {
        kind: f"{stem}_{kind}{suffix if kind in fitting else _default_suffix(kind, moving)}"
        for kind in kinds
    }


def check_pattern(pattern: str, kinds: Sequence[str]) -> None:
    """Check a pattern of `fill_pattern` before anything is done with it.

    Raises
    ------
    UsageError : unknown keys, or several kinds of output would get one name.
    """
    try:
        keys = {key for _, key, _, _ in Formatter().parse(pattern) if key is not None}
        filled = fill_pattern(pattern, kinds, "a.jpg", "b.jpg", 1)
    except (LookupError, ValueError, AttributeError) as error:
        raise UsageError(
            f"output_pattern: {pattern} cannot be filled ({error}); known keys: "
            + ", ".join(f"{{{key}}}" for key in PATTERN_KEYS)
        ) from error
    if not keys & {"index", "source_name", "target_name"}:
        raise UsageError(f"output_pattern: {pattern} gives all rows one name; add {{index}}")
    if len(set(filled.values())) < len(kinds):
        raise UsageError(f"output_pattern: {pattern} gives all kinds one name; add {{opt}}")


def fill_pattern(
    pattern: str,
    kinds: Sequence[str],
    source: str | None,
    target: str,
    index: int,
    moving: bool = False,
) -> dict[str, str]:
    """The outputs of row `index`, named by a pattern with the keys `PATTERN_KEYS`.

    Raises
    ------
    UsageError : an ending that cannot hold the kind.
    """
    names = {
        "index": index,
        "shard": f"{index // SHARD_ROWS:05d}",
        "source_name": _stem(source or "none"),
        "target_name": _stem(target),
    }
    outputs = {}
    for kind in kinds:
        path = pattern.format(**names, opt=kind, ext=_default_suffix(kind, moving)[1:])
        if not VIEWS[kind].medium.holds(path, moving):
            raise UsageError(f"output_pattern: {path} cannot hold {kind}; let it end in .{{ext}}")
        outputs[kind] = path
    return outputs


def _default_suffix(kind: str, moving: bool) -> str:
    suffixes = VIEWS[kind].medium.suffixes_of(moving)
    if not suffixes:
        raise UsageError(
            f"opt: {kind} needs a file for each frame; name them, such as "
            f"-o out/%05d{VIEWS[kind].medium.suffixes[0]}"
        )
    return suffixes[0]


def _stem(path: str) -> str:
    """The name of an input as a part of an output's: no ending, and what names cannot have."""
    name = Path(path.rstrip("/")).stem or "input"
    return re.sub(r"[:*?%\[\]]+", "_", name).strip("_") or "input"


def numbered(path: str, number: int) -> str:
    """'a/b.png' -> 'a/b_003.png'."""
    stem, suffix = os.path.splitext(path)
    return f"{stem}_{number:03d}{suffix}"


def check_outputs(written: Iterable[tuple[str, str]], inputs: Iterable[str]) -> None:
    """Refuse to write over an input, or twice into one file.

    Parameters
    ----------
    written : the option that names a file, and the file.

    Raises
    ------
    UsageError : names both.
    """
    taken = {os.path.realpath(file): "an input" for path in inputs for file in files_of(path)}
    for option, path in written:
        place = os.path.realpath(path)
        what = taken.get(place)
        if is_numbered(path):
            what = next((w for other, w in taken.items() if is_numbered_as(other, path)), what)
        if what:
            raise UsageError(f"{option}: {path} is {what}, too; choose another name")
        taken[place] = f"what {option} names"
