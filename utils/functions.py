"""3DDFA_V2's collection of helpers, under its name; each lives in a module of its own."""

from __future__ import annotations

from pathlib import Path

from utils.draw import cv_draw_landmark, draw_landmarks
from utils.image import show_image as plot_image
from utils.roi import (
    calc_hypotenuse,
    crop_img,
    parse_roi_box_from_bbox,
    parse_roi_box_from_landmark,
)

__all__ = [
    "calc_hypotenuse",
    "crop_img",
    "cv_draw_landmark",
    "draw_landmarks",
    "get_suffix",
    "parse_roi_box_from_bbox",
    "parse_roi_box_from_landmark",
    "plot_image",
]


def get_suffix(filename: str) -> str:
    """The ending of a file name, with its dot: 'a/b.jpg' -> '.jpg'; '' if there is none."""
    return Path(filename).suffix
