"""Sessions of onnxruntime, of graphs that are optimised once and kept in the user's cache folder.

Optimising a graph takes longer than running it and needs its weights in memory several times. What
is kept here opens in a fraction of that, its weights mapped. It suits one processor and one release
of onnxruntime, so both are part of its name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2

from models.runtime import onnxruntime
from utils.assets import cache_folder
from utils.io import one_line

_CPU = "CPUExecutionProvider"
_GRAPH, _WEIGHTS = "graph.onnx", "weights.bin"

logger = logging.getLogger(__name__)


def open_session(onnx_fp: Path, gpu_id: int | None = None) -> onnxruntime.InferenceSession:
    """A session of the graph on the CPU or on a CUDA device."""
    if gpu_id is not None:
        cuda = ("CUDAExecutionProvider", {"device_id": gpu_id})
        return onnxruntime.InferenceSession(str(onnx_fp), _options(), providers=[cuda, _CPU])
    for attempt in (OptimisedGraph.open, OptimisedGraph.make):
        try:
            return attempt(OptimisedGraph(onnx_fp))
        except Exception as error:  # onnxruntime's errors share no public base class
            logger.info("no optimised graph of %s: %s", onnx_fp, one_line(error))
    return onnxruntime.InferenceSession(str(onnx_fp), _options(), providers=[_CPU])


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings mean nothing to our users
    # waiting threads sleep: our networks are over before spinning would pay
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


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
        self._series = f"{source.stem}-{_fingerprint(source.resolve())}-"
        self.folder = cache_folder() / (self._series + _fingerprint(state))

    def open(self) -> onnxruntime.InferenceSession:
        """A session of what is kept; any exception if that is missing or damaged."""
        options = _options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(str(self.folder / _GRAPH), options, providers=[_CPU])

    def make(self) -> onnxruntime.InferenceSession:
        """A session of the source that leaves its optimised form, whole, in the folder.

        Older ones of the same source go. Any exception if the source cannot be opened or nothing
        can be written.
        """
        for older in self.folder.parent.glob(self._series + "*"):
            shutil.rmtree(older, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            options = _options()
            options.optimized_model_filepath = str(new / _GRAPH)
            for key, value in (("file_name", _WEIGHTS), ("min_size_in_bytes", "1024")):
                name = f"session.optimized_model_external_initializers_{key}"
                options.add_session_config_entry(name, value)
            session = onnxruntime.InferenceSession(str(self.source), options, providers=[_CPU])
            with suppress(OSError):  # another process was faster
                os.replace(new, self.folder)
        return session


def _fingerprint(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
