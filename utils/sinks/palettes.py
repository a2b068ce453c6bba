"""The 256 colours of pictures that can have no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

_TOGETHER = 32  # pictures that share their colours; these do not flicker, and memory stays flat
_DITHER = "bayer:bayer_scale=4"  # in a pattern that stays where it is


class Palettes:
    """Finds good colours for some pictures after the other, and paints them in these."""

    def __init__(self) -> None:
        self._waiting: list[Any] = []

    def painted(self, frame: Any) -> Iterator[Any]:
        """Frames that are ready, after one more has come; with None all that are left."""
        if frame is not None:
            self._waiting.append(frame)
        if self._waiting and (frame is None or len(self._waiting) == _TOGETHER):
            graph = _graph_for(self._waiting[0])
            for waiting in [*self._waiting, None]:
                graph.push(waiting)
            for _ in self._waiting:
                yield graph.pull()
            self._waiting.clear()
        if frame is None:
            yield None


def _graph_for(frame: Any) -> Any:
    """The filters that choose colours by all frames, and then paint these."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format,
                              time_base=frame.time_base)
    split, choose = graph.add("split"), graph.add("palettegen", "stats_mode=full")
    paint, end = graph.add("paletteuse", f"dither={_DITHER}"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(paint, 0, 0)
    split.link_to(choose, 1, 0)
    choose.link_to(paint, 0, 1)
    paint.link_to(end)
    graph.configure()
    return graph
