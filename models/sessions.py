"""Sessions of onnxruntime, of graphs that are optimised once and kept in the user's cache folder.

Optimising a graph takes longer than running it and needs its weights in memory several times. What
is kept here opens in a fraction of that, its weights mapped. It suits one processor and one release
of onnxruntime, so both are part of its name, and machines that share a folder find their own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2

from models.runtime import onnxruntime
from utils.cache import cache_folder, make_room, note_use
from utils.io import one_line

_CPU = "CPUExecutionProvider"
_GRAPH, _WEIGHTS = "graph.onnx", "weights.bin"
# Microseconds; from layer to layer it takes less. Ten times more would serve faces in a loop by 2%,
# and take 10% of a clip's frames, whose decoder and encoder have use for the processors.
SPIN_US = 50

logger = logging.getLogger(__name__)


def open_session(graph: Path | bytes, gpu_id: int | None = None) -> onnxruntime.InferenceSession:
    """A session of a graph, a file's or in memory, on the CPU or on a CUDA device."""
    if gpu_id is not None:
        cuda = ("CUDAExecutionProvider", {"device_id": gpu_id})
        return _session(graph, _options(), cuda)
    if isinstance(graph, Path):
        for attempt in (OptimisedGraph.open, OptimisedGraph.make):
            try:
                return attempt(OptimisedGraph(graph))
            except Exception as error:  # onnxruntime's errors share no public base class
                logger.info("no optimised graph of %s: %s", graph, one_line(error))
    return _session(graph, _options())


def _session(
    graph: Path | bytes, options: onnxruntime.SessionOptions, *devices: Any
) -> onnxruntime.InferenceSession:
    content = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(content, options, providers=[*devices, _CPU])


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions, too
    processors = _usable_processors()
    if processors:
        options.intra_op_num_threads = processors
    for key, value in _spinning(onnxruntime.__version__).items():
        options.add_session_config_entry(f"session.intra_op.{key}", value)
    return options


def _usable_processors() -> int:
    """How many processors this process may use, where that is not all of the machine's; else 0.

    Left to itself, onnxruntime starts a thread for each core of the machine, also in a container
    that has been given fewer.
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    usable = len(os.sched_getaffinity(0))
    return usable if usable < (os.cpu_count() or 0) else 0


def _spinning(version: str) -> dict[str, str]:
    """How threads of an onnxruntime wait for the next piece of work, and for the next run.

    Waking one takes longer than most layers do, so they had better stay awake from one to the next,
    and then sleep. Before 1.26, which can time this, they would stay awake for 20 ms and more, a
    processor each.
    """
    release = tuple(int(part) for part in version.split(".")[:2])
    return {"spin_duration_us": str(SPIN_US)} if release >= (1, 26) else {"allow_spinning": "0"}


class OptimisedGraph:
    """The optimised form of the graph `source`, in a folder of its own.

    Raises
    ------
    OSError : the graph or a cache folder is missing.
    """

    def __init__(self, source: Path) -> None:
        status, processor = source.stat(), cv2.getCPUFeaturesLine()
        state = (status.st_size, status.st_mtime_ns, onnxruntime.__version__, processor)
        self.source = source
        place = _fingerprint(source.resolve())
        self.folder = cache_folder() / f"{source.stem}-{place}-{_fingerprint(state)}"

    def open(self) -> onnxruntime.InferenceSession:
        """A session of what is kept; any exception if that is missing or damaged."""
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = _session(self.folder / _GRAPH, options)
        note_use(self.folder)
        return session

    def make(self) -> onnxruntime.InferenceSession:
        """A session of the source that leaves its optimised form, whole, in the folder.

        Any exception if the source cannot be opened or nothing can be written.
        """
        make_room(self.source.stat().st_size)
        shutil.rmtree(self.folder, ignore_errors=True)  # what is there could not be opened
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            options = _options()
            options.optimized_model_filepath = str(new / _GRAPH)
            for key, value in (("file_name", _WEIGHTS), ("min_size_in_bytes", "1024")):
                name = f"session.optimized_model_external_initializers_{key}"
                options.add_session_config_entry(name, value)
            session = _session(self.source, options)
            with suppress(OSError):  # another process was faster
                os.replace(new, self.folder)
        return session


def _fingerprint(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
