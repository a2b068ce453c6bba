"""Turn labelled faces out of the picture's plane, and close their eyes, with exact labels.

    python -m training.regressor.turn --labels LABELS --fits FITS --scenes scenes.tar \
        --out TURNED

Face profiling (Zhu et al. 2016, arXiv 1511.07212): the picture becomes the colours of its fitted
mesh, the mesh moves, and what is around the face moves along as a grid that hangs on the mesh's
rim. One lid or both are closed in the same way: their skin is drawn over the eye. Writes what
``label`` and ``fit`` write (crops.npy, labels.npz, fits.npz) of the new pictures.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from bfm.provision import MESH
from Sim3DR import rasterize
from Sim3DR.Sim3DR import sample
from training.regressor.augment import AugmentConfig, Degrader
from training.regressor.faces import Faces
from training.regressor.fit import WHEEL_HELP, expected_roi, load_basel
from training.regressor.geometry import CROP, Model, with_eyelids
from training.regressor.kind import LANDMARKS, Kind
from training.regressor.landmarks import (
    LOWER_LID,
    OPPOSITE_OF_68,
    UPPER_LID,
    opposite_landmarks,
)
from training.regressor.nothing import load_scenes

PIVOT = np.array([0.0, 0.0, -20_000.0], np.float32)  # of the head, µm, model frame
MARGIN = 60  # pixels by which the grid around the face reaches beyond the crop
NODES, DENSE = 25, 208  # nodes on a side of that grid: for the displacement, for the colours
REACH = 70.0  # pixels from the mesh's rim at which the surroundings no longer follow
AHEAD = 25.0  # degrees up to which a face counts as seen from the front
SHARP = 2.0  # crop pixels per picture pixel up to which a picture is worth turning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Move:
    """What is done to a face: degrees of yaw and pitch more, and how far the right and the left
    lid are closed, 0 as it is, 1 shut."""

    yaw: float = 0.0
    pitch: float = 0.0
    lids: tuple[float, float] = (0.0, 0.0)

    @property
    def mirrored(self) -> Move:
        """The same move seen in a mirror."""
        return Move(-self.yaw, self.pitch, self.lids[::-1])


def yaw_matrix(degrees: float) -> np.ndarray:
    """(3, 3) turn about the picture's vertical that brings what looks at us to the right."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def pitch_matrix(degrees: float) -> np.ndarray:
    """(3, 3) turn about the picture's horizontal that brings what looks at us up."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def heading(pose: np.ndarray) -> np.ndarray:
    """(..., 3, 4) poses -> degrees (...) by which the face looks to the picture's right."""
    return np.rad2deg(np.arctan2(pose[..., 0, 2], pose[..., 2, 2]))


def turned_pose(pose: np.ndarray, move: Move) -> np.ndarray:
    """The (3, 4) pose after the head nodded and turned about its pivot."""
    now = float(heading(pose))
    turn = yaw_matrix(now + move.yaw) @ pitch_matrix(move.pitch) @ yaw_matrix(-now)
    moved = turn @ pose[:, :3]
    return np.column_stack([moved, pose[:, 3] + (pose[:, :3] - moved) @ PIVOT])


class Turner:
    """Makes new pictures of the faces of a set.

    scenes: (k, s, s, 3) uint8 to put around pictures that end too soon.
    mesh: the model at the vertices of ``bfm/noneck_mesh.npz``; points: at the 468 + 68 points.
    """

    def __init__(
        self, faces: Faces, mesh: Model, points: Model, triangles: np.ndarray, scenes: np.ndarray
    ) -> None:
        self.faces, self.mesh, self.points, self.triangles = faces, mesh, points, triangles
        edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        edges, times = np.unique(edges, axis=0, return_counts=True)
        self.rim = np.unique(edges[times == 1])[::4]
        self.degrader = Degrader(AugmentConfig(), scenes, seed=1)
        k = np.arange(DENSE * DENSE).reshape(DENSE, DENSE)
        a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, :-1].ravel(), k[1:, 1:].ravel()
        around = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
        self.all_triangles = np.concatenate([triangles, around + len(mesh.mean)]).astype(np.int32)

    def vertices(self, model: Model, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """(L, 3) of one face, µm."""
        return model.vertices(torch.from_numpy(alpha[None]), torch.from_numpy(beta[None]))[
            0
        ].numpy()

    def closed(self, i: int, mirrored: int, lids: tuple[float, float]) -> np.ndarray:
        """Expression (12,) of face ``i`` with its lids' gaps narrowed by those shares."""
        beta = self.faces.beta[mirrored, i].copy()
        seen = self.vertices(self.points, self.faces.alpha[mirrored, i], beta)[:, 1]
        for side, share in enumerate(lids):
            if not share:
                continue
            upper, lower = list(UPPER_LID[side][1:6]), list(LOWER_LID[side][1:6])
            lid = self.points.exp[:, 1, 10 + side].numpy()
            gap, change = ((y[upper] - y[lower]).mean() for y in (seen, lid))
            beta[10 + side] += np.clip(-share * max(gap, 0.0) / change, 0, 1.5)
        return beta

    def surroundings(self, old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The grid around the face: where it was and where it goes, (DENSE², 3) each.

        old, new: (r, 3) the mesh's rim, crop pixels.
        """
        line = np.linspace(-MARGIN, CROP - 1 + MARGIN, NODES, dtype=np.float32)
        node = np.stack(np.meshgrid(line, line), 2)
        square = ((node[:, :, None] - old[:, :2]) ** 2).sum(3)
        weight = 1 / (square + 9) ** 2
        weight /= weight.sum(2, keepdims=True)
        follow = np.exp(-square.min(2) / REACH**2)[..., None]
        moved = node + follow * (weight @ (new - old)[:, :2])
        depth = new[:, 2].min() - 8 + 0.1 * (weight @ new[:, 2:] - new[:, 2].max())  # behind it all
        coarse = np.concatenate([node, moved, depth], 2).astype(np.float32)
        dense = cv2.resize(coarse, (DENSE, DENSE), interpolation=cv2.INTER_LINEAR).reshape(-1, 5)
        return dense[:, [0, 1, 4]], dense[:, 2:]

    def move(self, i: int, move: Move) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The new picture (192, 192, 3) of face ``i`` and its columns of fits.npz, (2, …) each."""
        faces, alpha = self.faces, self.faces.alpha[:, i]
        both = tuple(enumerate((move, move.mirrored)))
        pose = np.stack([turned_pose(faces.pose[k, i], one) for k, one in both])
        beta = np.stack([self.closed(i, k, one.lids) for k, one in both])
        before = self.vertices(self.mesh, alpha[0], faces.beta[0, i])
        after = self.vertices(self.mesh, alpha[0], beta[0])
        low, high = (
            f(after @ pose[0][:2, :3].T + pose[0][:2, 3], axis=0) for f in (np.min, np.max)
        )
        middle = (CROP - 1) / 2
        shift = np.array([middle, -middle]) - (low + high) / 2
        pose[:, :2, 3] += shift * np.array([[1, 1], [-1, 1]])
        picture = self.draw(
            self.picture(i), to_crop(faces.pose[0, i], before), to_crop(pose[0], after)
        )
        fit = dict(pose=pose, alpha=alpha, beta=beta)
        return picture, {name: value.astype(np.float32) for name, value in fit.items()}

    def picture(self, i: int) -> np.ndarray:
        """The crop of face ``i``, continued where its picture ends."""
        return np.ascontiguousarray(
            self.degrader.fill_outside(self.faces.crop(i), self.faces.inside[i])
        )

    def draw(self, picture: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        """The picture with its mesh moved from old to new, (n, 3) crop pixels."""
        was, goes = self.surroundings(old[self.rim], new[self.rim])
        colours = sample(picture, np.concatenate([old, was]))
        return rasterize(np.concatenate([new, goes]), self.all_triangles, colours, bg=picture)


def to_crop(pose: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """(n, 3) vertices in crop pixels: y down, larger z nearer."""
    moved = vertices @ pose[:, :3].T + pose[:, 3]
    return np.ascontiguousarray(moved * np.array([1, -1, 1]), np.float32)


def choose_turn(now: float, rng: np.random.Generator) -> Move:
    """A turn by up to a profile, on to the side that the face looks to already."""
    side = np.sign(now) if abs(now) > 5 else rng.choice([-1, 1])
    yaw = side * rng.uniform(25, 92) - now
    lids = choose_lids(rng).lids if rng.random() < 0.15 else (0.0, 0.0)
    return Move(yaw, float(np.clip(rng.normal(0, 12), -30, 30)), lids)


def choose_lids(rng: np.random.Generator) -> Move:
    """A wink, or sometimes both lids, and a little turn."""
    share = float(rng.uniform(0.6, 1.0))
    lids = ((share, 0.0), (0.0, share), (share, share))[rng.choice(3, p=(0.4, 0.4, 0.2))]
    return Move(float(rng.normal(0, 8)), float(rng.normal(0, 5)), lids)


def moves(faces: Faces, turned: int, lids: int, rng: np.random.Generator) -> list[tuple[int, Move]]:
    """Which faces to move how: (number, move) pairs."""
    now = heading(faces.pose[0])
    good = (faces.kind <= Kind.AHEAD) & (np.abs(now) < AHEAD) & (faces.scale < SHARP)
    some = rng.permutation(np.flatnonzero(good))
    log.info("%d of %d faces may be moved", len(some), len(faces))
    turns = [(int(i), choose_turn(float(now[i]), rng)) for i in np.resize(some, turned)]
    return turns + [(int(i), choose_lids(rng)) for i in np.resize(some[::-1], lids)]


def write(out: Path, turner: Turner, split: str, todo: list[tuple[int, Move]]) -> None:
    """Move the faces and write them to ``out/split``."""
    faces, folder = turner.faces, out / split
    folder.mkdir(parents=True, exist_ok=True)
    # filled as they come: pictures kept one by one would shred the heap
    shape = (len(todo), CROP, CROP, 3)
    crops = np.lib.format.open_memmap(folder / "crops.npy", "w+", np.uint8, shape)
    fits = []
    for row, (i, move) in enumerate(todo):
        crops[row], fit = turner.move(i, move)
        fits.append(fit)
    crops.flush()
    columns: dict[str, Any] = {
        name: np.stack([fit[name] for fit in fits], 1) for name in ("pose", "alpha", "beta")
    }
    points = project_all(turner.points, columns)
    points[1] = mirror_points(faces.points, points[0])
    roi = np.stack([expected_roi(torch.from_numpy(p[:, LANDMARKS:])).numpy() for p in points])
    kind = np.full(len(todo), Kind.AHEAD, np.uint8)
    keep = np.ones(len(todo), bool)
    np.savez(folder / "fits.npz", points=points, roi=roi, kind=kind, keep=keep, **columns)
    rows = np.array([i for i, _ in todo])
    scores = faces.scores[rows]
    shut = np.array([any(move.lids) for _, move in todo])
    of_eyes = np.array([str(name).startswith("eye") for name in faces.score_names])
    scores[np.ix_(shut, of_eyes)] = np.nan
    np.savez(
        folder / "labels.npz",
        inside=np.tile(np.array([0, 0, CROP - 1, CROP - 1], np.float32), (len(todo), 1)),
        scale=faces.scale[rows],
        name=faces.name[rows],
        person=faces.person[rows],
        source=np.array(["lids" if any(m.lids) and abs(m.yaw) < 25 else "turned" for _, m in todo]),
        val=np.full(len(todo), split == "val"),
        scores=scores,
        score_names=faces.score_names,
    )
    log.info("%s: %d pictures", split, len(todo))


def project_all(model: Model, fits: dict[str, np.ndarray]) -> np.ndarray:
    """(2, n, L, 2) points of fits, plane."""
    both = []
    for pose, alpha, beta in zip(fits["pose"], fits["alpha"], fits["beta"]):
        vertices = model.vertices(torch.from_numpy(alpha), torch.from_numpy(beta)).numpy()
        both.append(vertices @ pose[:, :2, :3].transpose(0, 2, 1) + pose[:, None, :2, 3])
    return np.stack(both)


def mirror_points(known: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 536, 2) points as a mirror shows them; known: (2, m, 536, 2) of other faces, which tell
    the opposite of each point."""
    flip = np.array([-1, 1], np.float32)
    back = known[1] * flip + np.array([CROP - 1, 0], np.float32)
    opposite = opposite_landmarks(known[0][:500, :LANDMARKS], back[:500, :LANDMARKS])
    all_opposite = np.concatenate([opposite, LANDMARKS + OPPOSITE_OF_68])
    return points[:, all_opposite] * flip + np.array([CROP - 1, 0], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits", "scenes", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument("--turned", type=int, default=10_000, help="turned training pictures")
    parser.add_argument("--lids", type=int, default=4000, help="training pictures with closed lids")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    mesh, scenes = np.load(MESH), load_scenes(args.scenes)
    basel, keypoints = load_basel(args.wheel)
    full = with_eyelids(basel, args.fits)
    vertex = np.load(args.fits / "correspondence.npz")["vertex"]
    points = full.at(np.concatenate([vertex, keypoints]))
    rng = np.random.default_rng(0)
    for split, part in (("val", 15), ("train", 1)):
        faces = Faces([(args.labels, args.fits)], val=split == "val")
        turner = Turner(faces, full.at(mesh["indices"]), points, mesh["tri"], scenes)
        write(args.out, turner, split, moves(faces, args.turned // part, args.lids // part, rng))


if __name__ == "__main__":
    main()
