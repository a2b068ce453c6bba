"""Expressions by name: what the 52 shapes of ARKit move in the 3DMM, and how a face scores on them.

Left and right are the person's own. The numbers are fitted by `training/sliders.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bfm.regions import REGIONS
from utils.assets import PROJECT_ROOT
from utils.errors import AssetError, UsageError
from utils.io import PathLike, load_arrays

SLIDERS = PROJECT_ROOT / "bfm" / "sliders.npz"

# In the order of ARKit's recordings.
SHAPES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight",
    "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight", "jawForward", "jawRight",
    "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft",
    "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight",
    "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)
_NO_EYEBALLS = "the 3DMM has no eyeballs: it cannot look anywhere"
_UNSEEN = "hardly any picture that we learned from shows it"
_REFUSED = {
    **{f"eyeLook{way}": _NO_EYEBALLS for way in ("Down", "In", "Out", "Up")},
    **dict.fromkeys(("cheekPuff", "cheekSquint", "noseSneer", "jawForward", "mouthClose"), _UNSEEN),
    "tongueOut": "the 3DMM has no tongue",
}
# Shapes that are one movement to either side: what they are fitted as, and which way they go.
_SIDEWAYS = {
    "mouthLeft": ("mouthSide", 1), "mouthRight": ("mouthSide", -1),
    "jawLeft": ("jawSide", 1), "jawRight": ("jawSide", -1),
}
_SIDES = ("Left", "Right")
_NICKNAMES = {
    "smile": ("mouthSmile",), "frown": ("mouthFrown",), "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel",), "blink": ("eyeBlink",), "squint": ("eyeSquint",),
    "wide": ("eyeWide",), "brow_up": ("browInnerUp", "browOuterUp"),
}
_LOWER, _WHOLE = ("mouth", "cheek"), ("jaw", "nose")  # regions that a mouth moves, by half or not


def split_side(shape: str) -> tuple[str, str]:
    """'mouthSmileLeft' -> ('mouthSmile', 'Left'); what is no half of a pair has no side, ''."""
    for side in _SIDES:
        if shape.endswith(side) and shape not in _SIDEWAYS:
            return shape[: -len(side)], side
    return shape, ""


def _names() -> dict[str, tuple[str, ...]]:
    """The shapes of every name, which is written small and without underscores."""
    names: dict[str, tuple[str, ...]] = {shape.lower(): (shape,) for shape in SHAPES}
    for shape in SHAPES:
        base = split_side(shape)[0].lower()
        if base != shape.lower():
            names[base] = (*names.get(base, ()), shape)
    for nickname, bases in _NICKNAMES.items():
        key = nickname.replace("_", "")
        names[key] = tuple(shape for base in bases for shape in names[base.lower()])
        for side in _SIDES:
            names[key + side.lower()] = tuple(
                shape for shape in names[key] if split_side(shape)[1] in (side, "")
            )
    return names


_NAMES = _names()


def shapes_of(name: str) -> tuple[str, ...]:
    """The shapes that a slider moves.

    A name is ARKit's ('mouthSmileLeft'), that of a pair ('mouthSmile'), or a short one with a side
    or without ('smile', 'blink_left', 'brow_up'); capitals and underscores do not matter.

    Raises
    ------
    UsageError : an unknown name, or one that cannot be shown, and why.
    """
    shapes = _NAMES.get(name.replace("_", "").lower())
    if shapes is None:
        raise UsageError(
            f"unknown slider {name!r}; choose from {', '.join(_NICKNAMES)} and the shapes of ARKit "
            "and their pairs, such as mouthSmileLeft, mouthSmile, jaw_open"
        )
    reason = why_not(shapes[0])
    if reason:
        raise UsageError(f"{name} cannot be shown: {reason}")
    return shapes


def why_not(shape: str) -> str | None:
    """Why a shape cannot be shown; None if it can."""
    return _REFUSED.get(split_side(shape)[0])


def fitted_as(shape: str) -> tuple[str, int]:
    """The movement that a shape is a half or a side of, and which way it goes, 1 or -1."""
    return _SIDEWAYS.get(shape, (split_side(shape)[0], 1))


def regions_of(shape: str) -> np.ndarray:
    """How much a shape moves each region: (regions,) float32 of 0, 0.5 and 1.

    A half of a smile takes its half of mouth and cheeks, and half as much of chin and nose.
    """
    base, side = split_side(shape)
    parts = next((part,) for part in ("eye", "brow", "") if base.startswith(part))
    halves, whole = (_LOWER, _WHOLE) if parts == ("",) else (parts, ())
    ends = tuple(f"_{side.lower()}" for side in ((side,) if side else _SIDES))
    shares = [
        (1.0 if name.endswith(ends) else 0.0) if name.startswith(halves)
        else (1.0 / len(_SIDES) if side else 1.0) if name in whole else 0.0
        for name in REGIONS
    ]
    return np.array(shares, np.float32)


@dataclass(frozen=True, eq=False)
class Sliders:
    """What the shapes move, and how faces score on them, for a model of exp_dim coefficients.

    rest (1, exp_dim) float32 : a face at rest, its lips shut.
    directions : for each movement of `fitted_as`, what it adds at 1, (exp_dim,) float32.
    scores (52, 1 + exp_dim) float32 : a constant, and weights of the coefficients, for each shape.
    reliability (52,) float32 : correlation of such scores with the teacher's, on people held out.
    """

    rest: np.ndarray
    directions: Mapping[str, np.ndarray]
    scores: np.ndarray
    reliability: np.ndarray

    @classmethod
    def load(cls, exp_dim: int | None = None, path: PathLike = SLIDERS) -> Sliders:
        """Read the file that `training/sliders.py` wrote.

        exp_dim : of the model it is for, by default that which it was fitted on.

        Raises
        ------
        AssetError : it is missing or damaged; UsageError : it is for a model of more coefficients.
        """
        arrays = load_arrays(path)
        try:
            names, reliability = map(str, arrays["names"]), arrays["reliability"]
            stored = arrays["neutral"][None], arrays["directions"], arrays["scores"]
        except (KeyError, TypeError) as error:
            raise AssetError(f"bad file {path}: {error}") from error
        lacking = 0 if exp_dim is None else exp_dim - stored[0].shape[1]
        if lacking < 0:
            raise UsageError(
                "sliders, presets and weights need one of our networks: this one has "
                f"{exp_dim} of their {stored[0].shape[1]} expression coefficients"
            )
        rest, directions, scores = (np.pad(rows, ((0, 0), (0, lacking))) for rows in stored)
        return cls(rest, dict(zip(names, directions)), scores, reliability)

    @cached_property
    def shown(self) -> np.ndarray:
        """What each of the shapes that can be shown adds at 1, (shapes, regions, exp_dim)."""
        return np.stack([self.rows({shape: 1.0}) for shape in SHAPES if why_not(shape) is None])

    def rows(self, weights: Mapping[str, float]) -> np.ndarray:
        """What weights of shapes add to an expression, (regions, exp_dim) float32.

        Those that cannot be shown add nothing.
        """
        total = np.zeros((len(REGIONS), self.rest.shape[1]), np.float32)
        for shape, weight in weights.items():
            if why_not(shape) is None:
                base, way = fitted_as(shape)
                total += np.outer(regions_of(shape), way * weight * self.directions[base])
        return total
