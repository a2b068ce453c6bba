"""3DDFA_V2's name for the regressor on onnxruntime."""

from __future__ import annotations

from typing import Any

from TDDFA import TDDFA


class TDDFA_ONNX(TDDFA):
    """`TDDFA` with the engine fixed to onnxruntime."""

    def __init__(self, **cfg: Any) -> None:
        super().__init__(**{**cfg, "engine": "onnx"})
