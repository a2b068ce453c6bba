"""The stages of a picture, each alone: detect, regress, reconstruct, draw, encode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import plain
from benchmarks.harness import (
    QUICK,
    Effort,
    Reference,
    Report,
    Row,
    bytes_per_ms,
    main,
    time_in_turn,
)
from benchmarks.scenes import scene
from FaceBoxes import FaceBoxes
from reenactment.reenactor import DEFAULT_CONFIG
from TDDFA import TDDFA
from utils.assets import ASSETS_ENV
from utils.config import load_config
from utils.depth import depth
from utils.errors import ReenactmentError
from utils.render import render
from utils.serialization import encode_obj, encode_ply
from utils.uv import uv_tex

HD, QHD = (1280, 720), (2560, 1440)
FAST_CONFIG = "configs/reenact_mb05_120x120.yml"
UPSTREAM_CONFIG = "configs/mb05_120x120.yml"

Work = Callable[[], object]


class Stages:
    """The models, a face in two sizes, and how to measure a stage with them."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self.bandwidth = bytes_per_ms(effort)
        config = load_config(DEFAULT_CONFIG)
        self.tddfa = TDDFA(**config)
        self.detector_fp: str = config["detector_fp"]
        self.face_boxes = FaceBoxes(weights_fp=self.detector_fp)
        self.img = scene(HD, 300)
        self.box = self.face_boxes(self.img)[0]
        self.param_lst, self.roi_boxes = self.tddfa(self.img, [self.box])
        self.ver_lst = self.tddfa.recon_vers(self.param_lst, self.roi_boxes, dense_flag=True)

    def row(
        self,
        name: str,
        ours: Work,
        yardstick: tuple[str, Work],
        limit: tuple[str, Work | float],
        target: float | None,
        original: float | None,
    ) -> Row:
        """Time ours, the yardstick and the limit, where that is work and no number, in turn."""
        functions = {"ours": ours, "yardstick": yardstick[1]}
        if callable(limit[1]):
            functions["limit"] = limit[1]
        times = time_in_turn(functions, self.effort)
        least = times["limit"] if callable(limit[1]) else [limit[1]]
        return Row(name, "ms", times["ours"], Reference(yardstick[0], times["yardstick"]),
                   Reference(limit[0], least), target, original)

    def moving(self, *sizes: int) -> tuple[str, float]:
        """The limit of moving so many bytes; who needs fewer can do better."""
        return "memory", sum(sizes) / self.bandwidth

    def detection(self) -> list[Row]:
        session = plain.open_graph(self.detector_fp)
        tensor = plain.detector_input(self.img)
        fast = FaceBoxes(weights_fp=self.detector_fp, fast=True)
        yardstick = "plain, full", partial(plain.detect, session, self.img)
        network = "network, full", partial(plain.run, session, tensor)
        return [
            self.row("detect, 720p, default", partial(self.face_boxes, self.img),
                     yardstick, network, 38, 64),
            self.row("detect, 720p, fast=True", partial(fast, self.img),
                     yardstick, network, 14, 64),
        ]

    def regression(self, width: str, config_fp: str, *targets: float | None) -> list[Row]:
        """A network of some width for 1 and for 8 faces; the targets are for those."""
        tddfa = TDDFA(**load_config(config_fp))
        regressor = plain.Regressor(tddfa.config)
        rows = []
        for count, target, original in zip((1, 8), targets, (1.36, None)):
            boxes = [[x + 5 * i for x in self.box[:4]] for i in range(count)]
            crops = np.concatenate([regressor.crop(self.img, box) for box in boxes])
            rows.append(self.row(
                f"regress {width}, {count} face{'s' * (count > 1)}",
                partial(tddfa, self.img, boxes),
                ("one by one", partial(regressor, self.img, boxes)),
                ("network", partial(plain.run, regressor.session, crops)), target,
                original if target else None,
            ))
        return rows

    def reconstruction(self) -> list[Row]:
        bfm, parts = self.tddfa.bfm, self.tddfa.layout.split(self.param_lst[0])
        bases = (np.array(bfm.u), np.array(bfm.w_shp), np.array(bfm.w_exp))
        roi_box, size = self.roi_boxes[0], self.tddfa.size
        ours = partial(self.tddfa.recon_vers, self.param_lst, self.roi_boxes, dense_flag=True)
        pose, shape, expression = parts.pose, parts.shape, parts.expression
        yardstick = partial(plain.reconstruct, bases, (pose, shape, expression), roi_box, size)
        return [self.row("reconstruct, dense", ours, ("numpy", yardstick),
                         self.moving(*(basis.nbytes for basis in bases)), 0.6, 1.58)]

    def drawing(self) -> list[Row]:
        tri, tall = self.tddfa.tri, scene(QHD, 600)
        tall_ver = self.tddfa.recon_vers(
            *self.tddfa(tall, self.face_boxes(tall)[:1]), dense_flag=True
        )
        img, ver_lst = self.img, self.ver_lst
        rows = [
            self.row(f"overlay, {name}", partial(render, picture, vertices, tri),
                     ("numpy, painter", partial(plain.overlay, picture, vertices[0], tri)),
                     self._drawing_limit(picture, vertices[0]), target, original)
            for name, picture, vertices, target, original in (
                ("720p, 300 px", img, ver_lst, 2.5, 9.3),
                ("1440p, 600 px", tall, tall_ver, 6.0, 20.8),
            )
        ]
        uv, raster = self.tddfa.bfm.uv, self.tddfa.bfm.texture_raster(256, 256)
        rows.append(self.row("depth, 720p", partial(depth, img, ver_lst, tri),
                             ("painter", partial(plain.depth, img, ver_lst[0], tri)),
                             self._drawing_limit(img, ver_lst[0]), 2.0, 15.0))
        rows.append(self.row("uv_tex", partial(uv_tex, img, ver_lst, tri, raster=raster),
                             ("painter", partial(plain.uv_tex, img, ver_lst[0], tri, uv)),
                             self.moving(ver_lst[0].nbytes, uv.nbytes, tri.nbytes, 256 * 256 * 3),
                             2.0, 12.8))
        return rows

    def _drawing_limit(self, img: np.ndarray, ver: np.ndarray) -> tuple[str, float]:
        """Copying the picture, reading the mesh, and a depth and a colour for each face pixel."""
        pixels = int(np.prod(np.ptp(ver[:2], axis=1)))
        return self.moving(2 * img.nbytes, ver.nbytes, self.tddfa.tri.nbytes, 7 * pixels)

    def encoding(self) -> list[Row]:
        img, ver_lst, tri, height = self.img, self.ver_lst, self.tddfa.tri, self.img.shape[0]
        size = len(encode_ply(ver_lst, tri, height))
        return [
            self.row("ply", partial(encode_ply, ver_lst, tri, height),
                     ("np.savetxt", partial(plain.ply, ver_lst[0], tri, height)),
                     self.moving(size), 60, 350),
            self.row("obj", partial(encode_obj, img, ver_lst, tri, height),
                     ("np.savetxt", partial(plain.obj, img, ver_lst[0], tri, height)),
                     self.moving(size), 60, 470),
        ]

    def other_engines(self) -> tuple[list[Row], list[str]]:
        """The regressor on torch, and 3DDFA_V2's, where they can be had; else why not."""
        rows, notes = [], []
        ours = partial(self.tddfa, self.img, [self.box])
        for name, config, needed in (
            ("torch", {**load_config(DEFAULT_CONFIG), "engine": "torch"}, "torch"),
            ("3DDFA_V2's mb05", load_config(UPSTREAM_CONFIG), f"3DDFA_V2 checkout in {ASSETS_ENV}"),
        ):
            try:
                other = TDDFA(**config)
            except ReenactmentError:
                notes.append(f"left out: regress, {name}, as there is no {needed}")
                continue
            theirs = partial(other, self.img, [self.box])
            times = time_in_turn({"theirs": theirs, "ours": ours}, self.effort)
            reference = Reference("our default", times["ours"])
            rows.append(Row(f"regress, {name}", "ms", times["theirs"], reference))
        return rows, notes


def collect(quick: bool) -> Report:
    stages = Stages(QUICK if quick else Effort())
    others, notes = stages.other_engines()
    return Report(
        [*stages.detection(), *stages.regression("x1.0", DEFAULT_CONFIG, None, None),
         *stages.regression("x0.5", FAST_CONFIG, 1.3, 6.0), *stages.reconstruction(),
         *stages.drawing(), *stages.encoding(), *others],
        notes,
    )


if __name__ == "__main__":
    main("stages", collect)
