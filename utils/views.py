"""What can be made of a reenacted face: the kinds of output, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Union

import cv2
import numpy as np

from TDDFA import TDDFA
from utils.depth import depth
from utils.draw import draw_landmarks
from utils.faces import Face
from utils.pncc import pncc
from utils.pose import viz_pose
from utils.render import render, render_mask
from utils.serialization import encode_obj, encode_ply
from utils.uv import uv_tex

Output = Union[np.ndarray, bytes]

PANEL_SIZE = 480  # side of each of the panel's pictures, pixels
_PANEL_FILL = 0.92
_LABEL_HEIGHT = 36


@dataclass(frozen=True)
class Scene:
    """A finished transfer.

    img (H, W, 3) uint8 BGR : the target picture.
    source, targets, results : the faces; a result is a target with its new expression.
    alpha, with_bg_flag : how masks are drawn; see `utils.render.render`.
    """

    tddfa: TDDFA
    img: np.ndarray
    source: Face
    targets: Sequence[Face]
    results: Sequence[Face]
    alpha: float = 0.6
    with_bg_flag: bool = True

    @cached_property
    def dense(self) -> list[np.ndarray]:
        """Dense vertices (3, N) of the results, target pixels."""
        return reconstruct(self.tddfa, self.results, dense_flag=True)

    @cached_property
    def sparse(self) -> list[np.ndarray]:
        """The 68 landmarks (3, 68) of the results, target pixels."""
        return reconstruct(self.tddfa, self.results, dense_flag=False)


def reconstruct(tddfa: TDDFA, faces: Sequence[Face], dense_flag: bool) -> list[np.ndarray]:
    """The vertices of faces, each in its own picture's pixels."""
    params, roi_boxes = [f.param for f in faces], [f.roi_box for f in faces]
    return tddfa.recon_vers(params, roi_boxes, dense_flag=dense_flag)


def _panel(scene: Scene) -> np.ndarray:
    """A row for every target: the masks of source, target and result, each in a labelled square."""
    rows = []
    for target, result in zip(scene.targets, scene.results):
        shown = ((scene.source, "source"), (target, "target"), (result, "reenacted"))
        squares = [_square(scene.tddfa, face, label) for face, label in shown]
        rows.append(np.concatenate(squares, axis=1))
    return np.concatenate(rows)


def _square(tddfa: TDDFA, face: Face, label: str) -> np.ndarray:
    """A face's mask on black, scaled to fill a square, over a line of text."""
    vertices = reconstruct(tddfa, [face], dense_flag=True)[0]
    low, high = vertices[:2].min(axis=1), vertices[:2].max(axis=1)
    scale = _PANEL_FILL * PANEL_SIZE / max(float((high - low).max()), 1.0)
    moved = vertices * scale
    moved[:2] += PANEL_SIZE / 2 - scale * (low + high)[:, None] / 2
    black = np.zeros((PANEL_SIZE, PANEL_SIZE, 3), np.uint8)
    mask = render(black, [moved], tddfa.tri, with_bg_flag=False)
    caption = np.zeros((_LABEL_HEIGHT, PANEL_SIZE, 3), np.uint8)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.8
    (width, _), _ = cv2.getTextSize(label, font, size, 1)
    origin = ((PANEL_SIZE - width) // 2, _LABEL_HEIGHT - 12)
    cv2.putText(caption, label, origin, font, size, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([mask, caption])


@dataclass(frozen=True)
class View:
    """A kind of output: what it shows, the ending its file gets, and how it is made.

    suffixes : the endings that can hold it, the default one first; none means any picture.
    """

    summary: str
    compose: Callable[[Scene], Output]
    suffixes: tuple[str, ...] = ()

    @property
    def default_suffix(self) -> str:
        """The ending of the file where the user names none."""
        return self.suffixes[0] if self.suffixes else ".jpg"


VIEWS = {
    "3d": View(
        "the lit mask over the target",
        lambda s: render(s.img, s.dense, s.tddfa.tri, s.alpha, with_bg_flag=s.with_bg_flag),
    ),
    "panel": View("masks of source, target and result side by side", _panel),
    "mask": View(
        "the mask alone on a transparent picture",
        lambda s: render_mask(s.img, s.dense, s.tddfa.tri),
        (".png", ".webp", ".tif", ".tiff"),
    ),
    "2d_sparse": View("the 68 landmarks", lambda s: draw_landmarks(s.img, s.sparse)),
    "2d_dense": View("all vertices", lambda s: draw_landmarks(s.img, s.dense, dense_flag=True)),
    "depth": View(
        "the depth map",
        lambda s: depth(s.img, s.dense, s.tddfa.tri, with_bg_flag=s.with_bg_flag),
    ),
    "pncc": View(
        "the projected normalised coordinate code",
        lambda s: pncc(
            s.img, s.dense, s.tddfa.tri, with_bg_flag=s.with_bg_flag, ncc=s.tddfa.bfm.ncc
        ),
    ),
    "uv_tex": View(
        "the target's texture, unwrapped under the reenacted shape",
        lambda s: uv_tex(
            s.img, s.dense, s.tddfa.tri, raster=s.tddfa.bfm.texture_raster(256, 256)
        ),
    ),
    "pose": View(
        "a box that shows the head's pose",
        lambda s: viz_pose(s.img, [face.param for face in s.results], s.sparse),
    ),
    "ply": View(
        "the mesh",
        lambda s: encode_ply(s.dense, s.tddfa.tri, s.img.shape[0]),
        (".ply",),
    ),
    "obj": View(
        "the mesh with vertex colours",
        lambda s: encode_obj(s.img, s.dense, s.tddfa.tri, s.img.shape[0]),
        (".obj",),
    ),
}
