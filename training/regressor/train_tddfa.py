"""Train the regressor: MobileNet-V1 -> 12 pose + 40 shape + 12 expression parameters.

    python -m training.regressor.train_tddfa --labels LABELS --fits FITS --scenes scenes.tar \
        --out RUN --widen 0.5 --minutes 75

or, with one process for each core or GPU,
``torchrun --nproc-per-node 2 -m training.regressor.train_tddfa …``.

The schedule follows the clock: whatever the machine, the learning rate ends at zero after
``--minutes``. Run the same command again to resume from ``RUN/last.pt``. Progress goes to
``RUN/log.txt``; ``RUN/average.pt`` holds the averaged weights so far, which
``training.regressor.export`` turns into the shipped files.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from models.mobilenet_v1 import MobileNet
from training.average import Average
from training.pictures import iterate_pictures
from training.regressor.augment import AugmentConfig
from training.regressor.faces import Faces, Samples, normalise, shrink
from training.regressor.fit import WHEEL_HELP, load_basel
from training.regressor.geometry import Model, with_eyelids
from training.regressor.landmarks import EYES, LIPS, LOWER_LID, UPPER_LID
from training.regressor.measure import held_out, landmarks_of, one_line, predict, summary
from training.regressor.widen import load_start

SHAPE, EXP = slice(12, 52), slice(52, None)  # places in the parameter vector
PIXELS = 4.5e-4  # ROI pixels per µm of a typical face: puts model-frame errors on the pixel scale

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A part of the training: until this share of the time, at this input side (pixels), with
    hardships of the augmentation that many times as often."""

    until: float
    side: int
    hardship: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes the result apart from data, width and time."""

    seed: int = 0
    batch: int = 32  # of each process
    peak_lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.02  # share of the time
    average: float = 0.999  # decay of the weights' moving average
    # shrunken inputs cost less than half; the end is about pictures as users have them
    stages: tuple[Stage, ...] = (Stage(0.4, 80), Stage(0.75, 120), Stage(1.0, 120, 0.5))
    w_projected: float = 1.0
    w_own_frame: float = 1.5  # shape + expression displacement, pose left out
    w_expression: float = 2.0  # expression displacement alone
    w_opening: float = 3.0  # gaps of mouth and lids
    w_param: float = 0.05


class FaceLoss:
    """The training loss: pixels of the 120-pixel crop, but for the whitened parameter term."""

    def __init__(self, model: Model, mean: Tensor, std: Tensor, config: TrainConfig) -> None:
        weight = torch.ones(len(model.mean), device=mean.device)
        weight[LIPS] = 2.0
        weight[EYES] = 3.0
        lids = [pair for u, d in zip(UPPER_LID, LOWER_LID) for pair in zip(u[1:6], d[1:6])]
        self.gaps = torch.tensor([(13, 14), (82, 87), (312, 317)] * 2 + lids).T
        self.weight = weight / weight.mean()
        self.model, self.mean, self.std, self.config = model, mean, std, config

    def gap(self, landmarks: Tensor) -> Tensor:
        """Vectors (B, g, 2) across mouth and eyes of landmarks (B, 468, 3)."""
        return landmarks[:, self.gaps[0], :2] - landmarks[:, self.gaps[1], :2]

    def terms(self, output: Tensor, param: Tensor, points: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the loss.

        output: (B, P) whitened; param: (B, P) target; points: (B, 468, 2) target landmarks in the
        network's frame: MediaPipe's own, so that gaps are not the fit's, which are a bit too small.
        """
        guess = output * self.std + self.mean
        shape, exp = ((guess - param)[:, part] for part in (SHAPE, EXP))
        by_shape = (shape @ self.model.shape.flatten(0, 1).T).view(len(param), -1, 3) * PIXELS
        by_exp = (exp @ self.model.exp.flatten(0, 1).T).view(len(param), -1, 3) * PIXELS
        true = project_3d(param, self.model.vertices(param[:, SHAPE], param[:, EXP]))
        true = torch.cat([points, true[..., 2:]], 2)
        seen = project_3d(guess, self.model.vertices(guess[:, SHAPE], guess[:, EXP]))
        c = self.config
        return dict(
            projected=c.w_projected * (self.weight * robust(seen - true)).mean(),
            own=c.w_own_frame * (self.weight * robust(by_shape + by_exp)).mean(),
            expression=c.w_expression * (self.weight * robust(by_exp)).mean(),
            opening=c.w_opening * robust(self.gap(seen) - self.gap(true)).mean(),
            param=c.w_param * ((guess - param) / self.std).square().mean(),
        )


def robust(error: Tensor) -> Tensor:
    """Pseudo-Huber length of (..., 3) errors: square below a pixel and a half, linear above."""
    return (error.square().sum(-1) + 2.25).sqrt() - 1.5


def project_3d(param: Tensor, vertices: Tensor) -> Tensor:
    """(B, P) parameters, (B, L, 3) vertices -> (B, L, 3) in the network's frame."""
    pose = param[:, :12].view(-1, 3, 4)
    return vertices @ pose[:, :, :3].transpose(1, 2) + pose[:, None, :, 3]


def load_scenes(tar: Path, side: int = 256) -> np.ndarray:
    """(k, side, side, 3) uint8 training background pictures."""
    pictures = (p for name, p in iterate_pictures(tar) if name.startswith("train/"))
    return np.stack([cv2.resize(p, (side, side)) for p in pictures if p is not None])


def whitening(loader: DataLoader, batches: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (P,) of the target parameters as the training stream has them."""
    stream = iter(loader)
    param = torch.cat([next(stream)[1] for _ in range(batches)])
    mean, std = param.mean(0), param.std(0)
    return mean, torch.where(std > 0, std, 1.0)  # the depth's origin is constant


def rate(progress: float, config: TrainConfig) -> float:
    """Learning rate at a share of the time: linear warm-up, then half a cosine to zero."""
    if progress < config.warmup:
        return config.peak_lr * progress / config.warmup
    return (
        config.peak_lr
        * 0.5
        * (1 + math.cos(math.pi * min(1.0, (progress - config.warmup) / (1 - config.warmup))))
    )


def stage_at(progress: float, config: TrainConfig) -> Stage:
    """The stage at a share of the time."""
    return next(stage for stage in config.stages if progress <= stage.until)


class Trainer:
    """Network, optimiser, average and clock, with their checkpoint."""

    def __init__(self, args: argparse.Namespace, config: TrainConfig) -> None:
        self.args, self.config = args, config
        self.rank = dist.get_rank()
        self.device = torch.device(f"cuda:{self.rank}" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        cv2.setNumThreads(1)  # loaders fork, and OpenCV's threads would hang in the copies
        faces = Faces(args.labels, args.fits, val=False)
        self.val = Faces(args.labels, args.fits, val=True)
        self.scenes = load_scenes(args.scenes)
        self.faces = faces
        basel, _ = load_basel(args.wheel)
        self.basis = with_eyelids(basel, args.fits).at(
            np.load(args.fits / "correspondence.npz")["vertex"]
        )
        log.info("%d training and %d held-out faces, on %s", len(faces), len(self.val), self.device)
        self.elapsed, self.step = 0.0, 0
        self.checkpoint = args.out / "last.pt"
        saved = None
        if self.checkpoint.exists():
            saved = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        start = None
        if saved:
            mean, std = saved["mean"], saved["std"]
        elif args.from_weights:
            start, mean, std = load_start(args.from_weights, args.widen)
        else:
            mean, std = whitening(self.loader(0, config.stages[0]), 60)
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        self.net = MobileNet(args.widen, len(mean)).to(self.device)
        if start:
            self.net.load_state_dict(start)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups: list[dict[str, Any]] = [
            dict(params=[p for p in self.net.parameters() if p.ndim > 1]),
            dict(params=[p for p in self.net.parameters() if p.ndim <= 1], weight_decay=0.0),
        ]
        self.optimiser = torch.optim.AdamW(groups, config.peak_lr, weight_decay=config.weight_decay)
        self.average = Average(self.net, config.average)
        self.loss = FaceLoss(self.basis.to(self.device), self.mean, self.std, config)
        if saved:
            self.restore(saved)

    def loader(self, seed: int, stage: Stage) -> DataLoader:
        """Batches of an endless augmented stream."""
        augment = AugmentConfig().eased(stage.hardship)
        samples = Samples(self.faces, self.scenes, augment, self.config.seed + seed)
        return DataLoader(
            samples,
            self.config.batch,
            num_workers=self.args.workers,
            prefetch_factor=4 if self.args.workers else None,
        )

    def restore(self, saved: dict) -> None:
        """Continue from a checkpoint."""
        self.net.load_state_dict(saved["net"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.average.state, self.average.steps = saved["average"], saved["step"]
        self.elapsed, self.step = saved["elapsed"], saved["step"]
        log.info("resumed at step %d, %.1f minutes", self.step, self.elapsed / 60)

    def save(self) -> None:
        """Write ``last.pt`` atomically."""
        state = dict(
            net=self.net.state_dict(),
            optimiser=self.optimiser.state_dict(),
            average=self.average.state,
            mean=self.mean,
            std=self.std,
            elapsed=self.elapsed,
            step=self.step,
        )
        torch.save(state, self.checkpoint.with_suffix(".part"))
        self.checkpoint.with_suffix(".part").replace(self.checkpoint)

    def evaluate(self, side: int, count: int) -> None:
        """Measure the averaged weights on held-out faces and write them to ``average.pt``."""
        net = MobileNet(self.args.widen, len(self.mean)).to(self.device).eval()
        net.load_state_dict(self.average.state)
        pictures, points = held_out(self.val, count)
        output = predict(lambda inputs: net(inputs.to(self.device)), pictures, side)
        seen = landmarks_of(self.basis, output * self.std.cpu() + self.mean.cpu())
        log.info("held-out at %d px: %s", side, one_line(summary(points, seen)))
        shipped = dict(state_dict=self.average.state, mean=self.mean, std=self.std)
        torch.save(shipped | dict(widen=self.args.widen), self.args.out / "average.pt")

    def share(self) -> None:
        """Average gradients and clock, so that all processes take the same steps."""
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        clock = torch.tensor([self.elapsed], device=self.device)
        flat = torch.cat([gradient.flatten() for gradient in gradients] + [clock])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        self.elapsed = float(flat[-1])
        for gradient, mean in zip(gradients, flat[:-1].split([g.numel() for g in gradients])):
            gradient.copy_(mean.view_as(gradient))

    def train_step(self, batch: list[Tensor], side: int) -> dict[str, Tensor]:
        """One optimisation step; the loss terms."""
        pictures, param, points = (t.to(self.device, non_blocking=True) for t in batch)
        inputs = shrink(normalise(pictures), side).contiguous(memory_format=torch.channels_last)
        terms = self.loss.terms(self.net(inputs), param, points)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        self.share()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.average.update(self.net)
        return {name: value.detach() for name, value in terms.items()}

    def run(self) -> None:
        """Train until the time is used up."""
        limit, stage = 60 * self.args.minutes, Stage(0.0, 0)  # none yet
        tick, evaluated = time.monotonic(), self.elapsed
        while self.elapsed < limit:
            progress = self.elapsed / limit
            if stage != stage_at(progress, self.config):
                stage = stage_at(progress, self.config)
                stream = iter(self.loader(1 + self.step + 100_000 * self.rank, stage))
            for group in self.optimiser.param_groups:
                group["lr"] = rate(progress, self.config)
            batch, now = next(stream), time.monotonic()
            self.elapsed, tick = self.elapsed + now - tick, now
            terms = self.train_step(batch, stage.side)
            self.step += 1
            if not self.rank and self.step % 100 == 0:
                self.log_step(stage.side, terms)
            if not self.rank and self.elapsed - evaluated > 60 * self.args.eval_minutes:
                self.evaluate(stage.side, 1000)
                self.save()
                evaluated = self.elapsed
        if not self.rank:
            self.evaluate(120, len(self.val))
            self.save()

    def log_step(self, side: int, terms: dict[str, Tensor]) -> None:
        """One line of the log."""
        samples = self.step * self.config.batch * dist.get_world_size()
        text = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
        lr = self.optimiser.param_groups[0]["lr"]
        log.info(
            "%.1f min, %d samples, side %d, lr %.5f: %s", self.elapsed / 60, samples, side, lr, text
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("labels", "fits", "scenes", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument("--widen", type=float, default=1.0, help="MobileNet's width factor")
    parser.add_argument(
        "--from-weights",
        type=Path,
        help="prefix of exported weights, as wide or half as wide, to start from (say "
        "weights/reenact_mb05) in place of random ones",
    )
    parser.add_argument(
        "--minutes", type=float, default=240, help="training time, with resumes added up"
    )
    parser.add_argument("--eval-minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare samples")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    config = TrainConfig()
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    os.environ.update({name: value for name, value in alone.items() if name not in os.environ})
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    logging.basicConfig(
        level=logging.WARNING if dist.get_rank() else logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(args.out / "log.txt")],
    )
    (args.out / "config.json").write_text(
        json.dumps(asdict(config) | asdict(AugmentConfig()), indent=1)
    )
    Trainer(args, config).run()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
