"""What programs tell their user, which never decides over what they make."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeVar

T = TypeVar("T")


class Forgiving:
    """A text stream, for progress bars, say, that goes on where the given one cannot.

    What its encoding lacks is escaped; a closed pipe or a full device swallows the rest.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # Python has None for one that is closed from the start

    def write(self, text: str) -> int:
        """Write and flush, if possible."""
        if self._stream is not None:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            try:
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
                self._stream.flush()
            except (OSError, ValueError):  # a ValueError once it is closed
                _lead_nowhere(self._stream)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with suppress(AttributeError, ValueError):
            return bool(self._stream and self._stream.isatty())
        return False


def _lead_nowhere(stream: TextIO) -> None:
    """Let what a stream still holds vanish, instead of failing again when Python ends."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line as far as that is possible, by default to stdout; see `Forgiving`."""
    Forgiving(stream or sys.stdout).write(f"{text}\n")


class Teller:
    """Tells the user, line by line, and how far things are."""

    def __call__(self, text: str) -> None:
        """Tell a line."""
        say(text)

    def warn(self, text: str) -> None:
        """Tell a line on stderr."""
        say(f"warning: {text}", sys.stderr)

    def along(self, items: Iterable[T], count: int | None, doing: str) -> Iterable[T]:
        """The items; on a terminal, with a bar that moves as they are taken.

        Parameters
        ----------
        count : how many there may be, if that is known; a single one needs no bar.
        """
        if count == 1:
            return items
        from tqdm import tqdm

        return tqdm(items, doing, count, unit=" frames", leave=False,
                    file=Forgiving(sys.stderr), disable=None)


class Silent(Teller):
    """Tells nothing."""

    def __call__(self, text: str) -> None:
        """Keep it."""

    def warn(self, text: str) -> None:
        """Keep it."""

    def along(self, items: Iterable[T], count: int | None, doing: str) -> Iterable[T]:
        """The items."""
        return items


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Keep what C libraries write to stderr, such as libpng's warnings, from the user.

    Meanwhile file descriptor 2 leads nowhere, and where sys.stderr is that one, it is replaced by
    a stream to where it led; to be entered before a logging handler takes sys.stderr.
    """
    stderr = sys.stderr
    try:
        behind = os.dup(2)
    except OSError:  # it is closed: nothing is shown anyway
        yield
        return
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    if _is_descriptor(stderr, 2):  # a handler may keep the new one, so it stays open
        sys.stderr = os.fdopen(behind, "w", 1, stderr.encoding, stderr.errors, closefd=False)
    try:
        yield
    finally:
        os.dup2(behind, 2)
        if sys.stderr is stderr:
            os.close(behind)
        sys.stderr = stderr


def _is_descriptor(stream: TextIO | None, number: int) -> bool:
    try:
        return stream is not None and stream.fileno() == number
    except (OSError, ValueError):
        return False
