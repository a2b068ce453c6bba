"""Opening a network from its weights, on the engine asked for."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from models.backends import Network, OnnxBackend, TorchBackend
from models.export import NetworkSpec, open_export
from utils.errors import AssetError, UsageError

ENGINES = ("auto", "onnx", "torch")
_TORCH_HINT = "install torch and onnx (pip install -r requirements-torch.txt)"

logger = logging.getLogger(__name__)


def open_network(
    spec: NetworkSpec, weights: Path, engine: str = "auto", gpu_id: int | None = None
) -> Network:
    """Load a network on the engine asked for.

    'auto' takes onnxruntime where a graph can be had: one that is given, one that was
    exported before, or one that can be exported now; else torch.

    Parameters
    ----------
    weights : a torch checkpoint (`.pth`), or an ONNX graph (`.onnx`) that has its
        checkpoint beside it under the same name where torch is to run it.
    gpu_id : a CUDA device, or None for the CPU.

    Raises
    ------
    UsageError : unknown engine, no CUDA, or a graph where torch needs a checkpoint.
    AssetError : the weights are damaged, or torch is needed and not there.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if gpu_id is not None:
        engine = _gpu_engine(engine, weights)
    if engine == "torch":
        return _open_torch(spec, weights, gpu_id)
    if weights.suffix == ".onnx":
        return OnnxBackend(weights, gpu_id)
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
        raise UsageError(f"the engine torch needs a torch checkpoint: there is no {checkpoint}")
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
    from models.runtime import onnxruntime

    if engine != "torch" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return engine
    if engine != "onnx" and _checkpoint_of(weights).is_file() and _installed("torch"):
        import torch

        if torch.cuda.is_available():
            return "torch"
    raise UsageError(
        "no CUDA device is available to "
        + (engine if engine != "auto" else "onnxruntime or torch")
        + "; install onnxruntime-gpu or a CUDA build of torch, or run on the CPU"
    )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
