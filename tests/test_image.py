"""utils.image: reading any picture, writing whole ones."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import zlib

import cv2
import numpy as np
import pytest
from conftest import REPO, noise

from utils.errors import InputError, OutputError
from utils.image import (
    SUFFIXES,
    as_bgr,
    decode_picture,
    emit,
    encode_image,
    read_image,
    read_picture,
    write_image,
)
from utils.metadata import Metadata, attach_metadata, find_metadata

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
        (UNIT.astype(np.float64)[..., 0], triple(np.rint(UNIT[..., 0] * 255))),  # double, grey
        (BGR.astype(np.float32), BGR),  # float as 3DDFA_V2 takes it
        (BGR.astype(np.float16), BGR),  # half
        (BGR + 0.4, BGR),  # between two levels
        (np.float32([[[-0.2, 0.5, 1.2]]]), [[[0, 128, 255]]]),  # a filter's overshoot
        (np.float32([[[-20, 100, 300]]]), [[[0, 100, 255]]]),  # the same in 0 to 255
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
        UNIT * 2 - 1,  # a network's input
        (BGR - 127.5) / 128,  # another's
        UNIT * 65535,  # 16 bits as floats
        np.where(UNIT > 0.5, UNIT, np.nan),  # no numbers
        np.where(UNIT > 0.5, UNIT, np.inf),  # infinities
        UNIT + 1j,  # complex
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


TIFF_KINDS = {"u": 1, "i": 2, "f": 3}  # of samples, by numpy's letter


def tiff(pixels, orientation=1, planar=False, order="<"):
    """A TIFF file of one strip, or one a channel; (H, W[, C]) of any type."""
    pixels = np.atleast_3d(pixels)
    height, width, channels = pixels.shape
    planes = np.split(pixels, channels, axis=2) if planar else [pixels]
    strips = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    bits, kind = 8 * pixels.itemsize, TIFF_KINDS[pixels.dtype.kind]
    starts = np.cumsum([8, *map(len, strips)]).tolist()
    lists = {
        258: ("H", [bits] * channels),
        273: ("I", starts[:-1]),
        279: ("I", list(map(len, strips))),
        339: ("H", [kind] * channels),
    }
    numbers = {256: width, 257: height, 259: 1, 262: 2 if channels > 2 else 1}
    numbers |= {274: orientation, 277: channels, 278: height, 284: 2 if planar else 1}
    numbers |= {338: 2} if channels == 4 else {}
    fields = sorted({**lists, **{tag: ("H", [value]) for tag, value in numbers.items()}}.items())
    rows, long, place = b"", b"", starts[-1] + 2 + 12 * len(fields) + 4
    for tag, (letter, values) in fields:
        value = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(value) > 4:
            value, long = struct.pack(order + "I", place + len(long)), long + value
        rows += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[letter], len(values))
        rows += value.ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, starts[-1])
    count = struct.pack(order + "H", len(fields))
    return head + b"".join(strips) + count + rows + bytes(4) + long


def exif_of(orientation, order=">"):
    """The shortest EXIF that tells an orientation."""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, 1)
    return start + struct.pack(order + "HHIHHI", 0x0112, 3, 1, orientation, 0, 0)


def jpeg(pixels, exif):
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    exif = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def png_chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(pixels, exif, late=False):
    data = cv2.imencode(".png", pixels)[1].tobytes()
    place = len(data) - 12 if late else 33  # before the end, or after the header
    return data[:place] + png_chunk(b"eXIf", exif) + data[place:]


def webp(pixels, exif):
    data = cv2.imencode(".webp", pixels)[1].tobytes()
    height, width = pixels.shape[:2]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    form = b"VP8X" + struct.pack("<II", 10, 8) + size
    body = b"WEBP" + form + data[12:] + b"EXIF" + struct.pack("<I", len(exif)) + exif
    body += bytes(len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def avif(pixels, orientation):
    """Its encoder says the orientation as properties of the picture, as the standard has it."""
    if not hasattr(cv2, "imencodeWithMetadata") or not cv2.haveImageWriter("a.avif"):
        pytest.skip("this release of OpenCV writes no AVIF with metadata")
    exif = np.frombuffer(exif_of(orientation), np.uint8)
    best = [cv2.IMWRITE_AVIF_QUALITY, 100]
    return cv2.imencodeWithMetadata(
        ".avif", pixels, [cv2.IMAGE_METADATA_EXIF], [exif], best
    )[1].tobytes()


ENCODERS = {
    "JPEG": lambda pixels, number: jpeg(pixels, exif_of(number)),
    "JPEG, little-endian": lambda pixels, number: jpeg(pixels, exif_of(number, "<")),
    "PNG": lambda pixels, number: png(pixels, exif_of(number)),
    "PNG, at the end": lambda pixels, number: png(pixels, exif_of(number), late=True),
    "WebP": lambda pixels, number: webp(pixels, exif_of(number)),
    "WebP, with a prefix": lambda pixels, number: webp(pixels, b"Exif\0\0" + exif_of(number)),
    "TIFF": lambda pixels, number: tiff(pixels[..., ::-1], number),
    "TIFF, big-endian": lambda pixels, number: tiff(pixels[..., ::-1], number, order=">"),
    "TIFF, 16 bits": lambda pixels, number: tiff(np.uint16(257) * pixels[..., ::-1], number),
    "AVIF": avif,
}
TURNS = [
    (1, lambda a: a),  # upright
    (2, lambda a: a[:, ::-1]),  # mirrored
    (3, lambda a: a[::-1, ::-1]),  # upside down
    (4, lambda a: a[::-1]),  # mirrored, upside down
    (5, lambda a: a.transpose(1, 0, 2)),  # transposed
    (6, lambda a: np.rot90(a, -1)),  # phone held upright
    (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),  # transposed, upside down
    (8, lambda a: np.rot90(a)),  # phone held upright, other way
]


@pytest.mark.parametrize("orientation, turn", TURNS)
@pytest.mark.parametrize("form", ENCODERS)
def test_orientation_is_the_same_in_every_format(tmp_path, form, orientation, turn):
    blocks = rng.integers(0, 256, (2, 3, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    (tmp_path / "a").write_bytes(ENCODERS[form](blocks, orientation))
    picture, expected = read_picture(tmp_path / "a"), turn(blocks)
    assert picture.metadata.orientation == orientation
    for img in (picture.bgr, as_bgr(picture.original)):
        assert img.shape == expected.shape
        # chroma bleeds over the blocks' borders: compare their middles
        assert np.abs(img[8::16, 8::16].astype(int) - expected[8::16, 8::16]).max() < 12


@pytest.mark.parametrize(
    "exif",
    [
        b"",  # nothing
        b"MM\0*",  # cut
        b"XX\0*" + exif_of(6)[4:],  # of no byte order
        exif_of(0),  # no orientation there is
        exif_of(9),
        exif_of(6)[:8] + b"\xff\xff" + exif_of(6)[10:],  # more fields than there is room for
    ],
)
def test_damaged_exif_is_no_reason_to_refuse(tmp_path, exif):
    for form in (jpeg, png, webp):
        (tmp_path / "a").write_bytes(form(BGR, exif))
        assert read_picture(tmp_path / "a").bgr.shape == BGR.shape


RAMP = np.linspace(0, 1, 60).reshape(6, 10)
GREY = np.rint(RAMP * 255)


def rgb(grey):
    return np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)


@pytest.mark.parametrize(
    "stored",
    [
        RAMP.astype(np.float32),  # float
        RAMP,  # double
        (RAMP * 255).astype(np.float32),  # float of 0 to 255
        GREY.astype(np.uint8),
        (GREY * 257).astype(np.uint16),
    ],
)
def test_grey_and_colour_tiffs_of_each_type(tmp_path, stored):
    (tmp_path / "a.tif").write_bytes(tiff(stored))
    assert np.array_equal(read_image(tmp_path / "a.tif"), triple(GREY))
    if stored.dtype == np.float64:
        return  # OpenCV 4.7 has no such colours
    (tmp_path / "a.tif").write_bytes(tiff(rgb(stored)))
    assert np.array_equal(read_image(tmp_path / "a.tif"), rgb(GREY)[..., ::-1])


def test_float_tiffs_as_opencv_writes_them(tmp_path):
    """Its earlier releases store the logarithm of the luminance, and call that signed integers."""
    (tmp_path / "a.tif").write_bytes(cv2.imencode(".tif", UNIT)[1].tobytes())
    assert np.abs(read_image(tmp_path / "a.tif") - UNIT * 255).mean() < 4


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint32])
@pytest.mark.parametrize("shape", ["grey", "colour", "planes"])
def test_tiffs_of_unclear_range_are_refused(tmp_path, kind, shape):
    pixels = (RAMP * np.iinfo(kind).max).astype(kind)
    pixels = pixels if shape == "grey" else rgb(pixels)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, planar=shape == "planes"))
    with pytest.raises(InputError, match=rf"a\.tif.*{8 * pixels.itemsize} bits.*PNG"):
        read_image(tmp_path / "a.tif")


def test_planes_are_read_or_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(rgb(GREY).astype(np.uint8), planar=True))
    assert np.array_equal(read_image(tmp_path / "a.tif"), rgb(GREY)[..., ::-1])
    for deep in ((257 * rgb(GREY)).astype(np.uint16), rgb(RAMP).astype(np.float32)):
        (tmp_path / "a.tif").write_bytes(tiff(deep, planar=True))
        with pytest.raises(InputError, match="planes"):
            read_image(tmp_path / "a.tif")


@pytest.mark.skipif(not cv2.haveImageWriter("a.avif"), reason="OpenCV writes no AVIF here")
def test_pixels_of_ten_bits_are_as_bright_as_those_of_eight(tmp_path):
    deep = np.full((64, 64, 3), 700, np.uint16)
    ten_bits = [cv2.IMWRITE_AVIF_DEPTH, 10]
    (tmp_path / "a.avif").write_bytes(cv2.imencode(".avif", deep, ten_bits)[1].tobytes())
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - 700 // 4).max() < 4


@pytest.mark.parametrize(
    "content, expected",
    [
        (cv2.imencode(".png", BGR16)[1], BGR16),  # 16 bits
        (cv2.imencode(".png", ALPHA)[1], ALPHA),  # alpha
        (cv2.imencode(".png", GREY16)[1], triple(GREY16)),  # grey
        (tiff(BGR16[..., ::-1], 6), np.rot90(BGR16, -1)),  # 16 bits, turned
        (cv2.imencode(".png", ALPHA * np.uint8([1, 1, 1, 0]))[1], ALPHA[..., :3]),  # none
        (cv2.imencode(".hdr", UNIT)[1], None),  # floats give what `bgr` is
    ],
)
def test_the_original_keeps_bits_and_alpha(content, expected):
    picture = decode_picture(bytes(content), "a")
    assert np.array_equal(picture.original, picture.bgr if expected is None else expected)
    assert picture.original.shape[:2] == picture.bgr.shape[:2]


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")


def jpeg_header(width, height):
    """A JPEG of one small picture that claims a size."""
    data = bytearray(cv2.imencode(".jpg", BGR)[1])
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),  # no bytes
        (b"text, not a picture", "no picture"),  # garbage
        (b"\xff\xd8\xff\xe0", "JPEG.*damaged"),  # only a JPEG's start
        (png_header(100_000, 100_000), "PNG.*huge"),  # 10 gigapixels claimed
        (jpeg_header(65_000, 65_000), "more pixels"),  # 4 gigapixels claimed
        (tiff(BGR)[:100], "TIFF.*damaged|damaged TIFF"),  # the end is missing
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video.*frame"),  # MP4
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01", "video.*frame"),  # WebM
        (b"RIFF\0\0\1\0AVI LIST", "video.*frame"),  # AVI
        (b'{"format": "face_reenactment parameters 1"}', "no picture"),  # for another option
    ],
)
def test_unreadable_content(tmp_path, content, message):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_image(tmp_path / "a.jpg")
    assert "a.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, message",
    [
        ("absent.jpg", "No such file.*check the path"),
        ("", "name a file in it"),  # the folder
        ("x" * 300, "too long"),
        ("nul\0.jpg", r"nul\\x00\.jpg.*null byte"),
        ("two\nlines.jpg", r"two\\nlines\.jpg"),
        ("~nobody-of-that-name/a.jpg", "No such file"),
    ],
)
def test_names_that_cannot_be_read(tmp_path, name, message):
    with pytest.raises(InputError, match=message) as caught:
        read_image(f"{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_a_picture_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    content = cv2.imencode(".png", BGR)[1].tobytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[content])
    writer.start()
    assert np.array_equal(read_image(tmp_path / "pipe"), BGR)
    writer.join()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a\.heic.*pip install -r requirements-heic\.txt"):
        decode_picture(HEIC, "a.heic")
    assert (REPO / "requirements-heic.txt").is_file()


@pytest.mark.parametrize("number, turn", TURNS)
def test_heic_with_pillow_heif(number, turn):
    """Its own decoder has turned the picture."""
    pillow_heif = pytest.importorskip("pillow_heif")
    blocks = rng.integers(0, 256, (2, 3, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    file, stream = pillow_heif.from_bytes("BGR", (48, 32), blocks.tobytes()), io.BytesIO()
    file.save(stream, exif=exif_of(number), quality=-1)
    img = decode_picture(stream.getvalue(), "a.heic").bgr
    assert np.abs(img[8::16, 8::16].astype(int) - turn(blocks)[8::16, 8::16]).max() < 12
    with pytest.raises(InputError, match=r"a\.heic"):
        decode_picture(stream.getvalue()[:-100], "a.heic")


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


WRITTEN = (
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib")
    + (".jp2", ".ppm", ".pnm", ".pam", ".ras", ".sr")
)  # fmt: skip


@pytest.mark.parametrize("suffix", sorted({*WRITTEN, *SUFFIXES}))
def test_every_ending_in_the_table_is_written_and_read(tmp_path, suffix):
    img = noise(96, 128)
    path = write_image(tmp_path / f"a{suffix.upper()}", img)
    assert np.abs(read_image(path).astype(int) - img).mean() < (20 if suffix == ".gif" else 6)


@pytest.mark.parametrize("suffix", ["", ".heic", ".xyz", ".obj", ".hdr", ".exr", ".pgm", "jpg"])
def test_other_endings_are_refused_with_those_that_can_be_written(suffix):
    with pytest.raises(OutputError, match=r"use one of \.jpg, .*\.jfif.*\.png"):
        encode_image(BGR, suffix)


@pytest.mark.parametrize("suffix", [".jpg", ".jfif", ".JPEG", ".webp", ".avif"])
def test_quality(suffix):
    if suffix not in SUFFIXES and suffix.lower() not in SUFFIXES:
        pytest.skip(f"this release of OpenCV writes no {suffix}")
    img = noise(96, 128)
    low, high = (encode_image(img, suffix, quality) for quality in (20, 95))
    assert len(low) < 0.7 * len(high)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_formats_without_quality_heed_none(suffix):
    assert encode_image(BGR, suffix, 20) == encode_image(BGR, suffix)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_pixels_are_kept_where_they_can_be(suffix):
    assert np.array_equal(decode_picture(encode_image(BGR16, suffix), "a").original, BGR16)


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".jpg"])
def test_deep_pixels_become_bytes_elsewhere(suffix):
    assert encode_image(BGR16, suffix) == encode_image((BGR16 >> 8).astype(np.uint8), suffix)


def test_metadata_of_the_target_go_with_the_result(tmp_path):
    """From a phone's upright JPEG to a PNG, a WebP and a JPEG that stand upright by themselves."""
    icc = bytes(16) + b"RGB " + bytes(400)
    (tmp_path / "a.jpg").write_bytes(attach_metadata(jpeg(BGR, exif_of(6)), Metadata(icc=icc)))
    target = read_picture(tmp_path / "a.jpg")
    for name in ("b.jpg", "b.png", "b.webp"):
        result = read_picture(
            write_image(tmp_path / name, target.bgr, metadata=target.metadata)
        )
        assert result.bgr.shape == (5, 4, 3)
        assert result.metadata == (1, exif_of(1), icc, b"")


@pytest.mark.parametrize("img, kept", [(BGR, b"RGB "), (ALPHA, b"RGB "), (BGR[..., 0], b"GRAY")])
def test_a_profile_of_other_colours_is_left_out(img, kept):
    for colours in (b"RGB ", b"GRAY", b"CMYK", b""):
        icc = bytes(16) + colours + bytes(100)
        found = find_metadata(encode_image(img, ".png", metadata=Metadata(icc=icc)))
        assert found.icc == (icc if colours == kept else b"")


def test_emit_writes_only_if_asked(tmp_path):
    assert emit(BGR) is BGR
    assert emit(BGR, tmp_path / "a.png") is BGR
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
