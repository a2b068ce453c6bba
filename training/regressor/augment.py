"""Augmentation: a random ROI around a labelled face, its pose moved along, and degradations.

Frames: *stored crop* (192 × 192 pixels, y down), *plane* (the same, y up as −y), *ROI* (pixels of
the network's 120 × 120 input, y down) and the network's own (y up, with the original's −1 offsets,
see ``pose_in_roi``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from training.regressor.geometry import CROP

SIZE = 120


@dataclass(frozen=True)
class AugmentConfig:
    """Spread of the ROI (relative to its side) and probabilities of the degradations."""

    roi_scale: float = 0.10  # standard deviation of the log of the side
    roi_shift: float = 0.035  # that of the centre, sides
    roll: float = 10.0  # degrees, standard deviation of the usual roll
    roll_wide: float = 45.0  # limit of the wide roll
    p_roll_wide: float = 0.35
    p_background: float = 0.5  # fill the outside of a tight picture instead of leaving it black
    p_occluder: float = 0.12
    p_coarse: float = 0.25  # low resolution or blur
    p_grey: float = 0.2
    p_noise: float = 0.2
    p_jpeg: float = 0.15
    p_nothing: float = 0.05  # no face at all

    def eased(self, share: float) -> AugmentConfig:
        """With occluders and degradations ``share`` times as often."""
        names = ("p_occluder", "p_coarse", "p_grey", "p_noise", "p_jpeg")
        return replace(self, **{name: share * getattr(self, name) for name in names})


def roi_matrix(roi: np.ndarray, roll: float) -> np.ndarray:
    """(2, 3) affine from stored-crop pixels to ROI pixels.

    roi: (3,) centre x, centre y (plane, y up) and side of the ROI in stored-crop pixels; roll:
    degrees by which the picture turns, counter-clockwise as seen. Pixel centres are integers in
    both frames.
    """
    gain, angle = SIZE / roi[2], np.deg2rad(roll)
    turn = gain * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, (SIZE - 1) / 2 - turn @ np.array([roi[0], -roi[1]])])


def network_matrix(matrix: np.ndarray, pixel: float) -> np.ndarray:
    """(3, 4) affine from the plane (x, y up, z) to the network's frame.

    matrix: of ``roi_matrix``; pixel: original picture pixels per ROI pixel, which enters because
    the original turns a parameter x into (x − 1)·pixel + left edge of the ROI, while resizing puts
    ROI pixel i at (i + ½)·pixel − ½.
    """
    (a, b, c), (d, e, f) = matrix
    z = np.hypot(a, b)
    half = 0.5 - 0.5 / pixel
    return np.array(
        [[a, -b, 0, c + 1 + half], [-d, e, 0, SIZE - half - f], [0, 0, z, 0]], np.float32
    )


def pose_in_roi(to_network: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(3, 4) pose onto the plane -> (3, 4) pose in the network's frame."""
    moved = to_network[:, :3] @ pose
    moved[:, 3] += to_network[:, 3]
    return moved


class Degrader:
    """Cheap augmentations of uint8 BGR pictures; ``scenes`` (k, s, s, 3) are backgrounds."""

    def __init__(self, config: AugmentConfig, scenes: np.ndarray, seed: int) -> None:
        self.config, self.scenes = config, scenes
        self.rng = np.random.default_rng(seed)
        self.noise = self.rng.normal(0, 1, (16, SIZE, SIZE, 3)).astype(np.float32)

    def chance(self, p: float) -> bool:
        """True with probability ``p``."""
        return self.rng.random() < p

    def scene(self, height: int, width: int) -> np.ndarray:
        """A (height, width, 3) piece of a background picture."""
        source = self.scenes[self.rng.integers(len(self.scenes))]
        y, x = self.rng.integers(0, source.shape[0] // 2, 2)
        return cv2.resize(
            source[y : y + source.shape[0] // 2, x : x + source.shape[1] // 2], (width, height)
        )

    def fill_outside(self, crop: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Put mirrored picture, stretched border or a scene where the picture (rectangle
        ``inside``) ends."""
        x0, y0 = np.ceil(np.maximum(inside[:2], 0) + 0.5).astype(int)
        x1, y1 = np.floor(np.minimum(inside[2:], CROP - 1) + 0.5).astype(int)
        border = (y0, CROP - y1, x0, CROP - x1)
        if max(border) <= 1:
            return crop
        kind = self.rng.integers(4)
        if kind < 2:
            how = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)[kind]
            return cv2.copyMakeBorder(crop[y0:y1, x0:x1], *border, how)
        filled = self.scene(CROP, CROP)
        filled[y0:y1, x0:x1] = crop[y0:y1, x0:x1]
        return filled

    def occlude(self, picture: np.ndarray) -> None:
        """Cover up to a third of the ROI's width and height, in place, by a scene or a colour."""
        w, h = self.rng.integers(12, 44, 2)
        x, y = self.rng.integers(0, SIZE - w), self.rng.integers(0, SIZE - h)
        patch = (
            self.scene(h, w)
            if self.chance(0.5)
            else np.full((h, w, 3), self.rng.integers(0, 256, 3), np.uint8)
        )
        region = picture[y : y + h, x : x + w]
        v, u = np.ogrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
        corner = 1.0 if self.chance(0.6) else 2.0  # an ellipse or the whole rectangle
        np.copyto(region, patch, where=(u**2 + v**2 <= corner)[..., None])

    def coarsen(self, picture: np.ndarray) -> np.ndarray:
        """Low resolution, Gaussian blur or motion blur."""
        kind = self.rng.integers(3)
        if kind == 0:
            small = int(self.rng.integers(36, 90))
            return cv2.resize(
                cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), (SIZE, SIZE)
            )
        if kind == 1:
            return cv2.GaussianBlur(picture, (0, 0), self.rng.uniform(0.5, 1.6))
        length = int(self.rng.integers(3, 7))
        return cv2.blur(picture, (length, 1) if self.chance(0.5) else (1, length))

    def recolour(self, picture: np.ndarray) -> np.ndarray:
        """Contrast, brightness, gamma and white balance by look-up tables; sometimes grey."""
        if self.chance(self.config.p_grey):
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        ramp = np.linspace(0, 1, 256)[:, None] ** np.exp(self.rng.normal(0, 0.25))
        gain = np.exp(self.rng.normal(0, 0.2) + self.rng.normal(0, 0.06, 3))
        table = (ramp - 0.5) * gain + 0.5 + self.rng.normal(0, 0.1)
        return cv2.LUT(picture, np.clip(table * 255, 0, 255).astype(np.uint8)[None])

    def degrade(self, picture: np.ndarray) -> np.ndarray:
        """All degradations of a (120, 120, 3) ROI."""
        config = self.config
        if self.chance(config.p_occluder):
            self.occlude(picture)
        picture = self.recolour(picture)
        if self.chance(config.p_coarse):
            picture = self.coarsen(picture)
        if self.chance(config.p_noise):
            noise = self.noise[self.rng.integers(16)] * self.rng.uniform(3, 14)
            picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        if self.chance(config.p_jpeg):
            quality = int(self.rng.integers(25, 80))
            _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        return picture

    def random_roi(self, roi: np.ndarray, spread: float = 1.0) -> tuple[np.ndarray, float]:
        """(3,) ROI, jittered ``spread`` times as much as usual, and a roll in degrees."""
        c = self.config
        side = roi[2] * np.exp(self.rng.normal(0, spread * c.roi_scale))
        centre = roi[:2] + roi[2] * self.rng.normal(0, spread * c.roi_shift, 2)
        wide = self.chance(c.p_roll_wide)
        return np.array([*centre, side]), self.rng.uniform(
            -c.roll_wide, c.roll_wide
        ) if wide else self.rng.normal(0, c.roll)
