"""How still, timely and faithful tracks are: python -m training.evaluate_video --clips A.mp4 ...

Five tables, the weakest rows first, each of which compares what was seen with what is made of it in
whole tracks (forwards and backwards) and as frames come (live):

still          a photograph with noise and compression: how far the landmarks spread in a second;
               people of clips: how far beside a steady motion; before, crops go along with them
moving         the photograph on a path that is known, and the clips: frames that smoothing lags
               behind, and how far off it puts the face
openings       blinks and closing lips of the clips: how much of their depth is left
people         medleys of the clips, side by side and one after the other, with people who leave
               and return: faces that get somebody else's number, and people with several
self           the first frame of a clip wears the expression of others, against these
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from benchmarks.scenes import PEOPLE, scene
from reenactment import Reenactor, Transfer
from reenactment.faces import EVERY, Face, FrameInfo
from reenactment.following import follow
from reenactment.openings import MIDDLE_COLUMNS
from reenactment.smoothing import Smoother
from reenactment.track import Track, choose_tracks
from reenactment.tracking import Tracker
from reenactment.views import Output
from training.evaluate_photo import psnr
from utils.footage import Frame, open_footage
from utils.io import WholeFiles
from utils.sinks import open_sink

RATE = 30.0
SIZE, FACE_HEIGHT = (640, 480), 260  # of made clips, pixels
NOISE, QUALITY = 4.0, 60  # deviation, of 255; of compression, 1 to 100
STILL_SECONDS, WINDOW = 4.0, 1.0
SWING, PERIOD = 60.0, 2.0  # pixels, seconds: up to 0.7 face sizes a second
DEEP_BLINK, OPEN_LIPS, SHUT_LIPS = 0.3, 3.0, 1.0  # of the eye at rest; mm
SCENES, SCENE_FRAMES, PANEL = 8, 40, (426, 480)  # of medleys
RIGID = [27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45]  # landmarks of eyes and nose
MOUTH = slice(48, 68)

Row = tuple[str, ...]


class Studio:
    """Follows clips and measures their tracks."""

    def __init__(self) -> None:
        self.reenactor = Reenactor()

    def track(self, frames: Iterable[Frame], steady: bool = True) -> Track:
        """The largest person."""
        tracks = follow(self.reenactor, frames, "clip", steady)
        return choose_tracks(tracks, "largest", "the clip")[0]

    def smoothed(self, track: Track) -> dict[str, Track]:
        """What is made of a track, as a whole and live."""
        live = Smoother(self.reenactor)
        faces = [live(track[place]) for place in range(len(track))]
        return {
            "whole": Smoother(self.reenactor).track(track),
            "live": Track.of(faces, track.number, track.duration),
        }

    def landmarks(self, track: Track) -> np.ndarray:
        """(T, 2, 68) pixels."""
        faces = [track[place] for place in range(len(track))]
        return np.stack(self.reenactor.landmarks(faces))[:, :2]

    def eyes(self, track: Track) -> np.ndarray:
        """How far the less open eye is open, (T,) parts of its opening at rest."""
        eyes = [self.reenactor.openings.eyes(track[place]).min() for place in range(len(track))]
        return np.array(eyes)

    def lips(self, track: Track) -> np.ndarray:
        """How far the lips are apart, (T,) mm."""
        return np.array([self.lips_of(track[place]) for place in range(len(track))])

    def lips_of(self, face: Face) -> float:
        return float(self.reenactor.openings.lips(face)[MIDDLE_COLUMNS].mean())


# clips


def read(path: str) -> list[Frame]:
    with open_footage(path) as footage:
        return list(footage)


def compressed(pictures: Iterable[np.ndarray]) -> list[Frame]:
    """Pictures as a video has them: with noise, and through an encoder."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with WholeFiles() as files, open_sink(path, RATE, files, quality=QUALITY) as sink:
            for number, img in enumerate(pictures):
                noisy = img + rng.normal(0, NOISE, img.shape)
                sink.write(np.uint8(np.clip(noisy, 0, 255)), number / RATE)
        return read(str(path))


def swing(seconds: np.ndarray) -> np.ndarray:
    """The path of a made clip, pixels to the right."""
    return SWING * np.sin(2 * np.pi * seconds / PERIOD)


def made(name: str, moving: bool) -> list[Frame]:
    """An example picture as a clip."""
    seconds = np.arange(int(STILL_SECONDS * RATE)) / RATE
    offsets = swing(seconds) if moving else np.zeros_like(seconds)
    return compressed(scene(SIZE, FACE_HEIGHT, name, offset=(x, 0.0)) for x in offsets)


# still and moving


def spread(points: np.ndarray, seconds: np.ndarray, places: Sequence[int], degree: int) -> float:
    """How far landmarks (T, 2, 68) spread in the windows that begin at some places, pixels.

    degree : of the polynomial in time that they spread about: 0 is their mean, 2 a steady motion.
    """
    spreads = []
    for i in places:
        window = slice(i, np.searchsorted(seconds, seconds[i] + WINDOW))
        powers = np.vander(seconds[window] - seconds[i], degree + 1)
        values = points[window].reshape(len(powers), -1)
        left = values - powers @ np.linalg.lstsq(powers, values, rcond=None)[0]
        spreads.append(left.std(axis=0).mean())
    return float(np.mean(spreads))


def windows(seconds: np.ndarray) -> list[int]:
    """Where a whole window can begin; the first second is where live filters begin."""
    fits = (seconds >= WINDOW) & (seconds <= seconds[-1] - WINDOW)
    return np.flatnonzero(fits)[::5].tolist()


def still_row(studio: Studio, name: str, frames: Sequence[Frame], degree: int) -> Row:
    """A still clip spreads about its mean, people about their motions."""
    before, track = (studio.track(frames, steady) for steady in (False, True))
    spreads = [
        spread(studio.landmarks(one), one.seconds, windows(one.seconds), degree)
        for one in (before, track, *studio.smoothed(track).values())
    ]
    share = 100 * spreads[0] / float(track.sides.mean())
    less = [spreads[0] / after for after in spreads[1:]]
    return (name, f"{spreads[0]:.2f}", f"{share:.2f}", *(f"{ratio:.1f}" for ratio in less))


def lag(true: np.ndarray, found: np.ndarray) -> float:
    """By how many frames paths (T, n) come later than the true ones, found by least squares."""
    frames = np.arange(8, len(true) - 8)
    true, found = (path - path.mean(axis=0) for path in (true, found))

    def miss(late: float) -> float:
        first, share = np.divmod(frames + late, 1)
        first, share = first.astype(int), share[:, None]
        later = (1 - share) * found[first] + share * found[first + 1]
        return float(np.square(later - true[frames]).sum())

    return float(min(np.arange(-2, 4, 0.05), key=miss))


def moving_row(studio: Studio, name: str, track: Track, path: np.ndarray | None = None) -> Row:
    """path (T,) : how far the face moves to the right, where that is known; pixels."""
    raw, values = studio.landmarks(track), []
    true = raw.reshape(len(raw), -1) if path is None else path[:, None]
    for smooth in studio.smoothed(track).values():
        points = studio.landmarks(smooth)
        found = points.reshape(len(raw), -1) if path is None else points[:, :1].mean(axis=2)
        off = np.linalg.norm((points - raw).mean(axis=2), axis=1) / track.sides
        values += [f"{lag(true, found):.2f}", f"{100 * off.mean():.2f}"]
    return (name, *values)


# openings


def dips(values: np.ndarray, around: int, depth: float, below: float = np.inf) -> list[int]:
    """Where values (T,) have minima that lie so far below the most on both sides."""
    found = []
    for i in range(1, len(values) - 1):
        before, after = values[max(i - around, 0) : i], values[i + 1 : i + 1 + around]
        lowest = values[i] <= before.min() and values[i] < after.min()
        deep = min(before.max(), after.max()) - values[i] > depth
        if lowest and deep and values[i] < below:
            found.append(i)
    return found


def kept(raw: np.ndarray, smooth: np.ndarray, places: Sequence[int], around: int) -> list[float]:
    """How much of the depth of dips is left, where the raw values' tops are where they were."""
    shares = []
    for i in places:
        near = slice(max(i - around, 0), i + around + 1)
        top = np.median(raw[near])
        shares.append((top - smooth[max(i - 1, 0) : i + 2].min()) / (top - raw[i]))
    return shares


def openings_row(studio: Studio, name: str, track: Track) -> Row:
    around = max(2, round(0.4 / float(np.median(np.diff(track.seconds)))))
    measures = (studio.eyes, DEEP_BLINK, np.inf), (studio.lips, OPEN_LIPS, SHUT_LIPS)
    values: list[str] = []
    for measure, depth, below in measures:
        raw = measure(track)
        places = dips(raw, around, depth, below)
        values.append(str(len(places)))
        for smooth in studio.smoothed(track).values():
            shares = kept(raw, measure(smooth), places, around)
            values.append(f"{100 * min(shares):.0f}" if shares else "")
    return (name, *values)


# people


class Medley:
    """Scenes of one to three people side by side, of a cast of three, made of clips."""

    def __init__(self, clips: Sequence[str], seed: int) -> None:
        self._random = random.Random(seed)
        cast = self._random.sample(list(clips), 3)
        self.scenes: list[list[str | None]] = [[cast[0], cast[1]]]
        while len(self.scenes) < SCENES:
            self.scenes.append(self._next(cast, self.scenes[-1]))

    def _next(self, cast: list[str], last: list[str | None]) -> list[str | None]:
        """A cut to others, or somebody leaves or comes."""
        present = [place for place, name in enumerate(last) if name]
        absent = [name for name in cast if name not in last]
        event, scene = self._random.choice(["cut", "cut", "leave", "come"]), list(last)
        if event == "leave" and len(present) > 1:
            scene[self._random.choice(present)] = None
        elif event == "come" and None in last and absent:
            scene[last.index(None)] = self._random.choice(absent)
        else:
            scene = [*self._random.sample(cast, self._random.choice([1, 2, 2, 3]))]
        return scene

    def __iter__(self) -> Iterator[Frame]:
        shown: Counter[str | None] = Counter()
        for number in range(SCENES * SCENE_FRAMES):
            panels = []
            for name in self.scenes[number // SCENE_FRAMES]:
                panels.append(panel(name, shown[name]))
                shown[name] += 1
            yield Frame(np.hstack(panels), number, number / RATE)

    def who(self, number: int, x: float) -> str | None:
        """Who is at a place of a frame."""
        return self.scenes[number // SCENE_FRAMES][int(x // PANEL[0])]


@cache
def panels_of(path: str) -> list[np.ndarray]:
    """A clip's frames as panels of their height, the middle of each."""
    width, height = PANEL
    panels = []
    for img, *_ in read(path):
        scale = height / img.shape[0]
        img = cv2.resize(img, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        missing = max(width - img.shape[1], 0)
        img = cv2.copyMakeBorder(img, 0, 0, missing // 2, missing - missing // 2,
                                 cv2.BORDER_CONSTANT)
        left = (img.shape[1] - width) // 2
        panels.append(np.ascontiguousarray(img[:, left : left + width]))
    return panels


def panel(name: str | None, number: int) -> np.ndarray:
    """A clip's frame, over and over; grey where nobody is."""
    if name is None:
        return np.full((PANEL[1], PANEL[0], 3), 40, np.uint8)
    panels = panels_of(name)
    return panels[number % len(panels)]


def people_rows(studio: Studio, clips: Sequence[str], count: int) -> list[Row]:
    """One for whole tracks, one for numbers as they are given live."""
    totals = {"whole": Counter[str](), "live": Counter[str]()}
    for seed in range(count):
        medley = Medley(clips, seed)
        tracks = follow(studio.reenactor, medley, "medley")
        tally(totals["whole"], medley, [t[i] for t in tracks for i in range(len(t))])
        tracker = Tracker(studio.reenactor, EVERY)
        tally(totals["live"], medley, [
            face for img, number, seconds in medley
            for face in tracker(img, FrameInfo("", img.shape[1::-1], number, seconds))
        ])
    names = "shown", "missed", "false", "wrong", "people", "extra"
    return [(kind, *(str(total[name]) for name in names)) for kind, total in totals.items()]


def tally(total: Counter[str], medley: Medley, faces: Sequence[Face]) -> None:
    """Count faces that are missed, false or doubled, or have the number of somebody else, and
    people with several numbers."""
    seen: dict[int | None, Counter[str | None]] = {}
    sights: Counter[tuple[int, str | None]] = Counter()
    for face in faces:
        who = medley.who(face.frame.number, (face.roi_box[0] + face.roi_box[2]) / 2)
        seen.setdefault(face.track, Counter())[who] += 1
        sights[face.frame.number, who] += 1
    shown = sum(SCENE_FRAMES * sum(name is not None for name in s) for s in medley.scenes)
    once = sum(who is not None for _, who in sights)
    owners = {count.most_common(1)[0][0] for count in seen.values()}
    total["shown"] += shown
    total["missed"] += shown - once
    total["false"] += len(faces) - once
    total["wrong"] += len(faces) - sum(max(count.values()) for count in seen.values())
    total["people"] += len(owners)
    total["extra"] += len(seen) - len(owners)


# self-reenactment


def self_row(studio: Studio, name: str, frames: Sequence[Frame], track: Track, count: int) -> Row:
    """The first frame with the expressions of others: likeness in the mouth's box, dB, and how well
    the openings that are seen in the photo go with those of the others."""
    reenactor, transfer = studio.reenactor, Transfer()
    track = Smoother(reenactor).track(track)
    target, img = track[0], frames[track.frames[0]].img
    likeness: list[tuple[float, ...]] = []
    opened: list[tuple[float, float]] = []
    for place in np.linspace(1, len(track) - 1, count).astype(int):
        face, other = track[place], frames[track.frames[place]].img
        result = reenactor.apply(transfer, face, target)
        source = face, other
        photo = picture(reenactor.render(img, result, "photo", targets=target, source=source))
        mask = picture(reenactor.render(img, result))
        pairs = (img, other), (photo, other), (mask, picture(reenactor.render(other, face)))
        likeness.append(tuple(
            mouth_likeness(studio, of_target, target, of_other, face)
            for of_target, of_other in pairs
        ))
        seen = reenactor.regress(photo, reenactor.landmarks([result]), crop_policy="landmark")[0]
        opened.append((studio.lips_of(seen), studio.lips_of(face)))
    agreement = np.corrcoef(np.array(opened).T)[0, 1]
    return (name, *(f"{value:.1f}" for value in np.mean(likeness, axis=0)), f"{agreement:.2f}")


def picture(output: Output) -> np.ndarray:
    assert isinstance(output, np.ndarray)
    return output


def mouth_likeness(
    studio: Studio, img: np.ndarray, face: Face, wanted: np.ndarray, other: Face
) -> float:
    """PSNR of a face's picture, its eyes and nose laid on another's, in the other's mouth's box."""
    mine, others = (points[:2] for points in studio.reenactor.landmarks([face, other]))
    matrix, _ = cv2.estimateAffinePartial2D(mine[:, RIGID].T, others[:, RIGID].T, method=cv2.LMEDS)
    height, width = wanted.shape[:2]
    moved = cv2.warpAffine(img, matrix, (width, height), flags=cv2.INTER_AREA)
    low, high = others[:, MOUTH].min(axis=1), others[:, MOUTH].max(axis=1)
    margin = 0.3 * (high[0] - low[0])
    (x0, y0), (x1, y1) = np.maximum(low - margin, 0).astype(int), (high + margin).astype(int)
    return psnr(moved[y0:y1, x0:x1], wanted[y0:y1, x0:x1])


def show(title: str, header: Row, rows: Iterable[Row], weakest: int | None = None) -> None:
    """A table; sorted by a column from the least on, where one is named."""
    rows = list(rows)
    if weakest is not None:
        rows.sort(key=lambda row: float(row[weakest] or "inf"))
    print(f"\n{title}\n")
    for line in (header, tuple("---" for _ in header), *rows):
        print(f"| {' | '.join(line)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", nargs="+", default=[], metavar="FILE", help="of one person each")
    parser.add_argument("--medleys", type=int, default=10, help="how many (default %(default)s)")
    parser.add_argument("--others", type=int, default=30,
                        help="frames whose expression the first one wears (default %(default)s)")
    args = parser.parse_args()
    studio, names = Studio(), [Path(path).stem for path in args.clips]
    seconds = np.arange(int(STILL_SECONDS * RATE)) / RATE
    stills = {name: made(name, False) for name in PEOPLE}
    moving = {name: studio.track(made(name, True)) for name in PEOPLE}
    frames = {name: read(path) for name, path in zip(names, args.clips)}
    tracks = {name: studio.track(frames[name]) for name in names}

    show("still", ("", "before, px", "% of face", "steady crop, times less",
                   "whole track, times less", "live, times less"),
         [*(still_row(studio, name, clip, 0) for name, clip in stills.items()),
          *(still_row(studio, name, clip, 2) for name, clip in frames.items())], 5)
    show("moving", ("", "whole track, frames", "off, % of face", "live, frames", "off, % of face"),
         [*(moving_row(studio, name, t, swing(seconds)) for name, t in moving.items()),
          *(moving_row(studio, name, track) for name, track in tracks.items())])
    show("openings", ("", "blinks", "whole track, least %", "live, least %",
                      "closures", "whole track, least %", "live, least %"),
         [openings_row(studio, name, track) for name, track in tracks.items()], 2)
    if args.medleys and len(args.clips) > 2:
        show("people", ("", "faces shown", "missed", "false", "wrong number", "people",
                        "extra numbers"),
             people_rows(studio, args.clips, args.medleys))
    show("self", ("", "as it is, dB", "photo, dB", "mask, dB", "openings' correlation"),
         [self_row(studio, name, frames[name], tracks[name], args.others) for name in names], 4)


if __name__ == "__main__":
    main()
