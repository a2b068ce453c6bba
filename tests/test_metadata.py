"""utils.metadata: what files say beside their pixels, found and attached."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import noise
from hypothesis import given
from hypothesis import strategies as st

from utils.metadata import TURNS, Metadata, attach_metadata, find_metadata, upright_exif

IMG = noise(40, 50)
ALPHA = np.dstack([IMG, IMG[..., :1]])
ICC = bytes(16) + b"RGB " + bytes(range(256)) * 2
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


def exif_with_thumbnail(order=">"):
    """EXIF with an orientation, a camera's name, and a second directory for a thumbnail."""

    def pack(form, *values):
        return struct.pack(order + form, *values)

    first = pack("H", 2) + pack("HHII", 0x010F, 2, 7, 100) + pack("HHIHH", 0x0112, 3, 1, 6, 0)
    first += pack("I", 60)
    second = pack("HHHIII", 1, 0x0201, 4, 1, 110, 0)
    start = {"<": b"II", ">": b"MM"}[order] + pack("HI", 42, 8)
    return (start + first).ljust(60, b"\0") + second.ljust(40, b"\0") + b"Camera\0".ljust(50, b"\0")


EXIF = exif_with_thumbnail()
ALL = Metadata(1, upright_exif(EXIF), ICC, XMP)
ENCODED = {
    "JPEG": (".jpg", IMG, []),
    "grey JPEG": (".jpg", IMG[..., 0], []),
    "PNG": (".png", ALPHA, []),
    "WebP": (".webp", IMG, [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "lossless WebP": (".webp", IMG, [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "WebP with alpha": (".webp", ALPHA, [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "lossless WebP with alpha": (".webp", ALPHA, [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "TIFF": (".tif", IMG, []),
}


def encode(form):
    suffix, img, options = ENCODED[form]
    return cv2.imencode(suffix, img, options)[1].tobytes()


def pixels(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("form", ENCODED)
def test_what_is_attached_is_found_and_the_pixels_stay(form):
    plain = encode(form)
    full = attach_metadata(plain, ALL._replace(exif=EXIF))
    expected = ALL._replace(exif=b"") if form == "TIFF" else ALL
    assert find_metadata(full) == expected
    assert np.array_equal(pixels(full), pixels(plain))
    assert find_metadata(plain) == Metadata()


@pytest.mark.parametrize("form", ENCODED)
@pytest.mark.parametrize("kept", ["exif", "icc", "xmp"])
def test_each_alone(form, kept):
    alone = Metadata()._replace(**{kept: getattr(ALL, kept)})
    full = attach_metadata(encode(form), alone)
    assert find_metadata(full) == (Metadata() if (form, kept) == ("TIFF", "exif") else alone)
    assert np.array_equal(pixels(full), pixels(encode(form)))


@pytest.mark.parametrize("form", ENCODED)
def test_others_find_it_too(form):
    """Pillow, where it is installed, as another reader of the formats."""
    image_module = pytest.importorskip("PIL.Image")
    with image_module.open(io.BytesIO(attach_metadata(encode(form), ALL))) as image:
        image.load()
        assert image.size == (50, 40)
        assert image.mode == {2: "L", 3: "RGB"}[ENCODED[form][1].ndim] + "A" * ("PNG" in form or
            "alpha" in form)  # fmt: skip
        assert image.info["icc_profile"] == ICC
        if form != "TIFF":
            assert dict(image.getexif()) == {0x010F: "Camera", 0x0112: 1}
        found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        assert (found.encode() if isinstance(found, str) else found).rstrip(b"\0") == XMP


@pytest.mark.parametrize("order", "<>")
def test_exif_becomes_upright_and_loses_its_thumbnail(order):
    exif = exif_with_thumbnail(order)
    changed = [i for i, (a, b) in enumerate(zip(exif, upright_exif(exif))) if a != b]
    assert changed == [30 if order == "<" else 31, 34 if order == "<" else 37]
    assert upright_exif(upright_exif(exif)) == upright_exif(exif)


def test_xmp_becomes_upright():
    for said in (b'tiff:Orientation="%d"', b"<tiff:Orientation>%d</tiff:Orientation>"):
        full = attach_metadata(encode("PNG"), Metadata(xmp=said % 6))
        assert find_metadata(full).xmp == said % 1


def test_what_does_not_fit_a_jpeg():
    large = Metadata(1, EXIF.ljust(70_000, b"\0"), ICC * 400, b"x" * 70_000)
    found = find_metadata(attach_metadata(encode("JPEG"), large))
    assert found == Metadata(icc=ICC * 400)  # in several parts
    endless = Metadata(icc=bytes(1 << 24))  # more than 255 parts
    assert find_metadata(attach_metadata(encode("JPEG"), endless)) == Metadata()


def test_a_profile_that_unpacks_to_too_much_is_none():
    for length, expected in ((1 << 20, bytes(1 << 20)), (1 << 25, b"")):
        full = attach_metadata(encode("PNG"), Metadata(icc=bytes(length), exif=EXIF))
        assert find_metadata(full) == Metadata(1, ALL.exif, expected)


def test_other_formats_stay_as_they_are():
    data = cv2.imencode(".bmp", IMG)[1].tobytes()
    assert attach_metadata(data, ALL) == data
    assert find_metadata(data) == find_metadata(b"") == Metadata()


def test_packed_text_of_a_png():
    text = b"XML:com.adobe.xmp\0\1\0en\0XMP\0" + zlib.compress(XMP)
    chunk = struct.pack(">I", len(text)) + b"iTXt" + text + bytes(4)
    data = encode("PNG")
    assert find_metadata(data[:33] + chunk + data[33:]).xmp == XMP


def test_the_orientation_of_a_big_tiff():
    """The 8-byte layout of the same structure."""
    entry = struct.pack("<HHQHHHH", 0x0112, 3, 1, 8, 0, 0, 0)
    data = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + entry + bytes(8)
    assert find_metadata(data).orientation == 8


def box(kind, *content):
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def heif(properties, large=False, wide=False, item=3):
    """The boxes of a HEIF file that lead to an item's properties."""
    number = ">I" if large else ">H"
    numbers = [0x8000 >> (0 if wide else 8) | place for place in range(2, len(properties) + 2)]
    associations = [(item - 1, [1]), (item, numbers)]
    ipma = bytes([large, 0, 0, wide]) + struct.pack(">I", 2)
    for owner, places in associations:
        ipma += struct.pack(number, owner) + bytes([len(places)])
        ipma += struct.pack(f">{len(places)}{'H' if wide else 'B'}", *places)
    return box(b"ftyp", b"avif\0\0\0\0mif1") + box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes([large, 0, 0, 0]), struct.pack(number, item)),
        box(
            b"iprp",
            box(b"ipco", box(b"irot", b"\2"), *properties),  # the first is another item's
            box(b"ipma", ipma),
        ),
    )


def turned(numbers, *steps):
    """An array after quarter turns (numbers) and mirrorings of an axis (text)."""
    for step in steps:
        if isinstance(step, int):
            numbers = np.rot90(numbers, step)
        else:
            numbers = numbers[::-1] if step == "axis 0" else numbers[:, ::-1]
    return numbers


def upright(numbers, orientation):
    transposed, left_right, top_bottom = TURNS[orientation]
    numbers = numbers.T if transposed else numbers
    return numbers[:: -1 if top_bottom else 1, :: -1 if left_right else 1]


@pytest.mark.parametrize("angle", range(4))
@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_properties_apply_in_their_order(angle, mirror, large, wide):
    numbers = np.arange(6).reshape(2, 3)
    rotate, mirrored = box(b"irot", bytes([angle])), box(b"imir", bytes([mirror or 0]))
    for order in (1, -1):
        steps = [(rotate, angle), (mirrored, f"axis {mirror}")][: 1 if mirror is None else 2]
        data = heif([found for found, _ in steps[::order]], large, wide)
        expected = turned(numbers, *(step for _, step in steps[::order]))
        assert np.array_equal(upright(numbers, find_metadata(data).orientation), expected)


def test_the_profile_of_a_heif():
    data = heif([box(b"colr", b"nclx", bytes(7)), box(b"colr", b"prof", ICC)])
    assert find_metadata(data) == Metadata(icc=ICC)


SEEDS = [attach_metadata(encode(form), ALL) for form in ENCODED]
SEEDS += [heif([box(b"irot", b"\1"), box(b"colr", b"prof", ICC)]), EXIF]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), max_size=6),
    st.integers(0, 1 << 13),
)
def test_damage_is_no_error(data, changes, end):
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(changed)] = value
    found = find_metadata(bytes(changed[: max(end, 1)]))
    assert found.orientation in TURNS
    assert isinstance(attach_metadata(encode("JPEG"), found), bytes)
