"""Find the faces that are small in a very large picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from FaceBoxes.FaceBoxes import FULL_FRAME, NMS_IOU_THRESHOLD, shrink_factor
from FaceBoxes.turned import Detect
from FaceBoxes.utils.box_utils import nms

_SHRUNK = 0.4  # a whole picture, for which its parts are worth a look
_TILE = 2 * FULL_FRAME[0], 2 * FULL_FRAME[1]  # height and width; each overlaps half of the next
# Many looks are many chances to take something else for a face.
_SCORE = 0.9


def find_in_tiles(detect: Detect, img: np.ndarray) -> list[list[float]]:
    """Look at the overlapping parts of a picture (H, W, 3) that is shrunk much to be looked at.

    Returns
    -------
    The boxes, pixels of the picture, of what scores more than is usual, best first; none for a
    picture that is not so large.
    """
    if shrink_factor(img.shape, FULL_FRAME) > _SHRUNK:
        return []
    boxes = [
        [x1 + left, y1 + top, x2 + left, y2 + top, score]
        for top, bottom in _spans(img.shape[0], _TILE[0])
        for left, right in _spans(img.shape[1], _TILE[1])
        for x1, y1, x2, y2, score in detect(np.ascontiguousarray(img[top:bottom, left:right]))
        if score > _SCORE
    ]
    found = np.array(boxes).reshape(-1, 5)
    return found[nms(found[:, :4], found[:, 4], NMS_IOU_THRESHOLD)].tolist()


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    """Where the tiles along a side begin and end."""
    spare = max(length - tile, 0)
    steps = -(-2 * spare // tile)  # of half a tile or less
    for step in range(steps + 1):
        begin = spare * step // max(steps, 1)
        yield begin, min(begin + tile, length)
