"""Draw faces with the projected normalised coordinate code (Zhu et al. 2016, 3DDFA)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.assets import find_asset
from utils.image import emit
from utils.io import PathLike, load_arrays
from utils.render import background, paint


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

    ncc (3, n) : the code, as `BFMModel.ncc`; by default 3DDFA_V2's file for its mesh.
    """
    if ncc is None:
        ncc = load_arrays(find_asset("configs/ncc_code.npy"))
    canvas = background(img, with_bg_flag).copy()
    painted = paint(canvas, ver_lst, tri, [ncc.T] * len(ver_lst))
    return emit(painted, wfp, show_flag)
