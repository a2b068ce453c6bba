"""Exporting torch checkpoints to ONNX once, checked, and finding the result again."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import stat
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.backends import OnnxBackend, TorchBackend
from utils.cache import cache_folder, make_room, note_use
from utils.errors import AssetError, OutputError
from utils.io import write_bytes

_OPSET = 13
_HASH_KEY = "exported_from"
_TOLERANCE = 1e-4  # float32 sums in another order differ by about 1e-6 of the outputs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkSpec:
    """What has to be known of a network, besides its weights, to load and export it.

    build : makes the torch module; called only where torch is needed.
    example_shape : an input to trace and to check exports with.
    outputs : names of the outputs.
    dynamic_axes : the input axes that may vary, and their names.
    """

    build: Callable[[], Any]
    example_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    dynamic_axes: Mapping[int, str] = field(default_factory=lambda: {0: "batch"})


def open_export(spec: NetworkSpec, weights: Path, gpu_id: int | None = None) -> OnnxBackend:
    """Open the ONNX export of the checkpoint `weights`, making it if there is none.

    It lies beside the weights or, where that place is read-only, in the user's cache
    folder; where that is, too, it is made at every start. The graph carries a fingerprint of the
    checkpoint, so changed weights are exported anew.

    Raises
    ------
    ModuleNotFoundError : an export is needed, and torch or onnx is not installed.
    """
    digest = _fingerprint(spec, weights)
    places = _places(weights, digest)
    for place in filter(os.path.isfile, places):
        try:
            backend = OnnxBackend(place, gpu_id)
        except AssetError as error:
            logger.warning("%s; exporting again", error)
            continue
        if backend.session.get_modelmeta().custom_metadata_map.get(_HASH_KEY) == digest:
            note_use(place)
            return backend
    graph = export_onnx(spec, weights)
    for place in places:
        try:
            if place.parent != weights.parent:
                make_room(len(graph))
            return OnnxBackend(write_bytes(place, graph), gpu_id)
        except (OSError, OutputError) as error:
            logger.info("%s", error)
    logger.warning("the ONNX export of %s can be kept nowhere: it is made at every start", weights)
    return OnnxBackend(graph, gpu_id)


def _places(weights: Path, digest: str) -> list[Path]:
    """Where the export of `weights` may lie, the best place first."""
    places = []
    if weights.parent.stat().st_mode & stat.S_IWUSR:  # os.access would let root write anywhere
        places.append(weights.with_suffix(".export.onnx"))
    with suppress(OSError):
        places.append(cache_folder() / f"{digest[:16]}.export.onnx")
    return places


def export_onnx(spec: NetworkSpec, weights: Path) -> bytes:
    """Export a checkpoint and return the graph, once it gives the module's own numbers.

    The graph's metadata holds the fingerprint of what it was exported from.
    """
    import onnx
    import torch

    from models.checkpoints import load_model

    logger.info("exporting %s to ONNX", weights)
    module = load_model(spec.build(), weights).eval()
    stream = io.BytesIO()
    axes = {"input": dict(spec.dynamic_axes), **{name: {0: "batch"} for name in spec.outputs}}
    with warnings.catch_warnings():
        # the older exporter is deprecated, but the newer one splits fused layers apart
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            (torch.zeros(spec.example_shape),),
            stream,  # type: ignore[arg-type]
            input_names=["input"],
            output_names=list(spec.outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(stream.getvalue())
    entry = model.metadata_props.add()
    entry.key, entry.value = _HASH_KEY, _fingerprint(spec, weights)
    graph = model.SerializeToString()
    check_same_numbers(graph, module, spec)
    return graph


def check_same_numbers(graph: Any, module: Any, spec: NetworkSpec) -> None:
    """Run graph and module on random inputs, also of other sizes along the dynamic axes.

    Raises
    ------
    AssetError : they disagree.
    """
    from models.runtime import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    reference = TorchBackend(module)
    rng = np.random.default_rng(0)
    larger = list(spec.example_shape)
    for axis in spec.dynamic_axes:
        larger[axis] = larger[axis] * 2 + 1
    for shape in (spec.example_shape, tuple(larger)):
        batch = rng.standard_normal(shape, dtype=np.float32)
        for name, ours, theirs in zip(
            spec.outputs, session.run(None, {"input": batch}), reference(batch)
        ):
            if not np.allclose(ours, theirs, rtol=_TOLERANCE, atol=_TOLERANCE):
                worst = np.abs(ours - theirs).max()
                raise AssetError(f"the ONNX export's {name!r} is off by {worst} for input {shape}")


def _fingerprint(spec: NetworkSpec, weights: Path) -> str:
    """What an export depends on: the checkpoint's content and how it is exported."""
    how = (_OPSET, spec.example_shape, sorted(spec.dynamic_axes.items()), spec.outputs)
    return hashlib.sha256(weights.read_bytes() + repr(how).encode()).hexdigest()
