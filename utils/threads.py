"""Who may use the processors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def opencv_in_one_thread() -> Iterator[None]:
    """While videos run: decoder, network and encoder fill the processors.

    More threads would be in their way.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
