"""Pictures put together from people and backgrounds: the image side of ``compose_scenes``.

Pictures are (H, W, 3) uint8 BGR, masks (H, W) float32 in [0, 1], boxes (4,) ``x1 y1 x2 y2`` in
pixels.  What draws takes a numpy random generator; nothing writes to its inputs.
"""

from dataclasses import dataclass

import cv2
import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class Person:
    """A picture with one face: its soft mask and the box of the face."""

    picture: np.ndarray
    mask: np.ndarray
    box: np.ndarray


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number between `low` and `high`, its logarithm uniformly distributed."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize by area averaging when shrinking, bilinearly when enlarging."""
    shrinks = width < picture.shape[1] or height < picture.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (max(width, 1), max(height, 1)), interpolation=method)


def random_crop(
    rng: Rng, picture: np.ndarray, width: int, height: int, shares: tuple[float, float]
) -> np.ndarray:
    """A random part of a picture, brought to `width` × `height` pixels.

    `shares`: range of the part's size, as a share of the largest part of that aspect ratio.
    """
    full_h, full_w = picture.shape[:2]
    scale = min(full_w / width, full_h / height) * rng.uniform(*shares)
    part_w, part_h = max(int(width * scale), 1), max(int(height * scale), 1)
    x, y = rng.integers(full_w - part_w + 1), rng.integers(full_h - part_h + 1)
    part = picture[y : y + part_h, x : x + part_w]
    return resize(part[:, ::-1] if rng.random() < 0.5 else part, width, height)


def taper_mask(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """Let a mask that is cut off by its picture's edges fade out there, along a wavy line.

    Else the paste would show a straight edge, by which a network could tell that here is a face.
    """
    height, width = mask.shape
    reach = rng.uniform(0.05, 0.14) * max(height, width)
    wave = cv2.resize(
        rng.uniform(0, 0.8, (5, 5)).astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    ).clip(0)  # cubic interpolation undershoots
    to_x = np.minimum(np.arange(width), np.arange(width)[::-1])[None]
    to_y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    depth = np.minimum(to_x, to_y) / reach - wave
    ramp = np.clip(depth, 0, 1)
    return (mask * ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def placement(
    person: Person, face_height: float, centre: np.ndarray, angle: float, flip: bool
) -> np.ndarray:
    """Affine map (2, 3) of a person's pixels that puts the face on a `centre` (2,).

    The face becomes `face_height` pixels tall; `angle` is in radians, clockwise.
    """
    box = person.box
    scale = face_height / (box[3] - box[1])
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    return np.column_stack([linear, centre - linear @ middle])


def warp(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Move a picture or mask by an affine map onto a canvas of `size` (width, height).

    Shrinks by area averaging first, since warping alone would alias.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.7:
        height, width = picture.shape[:2]
        small = resize(picture, round(width * scale), round(height * scale))
        ratio = np.diag([width / small.shape[1], height / small.shape[0]])
        picture, matrix = small, np.column_stack([matrix[:, :2] @ ratio, matrix[:, 2]])
    edge = cv2.BORDER_REPLICATE if picture.ndim == 3 else cv2.BORDER_CONSTANT
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=edge)


def with_visibility(box: np.ndarray, frame: tuple[float, float, float, float]) -> np.ndarray:
    """The part of a box (4,) inside a frame, and the share of the box that this is: (5,)."""
    part = np.concatenate(
        [np.clip(box[:2], frame[:2], frame[2:]), np.clip(box[2:4], frame[:2], frame[2:])]
    )
    return np.append(part, (part[2:] - part[:2]).prod() / (box[2:4] - box[:2]).prod())


def moved_box(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The box of the same proportions around the moved centre (the detector refines it)."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    centre = matrix @ [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1]
    half = scale * (box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half])


def tone(rng: Rng, picture: np.ndarray, strength: float) -> np.ndarray:
    """Random gain per channel, contrast and gamma; `strength` 0 changes nothing."""
    levels = np.arange(256)[:, None] / 255
    gains = np.exp(strength * rng.normal(0, [0.12, 0.12, 0.12])) * np.exp(
        strength * rng.normal(0, 0.15)
    )
    gamma = np.exp(strength * rng.normal(0, 0.25))
    offset = strength * rng.normal(0, 0.06)
    curves = np.clip(levels**gamma * gains + offset, 0, 1) * 255
    return cv2.LUT(picture, curves.astype(np.uint8).reshape(256, 1, 3))


def match_tone(rng: Rng, picture: np.ndarray, mask: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    """Pull the masked picture's mean colour a random part of the way towards the canvas's."""
    inside = mask[::4, ::4] > 0.5  # every fourth pixel is enough for a mean
    if not inside.any():
        return picture
    shift = rng.uniform(0, 0.5) * (
        canvas[::4, ::4][inside].mean(0) - picture[::4, ::4][inside].mean(0)
    )
    curves = np.clip(np.arange(256)[:, None] + shift.clip(-50, 50), 0, 255)
    return cv2.LUT(picture, curves.astype(np.uint8).reshape(256, 1, 3))


def blend(canvas: np.ndarray, picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture over the canvas where the mask is 1."""
    return cv2.blendLinear(
        picture, canvas, np.ascontiguousarray(mask), np.ascontiguousarray(1 - mask)
    )


def shuffle_face(rng: Rng, person: Person, cells: int = 3) -> np.ndarray:
    """The person's picture with the face cut into cells that change places: skin, but no face."""
    height, width = person.picture.shape[:2]
    x1, y1, x2, y2 = np.clip(person.box, 0, [width, height, width, height]).astype(int)
    cell_w, cell_h = (x2 - x1) // cells, (y2 - y1) // cells
    shuffled = person.picture.copy()
    corners = [(x1 + i * cell_w, y1 + j * cell_h) for j in range(cells) for i in range(cells)]
    order = (np.arange(len(corners)) + rng.integers(1, len(corners))) % len(corners)
    for (to_x, to_y), source in zip(corners, order):
        from_x, from_y = corners[source]
        cell = person.picture[from_y : from_y + cell_h, from_x : from_x + cell_w]
        shuffled[to_y : to_y + cell_h, to_x : to_x + cell_w] = (
            cell[::-1] if rng.random() < 0.5 else cell
        )
    return cv2.GaussianBlur(shuffled, (0, 0), rng.uniform(0.5, 3))


def degrade(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """What a whole picture suffers: tone, grey, blur, noise, in random strength."""
    picture = tone(rng, picture, rng.uniform(0, 1))
    if rng.random() < 0.12:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), log_uniform(rng, 0.4, 2.0))
    if rng.random() < 0.3:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(log_uniform(rng, 1, 12))
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return picture
