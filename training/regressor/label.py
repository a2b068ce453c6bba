"""Label the training pictures: MediaPipe's 478 landmarks, 52 scores, and a roomy face crop of each.

    python -m training.regressor.label --task face_landmarker.task --out LABELS \
        --tars lfw_imfdb.tar utkface.tar portraits.tar faces_more.tar

Needs ``mediapipe==0.10.21``, its face_landmarker.task, OpenCV and numpy; no torch. Every picture
with one findable face, or with one box in its tar's boxes.json, gives a row of

    crops.npy      (n, 192, 192, 3) uint8 BGR, black outside the picture
    labels.npz     points (n, 478, 3) float32  landmarks in crop pixels; z: smaller is nearer
                   mirror (n, 478, 3) float32  those found in the mirrored picture, mirrored back:
                                               row i lies about where the opposite of i is
                   scores (n, 52) float32      blendshapes of ``score_names``, mean of both
                   found  (n,) bool            MediaPipe found the face; if not, the above are NaN
                   inside (n, 4) float32       x0 y0 x1 y1 of the picture in crop pixels
                   scale  (n,) float32         crop pixels per picture pixel
                   name, person, source, val   of the picture; source: tar; val: held out

Pixel coordinates have their origin at the centre of the top-left pixel, y down.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing as mp
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from training.pictures import decode_picture, iterate_files
from training.regressor.landmarks import opposite_name

CROP = 192  # side of a stored crop, pixels
EXTENT = 2.0  # side of a stored crop over the landmarks' extent; the network's ROI is about 1.5
PAD = 0.25  # border added on each side before detection: tight crops confuse the detector
MIN_FACE = 24  # smallest landmark extent to keep, picture pixels
LANDMARKS = 478
# ARKit's names; MediaPipe tells no tongueOut, and _neutral in its place
ARKIT_ONLY, MEDIAPIPE_ONLY = "tongueOut", "_neutral"
# people whose winks, the only photographed ones there are, shall judge
HELD_OUT = re.compile(r"cct_(female0003|male0003)_")

log = logging.getLogger(__name__)


def person_of(name: str) -> str:
    """Name of the person if the picture's tells it (``First_Last_0001``), else the picture's."""
    match = re.fullmatch(r"(.+?)_\d{4}", name)
    return match.group(1) if match and not name[0].isdigit() else name


class Look(NamedTuple):
    """What MediaPipe sees in a picture. points (478, 3) float32, picture pixels; scores (52,)."""

    points: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]


def open_landmarker(task: Path) -> Any:
    """MediaPipe's landmarker of single pictures with one face."""
    import mediapipe

    vision = mediapipe.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(task)),
        output_face_blendshapes=True,
        min_face_detection_confidence=0.4,
        min_face_presence_confidence=0.4,
    )
    return vision.FaceLandmarker.create_from_options(options)


def detect(landmarker: Any, picture: np.ndarray) -> Look | None:
    """The best face of a picture (h, w, 3) uint8 BGR, if there is one.

    The landmarks are relative to the picture's extent (0 is the outer edge of the first pixel),
    hence the −0.5.
    """
    import mediapipe

    h, w = picture.shape[:2]
    py, px = int(PAD * h), int(PAD * w)
    padded = cv2.copyMakeBorder(picture, py, py, px, px, cv2.BORDER_CONSTANT)
    rgb = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)
    seen = landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb))
    if not seen.face_landmarks:
        return None
    unit = np.array([[p.x, p.y, p.z] for p in seen.face_landmarks[0]], np.float32)
    size = np.array([padded.shape[1], padded.shape[0], padded.shape[1]], np.float32)
    scores = {c.category_name: c.score for c in seen.face_blendshapes[0]}
    del scores[MEDIAPIPE_ONLY]
    scores[ARKIT_ONLY] = 0.0
    values = np.array(list(scores.values()), np.float32)
    return Look(unit * size - np.array([px + 0.5, py + 0.5, 0], np.float32), values, tuple(scores))


def detect_twice(
    landmarker: Any, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Look] | None:
    """Points (478, 3) of the picture, those of its mirror image with x mirrored back, and a look
    with the mean of both looks' scores; or None."""
    direct = detect(landmarker, picture)
    mirrored = detect(landmarker, np.ascontiguousarray(picture[:, ::-1]))
    if direct is None or mirrored is None:
        return None
    points = mirrored.points.copy()
    points[:, 0] = picture.shape[1] - 1 - points[:, 0]
    opposite = [direct.names.index(opposite_name(name)) for name in direct.names]
    scores = (direct.scores + mirrored.scores[opposite]) / 2
    return direct.points, points, direct._replace(scores=scores)


def crop_face(picture: np.ndarray, points: np.ndarray, mirror: np.ndarray) -> dict | None:
    """The stored crop, landmarks in its pixels, picture rectangle and scale; None if the face is
    too small.

    picture: (h, w, 3) uint8; points, mirror: (478, 3) float32 in picture pixels.
    """
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    extent = float((high - low).max())
    if extent < MIN_FACE:
        return None
    k = CROP / (EXTENT * extent)
    shift = (CROP - 1) / 2 - k * (low + high) / 2
    matrix = np.array([[k, 0, shift[0]], [0, k, shift[1]]], np.float32)
    crop = cv2.warpAffine(
        picture, matrix, (CROP, CROP), flags=cv2.INTER_AREA if k < 0.5 else cv2.INTER_LINEAR
    )
    h, w = picture.shape[:2]
    offset = np.array([*shift, 0], np.float32)
    return dict(
        crop=crop,
        points=points * k + offset,
        mirror=mirror * k + offset,
        scale=np.float32(k),
        inside=np.concatenate([shift, np.array([w - 1, h - 1]) * k + shift]).astype(np.float32),
    )


def label_picture(landmarker: Any, picture: np.ndarray, boxes: list[list[float]]) -> dict | None:
    """The row of one picture, or None; boxes (x0, y0, x1, y1) are those drawn by others."""
    found = detect_twice(landmarker, picture)
    if found:
        direct, mirror, look = found
        row = crop_face(picture, direct, mirror)
        return row and row | dict(scores=look.scores, score_names=look.names, found=True)
    if len(boxes) != 1:
        return None
    corners = np.array([[*boxes[0][:2], 0], [*boxes[0][2:], 0]], np.float32)
    row = crop_face(picture, corners, corners)
    unknown = np.full((LANDMARKS, 3), np.nan, np.float32)
    nothing = dict(points=unknown, mirror=unknown, found=False)
    return row and row | nothing | dict(scores=np.full(52, np.nan, np.float32), score_names=None)


def label_part(job: tuple[list[tuple[str, bytes]], str, dict], task: Path) -> list[dict]:
    """Label one share of a tar's pictures: (members, tar name, boxes by member) -> rows."""
    members, source, boxes = job
    rows = []
    cv2.setNumThreads(1)
    with open_landmarker(task) as landmarker:
        for member, encoded in members:
            row = label_picture(landmarker, decode_picture(encoded), boxes.get(member, []))
            if row is None:
                continue
            split, name = member.removesuffix(".webp").split("/", 1)
            held_out = split == "val" or bool(HELD_OUT.match(name))
            rows.append(row | dict(name=name, source=source, val=held_out))
            rows[-1]["person"] = f"{source}/{person_of(name)}"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", type=Path, required=True, help="face_landmarker.task")
    parser.add_argument("--tars", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=mp.cpu_count())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)

    rows, pictures = [], 0
    with mp.get_context("spawn").Pool(args.processes) as pool:
        for tar in args.tars:
            files = dict(iterate_files(tar))
            boxes = json.loads(files.get("boxes.json", b"{}"))
            members = [item for item in files.items() if item[0].endswith(".webp")]
            pictures += len(members)
            parts = [(members[i : i + 500], tar.stem, boxes) for i in range(0, len(members), 500)]
            for done in pool.imap(partial(label_part, task=args.task), parts):
                rows += done
                log.info("%s: %d faces so far", tar.stem, len(rows))
    log.info("%d of %d pictures hold a face", len(rows), pictures)
    np.save(args.out / "crops.npy", np.stack([r.pop("crop") for r in rows]))
    names = next(r["score_names"] for r in rows if r["found"])
    keys = rows[0].keys() - {"score_names"}
    columns: dict[str, Any] = {key: np.array([r[key] for r in rows]) for key in keys}
    np.savez(args.out / "labels.npz", score_names=np.array(names), **columns)


if __name__ == "__main__":
    main()
