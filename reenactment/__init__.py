"""Faces and what happens to them: find, transfer, draw. Arrays in, arrays out."""

from reenactment.faces import Face, FrameInfo
from reenactment.job import Job, Outcome
from reenactment.reenactor import Found, Reenactor
from reenactment.scene import Look, Scene
from reenactment.transfer import Transfer
from reenactment.views import VIEWS

__all__ = [
    "VIEWS",
    "Face",
    "Found",
    "FrameInfo",
    "Job",
    "Look",
    "Outcome",
    "Reenactor",
    "Scene",
    "Transfer",
]
