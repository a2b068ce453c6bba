"""Where results go: their names, and what they must not replace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from reenactment.views import VIEWS
from utils.errors import UsageError

EVERY = "all"
RESULTS_FOLDER = Path("examples/results")


def names_folder(path: str) -> bool:
    """Whether an output path is a folder's, there or to be made."""
    return path.endswith(("/", os.sep)) or os.path.isdir(path)


def parse_kinds(words: Iterable[str]) -> list[str]:
    """The kinds of output that some words ask for: names joined by commas, or 'all'.

    Raises
    ------
    UsageError : an unknown kind.
    """
    kinds = dict.fromkeys(kind.strip() for word in words for kind in word.split(","))
    for kind in kinds:
        if kind not in VIEWS and kind != EVERY:
            raise UsageError(f"opt: unknown kind {kind!r}; choose from {', '.join(VIEWS)}, {EVERY}")
    return list(VIEWS if EVERY in kinds else kinds)


def name_outputs(
    source: str | None, target: str, kinds: Sequence[str], output_fp: str | None = None
) -> dict[str, str]:
    """Where each kind of output of a transfer goes.

    Parameters
    ----------
    kinds : keys of `VIEWS`.
    output_fp : a file; or a folder, by default `RESULTS_FOLDER`, for names made of the inputs'.
        With several kinds, the kind becomes a part of the name.

    Raises
    ------
    UsageError : the file's ending cannot hold the only kind, or none of several.
    """
    if output_fp is None or names_folder(output_fp):
        folder = RESULTS_FOLDER if output_fp is None else Path(output_fp)
        stem = f"{Path(source).stem}_to_{Path(target).stem}" if source else Path(target).stem
        return {kind: str(folder / f"{stem}_{kind}{_default_suffix(kind)}") for kind in kinds}
    path = Path(output_fp)
    fitting = [kind for kind in kinds if VIEWS[kind].medium.holds(path.suffix)]
    if not fitting:
        wanted = dict.fromkeys(suffix for kind in kinds for suffix in VIEWS[kind].medium.suffixes)
        raise UsageError(
            f"output_fp: {path} cannot hold {', '.join(kinds)}; let it end in {', '.join(wanted)}"
        )
    if len(kinds) == 1:
        return {kinds[0]: str(path)}
    return {
        kind: str(path.with_name(
            f"{path.stem}_{kind}{path.suffix if kind in fitting else _default_suffix(kind)}"
        ))
        for kind in kinds
    }


def _default_suffix(kind: str) -> str:
    return VIEWS[kind].medium.default_suffix


def numbered(path: str, number: int) -> str:
    """'a/b.png' -> 'a/b_003.png'."""
    name = Path(path)
    return str(name.with_name(f"{name.stem}_{number:03d}{name.suffix}"))


def check_outputs(written: Iterable[tuple[str, str]], inputs: Iterable[str]) -> None:
    """Refuse to write over an input, or twice into one file.

    Parameters
    ----------
    written : the option that names a file, and the file.

    Raises
    ------
    UsageError : names both.
    """
    taken = {os.path.realpath(path): "an input" for path in inputs}
    for option, path in written:
        place = os.path.realpath(path)
        if place in taken:
            raise UsageError(f"{option}: {path} is {taken[place]}, too; choose another name")
        taken[place] = f"what {option} names"
