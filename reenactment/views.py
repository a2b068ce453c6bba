"""What can be made of a scene: the kinds of output, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import cv2
import numpy as np

from reenactment.faces import Face
from reenactment.parts import Film, Lines, Numbered, Part, Rows, Setting, is_numbered
from reenactment.scene import Driver, Look, Scene
from reenactment.weights import TEXTS, describe, facs
from utils.depth import depth
from utils.draw import draw_dense, draw_face
from utils.image import SUFFIXES, encode_image, show_image
from utils.metadata import Metadata
from utils.pncc import pncc
from utils.pose import viz_pose
from utils.render import canvas_of, render, render_mask
from utils.serialization import encode_obj, encode_ply
from utils.sinks.forms import FORMS
from utils.uv import uv_tex

Output = Union[np.ndarray, bytes]
# The scene, how to draw it, and the array to draw into, where a view can: by default a new one.
Compose = Callable[[Scene, Look, Optional[np.ndarray]], Any]

PANEL_SIZE = 480  # side of each of the panel's pictures, pixels
_PANEL_FILL = 0.92
_LABEL_HEIGHT = 36


@dataclass(frozen=True)
class Medium:
    """What a kind of output is kept in.

    suffixes : the endings of files that can hold it, the default one first.
    clips : of those that can hold it over time; part : what makes one.
    comment : gives what a video's metadata are to say.
    encode : (output, ending, what `utils.image.encode_image` takes) to a file's content.
    show : opens a window with it, if it can be shown.
    """

    suffixes: tuple[str, ...]
    encode: Callable[..., bytes]
    show: Callable[[Any], None]
    clips: tuple[str, ...] = ()
    part: Callable[[Setting], Part] = Numbered
    comment: Callable[[], str] = str

    def suffixes_of(self, moving: bool) -> tuple[str, ...]:
        """The endings of files that can hold it, or that can hold it over time."""
        return self.clips if moving else self.suffixes

    def holds(self, path: str, moving: bool) -> bool:
        """Whether a file of that name can; over time, numbered ones can that hold it once."""
        once = not moving or is_numbered(path)
        return Path(path).suffix.lower() in (self.suffixes if once else self.clips)


def document(suffix: str) -> Medium:
    """The medium of outputs that are a file's content already."""
    return Medium((suffix,), lambda content, *_, **__: content, lambda _: None)


def _encode_weights(described: Any, suffix: str, *_: Any, **__: Any) -> bytes:
    return TEXTS[suffix.lower()].encode(described)


def _encode_photo(
    img: np.ndarray, suffix: str, quality: int | None = None, metadata: Metadata | None = None
) -> bytes:
    """A changed photo says so in its metadata, wherever the format holds them."""
    from reenactment.mark import marked

    return encode_image(img, suffix, quality, marked(metadata or Metadata()))


def _comment_on_photos() -> str:
    from reenactment.mark import COMMENT

    return COMMENT


def _encode_track(faces: Sequence[Face], suffix: str, *_: Any, **__: Any) -> bytes:
    from reenactment.track import tracks_of
    from reenactment.track_file import encode_tracks

    return encode_tracks(suffix.lower(), tracks_of(faces))


def _document_of_rows(
    suffixes: tuple[str, ...], encode: Callable[..., bytes], part: Callable[[Setting], Part]
) -> Medium:
    return Medium(suffixes, encode, lambda _: None, suffixes, part)


def _weights(*suffixes: str) -> Medium:
    return _document_of_rows(suffixes, _encode_weights, lambda setting: Lines(setting, TEXTS))


PICTURE = Medium(tuple(SUFFIXES), encode_image, show_image, tuple(FORMS), Film)
PHOTO = replace(PICTURE, encode=_encode_photo, comment=_comment_on_photos)
TRANSPARENT_PICTURE = Medium(
    (".png", ".webp", ".tif", ".tiff"), encode_image, show_image,
    tuple(suffix for suffix, form in FORMS.items() if form.clear_pixels), Film,
)


@dataclass(frozen=True)
class View:
    """A kind of output: what it shows, how it is composed, and what can hold it.

    of_faces_alone : whether it can do without the pixels of the frame.
    """

    summary: str
    draw: Compose
    medium: Medium = PICTURE
    of_faces_alone: bool = False

    def compose(self, scene: Scene, look: Look, out: np.ndarray | None = None) -> Any:
        """Make the output of a scene.

        Parameters
        ----------
        out (H, W, 3) uint8 : what views that draw over the frame may draw into, say the frame
            itself; by default a new picture.
        """
        return self.draw(scene, look, out)


def _mask(scene: Scene, look: Look, out: np.ndarray | None) -> np.ndarray:
    return render(scene.img, scene.after, scene.tddfa.tri, look.alpha,
                  with_bg_flag=look.over_picture, out=out)


def _photo(scene: Scene, look: Look, out: np.ndarray | None) -> np.ndarray:
    """The frame as its file has it, or the one to draw into, with its faces changed."""
    from reenactment.photo import Photographer, Posed, Source

    def posed(face: Face) -> Posed:
        return Posed.of(face.parts, face.roi_box, scene.tddfa.size)

    def seen(driver: Driver) -> Source | None:
        return Source(posed(driver.face), driver.sight()) if driver.face else None

    def awake(targets: Sequence[Face]) -> Callable[[int], Source | None]:
        return lambda place: seen(scene.awake(targets[place]))

    photographer = scene.tddfa.bfm.kept(Photographer, look.photo_eyes)
    img = scene.img if out is not None or scene.original is None else scene.original()
    for driver, targets, results in scene.by_driver() or [(Driver(), [], [])]:
        source = seen(driver)
        after = [posed(_as_given(result, driver.face)) for result in results]
        img = photographer(img, [*map(posed, targets)], after, source, out, awake(targets))
    return img


def _as_given(result: Face, source: Face | None) -> Face:
    """A result without its correction where it wears just what the source does.

    Knowing the source, the photo finds where lids and lips go by itself.
    """
    same = source is not None and np.array_equal(result.expression, source.expression)
    return replace(result, correction=None) if same else result


def _landmarks(scene: Scene, _: Look, out: np.ndarray | None) -> np.ndarray:
    canvas = canvas_of(scene.img, out=out)
    for points in scene.landmarks:
        draw_face(canvas, points)
    return canvas


def _vertices(scene: Scene, _: Look, out: np.ndarray | None) -> np.ndarray:
    canvas = canvas_of(scene.img, out=out)
    for points in scene.after:
        draw_dense(canvas, points)
    return canvas


def _panel(scene: Scene, look: Look, _: np.ndarray | None) -> np.ndarray:
    """A row for every target: the masks of source, target and result, each in a labelled square,
    and the photo, where it is wanted."""
    photo = _photo(replace(scene, original=None), look, None) if look.photo_in_panel else None
    rows = []
    for driver, targets, results in scene.by_driver():
        source = [_square(scene, driver.face, "source")] if driver.face else []
        for target, result in zip(targets, results):
            shown = (target, "target"), (result, "reenacted")
            squares = [*source, *(_square(scene, face, label) for face, label in shown)]
            if photo is not None:
                squares.append(_captioned(_cut_out(photo, scene.dense(result)), "photo"))
            rows.append(np.concatenate(squares, axis=1))
    return np.concatenate(rows) if rows else np.zeros((0, 0, 3), np.uint8)


def _square(scene: Scene, face: Face, label: str) -> np.ndarray:
    """A face's mask on black, scaled to fill a square, over a line of text."""
    vertices = scene.dense(face)
    scale, shift = _into_square(vertices)
    moved = vertices * scale
    moved[:2] += shift[:, None]
    black = np.zeros((PANEL_SIZE, PANEL_SIZE, 3), np.uint8)
    return _captioned(render(black, [moved], scene.tddfa.tri, with_bg_flag=False), label)


def _into_square(vertices: np.ndarray) -> tuple[float, np.ndarray]:
    """The scale, and then the shift (2,), pixels, that make vertices (3, N) fill a square."""
    low, high = vertices[:2].min(axis=1), vertices[:2].max(axis=1)
    scale = _PANEL_FILL * PANEL_SIZE / max(float((high - low).max()), 1.0)
    return scale, PANEL_SIZE / 2 - scale * (low + high) / 2


def _cut_out(img: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The part of a picture that shows a face (3, N), as its mask lies in a square."""
    scale, shift = _into_square(vertices)
    smaller = min(scale, 1.0)
    if smaller < 1:
        size = [max(1, round(smaller * side)) for side in (img.shape[1], img.shape[0])]
        img = cv2.resize(img, size, interpolation=cv2.INTER_AREA)
    matrix = np.column_stack([scale / smaller * np.eye(2), shift])
    return cv2.warpAffine(img, matrix, (PANEL_SIZE, PANEL_SIZE), flags=cv2.INTER_CUBIC)


def _captioned(square: np.ndarray, label: str) -> np.ndarray:
    caption = np.zeros((_LABEL_HEIGHT, PANEL_SIZE, 3), np.uint8)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.8
    (width, _), _ = cv2.getTextSize(label, font, size, 1)
    origin = ((PANEL_SIZE - width) // 2, _LABEL_HEIGHT - 12)
    cv2.putText(caption, label, origin, font, size, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([square, caption])


VIEWS = {
    "3d": View("the lit mask over the target", _mask),
    "photo": View("the target's own picture, with the new expression", _photo, PHOTO),
    "panel": View("masks of source, target and result side by side, and a photo made, too", _panel),
    "mask": View(
        "the mask alone on a transparent picture",
        lambda s, *_: render_mask(s.img, s.after, s.tddfa.tri),
        TRANSPARENT_PICTURE,
    ),
    "2d_sparse": View("the 68 landmarks", _landmarks),
    "2d_dense": View("all vertices", _vertices),
    "depth": View(
        "the depth map",
        lambda s, look, _: depth(s.img, s.after, s.tddfa.tri, with_bg_flag=look.over_picture),
    ),
    "pncc": View(
        "the projected normalised coordinate code",
        lambda s, look, _: pncc(
            s.img, s.after, s.tddfa.tri, with_bg_flag=look.over_picture, ncc=s.tddfa.bfm.ncc
        ),
    ),
    "uv_tex": View(
        "the target's texture, unwrapped",
        lambda s, *_: uv_tex(
            s.img, s.before, s.tddfa.tri, raster=s.tddfa.bfm.texture_raster(256, 256)
        ),
    ),
    "pose": View(
        "a box that shows the head's pose",
        lambda s, *_: viz_pose(s.img, [face.pose.ravel() for face in s.results], s.landmarks),
    ),
    "ply": View(
        "the mesh",
        lambda s, *_: encode_ply(s.after, s.tddfa.tri, s.img.shape[0]),
        document(".ply"),
    ),
    "obj": View(
        "the mesh, with the target's colours",
        lambda s, *_: encode_obj(s.img, s.after, s.tddfa.tri, s.img.shape[0], seen=s.before),
        document(".obj"),
    ),
    "arkit": View(
        "ARKit's 52 weights as .json, or .csv as Live Link Face has it",
        lambda s, *_: describe(s.results, s.tddfa.bfm),
        _weights(".json", ".csv"),
        of_faces_alone=True,
    ),
    "track": View(
        "the faces through time: pose, shape and expression as .npz, .json or .csv",
        lambda s, *_: s.results,
        _document_of_rows((".npz", ".json", ".csv"), _encode_track, Rows),
        of_faces_alone=True,
    ),
    "facs": View(
        "intensities of action units",
        lambda s, *_: facs(describe(s.results, s.tddfa.bfm)),
        _weights(".json"),
        of_faces_alone=True,
    ),
}
