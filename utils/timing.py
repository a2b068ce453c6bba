"""Showing how long a piece of work took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(what: str, shown: bool) -> Iterator[None]:
    """Print how long the block took, if that is to be shown, as 3DDFA_V2 does for `timer_flag`."""
    begin = time.perf_counter()
    yield
    if shown:
        print(f"{what}: {1000 * (time.perf_counter() - begin):.1f} ms")
