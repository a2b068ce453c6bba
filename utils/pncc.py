"""Draw faces with the projected normalised coordinate code (Zhu et al. 2016, 3DDFA)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bfm.bfm import model_of_size
from Sim3DR import draw
from utils.image import emit
from utils.io import PathLike
from utils.render import canvas_of, paint


def pncc(
    img: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    show_flag: bool = False,
    wfp: PathLike | None = None,
    with_bg_flag: bool = True,
    ncc: np.ndarray | None = None,
) -> np.ndarray:
    """Paint every vertex in the colour of its place on the mean face.

    Parameters and result as in `utils.render.render`; besides

    ncc (3, n) : the code, as `BFMModel.ncc`; by default that of the model with as many vertices.
    """
    codes = [
        (model_of_size(ver.shape[1]).ncc if ncc is None else ncc).T for ver in ver_lst
    ]
    canvas = canvas_of(img, with_bg_flag)
    paint(
        canvas,
        ver_lst,
        lambda patch, ver, origin, i: draw(patch, ver, tri, codes[i], origin),
    )
    return emit(canvas, wfp, show_flag)
