"""training.medleys: who is where, and what training.evaluate_video counts of it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from training import medleys
from training.medleys import PANEL, SCENE_FRAMES, SCENES, Medley

CLIPS = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
GREYS = dict(zip(CLIPS, (50, 100, 150, 200)))


@pytest.fixture
def medley(monkeypatch):
    width, height = PANEL
    monkeypatch.setattr(medleys, "panels_of",
                        lambda name: [np.full((height, width, 3), GREYS[name], np.uint8)])
    return Medley(CLIPS, 3)


def test_everybody_is_where_a_medley_says(medley):
    count = 0
    for frame in medley:
        panels = np.split(frame.img, frame.img.shape[1] // PANEL[0], axis=1)
        for place, panel in enumerate(panels):
            who = medley.who(frame.number, (place + 0.5) * PANEL[0])
            assert panel[0, 0, 0] == GREYS.get(who, 40)
            count += who is not None
    assert frame.number == SCENES * SCENE_FRAMES - 1
    assert count == medley.shown and len({name for s in medley.scenes for name in s if name}) == 3


def face(number, place, track):
    x = place * PANEL[0]
    return SimpleNamespace(frame=SimpleNamespace(number=number), track=track,
                           roi_box=[x + 100, 0, x + 200, 100])


def test_what_is_missed_false_and_mistaken_is_counted(medley):
    from training.evaluate_video import tally

    names = sorted({name for scene in medley.scenes for name in scene if name})
    faces = [
        face(number, place, names.index(name))
        for number in range(SCENES * SCENE_FRAMES)
        for place, name in enumerate(medley.scenes[number // SCENE_FRAMES]) if name
    ]  # fmt: skip
    good, bad = Counter(), Counter()
    tally(good, medley, faces)
    assert +good == {"shown": len(faces), "people": 3}  # and nothing else
    doubled, stranger = faces[0], face(9, 0, track=7)
    tally(bad, medley, [*faces[2:], doubled, doubled, stranger])
    assert bad["missed"] == 1 and bad["false"] == 2 and bad["extra"] == 1
