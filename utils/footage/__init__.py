"""Moving pictures, wherever they come from."""

from utils.footage.frames import Footage, Frame, Sound
from utils.footage.opening import SUFFIXES, is_footage, open_footage

__all__ = ["SUFFIXES", "Footage", "Frame", "Sound", "is_footage", "open_footage"]
