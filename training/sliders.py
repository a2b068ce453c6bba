"""Fit what ARKit's shapes move in the 3DMM: python -m training.sliders --labels DIR --output FILE

Reads what `label.py` writes (crops.npy and labels.npz with MediaPipe's 52 scores), regresses every
face with our network, and fits both ways between scores and expression coefficients, on the faces
turned by less than 20 degrees: directions, by ridge regression of the coefficients on all scores at
once, so that one tells what is its own; and scores, by ridge regression on the coefficients. Pairs
and their mirror images are taken together. Prints how good they are on people held out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bfm.bfm import LID_COLUMNS
from bfm.provision import BROWS
from bfm.sliders import SHAPES, SLIDERS, fitted_as, split_side, why_not
from reenactment.reenactor import DEFAULT_CONFIG
from TDDFA import TDDFA
from utils.config import load_config
from utils.io import encode_npz, load_arrays, write_bytes
from utils.pose import calc_pose

MAX_YAW = 20  # degrees
RIDGE = 0.03  # of the scores' variance
LEAST_RELIABLE = 0.4  # correlation below which a direction is not scaled up further
MOST_SEEN, BEYOND = 0.999, 2.0  # a shape at 1 is at most so many times what that share shows
SEALED = ("mouthSmile", "mouthDimple", "mouthStretch", "mouthPress", "mouthPucker",
          "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper")  # no opening
# The 68 landmarks of a mirrored face.
MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1),
    *range(64, 59, -1), 67, 66, 65,
]
# MediaPipe's points on the brows: a crop that holds them and the chin is the network's.
BROW_POINTS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
MOUTH_CORNERS, MOUTH_MIDDLE = (61, 291), (13, 14)  # MediaPipe's, too
EYE_CORNERS = (33, 263)  # MediaPipe's, too; the outer ones, from left to right
LIFT_RIDGE = 0.3  # mm² for a square of a coefficient's spread
LIFT_TILT = 0.3, 0.1  # how much less a landmark's way aside and forwards counts
# How far landmarks of the mouth follow its corners; the others stay.
FOLLOW = {48: 1.0, 54: 1.0, 60: 1.0, 64: 1.0, 49: 0.5, 53: 0.5, 55: 0.5, 59: 0.5}


def regress(
    tddfa: TDDFA, crops: np.ndarray, points: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Parameters of some of the faces in crops (n, h, w, 3), with points (n, 478, 3) on them."""
    params = []
    for number in numbers:
        crop, marks = crops[number], points[number]
        low, high = marks[:, :2].min(axis=0), marks[:, :2].max(axis=0)
        extent = np.array([[low[0], high[0]], [marks[list(BROW_POINTS), 1].min(), high[1]]])
        params.append(tddfa(np.ascontiguousarray(crop), [extent], "landmark")[0][0])
    return np.array(params)


def mirror_matrix(tddfa: TDDFA) -> np.ndarray:
    """What (E, E) makes the expression of a mirrored face of that of a face, by its landmarks."""
    basis = tddfa.bfm.w_exp_base.reshape(68, 3, -1)
    flipped = basis[MIRRORED] * np.array([-1, 1, 1])[:, None]
    flat = basis.reshape(204, -1)
    return np.linalg.lstsq(flat, flipped.reshape(204, -1), rcond=None)[0]


def movements(scores: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Scores by movement: those of both sides alike, and those of one against the other."""
    even: dict[str, np.ndarray] = {}
    odd: dict[str, np.ndarray] = {}
    for shape in SHAPES:
        base, way = fitted_as(shape)
        if shape not in scores or (why_not(shape) and not base.startswith("eyeLook")):
            continue
        if base.endswith("Side"):
            odd[base] = odd.get(base, 0) + way * scores[shape]
        else:
            even[base] = even.get(base, 0) + scores[shape] / (2 if split_side(shape)[1] else 1)
    return even, odd


def ridge(inputs: np.ndarray, outputs: np.ndarray, share: float) -> np.ndarray:
    """Weights (k, m) of centred inputs (n, k) for centred outputs (n, m)."""
    spread = inputs.std(axis=0) + 1e-9
    scaled = (inputs - inputs.mean(axis=0)) / spread
    gram = scaled.T @ scaled / len(scaled) + share * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, scaled.T @ (outputs - outputs.mean(axis=0)) / len(scaled))
    return weights / spread[:, None]


def fit_scores(
    expression: np.ndarray, scores: dict[str, np.ndarray], mirror: np.ndarray
) -> np.ndarray:
    """(52, 1 + E) as in `Sliders`; the mirror images count, too."""
    both = np.concatenate([expression, expression @ mirror.T])
    table = np.zeros((len(SHAPES), 1 + expression.shape[1]), np.float32)
    for row, shape in zip(table, SHAPES):
        if shape not in scores:
            continue
        values = np.concatenate([scores[shape], scores[other_side(shape)]])
        weights = ridge(both, values[:, None], 1e-3)[:, 0]
        row[:] = [values.mean() - both.mean(axis=0) @ weights, *weights]
    return table


def other_side(shape: str) -> str:
    """'mouthSmileLeft' -> 'mouthSmileRight'."""
    for one, other in (("Left", "Right"), ("Right", "Left")):
        if shape.endswith(one):
            return shape[: -len(one)] + other
    return shape


def correlations(
    table: np.ndarray, expression: np.ndarray, scores: dict[str, np.ndarray]
) -> np.ndarray:
    """Of linear scores with the teacher's, (52,)."""
    found = np.zeros(len(SHAPES), np.float32)
    for number, shape in enumerate(SHAPES):
        if shape in scores and scores[shape].std() > 1e-3:
            linear = np.clip(table[number, 0] + expression @ table[number, 1:], 0, 1)
            found[number] = np.nan_to_num(np.corrcoef(linear, scores[shape])[0, 1])
    return found


def corner_heights(points: np.ndarray) -> np.ndarray:
    """How high faces (n, 478, 3) have the mouth's corners over its middle.

    Returns
    -------
    (n,), both corners as one, in parts of the distance of the eyes' outer corners.
    """
    flat = points[:, :, :2].astype(np.float64)
    right, left, corners, middle = (flat[:, list(part)].mean(axis=1) for part in (
        EYE_CORNERS[:1], EYE_CORNERS[1:], MOUTH_CORNERS, MOUTH_MIDDLE))
    across = left - right
    up = np.column_stack([across[:, 1], -across[:, 0]]) / (across**2).sum(axis=1)[:, None]
    return np.einsum("ni,ni->n", corners - middle, up)


def brow_directions(exp_dim: int) -> dict[str, np.ndarray]:
    """What scores of brows move, (exp_dim,), both sides alike: they define the brows' columns."""
    brows = load_arrays(BROWS)
    directions: dict[str, np.ndarray] = {}
    for shape, mix in zip(map(str, brows["names"]), brows["mix"]):
        direction = directions.setdefault(fitted_as(shape)[0], np.zeros(exp_dim))
        direction[LID_COLUMNS.stop :] += mix
    return directions


def lifting(
    tddfa: TDDFA, landmarks: range, rise: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """What coefficients (E,) lift some landmarks by so many mm, and little else.

    spread (E,) : of the coefficients among faces.
    """
    used = slice(LID_COLUMNS.start)
    basis = tddfa.bfm.w_exp_base.reshape(68, 3, -1)[list(landmarks)][..., used]
    x, y, z = basis.transpose(1, 0, 2) / 1000
    moves = np.concatenate([y, LIFT_TILT[0] * x, LIFT_TILT[1] * z]).astype(np.float64)
    wanted = np.concatenate([rise, np.zeros(2 * len(rise))])
    gram = moves.T @ moves + LIFT_RIDGE * np.diag(1 / spread[used] ** 2)
    direction = np.zeros(len(spread))
    direction[used] = np.linalg.solve(gram, moves.T @ wanted)
    return direction


def at_rest(even: dict[str, np.ndarray]) -> np.ndarray:
    """Which faces show nothing."""
    limits = {"mouthSmile": 0.03, "jawOpen": 0.01, "mouthPucker": 0.05, "browInnerUp": 0.05,
              "eyeBlink": 0.15, "browDown": 0.1, "mouthLowerDown": 0.03}
    return np.all([even[name] < limit for name, limit in limits.items()], axis=0)


def rescaled(
    directions: dict[str, np.ndarray], seen: dict[str, np.ndarray], reliability: np.ndarray
) -> dict[str, np.ndarray]:
    """Directions at 1: as long as movements are spread, but not far beyond any that were seen.

    A regression on uncertain scores comes out too short, by their correlation.
    """
    best: dict[str, float] = {}
    for shape, value in zip(SHAPES, reliability):
        base = fitted_as(shape)[0]
        best[base] = max(best.get(base, LEAST_RELIABLE), float(value))
    return {name: move * reach(seen[name]) / best[name] for name, move in directions.items()
            if not name.startswith("eyeLook")}


def reach(seen: np.ndarray) -> float:
    """How much of a direction its slider shows at 1: what was seen bounds it."""
    return min(1.0, BEYOND * float(np.quantile(np.abs(seen), MOST_SEEN)))


def calibrate(
    directions: dict[str, np.ndarray], neutral: np.ndarray, tddfa: TDDFA
) -> dict[str, np.ndarray]:
    """Shut the lips where a movement has no opening, by the jaw; and let a blink shut the eyes."""
    bfm, topology = tddfa.bfm, tddfa.bfm.topology
    lips = topology.lip_points(bfm.w_exp.reshape(-1, 3, bfm.w_exp.shape[1])[:, 1])
    gap = (lips[0] - lips[1])[15:-15].mean(axis=0)  # per coefficient
    jaw = directions["jawOpen"]
    sealed = {
        name: move - (gap @ move) / (gap @ jaw) * jaw if name in SEALED else move
        for name, move in directions.items()
    }
    upper, lower = topology.lids[0]
    heights, moves = bfm.u.reshape(-1, 3)[:, 1], bfm.w_exp[1::3]
    opening = (heights[upper] - heights[lower])[2:7].mean()
    lids = (moves[upper] - moves[lower])[2:7].mean(axis=0)
    blink = sealed["eyeBlink"].copy()
    left_to_shut = -(opening + lids @ (neutral + blink))
    blink[LID_COLUMNS] += left_to_shut / lids[LID_COLUMNS].sum()
    return {**sealed, "eyeBlink": blink}


def fit(
    tddfa: TDDFA,
    expression: np.ndarray,
    scores: dict[str, np.ndarray],
    corners: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, np.ndarray]:
    """The arrays of a `Sliders` file.

    Parameters
    ----------
    expression (n, E), scores, corners (n,) : of faces, the last from `corner_heights`.
    held_out (n,) bool : whom to measure on.
    """
    train = {shape: values[~held_out] for shape, values in scores.items()}
    test = {shape: values[held_out] for shape, values in scores.items()}
    mirror = mirror_matrix(tddfa)
    table = fit_scores(expression[~held_out], train, mirror)
    reliability = correlations(table, expression[held_out], test)
    even, odd = movements(train)
    faces = expression[~held_out]
    symmetric, lopsided = (faces + faces @ mirror.T) / 2, (faces - faces @ mirror.T) / 2
    inputs = np.stack(list(even.values()), 1)
    directions = dict(zip(even, ridge(inputs, symmetric, RIDGE)))
    for name, values in odd.items():
        directions[name] = ridge(values[:, None], lopsided, 0)[0]
    directions = rescaled(directions, even | odd, reliability)
    eyes = np.linalg.norm(np.diff(tddfa.bfm.u_base.reshape(68, 3)[[36, 45]], axis=0)) / 1000
    slopes = dict(zip(even, ridge(inputs, corners[~held_out, None], RIDGE)[:, 0] * eyes))
    spread = faces.std(axis=0)
    directions |= brow_directions(len(spread))
    drop = slopes["mouthFrown"] * reach(even["mouthFrown"])
    follow = np.array([FOLLOW.get(number, 0.0) for number in range(48, 68)])
    directions["mouthFrown"] = lifting(tddfa, range(48, 68), drop * follow, spread)
    neutral = np.median(symmetric[at_rest(even)], axis=0)
    directions = calibrate(directions, neutral, tddfa)
    return {
        "neutral": neutral.astype(np.float32),
        "names": np.array(list(directions)),
        "directions": np.array(list(directions.values()), np.float32),
        "scores": table,
        "reliability": reliability,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--config", default=DEFAULT_CONFIG)
    parser.add_argument("--output", type=Path, default=SLIDERS)
    args = parser.parse_args()
    tddfa = TDDFA(**load_config(args.config))
    labels = np.load(args.labels / "labels.npz")
    crops = np.load(args.labels / "crops.npy", mmap_mode="r")
    seen = np.flatnonzero(labels["found"])
    params = regress(tddfa, crops, labels["points"], seen)
    ahead = np.array([abs(calc_pose(param)[1][0]) < MAX_YAW for param in params])
    seen, expression = seen[ahead], params[ahead][:, tddfa.layout.expression].astype(np.float64)
    scores = dict(zip(map(str, labels["score_names"]), labels["scores"][seen].T.astype(np.float64)))
    corners = corner_heights(labels["points"][seen])
    arrays = fit(tddfa, expression, scores, corners, labels["val"][seen])
    write_bytes(args.output, encode_npz(arrays))
    print(f"{len(seen)} faces, of these {int(labels['val'][seen].sum())} held out")
    for shape, value in zip(SHAPES, arrays["reliability"]):
        print(f"{shape:20s} {value:.2f}  {why_not(shape) or ''}")


if __name__ == "__main__":
    main()
