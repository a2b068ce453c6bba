"""Text documents of many rows, which can be written while the rows come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RowText:
    """How a document is written.

    head : what stands before the rows, given the first of them, or None if there is none.
    row : one of them; between : what stands between two.
    tail : what stands after all.
    """

    head: Callable[[Any], str]
    row: Callable[[Any], str]
    between: str = ""
    tail: str = ""

    def encode(self, rows: Sequence[Any]) -> bytes:
        """The content of a file of all rows."""
        first = rows[0] if rows else None
        return (self.head(first) + self.between.join(map(self.row, rows)) + self.tail).encode()
