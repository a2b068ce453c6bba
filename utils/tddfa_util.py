"""Helpers of the regressor under their 3DDFA_V2 names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from bfm.params import ParamLayout


def str2bool(value: str) -> bool:
    """The argparse type of options that take true or false."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {value!r}") from None


def load_model(model: Any, checkpoint_fp: str) -> Any:
    """Load a torch checkpoint into `model`; see `models.checkpoints.load_model`."""
    from models.checkpoints import load_model as load

    return load(model, checkpoint_fp)


def similar_transform(pts3d: np.ndarray, roi_box: Sequence[float], size: int) -> np.ndarray:
    """Move vertices from the network's crop to the image.

    Parameters
    ----------
    pts3d (3, n) : pixels of the `size` x `size` crop, y up, first pixel at 1.
    roi_box : `[x0, y0, x1, y1]` of the crop in the image.

    Returns
    -------
    (3, n) float32: image pixels, y down, first pixel at 0; z in the mean scale of x and y,
    its minimum 0.
    """
    x0, y0, x1, y1 = (float(value) for value in roi_box[:4])
    scale_x, scale_y = (x1 - x0) / size, (y1 - y0) / size
    x, y, z = np.asarray(pts3d, np.float32)
    # the 3DMM was fitted in Matlab, whose first pixel is 1; hence the ones
    depth = (z - 1) * np.float32((scale_x + scale_y) / 2)
    moved = [
        (x - 1) * np.float32(scale_x) + np.float32(x0),
        (size - y) * np.float32(scale_y) + np.float32(y0),
        depth - depth.min(),
    ]
    return np.stack(moved)


def _parse_param(param: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split a vector of 62, 72 or 141 numbers as 3DDFA_V2 does.

    Returns
    -------
    R (3, 3) with the scale, offset (3, 1), shape (40 or 100, 1), expression (10, 20 or 29, 1).
    """
    pose, shape, expression = ParamLayout.of(param).split(param)
    return pose[:, :3], pose[:, 3:], shape.reshape(-1, 1), expression.reshape(-1, 1)


def _to_ctype(arr: np.ndarray) -> np.ndarray:
    """`arr` itself if it is C-contiguous, else a copy that is."""
    return arr if arr.flags.c_contiguous else arr.copy(order="C")
