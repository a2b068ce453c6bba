"""utils.serialization: PLY and OBJ files, read back."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from utils.serialization import (
    encode_ply,
    ser_to_obj,
    ser_to_obj_single,
    ser_to_ply,
    ser_to_ply_single,
)

rng = np.random.default_rng(0)
IMG = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
VERTICES = [rng.uniform(0, 50, (3, 5)).astype(np.float32) for _ in range(2)]
TRI = np.array([[0, 1, 2], [2, 3, 4]], np.int32)


def read_ply(text):
    """Vertices (n, 3) and faces (m, 3) of an ascii PLY."""
    header, body = text.split("end_header\n")
    assert header.startswith("ply\nformat ascii 1.0\n")
    counts = [int(line.split()[2]) for line in header.splitlines() if line.startswith("element")]
    rows = [line.split() for line in body.splitlines() if line]  # the original has an empty one
    assert len(rows) == sum(counts)
    faces = np.array(rows[counts[0] :], int).reshape(-1, 4)
    assert (faces[:, 0] == 3).all()
    return np.array(rows[: counts[0]], float), faces[:, 1:]


def read_obj(text):
    """Vertices (n, 3), colours (n, 3) and faces (m, 3), counted from 0, of an OBJ."""
    rows = [line.split() for line in text.splitlines()]
    vertices = np.array([row[1:] for row in rows if row[0] == "v"], float)
    faces = np.array([row[1:] for row in rows if row[0] == "f"], int)
    return vertices[:, :3], vertices[:, 3:], faces - 1


def upright(ver, height):
    return np.stack([ver[0], height - ver[1], ver[2]], axis=1)


def test_ply_of_several_faces(tmp_path):
    ser_to_ply(VERTICES, TRI, 50, tmp_path / "new" / "a.ply")
    vertices, faces = read_ply((tmp_path / "new" / "a.ply").read_text())
    expected = np.concatenate([upright(ver, 50) for ver in VERTICES])
    np.testing.assert_allclose(vertices, expected, atol=0.0051)
    assert np.array_equal(faces, np.concatenate([TRI, TRI + 5])[:, ::-1])


def test_ply_winding_can_stay(tmp_path):
    ser_to_ply(VERTICES, TRI, 50, tmp_path / "a.ply", reverse=False)
    faces = read_ply((tmp_path / "a.ply").read_text())[1]
    assert np.array_equal(faces[:2], TRI)


def test_obj_of_several_faces(tmp_path):
    ser_to_obj(IMG, VERTICES, TRI, 50, tmp_path / "a.obj")
    vertices, colors, faces = read_obj((tmp_path / "a.obj").read_text())
    expected = np.concatenate([upright(ver, 50) for ver in VERTICES])
    np.testing.assert_allclose(vertices, expected, atol=0.0051)
    assert np.array_equal(faces, np.concatenate([TRI, TRI + 5])[:, ::-1])
    x, y = np.rint(np.concatenate(VERTICES, axis=1)[:2]).astype(int).clip(0, [[59], [49]])
    np.testing.assert_allclose(colors, IMG[y, x, ::-1] / 255, atol=0.0051)


def test_vertices_off_the_image_keep_their_place(tmp_path):
    off = np.array([[-30.25, 500, 10], [-7.5, 10, 900], [1, 2, 3]], np.float32)
    ser_to_obj(IMG, [off], TRI[:1], 50, tmp_path / "a.obj")
    vertices, colors, _ = read_obj((tmp_path / "a.obj").read_text())
    assert np.array_equal(vertices, [[-30.25, 57.5, 1], [500, 40, 2], [10, -850, 3]])
    border = np.array([IMG[0, 0], IMG[10, 59], IMG[49, 10]])[:, ::-1] / 255
    np.testing.assert_allclose(colors, border, atol=0.0051)


def test_winding_faces_outward(tmp_path):
    """A triangle that faces the viewer in the image does so with y up, too."""
    ver = np.array([[0, 0, 9], [0, 9, 0], [1, 1, 1]], np.float32)  # (v1-v0)x(v2-v0) = -z, y down
    ser_to_ply([ver], np.array([[0, 1, 2]]), 50, tmp_path / "a.ply")
    vertices, faces = read_ply((tmp_path / "a.ply").read_text())
    a, b, c = vertices[faces[0]]
    original = np.cross((ver[:, 1] - ver[:, 0]), (ver[:, 2] - ver[:, 0]))
    assert np.sign(np.cross(b - a, c - a)[2]) == np.sign(original[2]) == -1


def test_single_files(tmp_path):
    ser_to_ply_single(VERTICES, TRI, 50, tmp_path / "a.ply")
    ser_to_obj_single(IMG, VERTICES, TRI, 50, str(tmp_path / "a.obj"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a_1.obj", "a_1.ply", "a_2.obj", "a_2.ply"]
    for number, ver in enumerate(VERTICES, 1):
        for vertices, *_, faces in (
            read_ply((tmp_path / f"a_{number}.ply").read_text()),
            read_obj((tmp_path / f"a_{number}.obj").read_text()),
        ):
            np.testing.assert_allclose(vertices, upright(ver, 50), atol=0.0051)
            assert np.array_equal(faces, TRI[:, ::-1])


def test_no_faces(tmp_path):
    ser_to_ply([], TRI, 50, tmp_path / "a.ply")
    ser_to_obj(IMG, [], TRI, 50, tmp_path / "a.obj")
    assert "element vertex 0\n" in (tmp_path / "a.ply").read_text()
    assert (tmp_path / "a.obj").read_text() == ""


def test_inputs_are_unchanged(tmp_path):
    arrays = [IMG, *VERTICES, TRI]
    before = [array.copy() for array in arrays]
    ser_to_obj(IMG, VERTICES, TRI, 50, tmp_path / "a.obj")
    ser_to_ply(VERTICES, TRI, 50, tmp_path / "a.ply")
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before))


@pytest.mark.parametrize("kind", ["ply", "obj"])
def test_golden_files(tmp_path, open_tddfa, picture, golden, goldens, kind):
    tri, img = open_tddfa("onnx").tri, picture("JianzhuGuo")
    dense = [golden("JianzhuGuo")["dense0"]]
    path = tmp_path / f"a.{kind}"
    if kind == "ply":
        ser_to_ply(dense, tri, img.shape[0], path)
    else:
        ser_to_obj(img, dense, tri, img.shape[0], path)
    read = {"ply": read_ply, "obj": read_obj}[kind]
    expected = read(gzip.decompress((goldens / f"JianzhuGuo.{kind}.gz").read_bytes()).decode())
    ours = read(path.read_text())
    np.testing.assert_allclose(ours[0], expected[0], atol=0.011)
    assert np.array_equal(ours[-1], expected[-1])
    if kind == "obj":
        np.testing.assert_allclose(ours[1], expected[1], atol=0.011)


@pytest.mark.parametrize(
    "numbers",
    [
        [0.0, -0.0, 0.004, -0.004, 0.005, 0.995, -0.995],  # near zero, both signs
        [0.125, 0.375, -0.125, 2.125, 1234.625],  # halves go to even
        [9999999.0, -9999999.0, 99999.995],  # wide
        [1e7, 3e38, -1e20],  # too wide for 32 bits
        [np.nan, np.inf, -np.inf],  # no numbers
    ],
)
def test_numbers_are_written_as_python_does(numbers):
    x = np.array(numbers, np.float32)
    ver = np.stack([x, np.zeros_like(x), x[::-1]])
    lines = encode_ply([ver], np.zeros((0, 3), np.int32), 0).decode().splitlines()
    body = lines[lines.index("end_header") + 1 :]
    height_minus_y = 0 - ver[1]
    expected = [
        f"{a:.2f} {b:.2f} {c:.2f}" for a, b, c in zip(x.tolist(), height_minus_y, x[::-1].tolist())
    ]
    assert body == expected


def test_many_random_numbers_are_written_as_python_does():
    ver = np.random.default_rng(1).normal(0, 300, (3, 4000)).astype(np.float32)
    ver[0, ::7] = np.round(ver[0, ::7] * 8) / 8  # many halves
    lines = encode_ply([ver], TRI, 720).decode().splitlines()
    rows = zip(ver[0].tolist(), (720 - ver[1]).tolist(), ver[2].tolist())
    expected = [f"{x:.2f} {y:.2f} {z:.2f}" for x, y, z in rows]
    assert lines[lines.index("end_header") + 1 :][:4000] == expected
