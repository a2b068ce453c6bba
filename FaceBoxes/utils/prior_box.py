"""The anchors ("priors") of FaceBoxes, denser where they are small."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Of every scale: its step in pixels, and (size in pixels, offsets within a cell).
# Small anchors are repeated on a finer grid, so that all sizes tile the picture
# equally densely (section 3.2 of the paper).
_SCALES = (
    (32, ((32, (0.0, 0.25, 0.5, 0.75)), (64, (0.0, 0.5)), (128, (0.5,)))),
    (64, ((256, (0.5,)),)),
    (128, ((512, (0.5,)),)),
)
ANCHORS_PER_CELL = tuple(sum(len(offsets) ** 2 for _, offsets in sizes) for _, sizes in _SCALES)


def _cell_anchors(sizes: tuple) -> np.ndarray:
    """(A, 3) float32: the x and y offset in cells and the size in pixels of one cell's anchors."""
    return np.array(
        [(x, y, size) for size, offsets in sizes for y in offsets for x in offsets], np.float32
    )


@lru_cache(maxsize=16)
def prior_boxes(height: int, width: int) -> np.ndarray:
    """The priors of a network input of `height` x `width` pixels, in the order of its outputs.

    Returns
    -------
    (P, 4) float32, read-only: centre x, centre y, width and height, relative to the input.
    """
    scales = []
    for step, sizes in _SCALES:
        rows, columns = -(-height // step), -(-width // step)
        cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        anchors = _cell_anchors(sizes)
        boxes = np.empty((rows, columns, len(anchors), 4), np.float32)
        boxes[..., :2] = (cells[:, :, None] + anchors[:, :2]) * step
        boxes[..., 2:] = anchors[:, 2:]
        scales.append(boxes.reshape(-1, 4))
    priors = np.concatenate(scales) / np.array([width, height, width, height], np.float32)
    priors.setflags(write=False)  # the cache hands the same array to every caller
    return priors
