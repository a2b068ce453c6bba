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


def crop_to_image(roi_box: Sequence[float], size: int) -> np.ndarray:
    """The affine map (3, 4) float64 from a `size` x `size` crop (pixels, y up, first pixel at 1)
    of `roi_box` `[x0, y0, x1, y1]` to the image (pixels, y down, first pixel at 0).

    z gets the mean scale of x and y.
    """
    x0, y0, x1, y1 = (float(value) for value in roi_box[:4])
    scale_x, scale_y = (x1 - x0) / size, (y1 - y0) / size
    scale_z = (scale_x + scale_y) / 2
    # the 3DMM was fitted in Matlab, whose first pixel is 1; hence the ones
    return np.array(
        [
            [scale_x, 0, 0, x0 - scale_x],
            [0, -scale_y, 0, y0 + size * scale_y],
            [0, 0, scale_z, -scale_z],
        ]
    )


def similar_transform(pts3d: np.ndarray, roi_box: Sequence[float], size: int) -> np.ndarray:
    """Move vertices from the network's crop to the image.

    Parameters
    ----------
    pts3d (3, n), roi_box, size : as in `crop_to_image`.

    Returns
    -------
    (3, n) float32: image pixels; the minimum of z is 0.
    """
    affine = crop_to_image(roi_box, size)
    moved = affine[:, :3] @ np.asarray(pts3d, np.float64) + affine[:, 3:]
    moved[2] -= moved[2].min()
    return moved.astype(np.float32)


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
