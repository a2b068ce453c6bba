"""Find the faces of a picture that may lie on its side or stand on its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# A detector: a picture (H, W, 3) uint8 BGR -> its boxes [xmin, ymin, xmax, ymax, score].
Detect = Callable[[np.ndarray], Sequence[Sequence[float]]]

TURNS = (1, 2, 3)  # quarter turns, counter-clockwise, that are tried where nothing is found


class Upright(NamedTuple):
    """How a picture has to be turned for its faces to be found, and where they are.

    quarters : counter-clockwise quarter turns (as `np.rot90` takes them) that make it upright.
    boxes : in pixels of the turned picture, `np.rot90(img, quarters)`.
    """

    quarters: int
    boxes: Sequence[Sequence[float]]


def find_upright(detect: Detect, img: np.ndarray) -> Upright:
    """Look at a picture as it is and, if there is no face in it, turned to the other three sides.

    Of these, the one with the best-scored face counts. What reads expressions expects upright
    faces, so it has to look at the turned picture; its results are turned back with
    `np.rot90(result, -quarters)`, boxes with `boxes_before`.

    Returns
    -------
    Upright : without boxes, and not turned, where there is no face at all.
    """
    boxes = detect(img)
    if len(boxes):
        return Upright(0, boxes)
    looks = [Upright(turn, detect(np.ascontiguousarray(np.rot90(img, turn)))) for turn in TURNS]
    return max([Upright(0, boxes), *looks], key=_best_score)


def boxes_before(
    boxes: Sequence[Sequence[float]], size: tuple[int, int], quarters: int
) -> list[list[float]]:
    """Boxes of a turned picture as boxes of the picture before it was turned.

    Parameters
    ----------
    boxes : `[xmin, ymin, xmax, ymax, ...]` each; what follows the corners is kept.
    size : (H, W) of the turned picture, pixels.
    quarters : how many times it had been turned, counter-clockwise.
    """
    turned = [list(box) for box in boxes]
    height, width = size
    for _ in range(quarters % 4):  # each step turns back, clockwise, by a quarter
        turned = [[height - y2, x1, height - y1, x2, *rest] for x1, y1, x2, y2, *rest in turned]
        height, width = width, height
    return turned


def _best_score(look: Upright) -> float:
    return max((box[4] for box in look.boxes), default=-1.0)
