"""Write faces as PLY and OBJ meshes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.image import as_bgr
from utils.io import PathLike, write_bytes

# Text is made as matrices of bytes, a row for each line, that this fills up and is then left out.
_FILLING = b"\0"


def _text(*fields: bytes | np.ndarray) -> bytes:
    """Lines from their fields: bytes (n, width) of each line, or the same for all lines."""
    count = next(len(field) for field in fields if isinstance(field, np.ndarray))
    columns = [
        field
        if isinstance(field, np.ndarray)
        else np.broadcast_to(np.frombuffer(field, np.uint8), (count, len(field)))
        for field in fields
    ]
    return np.concatenate(columns, axis=1).tobytes().translate(None, _FILLING)


def _words(words: Sequence[bytes]) -> np.ndarray:
    """Bytes (n, width) of words, filled up."""
    array = np.array(words, "S")
    return array.view(np.uint8).reshape(len(words), array.itemsize)


def _digits(numbers: np.ndarray, at_least: int = 1) -> np.ndarray:
    """Bytes (n, width) of uint32 numbers (n,) with at least so many digits, filled up in front."""
    width = max(len(str(numbers.max(initial=0))), at_least)
    digits = np.empty((len(numbers), width), np.uint8)
    for place in range(width):
        rest = numbers // 10
        digit = (numbers - 10 * rest).astype(np.uint8) + ord("0")
        digits[:, -1 - place] = digit if place < at_least else digit * (numbers > 0)
        numbers = rest
    return digits


def _decimals(values: np.ndarray) -> np.ndarray:
    """Bytes (n, width) of numbers (n,) as "%.2f" formats them, filled up."""
    if values.dtype != np.float32 or not (np.abs(values) < 1e7).all():
        return _words([b"%.2f" % value for value in values.tolist()])
    # exact in float64, so that halves are seen and go to even, as Python has it
    hundredths = np.rint(values.astype(np.float64) * 100)
    digits = _digits(np.abs(hundredths).astype(np.uint32), at_least=3)
    sign = np.where(np.signbit(values), np.uint8(ord("-")), np.uint8(0))
    point = np.full(len(values), ord("."), np.uint8)
    return np.column_stack([sign, digits[:, :-2], point, digits[:, -2:]])


def _face_lines(start: bytes, faces: np.ndarray) -> bytes:
    """A line of three numbers (m, 3) for each face, after `start`."""
    words = _digits(np.arange(faces.max(initial=0) + 1, dtype=np.uint32))
    a, b, c = (words.take(column, axis=0) for column in faces.T)
    return _text(start, a, b" ", b, b" ", c, b"\n")


def _positions(ver: np.ndarray, height: int) -> list[np.ndarray]:
    """Text of x, y, z of vertices (3, n) in image pixels, y up."""
    x, y, z = ver
    return [_decimals(values) for values in (x, height - y, z)]


def _face_rows(
    ver_lst: Sequence[np.ndarray], tri: np.ndarray, reverse: bool, first: int
) -> np.ndarray:
    """Triangles of all faces, numbered on from `first`; `reverse` flips their winding,
    as turning y over has flipped the mesh."""
    tri = tri[:, ::-1] if reverse else tri
    starts = np.cumsum([0] + [ver.shape[1] for ver in ver_lst[:-1]]) + first
    return np.concatenate([tri + start for start in starts]) if len(ver_lst) else tri[:0]


def _nearest_colors(img: np.ndarray, ver: np.ndarray) -> list[np.ndarray]:
    """Text of R, G, B in [0, 1] of the pixel nearest to each vertex (3, n)."""
    limit = np.array([[img.shape[1] - 1], [img.shape[0] - 1]])
    columns, rows = np.rint(np.nan_to_num(ver[:2]).clip(0, limit)).astype(np.intp)
    words = _words([b"%.2f" % (value / 255) for value in range(256)])
    return [words.take(channel, axis=0) for channel in img[rows, columns, ::-1].T]


def encode_ply(
    ver_lst: Sequence[np.ndarray], tri: np.ndarray, height: int, reverse: bool = True
) -> bytes:
    """Faces as one ascii PLY mesh; arguments as in `ser_to_ply`."""
    faces = _face_rows(ver_lst, tri, reverse, first=0)
    header = (
        "ply\nformat ascii 1.0\n"
        f"element vertex {sum(ver.shape[1] for ver in ver_lst)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    body = []
    for ver in ver_lst:
        x, y, z = _positions(ver, height)
        body.append(_text(x, b" ", y, b" ", z, b"\n"))
    return b"".join([header.encode("ascii"), *body, _face_lines(b"3 ", faces)])


def encode_obj(
    img: np.ndarray,
    ver_lst: Sequence[np.ndarray],
    tri: np.ndarray,
    height: int,
    reverse: bool = True,
    seen: Sequence[np.ndarray] | None = None,
) -> bytes:
    """Faces as one OBJ mesh with vertex colours; arguments as in `ser_to_obj`.

    seen : where the picture shows each face's vertices (2 or 3, n), if elsewhere than `ver_lst`.
    """
    img = as_bgr(img)
    body = []
    for ver, places in zip(ver_lst, ver_lst if seen is None else seen):
        x, y, z = _positions(ver, height)
        red, green, blue = _nearest_colors(img, places)
        body.append(
            _text(b"v ", x, b" ", y, b" ", z, b" ", red, b" ", green, b" ", blue, b"\n")
        )
    return b"".join([*body, _face_lines(b"f ", _face_rows(ver_lst, tri, reverse, first=1))])


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
