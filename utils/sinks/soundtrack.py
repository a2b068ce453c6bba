"""The sound of one file, carried over into a video in the making."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any

import av

from utils.footage import Sound
from utils.footage.by_av import open_container
from utils.sinks.forms import Form

_ENDLESS = float("inf")


class Soundtrack:
    """Adds a stream of sound to an output, as it is where its kind can hold it, else encoded anew.

    It is cut to the sound's seconds, by whole packets where it is copied, which what begins again
    is not.
    """

    def __init__(self, output: Any, sound: Sound, form: Form) -> None:
        self._output = output
        self._input = open_container(sound.path)
        self._length = _ENDLESS if sound.end is None else sound.end - sound.start
        stream = self._input.streams.best("audio")
        copied = stream.codec_context.name in form.copied and sound.period is None
        make = self._copied if copied else self._encoded
        self._packets = make(stream, form, sound)
        self._next = next(self._packets, None)  # the stream is there from now on

    def until(self, seconds: float) -> None:
        """Write what begins before then."""
        end = min(seconds, self._length)
        while self._next is not None and self._next.pts * self._next.time_base < end:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Let go of the file that the sound comes from."""
        self._packets.close()
        self._input.close()

    def _copied(self, stream: Any, form: Form, sound: Sound) -> Generator[Any, None, None]:
        written = _stream_like(self._output, stream)
        shift = round(Fraction(sound.start) / stream.time_base)
        for packet in _demuxed(self._input, stream):
            hidden = packet.duration or 0  # decoders need what begins before, and do not play it
            if packet.pts is not None and packet.pts + hidden > shift:
                packet.pts -= shift
                packet.dts = packet.pts
                packet.stream = written
                yield packet

    def _encoded(self, stream: Any, form: Form, sound: Sound) -> Generator[Any, None, None]:
        rate = stream.codec_context.sample_rate
        possible = av.codec.Codec(form.sound, "w").audio_rates
        if possible and rate not in possible:
            rate = max(possible)
        written = self._output.add_stream(form.sound, rate)
        context = written.codec_context
        context.layout = "mono" if len(stream.codec_context.layout.channels) == 1 else "stereo"
        graph = _cut(stream, sound, context)
        for frame in _decoded(self._input, stream):
            graph.push(frame)
            for cut in _pulled(graph):
                yield from written.encode(cut)
        graph.push(None)
        for cut in _pulled(graph):
            yield from written.encode(cut)
        yield from written.encode(None)


def _stream_like(output: Any, stream: Any) -> Any:
    if hasattr(output, "add_stream_from_template"):
        return output.add_stream_from_template(stream)
    return output.add_stream(template=stream)  # before PyAV 14


def _demuxed(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets as far as the file is whole."""
    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        return


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's samples, without those of damaged packets."""
    for packet in _demuxed(container, stream):
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _cut(stream: Any, sound: Sound, context: Any) -> Any:
    """A filter that lets through what an encoder takes; gaps in time become silence.

    Of what begins again, there is no end.
    """
    period = sound.period
    repeated = [] if period is None else [
        ("apad", f"whole_dur={period:.6f}"),
        ("atrim", f"end={period:.6f}"),
        ("aloop", f"loop=-1:size={round(period * stream.codec_context.sample_rate)}"),
    ]
    graph = av.filter.Graph()
    formats = f"{context.format.name}:sample_rates={context.sample_rate}:channel_layouts="
    nodes = [
        graph.add_abuffer(template=stream),
        graph.add("aresample", "async=1"),
        graph.add("atrim", f"start={sound.start:.6f}"),
        graph.add("asetpts", f"PTS-{sound.start:.6f}/TB"),
        *(graph.add(*filter_and_options) for filter_and_options in repeated),
        graph.add("aformat", f"sample_fmts={formats}{context.layout.name}"),
        graph.add("abuffersink"),
    ]
    for node, following in zip(nodes, nodes[1:]):
        node.link_to(following)
    graph.configure()
    return graph


def _pulled(graph: Any) -> Iterator[Any]:
    try:
        while True:
            yield graph.pull()
    except (av.error.BlockingIOError, av.error.EOFError):
        return
