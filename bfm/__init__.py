"""The 3D morphable model: its linear bases and its parameter layout."""

from __future__ import annotations

from bfm.bfm import BFMModel
from bfm.params import FaceParams, ParamLayout

__all__ = ["BFMModel", "FaceParams", "ParamLayout"]
