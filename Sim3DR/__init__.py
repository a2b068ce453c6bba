"""Sim3DR: normals, light and rasterisation of triangle meshes, in C++."""

from __future__ import annotations

from Sim3DR.fields import extend, sample_lanczos, sample_moved
from Sim3DR.lighting import RenderPipeline
from Sim3DR.raster import Raster, interpolate, rasterise
from Sim3DR.Sim3DR import draw, get_normal, rasterize, sample

__all__ = [
    "Raster",
    "RenderPipeline",
    "draw",
    "extend",
    "get_normal",
    "interpolate",
    "rasterise",
    "rasterize",
    "sample",
    "sample_lanczos",
    "sample_moved",
]
