"""Regressors beside each other on the same held-out faces.

    python -m training.regressor.evaluate --labels LABELS --fits FITS --turned TURNED \
        --scenes scenes.tar scenes_people.tar \
        --network original mb05_120x120.pth param_mean_std_62d_120x120.pkl \
        --network ours weights/reenact_mb1_120x120.onnx weights/reenact_mb1_param_mean_std.npz

Seven tables, of

1. MediaPipe's landmarks where the head looks ahead: errors in pixels of the 120-pixel crop over all
   468, the lips and the eyes; openings 13–14 (mouth) and 159–145 plus 386–374 (eyes) over 33–263,
   as correlation with and slope over MediaPipe's;
2. the 68 landmarks by the turn of the head, real heads labelled by the original and turned pictures
   by their mesh;
3. the jaw and MediaPipe's outline;
4. winks;
5. brows;
6. how sure;
7. the scores.

Each network is judged with as many expression directions as it has. ROIs are framed as the
original's detector frames faces. Nothing of the held-out people was trained on.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import cv2
import numpy as np

from bfm.provision import BROWS as BROW_DIRECTIONS
from training.regressor.augment import SIZE
from training.regressor.eyelids import within_persons
from training.regressor.faces import Faces
from training.regressor.fit import WHEEL_HELP, load_points_model
from training.regressor.kind import JAW, LANDMARKS, Kind
from training.regressor.landmarks import BROWS, brow_heights, correlation_and_slope, wink
from training.regressor.measure import COLUMNS, Regressor, held_out, score_reliability, summary
from training.regressor.nothing import load_nothing
from training.regressor.teach import face_size
from training.regressor.turn import heading

# MediaPipe's outline of the face, in order.
# fmt: off
FACE_OVAL = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
]
# fmt: on

# UTKFace's names begin with the person's age, sex and origin, as its makers coded them.
UTKFACE_NAME = re.compile(r"(\d+)_[01]_([0-4])_")
AGES = {
    "aged 0 to 9": range(10),
    "aged 10 to 17": range(10, 18),
    "aged 18 to 59": range(18, 60),
    "aged 60 or more": range(60, 200),
}
ORIGINS = ("White", "Black", "Asian", "Indian", "other")


def groups(faces: Faces) -> dict[str, np.ndarray]:
    """Masks over the faces of UTKFace by age and by origin, where the name tells them."""
    told = [
        UTKFACE_NAME.match(str(name)) if source == "utkface" else None
        for name, source in zip(faces.name, faces.source)
    ]
    ages, origins = (np.array([int(m[k]) if m else -1 for m in told]) for k in (1, 2))
    return {
        **{f"utkface, {name}": np.isin(ages, span) for name, span in AGES.items()},
        **{f"utkface, {name}": origins == code for code, name in enumerate(ORIGINS)},
    }


def subsets(faces: Faces, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Named masks over the held-out faces."""
    grey = (np.ptp(pictures[:, ::6, ::6].astype(int), axis=3) == 0).all((1, 2))
    return {
        "all": np.ones(len(pictures), bool),
        "colour pictures": ~grey,
        "grey pictures": grey,
        **{str(source): faces.source == source for source in np.unique(faces.source)},
        **groups(faces),
    }


def to_grey(pictures: np.ndarray) -> np.ndarray:
    """Luma of (n, h, w, 3) uint8 BGR, in all three channels."""
    grey = (pictures @ np.array([0.114, 0.587, 0.299])).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 3)


def landmark_rows(name: str, regressor: Regressor, faces: Faces) -> list[str]:
    """Against MediaPipe's landmarks, where they can be trusted."""
    pictures, points = held_out(faces, len(faces))
    seen = regressor(pictures).points
    masks = subsets(faces, pictures)
    results = {
        f"{label} ({mask.sum()})": summary(points[mask], seen[mask])
        for label, mask in masks.items()
        if mask.any()
    }
    colour = masks["colour pictures"]
    results["colour, turned grey"] = summary(
        points[colour], regressor(to_grey(pictures[colour])).points
    )
    for roll in (-40, 40):
        turned, turned_points = held_out(faces, len(faces), roll)
        results[f"roll {roll:+d}°"] = summary(turned_points, regressor(turned).points)
    return [
        line(name, label, *(f"{table[c]:.3f}" for c in COLUMNS)) for label, table in results.items()
    ]


def line(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def turned_rows(name: str, regressor: Regressor, faces: Faces) -> list[str]:
    """NME of the 68 landmarks and of the 17 of the jaw, per cent of the face's size, by the turn of
    the head. Real heads are judged by the original's labels, turned ones by the mesh's."""
    pictures, points = held_out(faces, len(faces))
    own = points[:, LANDMARKS:]
    off = np.linalg.norm(regressor(pictures).points[:, LANDMARKS:] - own, axis=2)
    off *= 100 / face_size(own)[:, None]
    turned, far = faces.source == "turned", np.abs(heading(faces.pose[0]))
    groups = {
        "real": ~turned & (faces.source != "lids") & (faces.kind > Kind.PLAIN),
        "made": turned,
    }
    lines = []
    for label, group in groups.items():
        for low in (0, 30, 60):
            rows = off[group & (far >= low) & (far < low + 30)]
            if len(rows):
                lines.append(
                    line(
                        name,
                        f"{label}, {low}–{low + 30}° ({len(rows)})",
                        f"{rows.mean():.2f}",
                        f"{rows[:, :17].mean():.2f}",
                    )
                )
    return lines


def outline_distance(points: np.ndarray) -> np.ndarray:
    """(n, 536, 2) -> (n,) mean distance of the 17 jaw points to MediaPipe's outline, pixels."""
    oval = points[:, FACE_OVAL]
    start, step = oval, np.roll(oval, -1, 1) - oval
    away = points[:, JAW, None] - start[:, None]
    share = (away * step[:, None]).sum(3) / (step**2).sum(2)[:, None]
    foot = np.clip(share, 0, 1)[..., None] * step[:, None]
    return np.linalg.norm(away - foot, axis=3).min(2).mean(1)


def outline_row(name: str, regressor: Regressor, faces: Faces) -> str:
    """How far the jaw is off MediaPipe's outline where the head looks ahead."""
    pictures, points = held_out(faces, len(faces))
    points[:, JAW] = regressor(pictures).points[:, JAW]
    ahead = np.abs(heading(faces.pose[0])) < 20
    return line(
        name,
        f"jaw off MediaPipe's outline, yaw < 20° ({ahead.sum()})",
        f"{outline_distance(points[ahead]).mean():.3f} px",
    )


def wink_rows(name: str, regressor: Regressor, faces: Faces) -> list[str]:
    """Left less right lid opening against MediaPipe's, for the sets that hold winks."""
    lines = []
    posed = np.array(["_eye_closed" in str(n) for n in faces.name]) & (faces.source == "faces_more")
    for label, mask in {"photographed winks": posed, "made winks": faces.source == "lids"}.items():
        if mask.any():
            pictures, points = held_out(faces, len(faces))
            told = wink(regressor(pictures[mask]).points)
            correlation, slope = correlation_and_slope(wink(points[mask]), told)
            lines.append(
                line(name, f"{label} ({mask.sum()})", f"{correlation:.3f}", f"{slope:.3f}")
            )
    return lines


def brow_rows(name: str, regressor: Regressor, faces: Faces) -> list[str]:
    """The brows' landmarks against MediaPipe's, and how their heights move within persons."""
    pictures, points = held_out(faces, len(faces))
    seen = regressor(pictures).points
    error = np.linalg.norm(seen - points, axis=2)[:, np.array(BROWS)].mean()
    who, counts = np.unique(faces.person, return_inverse=True, return_counts=True)[1:]
    several = counts[who] > 1
    true, told = (
        within_persons(brow_heights(p[several]).reshape(-1, 4), who[several]).reshape(-1, 2, 2)
        for p in (points, seen)
    )
    lines = [line(name, f"error, px ({len(faces)})", f"{error:.3f}", "")]
    for half, label in enumerate(("outer halves", "inner halves")):
        moves = correlation_and_slope(true[..., half].ravel(), told[..., half].ravel())
        label = f"{label}, within persons ({several.sum()})"
        lines.append(line(name, label, *(f"{value:.3f}" for value in moves)))
    return lines


def score_rows(name: str, regressor: Regressor, faces: Faces) -> list[str]:
    """Each score's correlation with MediaPipe's, worst first, below their mean."""
    told = regressor(held_out(faces, len(faces))[0]).scores
    if told is None:
        return []
    reliability = score_reliability(faces.scores, told)
    judged = reliability[reliability != 0]
    rows = [(f"mean of {len(judged)}", judged.mean())]
    rows += sorted(zip(map(str, faces.score_names), reliability), key=lambda row: row[1])
    return [line(name, score, f"{value:.3f}") for score, value in rows if value != 0]


def sure_rows(name: str, regressor: Regressor, faces: Faces, nothing: np.ndarray) -> list[str]:
    """How well the expected error tells faces from nothing, and good fits from bad ones."""
    pictures, points = held_out(faces, len(faces))
    told = regressor(pictures)
    empty = regressor(np.stack([cv2.resize(piece, (SIZE, SIZE)) for piece in nothing])).error
    if told.error is None or empty is None:
        return []
    apart = (told.error[:, None] < empty).mean()
    off = np.linalg.norm(told.points - points, axis=2).mean(1)
    rank = correlation_and_slope(off.argsort().argsort(), told.error.argsort().argsort())[0]
    limits = np.quantile(told.error, 0.99), np.quantile(empty, 0.01)
    return [
        line(name, "faces against nothing, area under the curve", f"{apart:.4f}"),
        line(name, "expected and true error, rank correlation", f"{rank:.3f}"),
        line(name, "99% of faces below, px", f"{limits[0]:.2f}"),
        line(name, "99% of nothing above, px", f"{limits[1]:.2f}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits", "turned"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, nargs="+", required=True, help="as in train_tddfa")
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument(
        "--network",
        nargs=3,
        metavar=("NAME", "WEIGHTS", "WHITENING"),
        action="append",
        required=True,
        help="a checkpoint of mb05 or an exported network (.onnx); several may be given",
    )
    args = parser.parse_args()

    real = Faces([(args.labels, args.fits)], val=True)
    everyone = Faces([(args.labels, args.fits), (args.turned / "val",) * 2], val=True)
    ahead = real.only(real.kind <= Kind.AHEAD)
    nothing = load_nothing(args.scenes, "val")
    model = load_points_model(args.fits, args.wheel, BROW_DIRECTIONS)
    networks = [(n, Regressor(weights, whitening, model)) for n, weights, whitening in args.network]
    tables = {
        ("network", "faces", *COLUMNS): lambda n, r: landmark_rows(n, r, ahead),
        ("network", "heads, yaw", "NME 68, %", "NME jaw, %"): lambda n, r: turned_rows(
            n, r, everyone
        ),
        ("network", "contour", "distance"): lambda n, r: [outline_row(n, r, ahead)],
        ("network", "winks", "correlation", "slope"): lambda n, r: wink_rows(n, r, everyone),
        ("network", "brows", "correlation", "slope"): lambda n, r: brow_rows(n, r, ahead),
        ("network", "how sure", "value"): lambda n, r: sure_rows(n, r, ahead, nothing),
        ("network", "score", "correlation"): lambda n, r: score_rows(n, r, ahead),
    }
    for columns, rows in tables.items():
        print(line(*columns) + "\n|" + " --- |" * len(columns))
        for name, regressor in networks:
            print("\n".join(rows(name, regressor)), flush=True)


if __name__ == "__main__":
    main()
