"""Four expression directions the Basel model lacks: raising the inner and the outer half of a brow.

    python -m training.regressor.brows --labels LABELS --fits FITS --out bfm/brows.npz

How the brows' landmarks move with MediaPipe's scores is measured within persons, on fits that do
not look at brows and forehead: else a raised brow is in part taken for a raised head. On each side
the scores cause two movements, and hardly anything beside them. What is written:

indices (v,) int32, displacement (v, 3, 4) float32 : µm at coefficient 1; right and left inner half,
    right and left outer half, of the subject.
names (5,), mix (5, 4) float32 : coefficients are scores @ mix, so that a network which tells the
    scores tells the brows (`with_brow_rows`), and 0 is a brow at rest.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, PchipInterpolator
from torch import Tensor

from training.regressor.eyelids import MAX_YAW, fade, within_persons
from training.regressor.faces import Faces
from training.regressor.fit import FIRST_PRIOR, WHEEL_HELP, load_basel
from training.regressor.geometry import Fit, Model, fit_all, with_eyelids
from training.regressor.kind import LANDMARKS, Kind
from training.regressor.landmarks import BROWS, EYE_CORNERS, UPPER_LID

SIDES = ("Right", "Left")
BELOW_BROWS = 4_000.0  # µm; from there up fits are free
ABOVE = 25_000.0  # µm above a brow where the skin rests
BELOW = 12_000.0  # µm above the upper lid's edge where the skin has all of its brow's move
INNER, ACROSS = 14_000.0, 8_000.0  # from here on this side to there on the other, a move fades
OUTER = 14_000.0  # µm outside of a brow where the skin rests
STEP = 10.0  # µm to which moves are rounded, which packs them to a third

log = logging.getLogger(__name__)


def shapes_of(side: str) -> tuple[str, str, str]:
    """The scores that tell of the brow on a side."""
    return "browInnerUp", f"browDown{side}", f"browOuterUp{side}"


def brow_moves(fit: Fit, points: Tensor, model: Model) -> np.ndarray:
    """What the model leaves of the brows' landmarks, (2 sides, n, 2 edges, 5, 2) µm; x outwards.

    points: (n, 468, 2) plane. They are turned into the model's frame; what lies along the line of
    sight is unseen.
    """
    square = fit.pose[:, 0, :3].square().sum(1)
    off = (points - fit.project(model)) @ fit.pose[:, :2, :3] / square[:, None, None]
    by_side = off.numpy()[:, np.array(BROWS), :2].swapaxes(0, 1)
    return by_side * np.array([[-1, 1], [1, 1]])[:, None, None, None]


def free_fit(model: Model, points: Tensor, weight: Tensor, prior: Tensor) -> Fit:
    """A fit that does not look at brows and forehead; see ``fit_all``."""
    lowest = model.mean[np.array(BROWS).ravel(), 1].min()
    return fit_all(model, points, weight * (model.mean[:, 1] < lowest - BELOW_BROWS), prior)


def learn_brows(
    moves: np.ndarray, scores: np.ndarray, person: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How a brow moves, and by which scores.

    moves: (2, n, 2, 5, 2) of ``brow_moves``; scores: (2, n, 3) by side, of ``shapes_of``; person:
    (n,). Returns (2 directions, 2, 5, 2) µm, raising the inner and the outer half by a score of 1,
    and what of each the three scores cause, (3, 2).
    """
    inputs, outputs = (
        np.concatenate([within_persons(one.reshape(len(one), -1), person) for one in sides])
        for sides in (scores, moves)
    )
    slopes = np.linalg.lstsq(inputs, outputs, rcond=None)[0]
    plane = np.linalg.svd(inputs @ slopes, full_matrices=False)[2][:2]
    flat = slopes @ plane.T @ plane
    beside = 1 - np.square(flat).sum() / np.square(slopes).sum()
    log.info("beside the two movements: %.1f%%", 100 * beside)
    raising = flat[[0, 2]]
    lowering = np.linalg.lstsq(raising.T, flat[1], rcond=None)[0]
    return raising.reshape(2, *moves.shape[2:]), np.stack([[1, 0], lowering, [0, 1]])


def spread_brow(
    vertices: np.ndarray, brow: np.ndarray, lid: np.ndarray, moves: np.ndarray
) -> np.ndarray:
    """A move of the brow laid out over the skin, (v, 2) µm at vertices (v, 3); x grows outwards.

    brow: (2, 5, 3) its edges and moves: (2, 5, 2) what they do, as in ``landmarks.BROWS``; lid:
    (k, 3) the upper lid's edge. At that edge nothing moves, and soon above it all does what the
    brow does, which therefore keeps its form.
    """
    x, y, _ = vertices.T
    line, move = brow.mean(0)[::-1], moves.mean(0)[::-1]  # from the inner to the outer end
    ends = np.array([line[0, 0] - OUTER, *line[:, 0], line[-1, 0] + OUTER])
    curve = PchipInterpolator(ends, np.pad(move, ((1, 1), (0, 0)), "edge"))
    lid = lid[np.argsort(lid[:, 0])]
    share = (
        (1 - fade(y - np.interp(x, lid[:, 0], lid[:, 1]), BELOW))
        * fade(y - np.interp(x, line[:, 0], brow[0, ::-1, 1]), ABOVE)
        * fade(INNER - x, INNER + ACROSS)
        * fade(x - line[-1, 0], OUTER)
    )
    result: np.ndarray = share[:, None] * curve(np.clip(x, ends[0], ends[-1]))
    return result


def spread_brows(
    basel: Model, vertex: np.ndarray, moves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All directions on the full mesh, zero entries left out; skin slides along the mean face.

    basel: the full model; vertex: (468,) landmark vertices; moves: of ``learn_brows``. Returns
    vertex (v,) int, displacement (v, 3, 4) float32.
    """
    mean = basel.mean.numpy().astype(np.float64)
    marks = mean[vertex]
    off = np.abs(mean - marks[np.array(BROWS)].mean((0, 1, 2)))
    near = np.flatnonzero((off < [80_000, 45_000, 60_000]).all(1))
    places = mean[near, :2]
    surface = LinearNDInterpolator(places, mean[near, 2])
    displacement = np.zeros((len(mean), 3, 2 * len(moves)), np.float32)
    for side, outwards in enumerate(np.array([[-1, 1, 1], [1, 1, 1]])):
        edge = [*EYE_CORNERS[side], *UPPER_LID[side]]
        lid, brow = (marks[np.array(part)] * outwards for part in (edge, BROWS[side]))
        for number, move in enumerate(moves):
            slide = spread_brow(mean[near] * outwards, brow, lid, move) * outwards[:2]
            rise = np.nan_to_num(surface(places + slide) - surface(places - slide)) / 2
            displacement[near, :, 2 * number + side] = np.column_stack([slide, rise])
    displacement = np.rint(displacement / STEP) * STEP
    used = np.flatnonzero(displacement.any((1, 2)))
    return used, displacement[used]


def with_brow_rows(saved: Mapping[str, Any], brows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A training run's ``average.pt`` whose parameters end with the brows' coefficients.

    What gives them is what gives the scores, mixed, so nothing is to be trained; brows: the arrays
    of the module's file. Their deviation is that of scores which do not depend on each other.
    """
    rows = [list(saved["score_names"]).index(str(name)) for name in brows["names"]]
    mix = torch.from_numpy(brows["mix"]).T  # (4, 5)
    by_output = mix * saved["score_std"][rows]
    std = by_output.square().sum(1).sqrt()
    state = dict(saved["state_dict"])
    for key in ("weight", "bias"):
        mixed = (by_output / std[:, None]) @ state[f"fc_scores.{key}"][rows]
        state[f"fc.{key}"] = torch.cat([state[f"fc.{key}"], mixed])
    mean = mix @ saved["score_mean"][rows]
    return {
        **saved,
        "state_dict": state,
        "mean": torch.cat([saved["mean"], mean]),
        "std": torch.cat([saved["std"], std]),
    }


def mix_by_name(mix: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names (5,) of the scores and what each causes, (5, 4), of one side's (3, 2)."""
    names = sorted({name for side in SIDES for name in shapes_of(side)})
    table = np.zeros((len(names), 2, len(SIDES)), np.float32)
    for number, side in enumerate(SIDES):
        table[[names.index(name) for name in shapes_of(side)], :, number] = mix
    return names, table.reshape(len(names), -1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    correspondence = np.load(args.fits / "correspondence.npz")
    basel, _ = load_basel(args.wheel)
    model = with_eyelids(basel, args.fits).at(correspondence["vertex"])
    faces = several(Faces([(args.labels, args.fits)], val=False))
    points = torch.from_numpy(faces.points[0, :, :LANDMARKS])
    spread = torch.from_numpy(faces.beta[0]).square().mean(0).sqrt()
    prior = torch.cat([FIRST_PRIOR[: model.shape.shape[2]], spread])
    fit = free_fit(model, points, torch.from_numpy(correspondence["weight"]), prior)
    told = list(map(str, faces.score_names))
    scores = [faces.scores[:, [told.index(name) for name in shapes_of(side)]] for side in SIDES]
    moves, mix = learn_brows(brow_moves(fit, points, model), np.stack(scores), faces.person)
    log.info("%d faces; lowering a brow is %s of raising its halves", len(faces), mix[1].round(2))
    indices, displacement = spread_brows(basel, correspondence["vertex"], moves)
    names, table = mix_by_name(mix)
    np.savez_compressed(
        args.out,
        indices=indices.astype(np.int32),
        displacement=displacement,
        names=np.array(names),
        mix=table,
    )


def several(faces: Faces) -> Faces:
    """Those who look ahead, with scores, of people with several such pictures."""
    size = np.linalg.norm(faces.pose[0, :, 0, :3], axis=1)
    ahead = (np.abs(faces.pose[0, :, 2, 0]) < MAX_YAW * size) & (faces.kind <= Kind.AHEAD)
    faces = faces.only(ahead & np.isfinite(faces.scores).all(1))
    pictures, who = faces.people()
    return faces.only(np.array([len(some) for some in pictures])[who] > 1)


if __name__ == "__main__":
    main()
