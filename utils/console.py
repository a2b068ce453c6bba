"""Lines for the user."""

from __future__ import annotations

import sys
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a line, by default to stdout."""
    print(text, file=stream or sys.stdout)
