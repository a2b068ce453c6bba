"""3DDFA_V2's name for exporting the regressor to ONNX."""

from __future__ import annotations

from typing import Any

from models.export import export_onnx
from utils.assets import find_asset
from utils.config import TDDFAConfig
from utils.errors import UsageError
from utils.io import write_bytes


def convert_to_onnx(**cfg: Any) -> str:
    """Export the checkpoint of a config, checked, to a `.onnx` file beside it.

    Parameters
    ----------
    cfg : the keys of `utils.config.TDDFAConfig`.

    Returns
    -------
    The graph's path: the checkpoint's with the ending `.onnx`.
    """
    config = TDDFAConfig.from_mapping(cfg)
    if config.checkpoint_fp is None:
        raise UsageError("config: an export needs checkpoint_fp")
    weights = find_asset(config.checkpoint_fp)
    graph = export_onnx(config.network, weights)
    return str(write_bytes(weights.with_suffix(".onnx"), graph))
