"""The FaceBoxes face detector (Zhang et al. 2017, arXiv 1708.05234)."""

from __future__ import annotations

from FaceBoxes.FaceBoxes import FaceBoxes

__all__ = ["FaceBoxes"]
