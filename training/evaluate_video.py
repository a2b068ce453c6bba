"""How still, timely and faithful tracks are: python -m training.evaluate_video --clips A.mp4 ...

Six tables, the weakest rows first, each of which compares what was seen with what is made of it in
whole tracks (forwards and backwards) and as frames come (live):

still          a photograph that is filmed (noise, compression, a flickering light, an unsteady
               hand), and the stillest half seconds of clips, as the optical flow tells: how far the
               landmarks spread beside a steady motion; before, crops go along with them
rest           how far apart lips, and open eyes, are in the frames that `--neutral auto` takes
moving         the photograph on a path that is known, and the clips: frames that smoothing lags
               behind, and how far off it puts the face
openings       blinks and closing lips of the clips: how much of their depth is left
people         medleys of the clips, side by side and one after the other, with people who leave
               and return: faces that get somebody else's number, and people with several
self           the first frame of a clip wears the expression of others, against these
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.scenes import PEOPLE, scene
from reenactment import Reenactor, Transfer
from reenactment.faces import EVERY, Face, FrameInfo
from reenactment.following import follow
from reenactment.openings import MIDDLE_COLUMNS
from reenactment.rest import rest_of
from reenactment.smoothing import Smoother
from reenactment.track import Track, choose_tracks
from reenactment.tracking import Tracker
from reenactment.views import Output
from training.evaluate_photo import psnr
from training.medleys import RATE, Medley, read
from utils.footage import Frame
from utils.io import WholeFiles
from utils.sinks import open_sink

SIZE, FACE_HEIGHT = (640, 480), 260  # of made clips, pixels
NOISE, QUALITY = 4.0, 60  # deviation, of 255; of compression, 1 to 100
FLICKER, SHAKE = 0.03, 0.25  # deviations from frame to frame: of light; of the place, pixels
STILL_SECONDS, WINDOW = 4.0, 0.5
FLOW_SIZE = 160  # pixels of a face whose optical flow is looked at
SWING, PERIOD = 60.0, 2.0  # pixels, seconds: up to 0.7 face sizes a second
DEEP_BLINK, OPEN_LIPS, SHUT_LIPS = 0.3, 3.0, 1.0  # of the eye at rest; mm
RIGID = [27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45]  # landmarks of eyes and nose
MOUTH = slice(48, 68)

Row = tuple[str, ...]


class Studio:
    """Follows clips and measures their tracks."""

    def __init__(self) -> None:
        self.reenactor = Reenactor()
        assert self.reenactor.openings  # as our own model has them
        self.openings = self.reenactor.openings

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
        eyes = [self.openings.eyes(track[place]).min() for place in range(len(track))]
        return np.array(eyes)

    def lips(self, track: Track) -> np.ndarray:
        """How far the lips are apart, (T,) mm."""
        return np.array([self.lips_of(track[place]) for place in range(len(track))])

    def lips_of(self, face: Face) -> float:
        return float(self.openings.lips(face)[MIDDLE_COLUMNS].mean())


# clips


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


def swung(name: str) -> list[Frame]:
    """A clip of an example picture that moves."""
    offsets = swing(np.arange(int(STILL_SECONDS * RATE)) / RATE)
    return compressed(scene(SIZE, FACE_HEIGHT, name, offset=(x, 0.0)) for x in offsets)


def filmed(name: str) -> list[Frame]:
    """A clip of an example picture, from an unsteady hand in a flickering light."""
    rng, count = np.random.default_rng(1), int(STILL_SECONDS * RATE)
    places, lights = rng.normal(0, SHAKE, (count, 2)), rng.normal(1, FLICKER, count)
    return compressed(
        np.clip(light * scene(SIZE, FACE_HEIGHT, name, offset=(x, y)), 0, 255)
        for (x, y), light in zip(places.tolist(), lights.tolist())
    )


# still and moving


def flow(one: np.ndarray, other: np.ndarray, face: Face) -> float:
    """How far a face moves from a frame to the next, on average over its crop, in its sizes."""
    x0, y0, x1, y1 = np.maximum(face.roi_box, 0).astype(int)
    greys = (cv2.cvtColor(img[y0:y1, x0:x1], cv2.COLOR_BGR2GRAY) for img in (one, other))
    size = (FLOW_SIZE, FLOW_SIZE * (y1 - y0) // (x1 - x0))
    first, second = (cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in greys)
    dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    moves = dense.calc(first, second, np.zeros((*first.shape, 2), np.float32))
    return float(np.linalg.norm(moves, axis=2).mean()) / FLOW_SIZE


def stillest(frames: Sequence[Frame], track: Track) -> tuple[slice, float]:
    """The window of a track in which the face's picture moves least, and how far it does a frame.

    The first second is where live filters begin.
    """
    imgs = [frames[number].img for number in track.frames]
    flows = np.array([flow(*pair, track[k]) for k, pair in enumerate(zip(imgs, imgs[1:]))])
    windows = [slice(i, int(np.searchsorted(track.seconds, second + WINDOW)))
               for i, second in enumerate(track.seconds)
               if 1 <= second <= track.seconds[-1] - WINDOW]
    moved = [float(flows[window.start : window.stop - 1].mean()) for window in windows]
    least = int(np.argmin(moved))
    return windows[least], moved[least]


def spread(points: np.ndarray, seconds: np.ndarray) -> float:
    """How far landmarks (T, 2, 68) spread beside a steady motion, pixels."""
    powers = np.vander(seconds - seconds[0], 3)
    values = points.reshape(len(powers), -1)
    left = values - powers @ np.linalg.lstsq(powers, values, rcond=None)[0]
    return float(left.std(axis=0).mean())


def still_row(studio: Studio, name: str, frames: Sequence[Frame]) -> Row:
    before, track = (studio.track(frames, steady) for steady in (False, True))
    window, moved = stillest(frames, track)
    spreads = [
        spread(studio.landmarks(one)[window], one.seconds[window])
        for one in (before, track, *studio.smoothed(track).values())
    ]
    share = 100 * spreads[0] / float(track.sides[window].mean())
    less = [spreads[0] / after for after in spreads[1:]]
    return (name, f"{100 * moved:.2f}", f"{spreads[0]:.2f}", f"{share:.2f}",
            *(f"{ratio:.1f}" for ratio in less))


def rest_row(studio: Studio, name: str, track: Track) -> Row:
    openings, smooth = studio.openings, Smoother(studio.reenactor).track(track)
    rest, lips = rest_of(smooth, openings), studio.lips(smooth)
    eyes = openings.eyes(rest).min() / np.median(studio.eyes(smooth))
    gaps = studio.lips_of(rest), float(np.median(lips)), float(lips.min())
    return (name, *(f"{gap:.1f}" for gap in gaps), f"{eyes:.2f}")


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


def people_rows(studio: Studio, clips: Sequence[str], count: int) -> list[Row]:
    """One for whole tracks, one for numbers as they are given live."""
    totals = {"whole": Counter[str](), "live": Counter[str]()}
    for seed in range(count):
        medley = Medley(clips, seed)
        tracks = follow(studio.reenactor, medley, "medley")
        tally(totals["whole"], medley, [t[i] for t in tracks for i in range(len(t))])
        tracker = Tracker(studio.reenactor, EVERY)
        tally(totals["live"], medley, [
            face for img, number, seconds, *_ in medley
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
    once = sum(who is not None for _, who in sights)
    owners = {count.most_common(1)[0][0] for count in seen.values()}
    total["shown"] += medley.shown
    total["missed"] += medley.shown - once
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
    own = picture(reenactor.render(img, target))
    likeness: list[tuple[float, ...]] = []
    opened: list[tuple[float, float]] = []
    for place in np.linspace(1, len(track) - 1, count).astype(int):
        face, other = track[place], frames[track.frames[place]].img
        transferred = partial(reenactor.apply, transfer, face)
        result = transferred(target)
        source = face, other
        photo = picture(reenactor.render(img, result, "photo", targets=target, source=source))
        mask = picture(reenactor.render(img, result))
        itself = transferred(replace(face, expression=target.expression))
        wanted = picture(reenactor.render(other, itself))
        pairs = (img, other), (photo, other), (own, wanted), (mask, wanted)
        likeness.append(tuple(
            mouth_likeness(studio, of_target, target, of_other, face)
            for of_target, of_other in pairs
        ))
        seen = reenactor.regress(photo, reenactor.landmarks([result]), crop_policy="landmark")[0]
        opened.append((studio.lips_of(seen), studio.lips_of(face)))
    agreement, moved = np.corrcoef(np.array(opened).T)[0, 1], np.std(opened, axis=0)[1]
    return (name, *(f"{value:.1f}" for value in np.mean(likeness, axis=0)), f"{moved:.2f}",
            f"{agreement:.2f}")


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
    stills = {name: filmed(name) for name in PEOPLE}
    moving = {name: studio.track(swung(name)) for name in PEOPLE}
    frames = {name: read(path) for name, path in zip(names, args.clips)}
    tracks = {name: studio.track(frames[name]) for name in names}

    show("still", ("", "moves, % of face a frame", "before, px", "% of face",
                   "steady crop, times less", "whole track, times less", "live, times less"),
         [still_row(studio, name, clip) for name, clip in {**stills, **frames}.items()], 5)
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
    show("rest", ("", "lips, mm", "usually", "least", "eyes, of usual"),
         [rest_row(studio, name, track) for name, track in tracks.items()])
    show("self", ("", "photo as it is, dB", "photo, dB", "mask as it is, dB", "mask, dB",
                  "lips move, mm", "openings' correlation"),
         [self_row(studio, name, frames[name], tracks[name], args.others) for name in names], 6)


if __name__ == "__main__":
    main()
