"""The mark of a changed photo: who made it, and that a part of it never was before a camera."""

from __future__ import annotations

from xml.etree import ElementTree

from utils import __version__
from utils.metadata import Metadata

# Of the IPTC's vocabulary (cv.iptc.org): several elements, at least one of them synthetic.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
CREATOR_TOOL = f"face_reenactment {__version__}"

COMMENT = f"edited by {CREATOR_TOOL}: {DIGITAL_SOURCE_TYPE}"  # where there is no XMP

_SPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_EMPTY = '<x:xmpmeta xmlns:x="{x}"><rdf:RDF xmlns:rdf="{rdf}"/></x:xmpmeta>'.format(**_SPACES)
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = '<?xpacket end="w"?>'


def marked(metadata: Metadata) -> Metadata:
    """Metadata that tell of the change in their XMP packet; what else that says stays.

    A packet that cannot be read is replaced.
    """
    for prefix, space in _SPACES.items():
        ElementTree.register_namespace(prefix, space)
    try:
        packet = ElementTree.fromstring(metadata.xmp.decode("utf-8-sig").strip() or _EMPTY)
        rdf = _found(packet)
    except (ElementTree.ParseError, UnicodeDecodeError, LookupError):
        packet = ElementTree.fromstring(_EMPTY)
        rdf = _found(packet)
    for own in (_name("xmp", "CreatorTool"), _name("Iptc4xmpExt", "DigitalSourceType")):
        _remove(rdf, own)
    ElementTree.SubElement(rdf, _name("rdf", "Description"), {
        _name("rdf", "about"): "",
        _name("xmp", "CreatorTool"): CREATOR_TOOL,
        _name("Iptc4xmpExt", "DigitalSourceType"): DIGITAL_SOURCE_TYPE,
    })
    text = ElementTree.tostring(packet, encoding="unicode")
    return metadata._replace(xmp=f"{_BEGIN}{text}{_END}".encode())


def _name(prefix: str, name: str) -> str:
    return f"{{{_SPACES[prefix]}}}{name}"


def _found(packet: ElementTree.Element) -> ElementTree.Element:
    """The RDF of a packet; raises LookupError."""
    for element in packet.iter(_name("rdf", "RDF")):
        return element
    raise LookupError("no RDF")


def _remove(rdf: ElementTree.Element, name: str) -> None:
    """Take a property out of all descriptions, as an attribute and as an element."""
    for description in rdf:
        description.attrib.pop(name, None)
        for child in description.findall(name):
            description.remove(child)
