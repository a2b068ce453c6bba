"""From a picture to the faces in it, and from faces to vertices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bfm.params import FaceParams
from bfm.sliders import SHAPES, Sliders
from FaceBoxes import FaceBoxes
from FaceBoxes.tiles import find_in_tiles
from FaceBoxes.turned import Upright, find_upright
from reenactment.faces import (
    DEFAULT_CHOICE,
    Box,
    Face,
    FrameInfo,
    choose_faces,
    is_usable,
    sort_faces,
    turned_back,
)
from reenactment.openings import Openings
from reenactment.scene import Driver, Look, Scene
from reenactment.transfer import Transfer
from reenactment.views import VIEWS, Output
from TDDFA import TDDFA
from utils.config import TDDFAConfig, load_config
from utils.errors import NoFaceError
from utils.image import Picture, read_picture
from utils.io import PathLike

DEFAULT_CONFIG = "configs/reenact_mb1_120x120.yml"


class Found(NamedTuple):
    """The faces picked in a picture: which they are, from the left and from 1 on, and of how many.

    A face that is there without a search, as in a parameter file, has no numbers.

    quarters : counter-clockwise quarter turns in which the picture showed faces; see `Upright`.
    """

    faces: list[Face]
    numbers: tuple[int, ...] = ()
    total: int = 1
    quarters: int = 0

    def check_sure(self, minimum: float, image: str) -> None:
        """Refuse faces that the network is less sure of than `minimum`, where it can tell.

        Raises
        ------
        NoFaceError : names the picture, and how sure it is.
        """
        for number, face in zip(self.numbers, self.faces):
            if face.confidence is not None and face.confidence < minimum:
                raise NoFaceError(
                    f"face {number} of {image} is too uncertain: its confidence is "
                    f"{face.confidence:.2f}, and at least {minimum:g} is asked for"
                )

    @classmethod
    def of(cls, faces: list[Face], seen: Upright, picked: Sequence[int]) -> Found:
        """The faces of the boxes that were `picked`."""
        left_to_right = sort_faces(seen.boxes, "left-right")
        numbers = tuple(1 + left_to_right.index(i) for i in picked)
        return cls(faces, numbers, len(seen.boxes), seen.quarters)


class Seen(NamedTuple):
    """A picture that was read, and the faces picked in it."""

    picture: Picture
    found: Found


class Reenactor:
    """The detector and the regressor of a config, and what they make of pictures.

        reenactor = Reenactor()
        (smiling,), (calm,) = reenactor.faces(a), reenactor.faces(b)
        picture = reenactor.render(b, reenactor.transfer(smiling, calm))

    Pictures are (H, W, 3) uint8 BGR, as OpenCV reads them, and are left as they are.

    Parameters
    ----------
    config : a YAML file, or the keys of `utils.config.TDDFAConfig`.
    assets : a 3DDFA_V2 checkout to look for files in; see `utils.assets`.

    Attributes
    ----------
    tddfa : the regressor and the 3DMM; face_boxes : the detector.
    config : the keys as they were given.

    Raises
    ------
    UsageError : a bad configuration; AssetError : a missing or damaged file.
    """

    def __init__(
        self, config: PathLike | dict[str, Any] = DEFAULT_CONFIG, assets: PathLike | None = None
    ) -> None:
        self.config = config if isinstance(config, dict) else load_config(config, assets)
        self.tddfa = TDDFA(assets=assets, **self.config)
        checked = self.tddfa.config
        self.face_boxes = FaceBoxes(
            weights_fp=checked.detector_fp,
            engine=checked.engine,
            gpu_mode=checked.gpu_mode,
            gpu_id=checked.gpu_id,
            assets=assets,
        )

    def detect(self, img: np.ndarray) -> list[Box]:
        """The boxes of all faces that a crop can be made of, best score first."""
        return [box for box in self.face_boxes(img) if is_usable(box)]

    def glance(self, img: np.ndarray) -> list[Box]:
        """The same, of large faces alone; see `FaceBoxes.glance`."""
        return [box for box in self.face_boxes.glance(img) if is_usable(box)]

    def search(self, img: np.ndarray) -> Upright:
        """The same, where none shows in the picture turned by quarters, or else in its parts."""
        seen = find_upright(self.detect, img)
        return seen if seen.boxes else Upright(0, find_in_tiles(self.detect, img))

    def regress_picked(
        self,
        img: np.ndarray,
        seen: Upright,
        picked: Sequence[int],
        frame: FrameInfo | None = None,
    ) -> list[Face]:
        """The faces of some of the boxes of a `search`, as they lie in the picture."""
        frame, boxes = frame or FrameInfo.of(img), [seen.boxes[i] for i in picked]
        if not seen.quarters:
            return self.regress(img, boxes, frame)
        upright = np.ascontiguousarray(np.rot90(img, seen.quarters))
        size, crop = upright.shape[:2], self.tddfa.size
        return [
            turned_back(face, size, seen.quarters, crop)
            for face in self.regress(upright, boxes, frame)
        ]

    def regress(
        self,
        img: np.ndarray,
        places: Sequence[Any],
        frame: FrameInfo | None = None,
        crop_policy: str = "box",
    ) -> list[Face]:
        """The faces at some places of a picture, in one call of the network.

        Parameters
        ----------
        places : boxes, or vertices (2 or 3, n) for `crop_policy` 'landmark'; see `TDDFA`.
        """
        frame = frame or FrameInfo.of(img)
        told = self.tddfa.regress(img, places, crop_policy)
        faces = []
        for number, place in enumerate(places):
            pose, shape, expression = self.tddfa.layout.split(told.params[number])
            box = place if crop_policy == "box" else None
            scores = None if told.scores is None else self._in_order(told.scores[number])
            error = None if told.error is None else float(told.error[number])
            faces.append(Face(frame, told.roi_boxes[number], pose, shape, expression[None], box,
                              scores=scores, error=error))
        return faces

    def _in_order(self, scores: np.ndarray) -> np.ndarray:
        """The network's scores in the order of `bfm.sliders.SHAPES`; 0 where it has none."""
        assert self.tddfa.scores is not None
        by_name = dict(zip(self.tddfa.scores.names, scores))
        return np.array([by_name.get(shape, 0.0) for shape in SHAPES], np.float32)

    def find(
        self, img: np.ndarray, choice: str = DEFAULT_CHOICE, frame: FrameInfo | None = None
    ) -> Found:
        """Search a picture, choose among its faces, and regress the chosen ones.

        Raises
        ------
        NoFaceError : there is no face, or not the one asked for; see `choose_faces`.
        """
        frame = frame or FrameInfo.of(img)
        seen = self.search(img)
        picked = choose_faces(seen.boxes, choice, frame.name or "the picture")
        return Found.of(self.regress_picked(img, seen, picked, frame), seen, picked)

    def look(self, path: PathLike, choice: str = DEFAULT_CHOICE) -> Seen:
        """Read a picture and `find` in it.

        Raises
        ------
        InputError : the file is no picture; NoFaceError : see `find`.
        """
        picture = read_picture(path)
        frame = FrameInfo.of(picture.bgr, os.path.basename(path))
        return Seen(picture, self.find(picture.bgr, choice, frame))

    def faces(self, img: np.ndarray) -> list[Face]:
        """All faces of a picture, from left to right; none is an empty list."""
        seen = self.search(img)
        return self.regress_picked(img, seen, sort_faces(seen.boxes, "left-right"))

    def vertices(self, faces: Sequence[Face]) -> list[np.ndarray]:
        """The dense vertices (3, N) float32 of faces, each in its own picture's pixels."""
        return self.tddfa.reconstruct(*_parts(faces), dense=True)

    def landmarks(self, faces: Sequence[Face]) -> list[np.ndarray]:
        """Their 68 landmarks, (3, 68) float32."""
        return self.tddfa.reconstruct(*_parts(faces), dense=False)

    def transfer(
        self, source: Face, target: Face, gain: float = 1.0, neutral: Face | None = None
    ) -> Face:
        """The target with the source's expression.

        Parameters
        ----------
        gain : the strength of the expression.
        neutral : the source at rest; the transfer is then relative to it.
        """
        transfer = Transfer(gain=gain)
        return self.apply(transfer.from_rest(neutral) if neutral else transfer, source, target)

    def apply(self, transfer: Transfer, source: Face | None, target: Face) -> Face:
        """What any transfer makes of a target, its eyes and lips put right; see `Openings`."""
        result = transfer(source, target)
        if self.openings is None:  # faces as 3DDFA_V2 makes them
            return result
        return self.openings.carry(transfer, source, target, result)

    @cached_property
    def sliders(self) -> Sliders:
        """Expressions by name; raises UsageError for networks that are not ours."""
        return Sliders.load(self.tddfa.layout.exp_dim)

    @cached_property
    def openings(self) -> Openings | None:
        """How far eyes and mouths are open; None with models without lids, such as 3DDFA_V2's."""
        bfm = self.tddfa.bfm
        return None if bfm.lid_moves is None else Openings(bfm, self.sliders.rest)

    def render(
        self,
        img: np.ndarray,
        faces: Face | Sequence[Face],
        view: str = "3d",
        look: Look | None = None,
        targets: Face | Sequence[Face] | None = None,
        source: tuple[Face, np.ndarray] | None = None,
    ) -> Output:
        """Draw faces over the picture that they were found in, as one of the `VIEWS`.

        Parameters
        ----------
        targets : the faces as the picture shows them, where `faces` wear other expressions: 'photo'
            moves the picture from these to those, and colours of meshes are taken there.
        source : the face that gave its expression, and its picture, whose teeth a photo may need.

        Returns
        -------
        A picture, or the content of a file where the view is a document.

        Raises
        ------
        ValueError : another number of targets than of faces, 'photo' without targets, or no view.
        """
        if view not in VIEWS:
            raise ValueError(f"view: expected one of {', '.join(VIEWS)}, got {view!r}")
        results = _listed(faces)
        if view == "photo" and targets is None:
            raise ValueError("targets: 'photo' needs the faces as the picture shows them")
        before = results if targets is None else _listed(targets)
        if len(before) != len(results):
            raise ValueError(f"targets: expected {len(results)}, one a face, got {len(before)}")
        drivers = [Driver(source[0], lambda: source[1])] * len(results) if source else ()
        scene = Scene(self.tddfa, img, before, results, drivers)
        return VIEWS[view].compose(scene, look or Look())


def model_versions(config: TDDFAConfig) -> dict[str, str]:
    """What tells the models of a located config apart from others: 12 digits for each file."""
    files = {
        "regressor": config.weights_fp,
        "mean_std": config.param_mean_std_fp,
        "detector": config.detector_fp,
        "bfm": config.bfm_fp,
    }
    return {
        role: hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
        for role, path in files.items()
        if path
    }


def _listed(faces: Face | Sequence[Face]) -> Sequence[Face]:
    return [faces] if isinstance(faces, Face) else faces


def _parts(faces: Sequence[Face]) -> tuple[list[FaceParams], list[Sequence[float]]]:
    return [face.parts for face in faces], [face.roi_box for face in faces]
