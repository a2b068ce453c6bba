"""3DDFA_V2's name for exporting the regressor to ONNX."""

from __future__ import annotations

from typing import Any

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
    from models.export import export_onnx
    from TDDFA import regressor_spec

    config = TDDFAConfig.from_mapping(cfg)
    if config.checkpoint_fp is None:
        raise UsageError("config: an export needs checkpoint_fp")
    weights = find_asset(config.checkpoint_fp)
    graph = export_onnx(regressor_spec(config, config.checkpoint_fp), weights)
    return str(write_bytes(weights.with_suffix(".onnx"), graph))
