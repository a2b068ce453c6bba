"""How well photos wear an expression: python -m training.evaluate_photo --clips A.mp4 B.mp4 ...

Four tables, each where its pictures are given:

ground truth   frames of a clip with nearly one pose: one gets the other's expression, and is
               compared with it, aligned by eyes and nose; beside doing nothing
neutral, smile the same between two pictures of a person, ``NNN_neutral.jpg`` and ``NNN_smile.jpg``
openings       how open MediaPipe sees mouths and eyes of results, against those of their sources
               (needs ``mediapipe==0.10.21`` and its environment); sharpness of the same results
random pairs   folds of the field outside the face, and how continuous photos are
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reenactment import Reenactor
from reenactment.faces import Face
from reenactment.photo import Photographer, Posed, Source
from reenactment.photo.eyes import openings
from reenactment.photo.field import displacement
from reenactment.photo.head import Head
from reenactment.photo.portrait import Portrait
from training.pictures import decode_picture, iterate_files
from utils.image import read_image

MOST_TURNED, LEAST_CHANGE = 2.2, 0.08  # degrees between two frames; widths of the mouth
PAIRS_PER_CLIP = 40
EYES_CLOSE = 0.06  # widths of an eye; a pair whose eyes close by more counts as closing
UPPER, LOWER, NOSE = (13, 82, 312), (14, 87, 317), (168, 2)  # of MediaPipe's points
MOUTH_CORNERS = (78, 308)
OUR_UPPER, OUR_LOWER, OUR_NOSE = (62, 61, 63), (66, 67, 65), (27, 33)  # landmarks at these
LIDS = (((160, 144), (159, 145), (158, 153)), ((385, 380), (386, 374), (387, 373)))
LID_CORNERS = ((33, 133), (263, 362))
AGREEMENT = 0.10  # between fit and MediaPipe, within which a face is used
MOST_YAW = 30.0  # degrees, of those faces


@dataclass(eq=False)
class Shot:
    """A picture, and the face that is looked at."""

    img: np.ndarray
    face: Face
    posed: Posed
    head: Head

    @cached_property
    def mouth(self) -> float:
        """Mean opening, in widths of the mouth."""
        return float(self.head.mouth_opening().clip(0).mean())

    @cached_property
    def eyes(self) -> float:
        """Mean opening, in widths of the eyes."""
        return float(openings(self.head).mean())

    @cached_property
    def lips_apart(self) -> float:
        """The mouth's opening as `Meter` measures it, in lengths of the nose."""
        points = self.head.vertices[self.head.bfm.landmarks, :2]
        gap = np.linalg.norm(points[[*OUR_LOWER]] - points[[*OUR_UPPER]], axis=1).mean()
        return float(gap / np.linalg.norm(points[OUR_NOSE[1]] - points[OUR_NOSE[0]]))


class Studio:
    """Finds faces and takes photos."""

    def __init__(self) -> None:
        self.reenactor = Reenactor()
        self.photographer = Photographer(self.reenactor.tddfa.bfm)

    def shot(self, img: np.ndarray) -> Shot | None:
        """The largest face of a picture."""
        boxes = self.reenactor.detect(img)
        if not boxes:
            return None
        box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
        face = self.reenactor.regress(img, [box])[0]
        posed = self.posed(face)
        return Shot(img, face, posed, self.photographer.model.head(posed))

    def posed(self, face: Face) -> Posed:
        return Posed.of(face.parts, face.roi_box, self.reenactor.tddfa.size)

    def shows_mouth(self, shot: Shot) -> bool:
        """Whether the picture reaches beyond the lips, and no mask is seen on them."""
        lips = shot.head.vertices[shot.head.bfm.landmarks[48:], :2]
        inside = (lips > 1).all() and (lips < np.array(shot.img.shape[1::-1]) - 2).all()
        portrait = Portrait.of(self.photographer.model, shot.posed, shot.img, eyes=True)
        return bool(inside) and portrait.concealed < 0.5

    def photo(self, source: Shot, target: Shot, share: float = 1.0) -> np.ndarray:
        """The target with the source's expression, or a share of the way to it."""
        expression = target.face.expression + share * (
            source.face.expression - target.face.expression
        )
        parts = target.posed.parts._replace(expression=expression.astype(np.float32))
        if share == 1:
            parts = target.posed.parts._replace(expression=source.posed.parts.expression)
        result = Posed(parts, target.posed.to_picture)
        return self.photographer(
            target.img, [target.posed], [result], Source(source.posed, source.img)
        )


# likeness


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.square(a.astype(np.float64) - b).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean structural similarity of grey pictures (Wang et al. 2004), σ 1.5."""
    a, b = (cv2.cvtColor(p, cv2.COLOR_BGR2GRAY).astype(np.float64) for p in (a, b))

    def mean(picture: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture, (11, 11), 1.5)

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    s = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(s.mean())


def box_of(points: np.ndarray, grow: float, shape: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of the box around points (n, 2+), grown about its middle."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    middle, half = (low + high) / 2, grow * (high - low) / 2
    first = np.maximum(np.floor(middle - half), 0).astype(int)
    last = np.minimum(np.ceil(middle + half) + 1, (shape[1], shape[0])).astype(int)
    return slice(first[1], last[1]), slice(first[0], last[0])


def regions(shot: Shot) -> dict[str, tuple[slice, slice]]:
    """Boxes of face, mouth and eyes of a shot's picture."""
    points, landmarks = shot.head.vertices, shot.head.bfm.landmarks
    shape = shot.img.shape
    return {
        "face": box_of(points, 1.0, shape),
        "mouth": box_of(points[landmarks[48:]], 1.6, shape),
        "eyes": box_of(points[landmarks[36:48]], 1.3, shape),
    }


def aligned(shot: Shot, to: Shot) -> np.ndarray | None:
    """A shot's picture, moved onto another's by the upper face; None where that fails."""
    x, y, z = to.head.surface.T
    upper = (y > -12) & (y < 48) & (np.abs(x) < 48) & (z > 85)
    ours, theirs = (s.head.vertices[upper, :2][::7].copy() for s in (shot, to))
    start, _ = cv2.estimateAffinePartial2D(ours, theirs)
    mask = np.zeros(to.img.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(theirs).astype(np.int32), 255)
    height, width = to.img.shape[:2]
    fixed, moving = (
        cv2.GaussianBlur(cv2.cvtColor(i, cv2.COLOR_BGR2GRAY), (0, 0), 1.5)
        for i in (to.img, shot.img)
    )
    try:
        inverse = np.float32(cv2.invertAffineTransform(start))
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
        _, warp = cv2.findTransformECC(
            fixed, moving, inverse, cv2.MOTION_AFFINE, criteria, mask
        )
    except cv2.error:
        return None
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(shot.img, warp, (width, height), flags=flags,
                          borderMode=cv2.BORDER_REPLICATE)


def likeness(studio: Studio, source: Shot, target: Shot) -> dict[str, float] | None:
    """PSNR and SSIM of a photo to the source, by region, and of doing nothing."""
    truth = aligned(source, target)
    if truth is None:
        return None
    photo = studio.photo(source, target)
    row: dict[str, float] = {}
    for name, box in regions(target).items():
        for label, img in (("photo", photo), ("nothing", target.img)):
            row[f"{name} psnr {label}"] = psnr(img[box], truth[box])
            row[f"{name} ssim {label}"] = ssim(img[box], truth[box])
    row["eyes close"] = target.eyes - source.eyes
    return row


# ground truth from clips


def shots_of(studio: Studio, clip: Path, every: int, most: int) -> list[Shot]:
    """Faces of some frames of a clip."""
    capture, number = cv2.VideoCapture(str(clip)), 0
    shots: list[Shot] = []
    while len(shots) < most:
        read, frame = capture.read()
        if not read:
            break
        if number % every == 0:
            shot = studio.shot(frame)
            if shot is not None:
                shots.append(shot)
        number += 1
    capture.release()
    return shots


def turned(a: Shot, b: Shot) -> float:
    """Degrees between two heads' rotations."""
    rotations = []
    for shot in (a, b):
        u, _, v = np.linalg.svd(shot.head.pose[:, :3])
        rotations.append(u @ v)
    cosine = (np.trace(rotations[0] @ rotations[1].T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def pairs_of(
    shots: Sequence[Shot], value: Callable[[Shot], float], least: float, rng: random.Random
) -> Iterator[tuple[Shot, Shot]]:
    """Source and target in random order, whose poses agree and whose values differ."""
    order = [(i, j) for i in range(len(shots)) for j in range(len(shots)) if i != j]
    rng.shuffle(order)
    for i, j in order:
        source, target = shots[i], shots[j]
        if abs(value(source) - value(target)) > least and turned(source, target) < MOST_TURNED:
            yield source, target


def ground_truth(studio: Studio, clips: Sequence[Path], rng: random.Random) -> None:
    mouths, closing, others = [], [], []
    for clip in clips:
        shots = shots_of(studio, clip, every=1, most=300)
        count = 0
        for source, target in pairs_of(shots, lambda s: s.mouth, LEAST_CHANGE, rng):
            row = likeness(studio, source, target)
            if row is not None:
                mouths.append(row)
                count += 1
            if count == PAIRS_PER_CLIP:
                break
        gains = [row["mouth psnr photo"] - row["mouth psnr nothing"] for row in mouths]
        print(f"{clip.name}: {len(shots)} frames, {count} pairs, mouth psnr "
              f"{np.mean(gains[-count:] if count else np.nan):+.2f}", flush=True)
        eyes = [
            likeness(studio, source, target)
            for (source, target), _ in zip(
                pairs_of(shots, lambda s: s.eyes, EYES_CLOSE, rng), range(PAIRS_PER_CLIP)
            )
        ]
        closing += [row for row in eyes if row and row["eyes close"] > EYES_CLOSE]
        others += [row for row in mouths[-count or len(mouths):] if row["eyes close"] < EYES_CLOSE]
    table("ground truth, mouths that change", mouths, ("face", "mouth"))
    table("ground truth, eyes that close", closing, ("eyes",))
    table("ground truth, eyes that do not close", others, ("eyes",))


def table(title: str, rows: Sequence[dict[str, float]], names: Sequence[str]) -> None:
    """Print means of photo and of nothing, their difference, and how often it is positive."""
    print(f"{title}: {len(rows)} pairs")
    for name in names if rows else ():
        for measure in ("psnr", "ssim"):
            photo, nothing = (
                np.array([row[f"{name} {measure} {k}"] for row in rows])
                for k in ("photo", "nothing")
            )
            print(
                f"  {name} {measure}: photo {photo.mean():.3f}, nothing {nothing.mean():.3f}, "
                f"difference {(photo - nothing).mean():+.3f}, better {(photo > nothing).mean():.0%}"
            )


def smiles(studio: Studio, folder: Path) -> None:
    rows, widths = [], []
    for path in sorted(folder.glob("*_neutral.jpg")):
        other = folder / path.name.replace("neutral", "smile")
        neutral, smile = (studio.shot(read_image(p)) for p in (path, other))
        if neutral is None or smile is None:
            continue
        row = likeness(studio, smile, neutral)
        again = studio.shot(studio.photo(smile, neutral))
        if row is not None and again is not None:
            rows.append(row)
            widths.append([mouth_width(s) for s in (again, smile, neutral)])
    table("neutral and smile", rows, ("face", "mouth", "eyes"))
    photo, smile, neutral = np.mean(widths, axis=0)
    print(f"  mouth width / eye corners, our own fit: photo {photo:.3f}, smile {smile:.3f}, "
          f"neutral {neutral:.3f}")


def mouth_width(shot: Shot) -> float:
    points = shot.head.surface[shot.head.bfm.landmarks]
    return float(
        np.linalg.norm(points[54] - points[48]) / np.linalg.norm(points[45] - points[36])
    )


# openings as MediaPipe sees them


class Meter:
    """MediaPipe's face mesh, on a crop of 512 pixels."""

    def __init__(self) -> None:
        from mediapipe.python.solutions.face_mesh import FaceMesh

        self._mesh = FaceMesh(static_image_mode=True, refine_landmarks=True)

    def __call__(self, img: np.ndarray, roi_box: Sequence[float]) -> list[float] | None:
        """Openings of the mouth, in lengths of the nose, and of the eyes, in their widths; the
        mouth's width in distances of the eyes' corners; and its opening in its widths."""
        x0, y0, x1, y1 = roi_box
        half, middle = 0.625 * (x1 - x0), np.array([x0 + x1, y0 + y1]) / 2
        scale = 512 / (2 * half)
        shift = 256 - scale * middle
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        crop = cv2.warpAffine(img, matrix, (512, 512), flags=cv2.INTER_AREA)
        found = self._mesh.process(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)).multi_face_landmarks
        if not found:
            return None
        p = np.array([[m.x, m.y] for m in found[0].landmark]) * 512

        def apart(a: Any, b: Any) -> float:
            return float(np.linalg.norm(p[a] - p[b]))

        mouth = np.mean([apart(a, b) for a, b in zip(UPPER, LOWER)]) / apart(*NOSE)
        eyes = np.mean([
            np.mean([apart(*pair) for pair in lids]) / apart(*corners)
            for lids, corners in zip(LIDS, LID_CORNERS)
        ])
        over_width = mouth * apart(*NOSE) / apart(*MOUTH_CORNERS)
        return [float(mouth), float(eyes), apart(61, 291) / apart(33, 263), float(over_width)]


KINDS: tuple[tuple[str, Callable[[Any], bool], Callable[[Any], bool]], ...] = (
    ("closed mouth from open", lambda s: s[0] > 0.15, lambda t: t[0] < 0.05),
    ("open mouth from closed", lambda s: s[0] < 0.05, lambda t: t[0] > 0.12),
    ("any", lambda s: True, lambda t: True),
    ("any from shut eyes", lambda s: s[1] < 0.16, lambda t: t[1] > 0.22),
)


def measured(studio: Studio, meter: Meter, pictures: Iterator[np.ndarray]) -> list[Any]:
    """Shots on which fit and MediaPipe agree, with what MediaPipe sees.

    Faces with a mask, which photos do not open, or with a mouth beyond the picture are left out.
    """
    kept = []
    for img in pictures:
        shot = studio.shot(img)
        seen = shot and meter(img, shot.face.roi_box)
        if not shot or not seen or shot.head.yaw > MOST_YAW or shot.head.size < 60:
            continue
        if not studio.shows_mouth(shot):
            continue
        if abs(shot.lips_apart - seen[0]) < AGREEMENT and abs(shot.eyes - seen[1]) < AGREEMENT:
            kept.append((shot, seen))
    return kept


def opening_pairs(
    studio: Studio, pictures: Iterator[np.ndarray], count: int, rng: random.Random
) -> None:
    meter = Meter()
    faces = measured(studio, meter, pictures)
    print(f"openings: {len(faces)} faces on which fit and MediaPipe agree", flush=True)
    rows: list[list[float]] = []
    sharp = []
    while len(rows) < count:
        _, is_source, is_target = KINDS[len(rows) % len(KINDS)]
        source = rng.choice([f for f in faces if is_source(f[1])])
        target = rng.choice([f for f in faces if is_target(f[1]) and f is not source])
        photo = studio.photo(source[0], target[0])
        seen = meter(photo, target[0].face.roi_box)
        if seen:
            rows.append([*seen, *source[1], *target[1]])
            sharp.append(sharpness(photo, target[0]))
    result, source, target = np.array(rows).reshape(-1, 3, 4).transpose(1, 0, 2)
    for k, name in enumerate(("mouth", "eyes", "mouth width", "mouth over its width")):
        r = np.corrcoef(source[:, k], result[:, k])[0, 1]
        slope = np.polyfit(source[:, k], result[:, k], 1)[0]
        error = np.abs(result[:, k] - source[:, k]).mean()
        print(f"  {name}: r {r:.3f}, slope {slope:.2f}, mean error {error:.3f}, "
              f"result / source {(result[:, k].mean() / source[:, k].mean()):.3f}")
    closed, shut = source[:, 0] < 0.05, source[:, 1] < 0.16
    print(f"  closed source {source[closed, 0].mean():.3f} -> {result[closed, 0].mean():.3f}; "
          f"shut source {source[shut, 1].mean():.3f} -> {result[shut, 1].mean():.3f} "
          f"(target {target[shut, 1].mean():.3f})")
    print(f"  sharpness, photo / target: median {np.median(sharp):.3f}")


def sharpness(photo: np.ndarray, target: Shot) -> float:
    """Standard deviation of the Laplacian inside the face, over the target's."""
    hull = cv2.convexHull(np.rint(target.head.vertices[:, :2]).astype(np.int32))
    mask = cv2.fillConvexPoly(np.zeros(photo.shape[:2], np.uint8), hull, 1) > 0
    deviations = [
        cv2.Laplacian(cv2.cvtColor(img, cv2.COLOR_BGR2GRAY), cv2.CV_32F)[mask].std()
        for img in (photo, target.img)
    ]
    return float(deviations[0] / max(deviations[1], 1e-6))


# random pairs


def random_pairs(
    studio: Studio, pictures: Iterator[np.ndarray], count: int, rng: random.Random
) -> None:
    shots = [shot for shot in map(studio.shot, pictures) if shot and shot.head.size > 60]
    folded, pixels, near = 0, 0, []
    for _ in range(count):
        source, target = rng.sample(shots, 2)
        parts = target.posed.parts._replace(expression=source.posed.parts.expression)
        moved = Posed(parts, target.posed.to_picture)
        before, after = studio.photographer.heads(target.img, target.posed, moved)
        field = displacement(before, after, target.img.shape[:2])
        if field is not None:
            bad = jacobian(field.moves) < 0.15
            field.inner.of(bad, field.box)[filled(field.raster.covered)] = False
            folded, pixels = folded + bool(bad.any()), pixels + int(bad.sum())
        box = regions(target)["face"]
        near.append(psnr(studio.photo(source, target, 0.01)[box], target.img[box]))
    print(f"random pairs: {count}; folds outside the face on {folded} of them, {pixels} pixels; "
          f"1% of an expression: least {min(near):.1f} dB, median {np.median(near):.1f} dB")


def filled(mask: np.ndarray) -> np.ndarray:
    """A face's pixels (h, w) bool with its holes, the mouth."""
    solid = mask.astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(solid, contours, -1, 1, cv2.FILLED) > 0


def jacobian(moves: np.ndarray) -> np.ndarray:
    """How much the map p + moves(p) scales areas, (h, w)."""
    dx, dy = np.gradient(moves, axis=1), np.gradient(moves, axis=0)
    return (1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0]


def sampled_pictures(tars: Sequence[Path], most: int, rng: random.Random) -> Iterator[np.ndarray]:
    """Some held-out pictures of tar files, BGR."""
    for tar in tars:
        held_out = [
            data
            for name, data in iterate_files(tar)
            if "val/" in name and not name.endswith(".json")
        ]
        rng.shuffle(held_out)
        for data in held_out[: most // len(tars)]:
            yield decode_picture(data)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, nargs="+", default=[])
    parser.add_argument("--smiles", type=Path, help="folder of NNN_neutral.jpg and NNN_smile.jpg")
    parser.add_argument("--tars", type=Path, nargs="+", default=[], help="pictures; see label.py")
    parser.add_argument("--pairs", type=int, default=160, help="default: %(default)s")
    parser.add_argument("--random_pairs", type=int, default=240, help="default: %(default)s")
    parser.add_argument("--most", type=int, default=600, help="pictures; default: %(default)s")
    args = parser.parse_args()
    studio, rng = Studio(), random.Random(0)
    if args.clips:
        ground_truth(studio, args.clips, rng)
    if args.smiles:
        smiles(studio, args.smiles)
    if args.tars:
        some = sampled_pictures(args.tars, args.most // 3, rng)
        random_pairs(studio, some, args.random_pairs, rng)
        opening_pairs(studio, sampled_pictures(args.tars, args.most, rng), args.pairs, rng)


if __name__ == "__main__":
    main()
