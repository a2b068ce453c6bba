"""A stopwatch that averages over its calls."""

from __future__ import annotations

import time


class Timer:
    """Measure with `tic` and `toc`; all times are in seconds."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything measured."""
        self.total_time = 0.0
        self.calls = 0
        self.start_time = 0.0
        self.diff = 0.0

    @property
    def average_time(self) -> float:
        """Mean of the intervals so far, 0 before the first."""
        return self.total_time / self.calls if self.calls else 0.0

    def tic(self) -> None:
        """Start an interval."""
        self.start_time = time.perf_counter()

    def toc(self, average: bool = True) -> float:
        """End the interval; return the mean so far, or this interval if not `average`."""
        self.diff = time.perf_counter() - self.start_time
        self.total_time += self.diff
        self.calls += 1
        return self.average_time if average else self.diff
