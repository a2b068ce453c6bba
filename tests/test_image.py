"""utils.image: reading any picture, writing whole ones."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from utils.errors import InputError, OutputError
from utils.image import as_bgr, emit, read_image, write_image

rng = np.random.default_rng(0)
BGR = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
GREY16 = rng.integers(0, 65536, (4, 5), dtype=np.uint16)
BGR16 = rng.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
ALPHA = rng.integers(0, 256, (4, 5, 4), dtype=np.uint8)
UNIT = rng.random((4, 5, 3), dtype=np.float32)


def triple(grey):
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "img, expected",
    [
        (BGR, BGR),  # as it is
        (BGR[..., 0], triple(BGR[..., 0])),  # grey
        (BGR[..., :1], triple(BGR[..., 0])),  # grey with an axis
        (ALPHA, ALPHA[..., :3]),  # alpha
        (BGR16, BGR16 >> 8),  # 16 bits
        (GREY16, triple(GREY16 >> 8)),  # 16 bits, grey
        (UNIT, np.rint(UNIT * 255)),  # float
        (np.float32([[[np.nan, -1, 2]]]), [[[0, 0, 255]]]),  # wild floats
        (BGR[::-1, ::-1, ::-1], BGR[::-1, ::-1, ::-1]),  # negative strides
    ],
)
def test_as_bgr(img, expected):
    before = img.copy()
    result = as_bgr(img)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert np.array_equal(result, expected)
    assert np.array_equal(img, before, equal_nan=img.dtype.kind == "f")


def test_as_bgr_copies_only_what_it_must():
    assert as_bgr(BGR) is BGR or np.shares_memory(as_bgr(BGR), BGR)


@pytest.mark.parametrize(
    "img",
    [
        np.zeros(5, np.uint8),  # a line
        np.zeros((4, 5, 2), np.uint8),  # two channels
        np.zeros((4, 5, 5), np.uint8),  # five channels
        np.zeros((0, 5, 3), np.uint8),  # no rows
        np.zeros((4, 5, 3), np.int32),  # unclear range
        np.zeros((4, 5, 3), bool),  # a mask
        np.zeros((1, 4, 5, 3), np.uint8),  # a batch
        None,  # what cv2.imread returns for an unreadable file
    ],
)
def test_as_bgr_refuses(img):
    with pytest.raises(ValueError, match="img: expected"):
        as_bgr(img)


@pytest.mark.parametrize(
    "name, stored, expected",
    [
        ("a.png", BGR, BGR),  # colour
        ("a.bmp", BGR, BGR),  # another format
        ("a.png", BGR[..., 0], triple(BGR[..., 0])),  # grey
        ("a.png", ALPHA, ALPHA[..., :3]),  # alpha
        ("a.png", BGR16, BGR16 >> 8),  # 16 bits
        ("a.png", GREY16, triple(GREY16 >> 8)),  # 16 bits, grey
        ("a.tiff", UNIT, np.rint(UNIT * 255)),  # float
        ("größe 日本.png", BGR, BGR),  # name beyond ASCII
        ("a", BGR, BGR),  # no ending
    ],
)
def test_read_image(tmp_path, name, stored, expected):
    suffix = name[name.rfind(".") :] if "." in name else ".png"
    (tmp_path / name).write_bytes(cv2.imencode(suffix, stored)[1].tobytes())
    img = read_image(tmp_path / name)
    assert img.dtype == np.uint8
    assert np.array_equal(img, expected)


@pytest.mark.parametrize(
    "orientation, turn",
    [
        (1, lambda a: a),  # upright
        (2, lambda a: a[:, ::-1]),  # mirrored
        (3, lambda a: a[::-1, ::-1]),  # upside down
        (4, lambda a: a[::-1]),  # mirrored, upside down
        (5, lambda a: a.transpose(1, 0, 2)),  # transposed
        (6, lambda a: np.rot90(a, -1)),  # phone held upright
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),  # transposed, upside down
        (8, lambda a: np.rot90(a)),  # phone held upright, other way
    ],
)
def test_exif_orientation(tmp_path, orientation, turn):
    blocks = rng.integers(0, 256, (2, 3, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    jpeg = cv2.imencode(".jpg", blocks, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + marker + jpeg[2:])
    img, expected = read_image(tmp_path / "a.jpg"), turn(blocks)
    assert img.shape == expected.shape
    # chroma bleeds over the blocks' borders: compare their middles
    difference = np.abs(img[8::16, 8::16].astype(int) - expected[8::16, 8::16])
    assert difference.max() < 12


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),  # no bytes
        (b"text, not a picture", "no picture"),  # garbage
        (b"\xff\xd8\xff\xe0", "a.jpg"),  # only a JPEG's start
        (png_header(100_000, 100_000), "a.jpg"),  # 10 gigapixels claimed
    ],
)
def test_unreadable_content(tmp_path, content, message):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_image(tmp_path / "a.jpg")
    assert "a.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            read_image(path)


def test_large_picture(tmp_path):
    large = np.zeros((5000, 4000), np.uint8)
    large[-1, -1] = 200
    img = read_image(write_image(tmp_path / "large.png", large))
    assert img.shape == (5000, 4000, 3)
    assert img[-1, -1].tolist() == [200] * 3


@pytest.mark.parametrize(
    "img",
    [
        BGR,  # colour
        BGR[..., 0],  # grey
        ALPHA,  # alpha
        BGR[:, ::-1],  # negative strides
    ],
)
def test_write_image_keeps_every_pixel(tmp_path, img):
    path = write_image(tmp_path / "new" / "größe.PNG", img)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), img)


@pytest.mark.parametrize(
    "name",
    [
        "a.xyz",  # unknown ending
        "a",  # no ending
        "a.jpg/b.png",  # below a file
    ],
)
def test_write_errors_leave_nothing(tmp_path, name):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_image(tmp_path / name, BGR)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


def test_emit_writes_only_if_asked(tmp_path):
    assert emit(BGR) is BGR
    assert emit(BGR, tmp_path / "a.png") is BGR
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
