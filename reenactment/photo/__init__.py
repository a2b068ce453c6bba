"""The photo itself: the target's own pixels, moved by the displacement between two meshes."""

from __future__ import annotations

from reenactment.photo.compose import Photographer, Source
from reenactment.photo.posed import Posed

__all__ = ["Photographer", "Posed", "Source"]
