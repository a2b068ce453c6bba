"""Label the training pictures: MediaPipe's 478 landmarks and a roomy face crop of each.

    python -m training.regressor.label --tars lfw_imfdb.tar utkface.tar portraits.tar --out LABELS

Needs ``mediapipe==0.10.21`` (its models are inside the wheel), OpenCV and numpy; no torch.
Every picture with one findable face gives a row of

    crops.npy      (n, 192, 192, 3) uint8 BGR, black outside the picture
    labels.npz     points (n, 478, 3) float32  landmarks in crop pixels; z: smaller is nearer
                   mirror (n, 478, 3) float32  those found in the mirrored picture, mirrored back:
                                               row i lies about where the opposite of i is
                   inside (n, 4) float32       x0 y0 x1 y1 of the picture in crop pixels
                   scale  (n,) float32         crop pixels per picture pixel
                   name, person, source, val   of the picture; source: tar; val: held out

Pixel coordinates have their origin at the centre of the top-left pixel, y down.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing as mp
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.pictures import decode_picture, iterate_files

CROP = 192  # side of a stored crop, pixels
EXTENT = 2.0  # side of a stored crop over the landmarks' extent; the network's ROI is about 1.5
PAD = 0.25  # border added on each side before detection: tight crops confuse the detector
MIN_FACE = 24  # smallest landmark extent to keep, picture pixels

log = logging.getLogger(__name__)


def person_of(name: str) -> str:
    """Name of the person if the picture's tells it (``First_Last_0001``), else the picture's."""
    match = re.fullmatch(r"(.+?)_\d{4}", name)
    return match.group(1) if match and not name[0].isdigit() else name


def detect(mesh: Any, picture: np.ndarray) -> np.ndarray | None:
    """MediaPipe landmarks of the best face.

    picture: (h, w, 3) uint8 BGR. Returns (478, 3) float32 in picture pixels, or None.
    The landmarks are relative to the picture's extent (0 is the outer edge of the first pixel),
    hence the −0.5.
    """
    h, w = picture.shape[:2]
    py, px = int(PAD * h), int(PAD * w)
    padded = cv2.copyMakeBorder(picture, py, py, px, px, cv2.BORDER_CONSTANT)
    faces = mesh.process(cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)).multi_face_landmarks
    if not faces:
        return None
    unit = np.array([[p.x, p.y, p.z] for p in faces[0].landmark], np.float32)
    size = np.array([padded.shape[1], padded.shape[0], padded.shape[1]], np.float32)
    return unit * size - np.array([px + 0.5, py + 0.5, 0], np.float32)


def detect_twice(mesh: Any, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """``detect`` on the picture and on its mirror image (x mirrored back): two (478, 3) arrays, or
    None."""
    points, mirror = detect(mesh, picture), detect(mesh, np.ascontiguousarray(picture[:, ::-1]))
    if points is None or mirror is None:
        return None
    mirror[:, 0] = picture.shape[1] - 1 - mirror[:, 0]
    return points, mirror


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


def label_part(job: tuple[list[tuple[str, bytes]], str]) -> list[dict]:
    """Label one share of a tar's pictures: (members, tar name) -> rows."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    members, source = job
    rows = []
    cv2.setNumThreads(1)
    with FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True) as mesh:
        for member, encoded in members:
            picture = decode_picture(encoded)
            found = detect_twice(mesh, picture) if picture is not None else None
            row = crop_face(picture, *found) if picture is not None and found else None
            if row is None:
                continue
            split, name = member.removesuffix(".webp").split("/", 1)
            rows.append(row | dict(name=name, source=source, val=split == "val"))
            rows[-1]["person"] = f"{source}/{person_of(name)}"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tars", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=mp.cpu_count())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)

    rows, pictures = [], 0
    with mp.get_context("spawn").Pool(args.processes) as pool:
        for tar in args.tars:
            members = [m for m in iterate_files(tar) if m[0].endswith(".webp")]
            pictures += len(members)
            parts = [(members[i : i + 500], tar.stem) for i in range(0, len(members), 500)]
            for done in pool.imap(label_part, parts):
                rows += done
                log.info("%s: %d faces so far", tar.stem, len(rows))
    log.info("%d of %d pictures hold a face", len(rows), pictures)
    np.save(args.out / "crops.npy", np.stack([r.pop("crop") for r in rows]))
    columns: dict[str, Any] = {key: np.array([r[key] for r in rows]) for key in rows[0]}
    np.savez(args.out / "labels.npz", **columns)


if __name__ == "__main__":
    main()
