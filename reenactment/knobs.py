"""The knobs of an expression, as people write them: 'mouth=1.4,brows=0.5'."""

from __future__ import annotations

import numpy as np

from bfm.regions import REGIONS, parse_regions, rows_of
from reenactment.transfer import Transfer
from utils.errors import UsageError

MAX_GAIN = 10.0  # beyond it nothing that it makes is a face


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
