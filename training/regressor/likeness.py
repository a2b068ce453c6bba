"""Learn which combinations of a network's shape coefficients tell people apart.

    python -m training.regressor.likeness --labels LABELS --fits FITS --weights weights/reenact_mb1

A network's shapes tremble, and lean with pose, light and expression, in some directions more than
people differ in them. From people with several pictures, linear discriminant analysis (Fisher 1936,
Rao 1948) finds the directions that differ most between people for what they differ within them.
They go into ``weights/reenact_mb1_param_mean_std.npz`` as ``likeness``, from where tracking has
them. How well they work on people held out is told.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from scipy.linalg import eigh

from bfm.provision import BROWS
from training.regressor.faces import Faces
from training.regressor.fit import WHEEL_HELP, load_points_model
from training.regressor.measure import Regressor
from training.regressor.train_tddfa import SHAPE
from utils.io import load_arrays

DIRECTIONS = 8
UNCORRELATED = 0.1  # share of the variance within people that is taken to be
LOOKS = (-8.0, 8.0)  # degrees by which each picture is rolled: its crop counts, too

log = logging.getLogger(__name__)


def likeness(shapes: np.ndarray, who: np.ndarray) -> np.ndarray:
    """(S, ``DIRECTIONS``) float32, by which shapes (n, S) of people (n,) are multiplied.

    The root mean square over directions of what two people's pictures differ in is 1 on average.
    """
    _, who, counts = np.unique(who, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(who, column) for column in shapes.T], 1) / counts[:, None]
    off = shapes - means[who]
    within, total = off.T @ off / (len(shapes) - len(means)), np.cov(shapes.T)
    smooth = (1 - UNCORRELATED) * within + UNCORRELATED * np.diag(np.diag(within))
    found = eigh(total - within, smooth)[1][:, : -DIRECTIONS - 1 : -1]
    apart = 2 * np.trace(found.T @ total @ found) / DIRECTIONS
    directions: np.ndarray = np.float32(found / np.sqrt(apart))
    return directions


def confused(seen: np.ndarray, who: np.ndarray, picture: np.ndarray) -> float:
    """How often one person's two pictures are further apart than those of two people.

    seen: (n, k) shapes where distances count; who, picture: (n,) what they are of.
    """
    one, other = np.triu_indices(len(seen), 1)
    apart = np.linalg.norm(seen[one] - seen[other], axis=1)
    same = who[one] == who[other]
    own = apart[same & (picture[one] != picture[other])]
    order = np.sort(apart[~same])
    return float(np.searchsorted(order, own).mean() / len(order))


def shapes_of(regressor: Regressor, faces: Faces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shapes (n, S) of everybody with several pictures, who they are and which picture, (n,)."""
    pictures, who = faces.people()
    rows = np.concatenate([some for some in pictures if len(set(faces.name[some])) > 1])
    looks = [[faces.plain(i, roll)[0] for i in rows] for roll in LOOKS]
    shapes = [regressor.outputs(np.stack(look))[0][:, SHAPE] for look in looks]
    return np.concatenate(shapes), np.tile(who[rows], len(LOOKS)), np.tile(rows, len(LOOKS))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="prefix of exported weights")
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    numbers = args.weights.with_name(f"{args.weights.name}_param_mean_std.npz")
    network = args.weights.with_name(f"{args.weights.name}_120x120.onnx")
    model = load_points_model(args.fits, args.wheel, BROWS)
    regressor = Regressor(str(network), str(numbers), model)
    folders = [(args.labels, args.fits)]
    shapes, who, _ = shapes_of(regressor, Faces(folders, val=False))
    directions = likeness(shapes, who)
    log.info("%d looks at %d people", len(who), len(set(who)))
    shapes, who, picture = shapes_of(regressor, Faces(folders, val=True))
    columns = load_arrays(numbers)
    spread = columns["std"][SHAPE]
    log.info("held out, confused: %.3f, of all coefficients %.3f",
             confused(shapes @ directions, who, picture), confused(shapes / spread, who, picture))
    np.savez(numbers, **(columns | dict(likeness=directions)))


if __name__ == "__main__":
    main()
