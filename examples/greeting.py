"""Writes `inputs/greeting.csv`, an act of sliders over time in the layout of Live Link Face."""

from __future__ import annotations

import csv

import numpy as np

from examples.gallery import INPUTS
from reenactment.knobs import parse_knobs
from reenactment.weights import timecode

FPS = 20
# Seconds, and the sliders and presets that are reached then.
ACT: tuple[tuple[float, str, str], ...] = (
    (0.0, "", ""),
    (0.5, "", ""), (0.65, "blink=1", ""), (0.85, "", ""),
    (1.3, "", "smile"), (2.0, "", "smile"),
    (2.15, "blink_left=1", "smile"), (2.4, "blink_left=1", "smile"), (2.6, "", "smile"),
    (3.0, "", ""),
    (3.3, "", "surprise"), (3.8, "", "surprise"), (4.2, "", ""),
    (4.5, "", "kiss"), (4.8, "", "kiss"),
    (5.2, "smile=0.4", ""), (5.35, "smile=0.4,blink=1", ""), (5.55, "smile=0.4", ""),
    (6.2, "", ""),
)  # fmt: skip


def weights_at(number: int) -> dict[str, float]:
    """The weights of ARKit's shapes at a place in the act."""
    knobs = parse_knobs(*ACT[number][1:])
    return dict(knobs.weights) if knobs else {}


def rows() -> list[dict[str, str]]:
    """A row for every frame; between places, movements begin and end slowly."""
    reached = [weights_at(number) for number in range(len(ACT))]
    shapes = sorted({shape for weights in reached for shape in weights})
    values = np.array([[weights.get(shape, 0.0) for shape in shapes] for weights in reached])
    times = np.array([seconds for seconds, *_ in ACT])
    written = []
    for seconds in np.arange(0, times[-1] + 0.5 / FPS, 1 / FPS):
        place = min(int(np.searchsorted(times, seconds, side="right")) - 1, len(ACT) - 2)
        share = (seconds - times[place]) / (times[place + 1] - times[place])
        eased = share * share * (3 - 2 * share)
        row = (1 - eased) * values[place] + eased * values[place + 1]
        named = {shape: f"{weight:.4f}" for shape, weight in zip(shapes, row)}
        written.append({"Timecode": timecode(float(seconds)), **named})
    return written


def main() -> None:
    content = rows()
    with open(INPUTS / "greeting.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, content[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(content)


if __name__ == "__main__":
    main()
