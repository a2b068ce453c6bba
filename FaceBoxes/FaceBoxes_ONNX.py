"""3DDFA_V2's name for the detector on onnxruntime."""

from __future__ import annotations

from typing import Any

from FaceBoxes.FaceBoxes import FaceBoxes


class FaceBoxes_ONNX(FaceBoxes):
    """`FaceBoxes` with the engine fixed to onnxruntime."""

    def __init__(self, timer_flag: bool = False, **kwargs: Any) -> None:
        super().__init__(timer_flag, **{**kwargs, "engine": "onnx"})
