"""What a picture file says beside its pixels: orientation, EXIF, ICC profile and XMP.

Bytes in, bytes out. Formats: JPEG, PNG, WebP and TIFF, read and written; AVIF and HEIF
(ISO/IEC 23008-12), read. A damaged part counts as missing: it is no reason to refuse the picture.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

# How stored pixels are turned upright, by the number EXIF has for it: whether they are
# transposed first, and then flipped left to right, and top to bottom.
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
MALFORMED = (struct.error, ValueError, LookupError)  # what a damaged part raises

_EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[1-8]""")
_ICC_PREFIX = b"ICC_PROFILE\0"
_PNG_XMP = b"XML:com.adobe.xmp\0"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_SEGMENT = 65533  # bytes that a JPEG segment can hold
_MAX_UNPACKED = 1 << 24  # bytes; no profile and no packet is larger
_WEBP_ICC, _WEBP_ALPHA, _WEBP_EXIF, _WEBP_XMP = 0x20, 0x10, 0x08, 0x04  # flags of VP8X


class Metadata(NamedTuple):
    """What a file says beside its pixels; empty is what it does not say.

    orientation : how the stored pixels are to be turned, a key of `TURNS`.
    exif : a TIFF structure, without the b"Exif" in front of it that some formats have.
    icc : the colour profile; xmp : a packet.
    """

    orientation: int = 1
    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""


def format_of(data: bytes) -> str:
    """Which of the formats above a file's content is in: "jpeg", "png", …; "" for others."""
    for name, form in _FORMATS.items():
        if any(data[place : place + len(magic)] == magic for place, magic in form.signatures):
            return name
    return ""


def find_metadata(data: bytes) -> Metadata:
    """The metadata of a picture file's content."""
    form = _FORMATS.get(format_of(data))
    try:
        return form.find(data) if form else Metadata()
    except MALFORMED:
        return Metadata()


def attach_metadata(data: bytes, metadata: Metadata) -> bytes:
    """A freshly encoded picture with metadata, as far as its format takes them.

    The pixels being upright, the orientation in EXIF and XMP becomes 1; and since they may be
    others than those that the EXIF was made for, its thumbnail is left out. TIFF takes no EXIF.
    """
    form = _FORMATS.get(format_of(data))
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", metadata.xmp)
    metadata = Metadata(1, upright_exif(metadata.exif), metadata.icc, xmp)
    if form is None or form.attach is None or metadata == Metadata():
        return data
    return form.attach(data, metadata)


def upright_exif(exif: bytes) -> bytes:
    """EXIF with the orientation 1 and without a thumbnail; empty if it is damaged."""
    try:
        return TiffDirectory(exif).with_orientation(1).alone().data
    except MALFORMED:
        return b""


# --- TIFF, of which EXIF is one


class TiffDirectory:
    """The first directory of a TIFF or BigTIFF structure; raises one of `MALFORMED`."""

    ORIENTATION, BITS, COLOURS, PLANAR, SAMPLES, XMP, ICC = 274, 258, 262, 284, 339, 700, 34675
    _NUMBERS = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}  # by the field's type
    # of a version: where the first directory's place stands; how it, and the counts, are packed
    _LAYOUTS = {42: (4, "I", "H"), 43: (8, "Q", "Q")}

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
        place, self._word, count_type = self._LAYOUTS[self._unpack("H", 2)]
        start = self._unpack(self._word, place)
        count = self._unpack(count_type, start)
        start += struct.calcsize(count_type)
        # number, type, how many, and the place of the value or of its own place
        size = 4 + 2 * struct.calcsize(self._word)
        self.entries = {}
        for entry in range(start, start + size * min(count, len(data) // size), size):
            tag, kind, many = struct.unpack_from(f"{self.order}HH{self._word}", data, entry)
            self.entries[tag] = kind, many, entry + size - struct.calcsize(self._word)
        self._next_place = start + size * len(self.entries)

    def _unpack(self, kind: str, place: int) -> int:
        value: int = struct.unpack_from(self.order + kind, self.data, place)[0]
        return value

    def _place(self, tag: int) -> tuple[str, int, int]:
        """How each of a field's numbers is packed, how many there are, and where they begin."""
        kind, many, place = self.entries[tag]
        number = self._NUMBERS[kind]
        if many * struct.calcsize(number) > struct.calcsize(self._word):
            place = self._unpack(self._word, place)
        return number, many, place

    def number(self, tag: int, default: int = 1) -> int:
        """The first number of a field."""
        if tag not in self.entries:
            return default
        number, _, place = self._place(tag)
        return self._unpack(number, place)

    def content(self, tag: int) -> bytes:
        """The bytes of a field; empty if it is missing."""
        if tag not in self.entries:
            return b""
        number, many, place = self._place(tag)
        return bytes(self.data[place : place + many * struct.calcsize(number)])

    @property
    def orientation(self) -> int:
        """A key of `TURNS`."""
        found = self.number(self.ORIENTATION)
        return found if found in TURNS else 1

    def with_orientation(self, orientation: int) -> TiffDirectory:
        """The same structure with another orientation, if it has one."""
        if self.ORIENTATION not in self.entries:
            return self
        number, _, place = self._place(self.ORIENTATION)
        return self._patched(place, number, orientation)

    def alone(self) -> TiffDirectory:
        """The same structure without further directories, which hold thumbnails or pages."""
        if len(self.data) < self._next_place + struct.calcsize(self._word):
            return self
        return self._patched(self._next_place, self._word, 0)

    def _patched(self, place: int, kind: str, value: int) -> TiffDirectory:
        data = bytearray(self.data)
        struct.pack_into(self.order + kind, data, place, value)
        return TiffDirectory(bytes(data))


def _find_in_tiff(data: bytes) -> Metadata:
    directory = TiffDirectory(data)
    icc, xmp = (directory.content(tag) for tag in (directory.ICC, directory.XMP))
    return Metadata(directory.orientation, icc=icc, xmp=xmp)


def _attach_to_tiff(data: bytes, metadata: Metadata) -> bytes:
    """Append a directory with more fields, to which the header then points."""
    old = TiffDirectory(data)
    if old.data[2:4] not in (b"*\0", b"\0*"):
        return data  # a BigTIFF, which no encoder of ours makes
    start = old._unpack("I", 4) + 2
    entries = {tag: data[place - 8 : place + 4] for tag, (_, _, place) in old.entries.items()}
    body = bytearray(data) + bytes(len(data) % 2)
    for tag, content in ((old.XMP, metadata.xmp), (old.ICC, metadata.icc)):
        if content:
            entries[tag] = struct.pack(old.order + "HHII", tag, 7, len(content), len(body))
            body += content + bytes(len(content) % 2)
    struct.pack_into(old.order + "I", body, 4, len(body))
    following = data[start + 12 * len(old.entries) :][:4]
    rows = b"".join(row for _, row in sorted(entries.items()))
    return bytes(body) + struct.pack(old.order + "H", len(entries)) + rows + following


def _described(exif: bytes, icc: bytes, xmp: bytes) -> Metadata:
    """Metadata whose EXIF tells the orientation."""
    exif = exif[len(_EXIF_PREFIX) :] if exif.startswith(_EXIF_PREFIX) else exif
    try:
        return Metadata(TiffDirectory(exif).orientation, exif, icc, xmp)
    except MALFORMED:
        return Metadata(icc=icc, xmp=xmp)


# --- JPEG


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The marker, the end and the content of each segment before the pixels."""
    place = 2
    while place + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == 0xFFFF:  # filling
            place += 1
            continue
        if marker >> 8 != 0xFF or marker == 0xFFDA:  # the pixels begin
            return
        place += 2 + length
        yield marker, place, data[place - length + 2 : place]


def _find_in_jpeg(data: bytes) -> Metadata:
    exif = xmp = b""
    profile: dict[bytes, bytes] = {}
    for marker, _, content in _segments(data):
        if marker == 0xFFE1 and content.startswith(_EXIF_PREFIX):
            exif = exif or content
        elif marker == 0xFFE1 and content.startswith(_XMP_PREFIX):
            xmp = xmp or content[len(_XMP_PREFIX) :]
        elif marker == 0xFFE2 and content.startswith(_ICC_PREFIX):
            number = content[len(_ICC_PREFIX) :][:1]  # and after it, how many parts there are
            profile[number] = content[len(_ICC_PREFIX) + 2 :]
    return _described(exif, b"".join(part for _, part in sorted(profile.items())), xmp)


def _attach_to_jpeg(data: bytes, metadata: Metadata) -> bytes:
    """Insert segments after the JFIF header; what does not fit into them is left out."""
    place = next((end for marker, end, _ in _segments(data) if marker == 0xFFE0), 2)
    contents = []
    if metadata.exif:
        contents.append((0xFFE1, _EXIF_PREFIX + metadata.exif))
    if metadata.xmp:
        contents.append((0xFFE1, _XMP_PREFIX + metadata.xmp))
    room = _MAX_SEGMENT - len(_ICC_PREFIX) - 2
    parts = [metadata.icc[start : start + room] for start in range(0, len(metadata.icc), room)]
    if len(parts) < 256:
        contents += [
            (0xFFE2, _ICC_PREFIX + bytes([number, len(parts)]) + part)
            for number, part in enumerate(parts, 1)
        ]
    inserted = b"".join(
        struct.pack(">HH", marker, len(content) + 2) + content
        for marker, content in contents
        if len(content) <= _MAX_SEGMENT
    )
    return data[:place] + inserted + data[place:]


# --- PNG


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, data[place + 8 : place + 8 + length] if kind != b"IDAT" else b""
        place += 12 + length


def _find_in_png(data: bytes) -> Metadata:
    exif = icc = xmp = b""
    for kind, content in _png_chunks(data):
        if kind == b"eXIf":
            exif = content
        elif kind == b"iCCP":
            icc = _unpacked(content.partition(b"\0")[2][1:])  # after a name and the method
        elif kind == b"iTXt" and content.startswith(_PNG_XMP):
            form = content[len(_PNG_XMP) :]
            text = form[2:].split(b"\0", 2)[-1]  # after the language, twice
            xmp = _unpacked(text) if form[:1] == b"\1" else text
    return _described(exif, icc, xmp)


def _unpacked(data: bytes) -> bytes:
    """What zlib packed; empty if it is damaged or larger than any metadata."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, _MAX_UNPACKED)
    except zlib.error:
        return b""
    return content if unpacker.eof else b""


def _attach_to_png(data: bytes, metadata: Metadata) -> bytes:
    """Insert chunks after the header."""
    contents = []
    if metadata.icc:
        contents.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.exif:
        contents.append((b"eXIf", metadata.exif))
    if metadata.xmp:  # not packed, in no language
        contents.append((b"iTXt", _PNG_XMP + bytes(4) + metadata.xmp))
    inserted = b"".join(
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in contents
    )  # fmt: skip
    place = len(_PNG_SIGNATURE) + 25
    return data[:place] + inserted + data[place:]


# --- WebP


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _find_in_webp(data: bytes) -> Metadata:
    chunks = dict(_webp_chunks(data))
    return _described(*(chunks.get(kind, b"") for kind in (b"EXIF", b"ICCP", b"XMP ")))


def _attach_to_webp(data: bytes, metadata: Metadata) -> bytes:
    """Write the file anew with the extended header that metadata need."""
    chunks = [chunk for chunk in _webp_chunks(data) if chunk[0] != b"VP8X"]
    width, height, alpha = _webp_form(chunks)
    flags = (
        _WEBP_ALPHA * alpha
        | _WEBP_ICC * bool(metadata.icc)
        | _WEBP_EXIF * bool(metadata.exif)
        | _WEBP_XMP * bool(metadata.xmp)
    )
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    contents = [
        (b"VP8X", bytes([flags, 0, 0, 0]) + size),
        (b"ICCP", metadata.icc),
        *chunks,
        (b"EXIF", metadata.exif),
        (b"XMP ", metadata.xmp),
    ]
    body = b"WEBP" + b"".join(
        struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) % 2)
        for kind, content in contents
        if content
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_form(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int, bool]:
    """Width, height and whether there is alpha, of a still picture's chunks."""
    content = dict(chunks)
    if b"VP8L" in content:
        bits = struct.unpack_from("<I", content[b"VP8L"], 1)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", content[b"VP8 "], 6)
    return width & 0x3FFF, height & 0x3FFF, b"ALPH" in content


# --- AVIF and HEIF


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        header = 8
        if length == 1:
            length, header = struct.unpack_from(">Q", data, place + 8)[0], 16
        length = length or len(data) - place  # 0: up to the end
        if length < header:
            raise ValueError("a box is smaller than its header")
        yield kind, data[place + header : place + length] if kind != b"mdat" else b""
        place += length


def _find_in_heif(data: bytes) -> Metadata:
    meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
    large = bool(meta[b"pitm"][0])
    primary = struct.unpack_from(">I" if large else ">H", meta[b"pitm"], 4)[0]
    parts = dict(_boxes(meta[b"iprp"]))
    properties = list(_boxes(parts[b"ipco"]))
    icc, turn = b"", TURNS[1]
    for number in _associated(parts[b"ipma"], primary):
        kind, content = properties[number - 1]
        if kind == b"colr" and content[:4] in (b"prof", b"rICC"):
            icc = content[4:]
        elif kind == b"irot":
            for _ in range(content[0] & 3):
                turn = _counterclockwise(turn)
        elif kind == b"imir":
            transposed, left_right, top_bottom = turn
            axis = content[0] & 1
            turn = transposed, left_right ^ bool(axis), top_bottom ^ (not axis)
    orientation = next(number for number, known in TURNS.items() if known == turn)
    return Metadata(orientation, icc=icc)


def _counterclockwise(turn: tuple[bool, bool, bool]) -> tuple[bool, bool, bool]:
    """A turn, and after it a quarter of one more: transposed, then flipped top to bottom."""
    transposed, left_right, top_bottom = turn
    return not transposed, top_bottom, not left_right


def _associated(ipma: bytes, item: int) -> list[int]:
    """The numbers, from 1, of an item's properties, in the order in which they apply."""
    version, wide = ipma[0], ipma[3] & 1
    count, place = struct.unpack_from(">I", ipma, 4)[0], 8
    for _ in range(count):
        found = struct.unpack_from(">I" if version else ">H", ipma, place)[0]
        place += 4 if version else 2
        many = ipma[place]
        numbers = struct.unpack_from(f">{many}{'H' if wide else 'B'}", ipma, place + 1)
        if found == item:  # the highest bit tells whether a reader must know the property
            return [number & (0x7FFF if wide else 0x7F) for number in numbers]
        place += 1 + many * (2 if wide else 1)
    return []


class _Format(NamedTuple):
    """How a format is known, by what stands where; how metadata are found in it and added."""

    signatures: list[tuple[int, bytes]]
    find: Callable[[bytes], Metadata]
    attach: Callable[[bytes, Metadata], bytes] | None = None


_FORMATS = {
    "jpeg": _Format([(0, b"\xff\xd8\xff")], _find_in_jpeg, _attach_to_jpeg),
    "png": _Format([(0, _PNG_SIGNATURE)], _find_in_png, _attach_to_png),
    "webp": _Format([(8, b"WEBP")], _find_in_webp, _attach_to_webp),
    "tiff": _Format(
        [(0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")], _find_in_tiff, _attach_to_tiff
    ),
    "heif": _Format([(4, b"ftyp")], _find_in_heif),
}
