"""The knobs of an expression, as people write them: 'mouth=1.4,brows=0.5'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import yaml

from bfm.regions import REGIONS, parse_regions, rows_of
from bfm.sliders import Sliders, regions_of, shapes_of
from reenactment.transfer import Transfer
from utils.assets import PROJECT_ROOT
from utils.errors import UsageError

MAX_GAIN = 10.0  # beyond it nothing that it makes is a face
MAX_SLIDER = 2.0  # where 1 is ARKit's most
PRESETS = PROJECT_ROOT / "reenactment" / "presets.yml"


def parse_settings(text: str, largest: float) -> dict[str, float]:
    """Numbers by name, of a text like 'mouth=1.4,brows=0.5'; of an empty one, none.

    Raises
    ------
    UsageError : another form, a name twice, or a number beyond `largest` either way.
    """
    settings: dict[str, float] = {}
    for word in text.split(",") if text.strip() else ():
        name, equals, number = (part.strip() for part in word.partition("="))
        if not (name and equals and number):
            raise UsageError(f"expected NAME=NUMBER,..., got {word.strip()!r}")
        if name in settings:
            raise UsageError(f"{name} is given twice")
        settings[name] = checked_number(name, number, largest)
    return settings


def checked_number(name: str, number: str | float, largest: float) -> float:
    """A number up to `largest` either way; raises UsageError."""
    try:
        value = float(number)
    except ValueError:
        value = np.nan
    if not abs(value) <= largest:  # nor NaN
        raise UsageError(f"{name}: expected a number up to {largest:g}, got {number}")
    return value


def parse_gains(text: str) -> np.ndarray:
    """Gains by region, (regions,) float32, of a text like 'mouth=1.4,brows=0.5'; else 1.

    Where a region is in several of the names, the one of fewest regions decides.

    Raises
    ------
    UsageError : as `parse_settings`, or an unknown region.
    """
    gains = np.ones(len(REGIONS), np.float32)
    settings = {name: (rows_of(name), g) for name, g in parse_settings(text, MAX_GAIN).items()}
    for rows, gain in sorted(settings.values(), key=lambda item: -len(item[0])):
        gains[rows] = gain
    return gains


def make_transfer(regions: str = "all", exp_gain: float = 1.0, gain: str = "") -> Transfer:
    """The transfer of some regions, which are as in `parse_regions`; the others stay as they are.

    Parameters
    ----------
    exp_gain : strength of the expression; gain : factors to it by region, as in `parse_gains`.
    """
    chosen, factors = parse_regions(regions), parse_gains(gain)
    if chosen.all() and (factors == factors[0]).all():
        return Transfer(gain=exp_gain * float(factors[0]))  # no need of rows
    return Transfer(keep=np.float32(~chosen), gain=exp_gain * factors * chosen)


@dataclass(frozen=True)
class Knobs:
    """What is added to an expression by name.

    weights : of ARKit's shapes; see `bfm.sliders`.
    at_rest (regions,) bool : where nothing is kept of the target's own expression.
    """

    weights: Mapping[str, float]
    at_rest: np.ndarray

    def turn(self, transfer: Transfer, sliders: Sliders) -> Transfer:
        """The transfer with these added."""
        added = transfer.onto(sliders.rest, self.at_rest)
        return added.adding(sliders.rows(self.weights)) if self.weights else added


def parse_knobs(settings: str = "", presets: str = "", neutralise: bool = False) -> Knobs | None:
    """Sliders and presets, as in 'smile=0.6,blink_left=1' and 'smile,wink_left'.

    Parameters
    ----------
    neutralise : keep nothing of the target's own expression.

    Returns
    -------
    None where nothing is asked for.

    Raises
    ------
    UsageError : an unknown name, or one that cannot be shown, and why.
    """
    weights: dict[str, float] = {}
    at_rest = np.full(len(REGIONS), neutralise)
    for name in _words(presets):
        added = preset(name)
        at_rest |= _moved(added) if added else True
        _add(weights, added)
    _add(weights, parse_settings(settings, MAX_SLIDER))
    return Knobs(weights, at_rest) if weights or at_rest.any() else None


def preset(name: str) -> dict[str, float]:
    """The sliders of a preset; raises UsageError where there is none of that name."""
    presets = _presets()
    if name not in presets:
        raise UsageError(f"unknown preset {name!r}; choose from {', '.join(presets)}")
    return presets[name]


def preset_names() -> tuple[str, ...]:
    """The names of all presets."""
    return tuple(_presets())


@cache
def _presets() -> dict[str, dict[str, float]]:
    content: dict[str, dict[str, float]] = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))
    return content


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")] if text.strip() else []


def _add(weights: dict[str, float], settings: Mapping[str, float]) -> None:
    """Add the weights of sliders to those of the shapes that they move."""
    for name, weight in settings.items():
        for shape in shapes_of(name):
            weights[shape] = weights.get(shape, 0.0) + weight


def _moved(settings: Mapping[str, float]) -> np.ndarray:
    """Which regions some sliders move, (regions,) bool."""
    shapes = (shape for name in settings for shape in shapes_of(name))
    return np.any([regions_of(shape) > 0 for shape in shapes], axis=0)
