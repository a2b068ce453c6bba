"""The yardsticks: the product's work done in a plain way, with numpy, OpenCV and onnxruntime."""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np

from models.runtime import onnxruntime
from utils.assets import find_asset
from utils.config import TDDFAConfig
from utils.io import load_arrays
from utils.roi import parse_roi_box_from_bbox

STEPS = ((32, (32, 64, 128)), (64, (256,)), (128, (512,)))  # of FaceBoxes' anchors, pixels
DENSITY = {32: 4, 64: 2}  # how often an anchor of that size is repeated across its cell


def open_graph(path: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # spinning threads of one session would disturb the other that is timed in turn with it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        str(find_asset(path)), options, providers=["CPUExecutionProvider"]
    )


def run(session: onnxruntime.InferenceSession, tensor: np.ndarray) -> list[np.ndarray]:
    return session.run(None, {session.get_inputs()[0].name: tensor})


def detector_input(img: np.ndarray) -> np.ndarray:
    """(1, 3, h, w) float32 of a picture, shrunk to at most 1080 x 720."""
    scale = min(1.0, 720 / img.shape[0], 1080 / img.shape[1])
    small = cv2.resize(img, None, fx=scale, fy=scale)
    return cv2.dnn.blobFromImage(small, 1.0, mean=(104, 117, 123))


def detect(session: onnxruntime.InferenceSession, img: np.ndarray) -> list[list[float]]:
    """FaceBoxes: boxes in pixels of what the network saw."""
    tensor = detector_input(img)
    loc, conf = run(session, tensor)
    size = np.array(tensor.shape[:1:-1] * 2)
    anchors = _anchors(*tensor.shape[2:])
    centers = anchors[:, :2] + 0.1 * loc[0, :, :2] * anchors[:, 2:]
    sides = anchors[:, 2:] * np.exp(0.2 * loc[0, :, 2:])
    boxes = np.hstack([centers - sides / 2, sides]) * size
    scores = conf[0, :, 1]
    kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.5, 0.3)
    return [[*boxes[i], scores[i]] for i in kept]


def _anchors(height: int, width: int) -> np.ndarray:
    """(n, 4) centres and sides, relative to the picture."""
    anchors = []
    for step, sizes in STEPS:
        y, x = np.mgrid[: -(-height // step), : -(-width // step)].reshape(2, -1, 1)
        dx, dy, side = np.array([anchor for size in sizes for anchor in _cell_anchors(size)]).T
        sides = np.broadcast_to(side, (len(x), len(side)))
        anchors.append(np.stack([(x + dx) * step, (y + dy) * step, sides, sides], axis=-1))
    stacked = np.concatenate([anchor.reshape(-1, 4) for anchor in anchors])
    return (stacked / [width, height, width, height]).astype(np.float32)


def _cell_anchors(size: int) -> list[tuple[float, float, int]]:
    """Places in the cell, and sides, of the anchors of one size."""
    density = DENSITY.get(size, 1)
    places = [i / density for i in range(density)] if density > 1 else [0.5]
    return [(dx, dy, size) for dy in places for dx in places]


class Regressor:
    """TDDFA, one face at a time."""

    def __init__(self, config: TDDFAConfig) -> None:
        self.session = open_graph(config.onnx_fp or "")
        arrays = load_arrays(find_asset(config.mean_std_fp))
        self.mean, self.std, self.size = arrays["mean"], arrays["std"], config.size

    def crop(self, img: np.ndarray, box: Sequence[float]) -> np.ndarray:
        x0, y0, x1, y1 = (round(value) for value in parse_roi_box_from_bbox(box))
        border = max(0, -x0, -y0, x1 - img.shape[1], y1 - img.shape[0])
        if border:
            img = np.pad(img, ((border, border), (border, border), (0, 0)))
        crop = img[y0 + border : y1 + border, x0 + border : x1 + border]
        return cv2.dnn.blobFromImage(crop, 1 / 128, (self.size, self.size), (127.5,) * 3)

    def __call__(self, img: np.ndarray, boxes: Sequence[Sequence[float]]) -> list[np.ndarray]:
        return [run(self.session, self.crop(img, b))[0][0] * self.std + self.mean for b in boxes]


def reconstruct(
    bases: Sequence[np.ndarray], parts: Sequence[np.ndarray], roi_box: Sequence[float], size: int
) -> np.ndarray:
    """Dense vertices (3, n), pixels, of a mean and two bases, and pose, shape and expression."""
    (mean, shape_basis, exp_basis), (pose, shape, expression) = bases, parts
    column = mean + shape_basis @ shape[:, None] + exp_basis @ expression[:, None]
    vertices = pose[:, :3] @ column.reshape(3, -1, order="F") + pose[:, 3:]
    vertices[1] = size - vertices[1]
    vertices *= (roi_box[2] - roi_box[0]) / size
    vertices[:2] += np.array(roi_box[:2])[:, None]
    return vertices


def draw_mesh(
    img: np.ndarray, ver: np.ndarray, tri: np.ndarray, colors: np.ndarray, cull: bool = True
) -> np.ndarray:
    """Painter's algorithm with one colour for each triangle.

    Parameters
    ----------
    ver (n, 3) : pixels; colors (n, 3) : of the vertices, in [0, 255].
    cull : leave out the triangles that face away.
    """
    corners = ver[tri]
    if cull:
        edges = corners[:, 1:, :2] - corners[:, :1, :2]
        front = edges[:, 0, 0] * edges[:, 1, 1] > edges[:, 0, 1] * edges[:, 1, 0]
        tri, corners = tri[front], corners[front]
    order = np.argsort(corners[:, :, 2].sum(axis=1))
    points = np.rint(corners[order, :, :2]).astype(np.int32)
    drawn = img.copy()
    for triangle, color in zip(points, colors[tri[order]].mean(axis=1).tolist()):
        cv2.fillConvexPoly(drawn, triangle, color)
    return drawn


def lit_colors(ver: np.ndarray, tri: np.ndarray) -> np.ndarray:
    """Grey (n, 3) in [0, 255] of vertices (n, 3) in light from the front."""
    corners = ver[tri]
    normals = np.zeros_like(ver)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in tri.T:
        np.add.at(normals, corner, across)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    return np.repeat(255 * (0.3 + 0.7 * normals[:, 2:].clip(0, 1)), 3, axis=1)


def overlay(img: np.ndarray, ver: np.ndarray, tri: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    """The lit mask of vertices (3, n) over the picture."""
    drawn = draw_mesh(img, ver.T, tri, lit_colors(ver.T, tri))
    return cv2.addWeighted(img, 1 - alpha, drawn, alpha, 0)


def depth(img: np.ndarray, ver: np.ndarray, tri: np.ndarray) -> np.ndarray:
    grey = 255 * (ver[2] - ver[2].min()) / np.ptp(ver[2])
    return draw_mesh(img, ver.T, tri, np.repeat(grey[:, None], 3, axis=1))


def uv_tex(
    img: np.ndarray, ver: np.ndarray, tri: np.ndarray, uv: np.ndarray, size: int = 256
) -> np.ndarray:
    """The texture map, its colours the picture's under the vertices (3, n)."""
    columns, rows = np.rint(ver[:2]).astype(int)
    flat = np.column_stack([uv[:, 0], 1 - uv[:, 1], np.zeros(len(uv))]) * (size - 1)
    return draw_mesh(np.zeros((size, size, 3), np.uint8), flat, tri, img[rows, columns], cull=False)


def ply(ver: np.ndarray, tri: np.ndarray, height: int) -> bytes:
    stream = io.StringIO()
    np.savetxt(stream, np.column_stack([ver[0], height - ver[1], ver[2]]), "%.2f")
    np.savetxt(stream, tri[:, ::-1], "3 %d %d %d")
    return stream.getvalue().encode()


def obj(img: np.ndarray, ver: np.ndarray, tri: np.ndarray, height: int) -> bytes:
    stream = io.StringIO()
    columns, rows = np.rint(ver[:2]).astype(int)
    colors = img[rows, columns, ::-1] / 255
    vertices = np.column_stack([ver[0], height - ver[1], ver[2], colors])
    np.savetxt(stream, vertices, "v %.2f %.2f %.2f %.2f %.2f %.2f")
    np.savetxt(stream, tri[:, ::-1] + 1, "f %d %d %d")
    return stream.getvalue().encode()
