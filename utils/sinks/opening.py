"""Opening the sink for a name's ending."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from utils.errors import OutputError
from utils.footage import Sound
from utils.io import PathLike, WholeFiles, shown
from utils.sinks.forms import FORMS
from utils.sinks.sink import Sink


def is_sink(path: PathLike) -> bool:
    """Whether a name is one that moving pictures can be written to."""
    return Path(path).suffix.lower() in FORMS


def open_sink(
    path: PathLike,
    fps: float,
    files: WholeFiles,
    *,
    sound: Sound | None = None,
    quality: int | None = None,
    encoder: str | None = None,
) -> Sink:
    """Begin to write moving pictures, in the kind of the name's ending.

    Their size is the first picture's; H.264 and VP9 hold even sizes only: of odd ones the last
    column or row is dropped.

    Parameters
    ----------
    fps : frames per second, on average; the frames are given with times of their own.
    files : with whose others the file takes its place.
    sound : what is heard with it, as far as the kind can hold sound, and as long as it lasts.
    quality : 1 to 100, of which 75 looks clean and is the default.
    encoder : FFmpeg's name of another encoder than the kind's usual one.

    Raises
    ------
    OutputError : the ending is of no such kind, or the place cannot be written.
    """
    form = FORMS.get(Path(path).suffix.lower())
    if form is None:
        raise OutputError(f"cannot write {shown(path)}: the name must end in {', '.join(FORMS)}")
    from utils.sinks.by_av import AvEncoder

    options = form.options if quality is None else {**form.options, "crf": form.crf(quality)}
    form = replace(form, encoder=encoder or form.encoder, options=options)
    return Sink(AvEncoder(files.new(path), shown(path), fps, form, sound))
