"""What is no face: backgrounds, and pieces of scenes for the regressor's "how sure"."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from training.pictures import decode_picture, iterate_files, iterate_pictures

SIDE = 144  # of a piece, pixels


def load_scenes(tar: Path, side: int = 256) -> np.ndarray:
    """(k, side, side, 3) uint8 training background pictures."""
    pictures = (p for name, p in iterate_pictures(tar) if name.startswith("train/"))
    return np.stack([cv2.resize(p, (side, side)) for p in pictures if p is not None])


def load_nothing(tars: list[Path], split: str = "train", seed: int = 0) -> np.ndarray:
    """(k, 144, 144, 3) uint8 squares of scenes, two of each picture.

    Of a tar with boxes.json only pictures with boxes count, and only squares that touch none:
    bodies, hands, clothes and things are what a detector mistakes for faces.
    """
    rng, pieces = np.random.default_rng(seed), []
    for tar in tars:
        files = dict(iterate_files(tar))
        boxes = json.loads(files["boxes.json"]) if "boxes.json" in files else None
        for name, data in files.items():
            if not name.startswith(f"{split}/") or (boxes is not None and name not in boxes):
                continue
            taken = np.array((boxes or {}).get(name, []), float).reshape(-1, 4)
            picture = decode_picture(data)
            pieces += [p for p in (piece(picture, taken, rng) for _ in range(2)) if p is not None]
    return np.stack(pieces)


def piece(picture: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A random square of a picture (h, w, 3) off the boxes (k, 4); None if none is soon found."""
    height, width = picture.shape[:2]
    for _ in range(8):
        side = int(min(height, width) * rng.uniform(0.12, 0.6))
        x, y = rng.integers(0, width - side), rng.integers(0, height - side)
        corner = np.array([x, y])
        apart = (taken[:, :2] > corner + side) | (taken[:, 2:] < corner)
        if apart.any(1).all() and side >= 32:
            return cv2.resize(picture[y : y + side, x : x + side], (SIDE, SIDE))
    return None
