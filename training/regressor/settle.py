"""Let a trained regressor settle: its heads are tuned to its last features.

    python -m training.regressor.settle --labels LABELS --fits FITS --turned TURNED \
        --scenes scenes.tar scenes_people.tar --run RUN --out SETTLED

What the heads have to read moves as long as the features learn. Reads ``RUN/average.pt`` and writes
``SETTLED/average.pt``, for ``export``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from models.mobilenet_v1 import MobileNet
from training.regressor.augment import AugmentConfig
from training.regressor.faces import Faces, Sample, Samples, normalise
from training.regressor.fit import WHEEL_HELP, load_points_model
from training.regressor.kind import Kind
from training.regressor.measure import held_out, predict, score_reliability
from training.regressor.nothing import load_nothing, load_scenes
from training.regressor.train_tddfa import FINE_TUNING, FaceLoss, ScoreStatistics

BATCH = 64
HARDSHIP = 0.4  # of the augmentation
LEARNING_RATE = 3e-4  # falls to zero

log = logging.getLogger(__name__)


def tune_heads(net: MobileNet, loss: FaceLoss, batches: list[Sample], epochs: int) -> None:
    """Train the heads alone, on features that are computed once."""
    with torch.no_grad():
        features = [net.features(normalise(batch.picture)) for batch in batches]
    heads = [p for name, p in net.named_parameters() if name.startswith("fc")]
    optimiser = torch.optim.Adam(heads, LEARNING_RATE)
    steps = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    for epoch in range(epochs):
        for k in np.random.default_rng(epoch).permutation(len(batches)):
            terms = loss.terms(net.heads(features[k]), batches[k])
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            schedule.step()
        log.info("epoch %d: projected %.3f", epoch, float(terms["projected"].detach()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits", "turned", "run", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, nargs="+", required=True, help="as in train_tddfa")
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument("--batches", type=int, default=110)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    torch.manual_seed(0)

    faces = Faces([(args.labels, args.fits), (args.turned / "train",) * 2], val=False)
    scenes, nothing = load_scenes(args.scenes[0]), load_nothing(args.scenes)
    stream = Samples(faces, scenes, nothing, AugmentConfig().eased(HARDSHIP), seed=123)
    loader = iter(DataLoader(stream, BATCH))
    batches = [Sample(*next(loader)) for _ in range(args.batches)]

    saved = torch.load(args.run / "average.pt", weights_only=True, map_location="cpu")
    net = MobileNet(saved["widen"], len(saved["mean"]), len(saved["score_names"]))
    net.load_state_dict(saved["state_dict"])
    net.eval()
    scores = ScoreStatistics(saved["score_mean"], saved["score_std"])
    basis = load_points_model(args.fits, args.wheel)
    tune_heads(
        net, FaceLoss(basis, saved["mean"], saved["std"], scores, FINE_TUNING), batches, args.epochs
    )
    saved["state_dict"] = net.state_dict()
    saved["score_reliability"] = reliability(net, scores, args.labels, args.fits)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(saved, args.out / "average.pt")


def reliability(net: MobileNet, scores: ScoreStatistics, labels: Path, fits: Path) -> Tensor:
    """(52,) correlations of the scores with MediaPipe's on held-out people who look ahead."""
    real = Faces([(labels, fits)], val=True)
    ahead = real.only(real.kind <= Kind.AHEAD)
    told = predict(lambda inputs: net(inputs)[1], held_out(ahead, len(ahead))[0])
    told = told * scores.std + scores.mean
    return torch.from_numpy(score_reliability(ahead.scores, told.numpy()))


if __name__ == "__main__":
    main()
