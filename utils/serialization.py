"""Write faces as PLY and OBJ meshes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.image import as_bgr
from utils.io import PathLike, write_bytes


def _lines(template: str, rows: np.ndarray) -> str:
    """Format every row of (n, k) numbers by the same template, in one go."""
    return (template * len(rows)) % tuple(rows.ravel().tolist())


def _upright(ver: np.ndarray, height: int) -> np.ndarray:
    """Vertices (3, n) in image pixels as rows (n, 3) with y up."""
    x, y, z = ver
    return np.stack([x, height - y, z], axis=1)


def _face_rows(
    ver_lst: Sequence[np.ndarray], tri: np.ndarray, reverse: bool, first: int
) -> np.ndarray:
    """Triangles of all faces, numbered on from `first`; `reverse` flips their winding,
    as turning y over has flipped the mesh."""
    tri = tri[:, ::-1] if reverse else tri
    starts = np.cumsum([0] + [ver.shape[1] for ver in ver_lst[:-1]]) + first
    return np.concatenate([tri + start for start in starts]) if len(ver_lst) else tri[:0]


def _nearest_colors(img: np.ndarray, ver: np.ndarray) -> np.ndarray:
    """RGB (n, 3) in [0, 1] of the pixel nearest to each vertex (3, n)."""
    limit = np.array([[img.shape[1] - 1], [img.shape[0] - 1]])
    columns, rows = np.rint(np.nan_to_num(ver[:2]).clip(0, limit)).astype(np.intp)
    return img[rows, columns, ::-1] / 255


def encode_ply(
    ver_lst: Sequence[np.ndarray], tri: np.ndarray, height: int, reverse: bool = True
) -> bytes:
    """Faces as one ascii PLY mesh; arguments as in `ser_to_ply`."""
    vertices = [_upright(ver, height) for ver in ver_lst]
    faces = _face_rows(ver_lst, tri, reverse, first=0)
    header = (
        "ply\nformat ascii 1.0\n"
        f"element vertex {sum(map(len, vertices))}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    body = [_lines("%.2f %.2f %.2f\n", rows) for rows in vertices]
    return "".join([header, *body, _lines("3 %d %d %d\n", faces)]).encode("ascii")


def encode_obj(
    img: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    height: int,
    reverse: bool = True,
) -> bytes:
    """Faces as one OBJ mesh with vertex colours; arguments as in `ser_to_obj`."""
    img = as_bgr(img)
    body = [
        _lines(
            "v %.2f %.2f %.2f %.2f %.2f %.2f\n",
            np.concatenate([_upright(ver, height), _nearest_colors(img, ver)], axis=1),
        )
        for ver in ver_lst
    ]
    faces = _face_rows(ver_lst, tri, reverse, first=1)
    return "".join([*body, _lines("f %d %d %d\n", faces)]).encode("ascii")


def _numbered(wfp: PathLike, number: int) -> Path:
    path = Path(wfp)
    return path.with_name(f"{path.stem}_{number}{path.suffix}")


def ser_to_ply_multiple(
    ver_lst: Sequence[np.ndarray], tri: np.ndarray, height: int, wfp: PathLike, reverse: bool = True
) -> None:
    """Write all faces into one ascii PLY file.

    Parameters
    ----------
    ver_lst : vertices (3, n) of each face; image pixels, written with y up.
    tri (m, 3) : triangles of one face.
    height : of the image, pixels.
    wfp : the file.
    reverse : flip the triangles' winding, so that they face outward after y is turned.
    """
    write_bytes(wfp, encode_ply(ver_lst, tri, height, reverse))


def ser_to_ply_single(
    ver_lst: Sequence[np.ndarray], tri: np.ndarray, height: int, wfp: PathLike, reverse: bool = True
) -> None:
    """Write each face into a PLY file of its own: name_1.ply, name_2.ply, …"""
    for number, ver in enumerate(ver_lst, 1):
        ser_to_ply_multiple([ver], tri, height, _numbered(wfp, number), reverse)


def ser_to_obj_multiple(
    img: np.ndarray, ver_lst: Sequence[np.ndarray], tri: np.ndarray, height: int, wfp: PathLike
) -> None:
    """Write all faces into one OBJ file, vertices coloured by the picture under them.

    Parameters
    ----------
    img (H, W, 3) : uint8 BGR.
    ver_lst, tri, height, wfp : as in `ser_to_ply_multiple`.
    """
    write_bytes(wfp, encode_obj(img, ver_lst, tri, height))


def ser_to_obj_single(
    img: np.ndarray, ver_lst: Sequence[np.ndarray], tri: np.ndarray, height: int, wfp: PathLike
) -> None:
    """Write each face into an OBJ file of its own: name_1.obj, name_2.obj, …"""
    for number, ver in enumerate(ver_lst, 1):
        ser_to_obj_multiple(img, [ver], tri, height, _numbered(wfp, number))


ser_to_ply = ser_to_ply_multiple
ser_to_obj = ser_to_obj_multiple
