"""Two ways to run a network, one signature: (N, 3, H, W) float32 -> tuple of arrays."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from utils.assets import find_asset
from utils.errors import AssetError, UsageError
from utils.io import PathLike, one_line

ENGINES = ("auto", "onnx", "torch")
_TORCH_HINT = "install torch and onnx (pip install -r requirements-torch.txt)"

Network = Callable[[np.ndarray], "tuple[np.ndarray, ...]"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkSpec:
    """What has to be known of a network to load, export and run it.

    weights_fp : a torch checkpoint (`.pth`), or an ONNX graph (`.onnx`) that has its
        checkpoint beside it under the same name where torch is to run it.
    build : makes the torch module; called only where torch is needed.
    example_shape : an input to trace and to check exports with.
    dynamic_axes : the input axes that may vary, and their names.
    outputs : names of the outputs.
    """

    weights_fp: PathLike
    build: Callable[[], Any]
    example_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    dynamic_axes: Mapping[int, str] = field(default_factory=lambda: {0: "batch"})


class OnnxBackend:
    """A graph on onnxruntime."""

    def __init__(self, onnx_fp: PathLike, gpu_id: int | None = None) -> None:
        from models.sessions import open_session

        try:
            self.session = open_session(Path(onnx_fp), gpu_id)
        except Exception as error:  # onnxruntime's errors share no public base class
            raise AssetError(f"cannot load the graph {onnx_fp}: {one_line(error)}") from error
        if gpu_id is not None and "CUDAExecutionProvider" not in self.session.get_providers():
            raise UsageError(f"onnxruntime could not open CUDA device {gpu_id}; use --mode cpu")
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


def open_network(
    spec: NetworkSpec,
    engine: str = "auto",
    gpu_id: int | None = None,
    assets: PathLike | None = None,
) -> Network:
    """Load a network on the engine asked for.

    'auto' takes onnxruntime where a graph can be had: one that is given, one that was
    exported before, or one that can be exported now; else torch.

    Parameters
    ----------
    gpu_id : a CUDA device, or None for the CPU.
    assets : a folder to look for the weights in; see `find_asset`.

    Raises
    ------
    UsageError : unknown engine, no CUDA, or a graph where torch needs a checkpoint.
    AssetError : the weights are missing or damaged, or torch is needed and not there.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    weights = find_asset(spec.weights_fp, assets)
    if gpu_id is not None:
        engine = _gpu_engine(engine, weights)
    if engine == "torch":
        return _open_torch(spec, weights, gpu_id)
    if weights.suffix == ".onnx":
        return OnnxBackend(weights, gpu_id)

    from models.export import open_export  # needs no torch if the export is there

    try:
        return open_export(spec, weights, gpu_id)
    except ModuleNotFoundError as error:
        if engine == "auto" and _installed("torch"):
            logger.info("no ONNX export of %s (%s): running it on torch", weights, error)
            return _open_torch(spec, weights, gpu_id)
        raise AssetError(
            f"{weights} is a torch checkpoint and has no ONNX export yet ({error}): {_TORCH_HINT}"
        ) from error


def _open_torch(spec: NetworkSpec, weights: Path, gpu_id: int | None) -> TorchBackend:
    checkpoint = _checkpoint_of(weights)
    if not checkpoint.is_file():
        raise UsageError(f"--engine torch needs a torch checkpoint: there is no {checkpoint}")
    if not _installed("torch"):
        raise AssetError(f"{checkpoint} is to run on torch, which is not there: {_TORCH_HINT}")
    from models.checkpoints import load_model

    return TorchBackend(load_model(spec.build(), checkpoint), gpu_id)


def _checkpoint_of(weights: Path) -> Path:
    """The torch checkpoint of some weights: a graph's has its name and lies beside it."""
    return weights.with_suffix(".pth") if weights.suffix == ".onnx" else weights


def _gpu_engine(engine: str, weights: Path) -> str:
    """The engine that can use CUDA here; onnxruntime's provider first.

    Raises
    ------
    UsageError : neither engine sees a CUDA device.
    """
    import onnxruntime

    if engine != "torch" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return engine
    if engine != "onnx" and _checkpoint_of(weights).is_file() and _installed("torch"):
        import torch

        if torch.cuda.is_available():
            return "torch"
    raise UsageError(
        "--mode gpu: no CUDA device is available to "
        + (engine if engine != "auto" else "onnxruntime or torch")
        + "; install onnxruntime-gpu or a CUDA build of torch, or use --mode cpu"
    )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
