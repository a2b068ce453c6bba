"""Draw faces as depth maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from Sim3DR import draw
from utils.image import emit
from utils.io import PathLike
from utils.render import canvas_of, paint


def _depth_colors(ver: np.ndarray) -> np.ndarray:
    """Grey (n, 1) in [0, 1]: the vertices' z from the farthest, 0, to the nearest, 1."""
    z = ver[2] - np.nanmin(ver[2])
    grey = z / max(float(np.nanmax(z)), np.finfo(np.float32).tiny)
    return grey[:, None]


def depth(
    img: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    show_flag: bool = False,
    wfp: PathLike | None = None,
    with_bg_flag: bool = True,
) -> np.ndarray:
    """Paint the depth of every face, scaled to its own range, white being near.

    Parameters and result as in `utils.render.render`.
    """
    canvas = canvas_of(img, with_bg_flag)
    paint(
        canvas,
        ver_lst,
        lambda patch, ver, origin, i: draw(patch, ver, tri, _depth_colors(ver_lst[i]), origin),
    )
    return emit(canvas, wfp, show_flag)
