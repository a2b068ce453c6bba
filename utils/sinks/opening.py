"""Opening the sink for a name's ending."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from utils.errors import OutputError
from utils.footage import Sound
from utils.io import PathLike, WholeFiles, shown
from utils.sinks.forms import FORMS, INSTALL, Form
from utils.sinks.sink import Sink

logger = logging.getLogger(__name__)


def is_sink(path: PathLike) -> bool:
    """Whether a name is one that moving pictures can be written to."""
    return Path(path).suffix.lower() in FORMS


def check_sink(path: PathLike, encoder: str | None = None) -> None:
    """Find out early what would keep `open_sink` from writing there.

    Raises
    ------
    OutputError : the ending is of no kind that can be written here, there is no such encoder, or
        it does not write that kind.
    """
    _check_kind(path, encoder)
    form = _form_of(path)
    if encoder is not None and _is_by_av(form):
        from utils.sinks.by_av import try_codec

        try_codec(encoder, form, shown(path))


def _check_kind(path: PathLike, encoder: str | None) -> None:
    form = _form_of(path)
    if _is_by_av(form):
        if encoder is not None:
            from utils.sinks.by_av import check_codec

            check_codec(encoder)
    elif encoder is not None or not form.fourcc:
        what = f"{Path(path).suffix} with {encoder}" if encoder else Path(path).suffix
        raise OutputError(f"cannot write {shown(path)}: {what} needs PyAV ({INSTALL})")


def open_sink(
    path: PathLike,
    fps: float,
    files: WholeFiles,
    *,
    sound: Sound | None = None,
    quality: int | None = None,
    encoder: str | None = None,
    comment: str = "",
) -> Sink:
    """Begin to write moving pictures, in the kind of the name's ending.

    Their size is the first picture's; but for GIF, it is even: of odd ones the last column or row
    is dropped. WebM keeps what is transparent; elsewhere that is black.

    Parameters
    ----------
    fps : frames per second, on average; the pictures are given with times of their own.
    files : with whose others the file takes its place.
    sound : what is heard with it where the kind can hold sound, for as long as the pictures last.
    quality : 1 to 100; None is about 75, which looks clean.
    encoder : FFmpeg's name of another encoder than the kind's usual one.
    comment : for the file's metadata, where the kind has any.

    Raises
    ------
    OutputError : as `check_sink`, or the place cannot be written.
    """
    _check_kind(path, encoder)
    form, temporary, name = _form_of(path), files.new(path), shown(path)
    if _is_by_av(form):
        from utils.sinks.by_av import AvEncoder

        return Sink(AvEncoder(temporary, name, fps, form, codec=encoder, quality=quality,
                              sound=sound, comment=comment))
    from utils.sinks.by_opencv import OpenCvEncoder

    if form.container:
        _warn()
    return Sink(OpenCvEncoder(temporary, name, fps, form.fourcc))


def _is_by_av(form: Form) -> bool:
    return bool(form.container and find_spec("av"))


def _form_of(path: PathLike) -> Form:
    form = FORMS.get(Path(path).suffix.lower())
    if form is None:
        raise OutputError(f"cannot write {shown(path)}: the name must end in {', '.join(FORMS)}")
    return form


@cache
def _warn() -> None:
    """Say once what is missing."""
    logger.warning("videos are silent, and many players refuse them, without PyAV: %s", INSTALL)
