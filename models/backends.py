"""Two ways to run a network, one signature: (N, 3, H, W) float32 -> tuple of arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import AssetError, UsageError
from utils.io import PathLike, one_line

Network = Callable[[np.ndarray], "tuple[np.ndarray, ...]"]


class OnnxBackend:
    """A graph, in a file or in memory, on onnxruntime."""

    def __init__(self, graph: PathLike | bytes, gpu_id: int | None = None) -> None:
        from models.sessions import open_session

        graph, name = (graph, "in memory") if isinstance(graph, bytes) else (Path(graph), graph)
        try:
            self.session = open_session(graph, gpu_id)
        except Exception as error:  # onnxruntime's errors share no public base class
            raise AssetError(f"cannot load the graph {name}: {one_line(error)}") from error
        if gpu_id is not None and "CUDAExecutionProvider" not in self.session.get_providers():
            raise UsageError(f"onnxruntime could not open CUDA device {gpu_id}; run on the CPU")
        graph_input = self.session.get_inputs()[0]
        self._input = graph_input.name
        self._fixed_batch = isinstance(graph_input.shape[0], int)

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        if not self._fixed_batch:
            return tuple(self.session.run(None, {self._input: batch}))
        # graphs exported by 3DDFA_V2 take one picture at a time
        singles = [self.session.run(None, {self._input: item[None]}) for item in batch]
        return tuple(np.concatenate(output) for output in zip(*singles))


class TorchBackend:
    """A torch module."""

    def __init__(self, module: Any, gpu_id: int | None = None) -> None:
        self.device = "cpu" if gpu_id is None else f"cuda:{gpu_id}"
        self.module = module.eval().to(self.device)

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        import torch

        with torch.inference_mode():
            outputs = self.module(torch.from_numpy(batch).to(self.device))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(output.cpu().numpy() for output in outputs)
