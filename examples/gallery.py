"""The pictures of docs/knobs.md and docs/photo.md: python -m examples.gallery"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from bfm.regions import REGIONS
from bfm.sliders import SHAPES, fitted_as, why_not
from reenactment import Face, Reenactor
from reenactment.knobs import make_transfer, parse_knobs, preset_names
from reenactment.transfer import Transfer
from reenactment.weights import face_of
from Sim3DR import interpolate, rasterise
from utils.image import read_picture
from utils.render import render

ROOT = Path(__file__).resolve().parent.parent
INPUTS, OUTPUT = ROOT / "examples" / "inputs", ROOT / "docs" / "images"
PORTRAIT, SMILE = "mona_lisa.jpg", "astronaut.png"
HEIGHT = 260  # of a picture in a sheet, pixels
STRIP = {
    "wink_left": {"presets": "wink_left"},
    "smile=0.5": {"settings": "smile=0.5"},
    "smile=1": {"settings": "smile=1"},
    "smile=1.5": {"settings": "smile=1.5"},
    "brow_up=0.5": {"settings": "brow_up=0.5"},
    "neutralised": {"neutralise": True},
}
# Sources and targets of photos: no living person's face is shown with another's expression.
PHOTOS = (
    ("astronaut.png", "mona_lisa.jpg"),
    ("astronaut.png", "grace_hopper.jpg"),
    ("astronaut.png", "lady_agnew.jpg"),
    ("grace_hopper.jpg", "la_velata.jpg"),
    ("astronaut.png", "la_velata.jpg"),
    ("mona_lisa.jpg", "lady_agnew.jpg"),
)
TURNED = (("astronaut.png", "girl_with_a_pearl_earring.jpg"),)


class Portrait:
    """A picture, its face, and what knobs make of it."""

    def __init__(self, reenactor: Reenactor, path: Path) -> None:
        self._reenactor = reenactor
        self.img = read_picture(path).bgr
        self.face = reenactor.faces(self.img)[0]

    def photo(self, transfer: Transfer, source: Portrait | None = None) -> np.ndarray:
        """The head with another expression."""
        given = (source.face, source.img) if source else None
        result = self._reenactor.apply(transfer, source.face if source else None, self.face)
        return self.head(
            self._reenactor.render(self.img, result, "photo", targets=self.face, source=given)
        )

    def head(self, picture: np.ndarray) -> np.ndarray:
        """The part of a picture like the portrait where its head is."""
        x0, y0, x1, y1 = (int(value) for value in self.face.roi_box)
        return picture[max(y0, 0) : y1, max(x0, 0) : x1]

    def turned(self, **knobs: object) -> np.ndarray:
        """The head with knobs turned."""
        knob = parse_knobs(**knobs)  # type: ignore[arg-type]
        assert knob is not None
        return self.photo(knob.turn(Transfer(keep=1, gain=0), self._reenactor.sliders))


def mask(reenactor: Reenactor, weights: dict[str, float]) -> np.ndarray:
    """The average face with some weights, lit."""
    rest = face_of({}, reenactor.sliders, reenactor.tddfa.layout.shape_dim, "")
    transfer = Transfer(keep=1, gain=0).adding(reenactor.sliders.rows(weights))
    face = enlarged(reenactor.apply(transfer, None, rest))
    black = np.zeros((2 * HEIGHT, 2 * HEIGHT, 3), np.uint8)
    return render(black, reenactor.vertices([face]), reenactor.tddfa.tri, with_bg_flag=False)


def enlarged(face: Face) -> Face:
    """A face in a picture of 120 pixels, in one of twice `HEIGHT`."""
    return Face(face.frame, [0, 0, 2 * HEIGHT, 2 * HEIGHT], face.pose, face.shape, face.expression,
                correction=face.correction)


def regions(reenactor: Reenactor) -> np.ndarray:
    """The average face, each region in a colour of its own."""
    bfm, side = reenactor.tddfa.bfm, 2 * HEIGHT
    rest = face_of({}, reenactor.sliders, reenactor.tddfa.layout.shape_dim, "")
    vertices = reenactor.vertices([enlarged(rest)])[0]
    hues = (np.arange(len(REGIONS)) * 3 % len(REGIONS) * (180 // len(REGIONS))).astype(np.uint8)
    hsv = np.stack([hues, np.full_like(hues, 190), np.full_like(hues, 255)], axis=1)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0] / 255
    raster = rasterise(vertices.T, bfm.tri, (side, side))
    flat = interpolate(raster, np.ascontiguousarray(bfm.regions.T @ colours, np.float32))
    light = render(np.zeros((side, side, 3), np.uint8), [vertices], bfm.tri, with_bg_flag=False)
    return (flat * (100 + 0.6 * light)).clip(0, 255).astype(np.uint8)


def photos(reenactor: Reenactor, pairs: Sequence[tuple[str, str]], columns: int) -> np.ndarray:
    """Source, target and photo of each pair, so many pairs in a row."""
    names = dict.fromkeys(name for pair in pairs for name in pair)
    portraits = {name: Portrait(reenactor, INPUTS / name) for name in names}
    triples = []
    for names_of_pair in pairs:
        source, target = (portraits[name] for name in names_of_pair)
        shown = source.head(source.img), target.head(target.img), target.photo(Transfer(), source)
        triples.append(np.concatenate(
            [cv2.resize(head, (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA) for head in shown], 1
        ))
    framed = [cv2.copyMakeBorder(t, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
              for t in triples]
    rows = [np.concatenate(framed[i : i + columns], axis=1)
            for i in range(0, len(framed), columns)]
    return np.concatenate(rows)


def sheet(pictures: dict[str, np.ndarray], columns: int) -> np.ndarray:
    """Pictures in rows, each under its name."""
    tiles = []
    for name, picture in pictures.items():
        height, width = picture.shape[:2]
        tile = cv2.resize(picture, (round(width * HEIGHT / height), HEIGHT),
                          interpolation=cv2.INTER_AREA)
        label = np.full((22, tile.shape[1], 3), 255, np.uint8)
        cv2.putText(label, name, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(np.concatenate([label, tile]))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def movements() -> dict[str, dict[str, float]]:
    """Weights that show every movement there is, both sides alike."""
    shown: dict[str, dict[str, float]] = {}
    for shape in SHAPES:
        if why_not(shape) is None:
            base, way = fitted_as(shape)
            name = shape if base.endswith("Side") else base
            shown.setdefault(name, {})[shape] = 1.0
    return shown


def write(name: str, picture: np.ndarray) -> None:
    OUTPUT.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(OUTPUT / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])


def main(inputs: Sequence[str] = (PORTRAIT, SMILE)) -> None:
    reenactor = Reenactor()
    portrait, smile = (Portrait(reenactor, INPUTS / name) for name in inputs)
    strip = {"as painted": portrait.photo(Transfer(keep=1, gain=0))}
    strip.update({name: portrait.turned(**knobs) for name, knobs in STRIP.items()})
    strip["mouth only"] = portrait.photo(make_transfer("mouth"), smile)
    write("knobs.jpg", sheet(strip, 4))
    presets = {name: portrait.turned(presets=name) for name in preset_names()}
    write("presets.jpg", sheet(presets, 4))
    masks = {name: mask(reenactor, weights) for name, weights in movements().items()}
    write("sliders.jpg", sheet(masks, 7))
    write("regions.jpg", regions(reenactor))
    write("photo.jpg", photos(reenactor, PHOTOS, 2))
    write("photo_limits.jpg", photos(reenactor, TURNED, 1))


if __name__ == "__main__":
    main()
