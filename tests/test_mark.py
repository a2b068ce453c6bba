"""reenactment.mark: a photo says of itself that it was changed."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from reenactment.mark import CREATOR_TOOL, DIGITAL_SOURCE_TYPE, marked
from reenactment.views import VIEWS
from utils.metadata import Metadata, find_metadata

OWN = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmp:CreatorTool="camera" xmp:Rating="5"><dc:rights>mine</dc:rights></rdf:Description>'
    "</rdf:RDF></x:xmpmeta>"
)
PACKETS = {
    "none": b"",
    "own": OWN.encode(),
    "wrapped": f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{OWN}'
               '<?xpacket end="w"?>'.encode(),
    "damaged": OWN.encode()[:-30],
    "no text": b"\xff\xfe\x00",
    "no RDF": b"<a/>",
}


def said(packet):
    """All attributes and texts of a packet."""
    root = ElementTree.fromstring(packet.decode("utf-8-sig"))
    return [value for element in root.iter() for value in (*element.attrib.values(), element.text)]


@pytest.mark.parametrize("packet", PACKETS)
def test_the_mark_joins_what_was_said(packet):
    before = Metadata(exif=b"e", xmp=PACKETS[packet])
    after = marked(before)
    assert after._replace(xmp=b"") == before._replace(xmp=b"")
    words = said(after.xmp)
    assert words.count(CREATOR_TOOL) == words.count(DIGITAL_SOURCE_TYPE) == 1
    assert ("mine" in words and "5" in words) == (packet in ("own", "wrapped"))
    assert "camera" not in words
    assert said(marked(after).xmp).count(DIGITAL_SOURCE_TYPE) == 1  # marked once


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_photos_carry_it_and_masks_do_not(suffix):
    img = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    photo, mask = (
        find_metadata(VIEWS[kind].medium.encode(img, suffix, None, Metadata(xmp=OWN.encode())))
        for kind in ("photo", "3d")
    )
    assert DIGITAL_SOURCE_TYPE in said(photo.xmp) and "mine" in said(photo.xmp)
    assert DIGITAL_SOURCE_TYPE.encode() not in mask.xmp
    bare = find_metadata(VIEWS["photo"].medium.encode(img, suffix))
    assert DIGITAL_SOURCE_TYPE in said(bare.xmp)
