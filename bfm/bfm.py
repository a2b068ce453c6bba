"""A linear 3D morphable model of the face (the Basel model without its neck).

Vertices are `u + w_shp @ shape + w_exp @ expression`, a column x0 y0 z0 x1 y1 z1 …
in micrometres, y up, z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bfm.packed import PackedModel
from bfm.regions import region_weights
from bfm.sliders import Sliders
from bfm.texture import texture_raster
from bfm.topology import FAR, TOPOLOGY_KEYS, Submesh, Topology
from Sim3DR import Raster
from utils.assets import find_asset
from utils.errors import AssetError
from utils.io import PathLike, load_arrays, map_arrays

PROVISIONED_MODEL = "configs/bfm_noneck.npz"  # what `bfm.provision` writes
PACKED_KEYS = ("packed_mean", "packed_basis", "packed_units")  # of a `PackedModel`, where stored
LID_COLUMNS = slice(10, 12)  # of `w_exp`, in the model that `bfm.provision` writes
# 3DDFA_V2 ships this model without triangles; they lie in tri.pkl beside it.
_MODEL_WITHOUT_TRIANGLES = "bfm_noneck_v3.pkl"

T = TypeVar("T")


class BFMModel:
    """The mean, the shape and expression bases, the triangles and the 68 landmarks.

    Parameters
    ----------
    bfm_fp : `.pkl` of 3DDFA_V2 or `.npz` of ours, with the arrays `u`, `w_shp`, `w_exp`,
        `keypoints` and `tri`; relative paths go through `find_model`.
    shape_dim, exp_dim : how many columns of the bases to use.

    Attributes
    ----------
    u (3N, 1), w_shp (3N, shape_dim), w_exp (3N, exp_dim) : float32.
    tri (M, 3) int32 : 0-based vertex numbers.
    keypoints (204,) int64 : the rows of the 68 landmarks.
    u_base, w_shp_base, w_exp_base : the same arrays at those rows only.

    Raises
    ------
    AssetError : the file is missing, damaged or inconsistent.
    """

    def __init__(self, bfm_fp: PathLike, shape_dim: int = 40, exp_dim: int = 10) -> None:
        self.path = find_model(bfm_fp)
        model = map_arrays(self.path)
        self._require(isinstance(model, dict), "expected a dict of arrays")
        for key in ("u", "w_shp", "w_exp", "keypoints"):
            array = model.get(key)
            self._require(isinstance(array, np.ndarray), f"no array {key!r}")
            self._require(array.dtype.kind in "fiu", f"{key!r} holds no numbers")
        rows = model["u"].size
        self._require(rows > 0 and rows % 3 == 0, f"u has {rows} numbers, no multiple of 3")
        self.u = np.ascontiguousarray(model["u"], np.float32).reshape(rows, 1)
        self._stored_shape_dim = model["w_shp"].shape[-1]
        self.w_shp = self._basis("w_shp", model["w_shp"], shape_dim)
        self.w_exp = self._basis("w_exp", model["w_exp"], exp_dim)
        self.keypoints = self._checked_keypoints(model["keypoints"])
        self.tri = self._checked_triangles(self._find_triangles(model))
        self.u_base = self.u[self.keypoints]
        self.w_shp_base = self.w_shp[self.keypoints]
        self.w_exp_base = self.w_exp[self.keypoints]
        self._stored = {key: model.get(key) for key in ("uv", *PACKED_KEYS, *TOPOLOGY_KEYS)}
        self._texture: Raster | None = None
        self._kept: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": {}}  # copies make it again

    @property
    def num_vertices(self) -> int:
        """N, the number of vertices of the dense mesh."""
        return self.u.size // 3

    @cached_property
    def packed(self) -> PackedModel:
        """What dense reconstruction reads; made here where the file has none."""
        mean, basis, units = (self._stored[key] for key in PACKED_KEYS)
        if mean is None or basis is None or units is None:
            return PackedModel.pack(self.u, self.w_shp, self.w_exp)
        packed = PackedModel(mean, basis, units, self._stored_shape_dim, self.num_vertices)
        self._require(packed.is_consistent(), "its packed arrays do not fit the mesh")
        return packed

    @property
    def landmarks(self) -> np.ndarray:
        """The vertices (68,) int64 that are the landmarks."""
        return self.keypoints.reshape(-1, 3)[:, 0] // 3

    @cached_property
    def topology(self) -> Topology:
        """Where the face opens; found here, without lids, where the file does not tell."""
        stored = [self._stored[key] for key in TOPOLOGY_KEYS]
        if any(array is None for array in stored):
            closing = np.zeros((self.num_vertices, 0))
            try:
                return Topology.of(self.u.reshape(-1, 3), self.tri, self.landmarks, closing)
            except ValueError as error:
                raise AssetError(f"bad 3DMM file {self.path}: {error}") from error
        topology = Topology(*map(np.asarray, stored))
        self._require(topology.fits(self.num_vertices), "its topology does not fit the mesh")
        return topology

    @cached_property
    def lid_moves(self) -> LidMoves | None:
        """Our directions, after the original's ten, that shut the eyes; None without them."""
        if self._stored["lids"] is None or self.w_exp.shape[1] < LID_COLUMNS.stop:
            return None
        moves = self.w_exp[:, LID_COLUMNS].reshape(-1, 3, 2)
        vertices = np.flatnonzero(moves.any(axis=(1, 2)))
        return LidMoves(vertices, moves[vertices])

    @cached_property
    def sliders(self) -> Sliders:
        """Expressions by name; for models without our lids, of the model that has them."""
        return Sliders.load(None if self.lid_moves is None else self.w_exp.shape[1])

    @cached_property
    def regions(self) -> np.ndarray:
        """How much of each of the `bfm.regions` a vertex is: (regions, N) float32."""
        return region_weights(self.u.reshape(-1, 3), self.keypoints[::3] // 3)

    @cached_property
    def around_mouth(self) -> Submesh:
        """The mesh between nose, chin and the middle of the cheeks."""
        x, y, _ = self.u.reshape(-1, 3).T / 1000  # mm
        return Submesh.of(self.tri, (np.abs(x) < 45) & (y > -80) & (y < 0))

    @cached_property
    def around_eyes(self) -> tuple[Submesh, Submesh]:
        """The mesh around each eye, left to right in the picture; empty without lids."""
        near, right = self.topology.above_lid < FAR, self.u[::3, 0] > 0
        return Submesh.of(self.tri, near & ~right), Submesh.of(self.tri, near & right)

    @cached_property
    def ncc(self) -> np.ndarray:
        """Normalised coordinate code (3, N) float32: the mean shape, each axis scaled to [0, 1]."""
        return ncc_code(self.u.reshape(-1, 3))

    @cached_property
    def uv(self) -> np.ndarray:
        """Texture coordinates (N, 2) float32 in [0, 1], v up.

        A 3DDFA_V2 model has them in BFM_UV.mat beside it, for the mesh with the neck.
        """
        uv = self._stored["uv"]
        if uv is None:
            uv = read_basel_uv(self.path.parent)
        uv = np.asarray(uv, np.float32)
        self._require(
            uv.shape == (self.num_vertices, 2),
            f"uv has shape {uv.shape}, expected ({self.num_vertices}, 2)",
        )
        return uv

    def texture_raster(self, height: int, width: int) -> Raster:
        """The mesh flat in a texture map of this size; the last one is kept for the next face."""
        if self._texture is None or self._texture.number.shape != (height, width):
            self._texture = texture_raster(self.uv, self.tri, height, width)
        return self._texture

    def kept(self, make: Callable[..., T], *options: Hashable) -> T:
        """What `make(self, *options)` gives, made once and kept with the model."""
        key = make, options
        if key not in self._kept:
            self._kept[key] = make(self, *options)
        made: T = self._kept[key]
        return made

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise AssetError(f"bad 3DMM file {self.path}: {problem}")

    def _basis(self, name: str, basis: np.ndarray, columns: int) -> np.ndarray:
        self._require(
            basis.ndim == 2 and len(basis) == self.u.size and basis.shape[1] >= columns,
            f"{name} has shape {basis.shape}, expected {self.u.size} rows and at least "
            f"{columns} columns",
        )
        return np.ascontiguousarray(basis[:, :columns], np.float32)

    def _checked_keypoints(self, keypoints: np.ndarray) -> np.ndarray:
        keypoints = np.asarray(keypoints).ravel()
        self._require(
            keypoints.dtype.kind in "iu" and keypoints.size > 0 and keypoints.size % 3 == 0,
            f"keypoints: expected integers, three for a landmark, got {keypoints.size} "
            f"of type {keypoints.dtype}",
        )
        self._require(
            keypoints.min() >= 0 and keypoints.max() < self.u.size,
            f"keypoints run from {keypoints.min()} to {keypoints.max()}, but u has "
            f"{self.u.size} rows",
        )
        return keypoints.astype(np.int64)

    def _find_triangles(self, model: dict[str, Any]) -> Any:
        sibling = self.path.parent / "tri.pkl"
        if self.path.name == _MODEL_WITHOUT_TRIANGLES and sibling.is_file():
            return load_arrays(sibling)
        self._require(
            isinstance(model.get("tri"), np.ndarray),
            f"it holds no triangles, and {sibling} is not there",
        )
        return model["tri"]

    def _checked_triangles(self, tri: np.ndarray) -> np.ndarray:
        """Bring (3, M) or (M, 3) integers into (M, 3) int32 and check their range."""
        self._require(
            tri.ndim == 2 and 3 in tri.shape and tri.size > 0 and tri.dtype.kind in "iu",
            f"tri: expected (M, 3) or (3, M) integers, got {tri.shape} of type {tri.dtype}",
        )
        if tri.shape[1] != 3:
            tri = tri.T
        self._require(
            tri.min() >= 0 and tri.max() < self.num_vertices,
            f"tri runs from {tri.min()} to {tri.max()}, but there are {self.num_vertices} vertices",
        )
        return np.ascontiguousarray(tri, np.int32)


def find_model(bfm_fp: PathLike, assets: PathLike | None = None) -> Path:
    """Where the 3DMM `bfm_fp` lies, as `find_asset`; raises AssetError."""
    is_ours = Path(bfm_fp).name == Path(PROVISIONED_MODEL).name
    return find_asset(bfm_fp, assets, "run `python -m bfm.provision`" if is_ours else None)


def ncc_code(mean: np.ndarray) -> np.ndarray:
    """Normalised coordinate code: the mean shape (n, 3), each axis scaled to [0, 1].

    Returns
    -------
    (3, n) float32, the layout of 3DDFA_V2's ncc_code.npy.
    """
    low, high = mean.min(axis=0), mean.max(axis=0)
    return np.ascontiguousarray(((mean - low) / (high - low)).T, np.float32)


class LidMoves(NamedTuple):
    """How vertices (k,) move, (k, 3, 2) float32 µm, as the eye on the picture's left, and that on
    its right, shuts; all others stay."""

    vertices: np.ndarray
    moves: np.ndarray


@lru_cache(maxsize=2)
def model_of_size(num_vertices: int) -> BFMModel:
    """The 3DMM in `configs/` whose mesh has that many vertices.

    For callers that have vertices and no model, as programs written for 3DDFA_V2 do.

    Raises
    ------
    AssetError : there is no such model.
    """
    problems = []
    for path in (PROVISIONED_MODEL, f"configs/{_MODEL_WITHOUT_TRIANGLES}"):
        try:
            model = BFMModel(path)
        except AssetError as error:
            problems.append(str(error))
            continue
        if model.num_vertices == num_vertices:
            return model
        problems.append(f"{model.path} has {model.num_vertices} vertices")
    raise AssetError(f"no 3DMM of {num_vertices} vertices: {'; '.join(problems)}")


def read_basel_uv(folder: Path) -> np.ndarray:
    """Read the texture coordinates that 3DDFA_V2 ships for its mesh.

    Parameters
    ----------
    folder : holds BFM_UV.mat (`UV` of the whole mesh) and indices.npy (the vertices kept
        of it).

    Returns
    -------
    (N, 2) in [0, 1], v up.

    Raises
    ------
    AssetError : the files are missing or damaged, or scipy, which reads them, is not installed.
    """
    uv_fp, indices_fp = (find_asset(folder / name) for name in ("BFM_UV.mat", "indices.npy"))
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise AssetError(f"cannot read {uv_fp} without scipy: pip install scipy") from error
    try:
        full, indices = loadmat(uv_fp)["UV"], load_arrays(indices_fp)
        return full[indices]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise AssetError(f"cannot read texture coordinates from {uv_fp}: {error}") from error
