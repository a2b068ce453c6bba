"""What takes frames one after another and makes a file of them."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, Protocol

import numpy as np

BEHIND = 4  # how many frames encoding may lag


class Encoder(Protocol):
    """Makes a file of pictures; each call comes after the one before has returned."""

    def add(self, img: np.ndarray, seconds: float, lasts: float | None) -> None:
        """Append a picture that is seen from then on, for some seconds if it is the last."""

    def finish(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:
        """Let go of the file as it is."""


class Sink:
    """Takes frames; encoding them lags some frames behind, in a thread of its own.

    At the end of a `with` block, `close` is called unless it raised. `encoder` makes the file.
    """

    def __init__(self, encoder: Encoder) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.encoder = encoder
        self._thread = ThreadPoolExecutor(1, "encoder")
        self._waiting: deque[Any] = deque()
        self._open = True

    def write(self, img: np.ndarray, seconds: float, lasts: float | None = None) -> None:
        """Append a picture that is seen from `seconds` on.

        Parameters
        ----------
        img (H, W, 3 or 4) : uint8 BGR or BGRA; it must not change any more.
        seconds : since the beginning; they grow.
        lasts : how long it is seen if it is the last; by default as the rate has it.

        Raises
        ------
        OutputError : the file cannot be written, which may show some frames later.
        """
        self._waiting.append(self._thread.submit(self.encoder.add, img, seconds, lasts))
        if len(self._waiting) > BEHIND:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Complete the file, which can be played then; raises OutputError."""
        if not self._open:
            return
        self._waiting.append(self._thread.submit(self.encoder.finish))
        try:
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            self._end()

    def _end(self) -> None:
        self._open = False
        for pending in self._waiting:
            pending.cancel()
        self._thread.submit(self.encoder.abandon).result()
        self._thread.shutdown()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._open:
            self._end()
