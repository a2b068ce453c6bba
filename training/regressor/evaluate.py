"""One table: regressors beside each other on the same held-out faces and landmarks.

    python -m training.regressor.evaluate --labels LABELS --fits FITS \
        --original weights/mb05_120x120.pth 3DDFA/configs/param_mean_std_62d_120x120.pkl \
        --ours weights/mb1_120x120.onnx weights/mb1_param_mean_std.npz

Each network is given as weights and whitening; it is judged with as many expression directions as
it has. Errors are pixels of the 120-pixel crop over all 468 landmarks, the lips and the eyes;
openings are 13–14 (mouth) and 159–145 plus 386–374 (eyes) over 33–263, as correlation with and
slope over MediaPipe's. ROIs are framed as the original's detector frames faces. Nothing of the
held-out people was trained on.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import Tensor

from models.export import NetworkSpec
from models.mobilenet_v1 import MobileNet
from models.networks import open_network
from training.regressor.faces import Faces
from training.regressor.fit import WHEEL_HELP, load_basel
from training.regressor.geometry import Model, with_eyelids
from training.regressor.measure import COLUMNS, held_out, landmarks_of, predict, summary
from utils.io import load_arrays


class Regressor:
    """A network with its whitening and the model its parameters speak of."""

    def __init__(self, weights: str, whitening: str, model: Model, widen: float) -> None:
        arrays = load_arrays(whitening)
        self.mean, self.std = torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["std"])
        params = len(self.mean)
        spec = NetworkSpec(lambda: MobileNet(widen, params), (1, 3, 120, 120), ("param",))
        engine = "auto" if weights.endswith(".onnx") else "torch"
        network = open_network(spec, Path(weights), engine)
        self.network: Callable[[Tensor], Tensor] = lambda x: torch.from_numpy(network(x.numpy())[0])
        self.model = Model(model.mean, model.shape, model.exp[..., : params - 52])

    def landmarks(self, pictures: np.ndarray) -> np.ndarray:
        """(n, 120, 120, 3) uint8 -> (n, 468, 2)."""
        return landmarks_of(self.model, predict(self.network, pictures) * self.std + self.mean)


# UTKFace's names begin with the person's age, sex and origin, as its makers coded them.
UTKFACE_NAME = re.compile(r"(\d+)_[01]_([0-4])_")
AGES = {
    "aged 0 to 9": range(10),
    "aged 10 to 17": range(10, 18),
    "aged 18 to 59": range(18, 60),
    "aged 60 or more": range(60, 200),
}
ORIGINS = ("White", "Black", "Asian", "Indian", "other")


def groups(faces: Faces) -> dict[str, np.ndarray]:
    """Masks over the faces of UTKFace by age and by origin, where the name tells them."""
    told = [
        UTKFACE_NAME.match(str(name)) if source == "utkface" else None
        for name, source in zip(faces.name, faces.source)
    ]
    ages, origins = (np.array([int(m[k]) if m else -1 for m in told]) for k in (1, 2))
    return {
        **{f"utkface, {name}": np.isin(ages, span) for name, span in AGES.items()},
        **{f"utkface, {name}": origins == code for code, name in enumerate(ORIGINS)},
    }


def subsets(faces: Faces, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Named masks over the held-out faces."""
    grey = (np.ptp(pictures[:, ::6, ::6].astype(int), axis=3) == 0).all((1, 2))
    return {
        "all": np.ones(len(pictures), bool),
        "colour pictures": ~grey,
        "grey pictures": grey,
        **{str(source): faces.source == source for source in np.unique(faces.source)},
        **groups(faces),
    }


def to_grey(pictures: np.ndarray) -> np.ndarray:
    """Luma of (n, h, w, 3) uint8 BGR, in all three channels."""
    grey = (pictures @ np.array([0.114, 0.587, 0.299])).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 3)


def rows(name: str, regressor: Regressor, faces: Faces) -> list[str]:
    """The lines of the table for one network."""
    pictures, points = held_out(faces, len(faces))
    seen = regressor.landmarks(pictures)
    masks = subsets(faces, pictures)
    results = {
        f"{label} ({mask.sum()})": summary(points[mask], seen[mask])
        for label, mask in masks.items()
        if mask.any()
    }
    colour = masks["colour pictures"]
    results["colour, turned grey"] = summary(
        points[colour], regressor.landmarks(to_grey(pictures[colour]))
    )
    for roll in (-40, 40):
        turned, turned_points = held_out(faces, len(faces), roll)
        results[f"roll {roll:+d}°"] = summary(turned_points, regressor.landmarks(turned))
    return [
        f"| {name} | {label} | " + " | ".join(f"{table[c]:.3f}" for c in COLUMNS) + " |"
        for label, table in results.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument(
        "--original", nargs=2, metavar=("WEIGHTS", "WHITENING"), help="the original's mb05 network"
    )
    parser.add_argument(
        "--ours",
        nargs=2,
        metavar=("WEIGHTS", "WHITENING"),
        action="append",
        default=[],
        help="an exported network (.onnx)",
    )
    args = parser.parse_args()

    faces = Faces(args.labels, args.fits, val=True)
    basel, _ = load_basel(args.wheel)
    model = with_eyelids(basel, args.fits).at(np.load(args.fits / "correspondence.npz")["vertex"])
    print("| network | faces | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 2))
    networks = ([("original mb05", args.original)] if args.original else []) + [
        (Path(p[0]).stem, p) for p in args.ours
    ]
    for name, (weights, whitening) in networks:
        print("\n".join(rows(name, Regressor(weights, whitening, model, 0.5), faces)), flush=True)


if __name__ == "__main__":
    main()
