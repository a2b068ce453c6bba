"""Train the regressor: MobileNet-V1 -> 12 pose + 40 shape + 12 expression parameters, 52
blendshape scores, and the error to be expected.

    python -m training.regressor.train_tddfa --labels LABELS --fits FITS --turned TURNED \
        --scenes scenes.tar scenes_people.tar --out RUN --widen 0.5 --minutes 75

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
from dataclasses import asdict, dataclass, replace
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
from training.regressor.augment import AugmentConfig
from training.regressor.faces import Faces, Sample, Samples, normalise, shrink
from training.regressor.fit import WHEEL_HELP, load_points_model
from training.regressor.geometry import Model
from training.regressor.kind import JAW, Kind
from training.regressor.landmarks import EYES, LIPS, LOWER_LID, UPPER_LID
from training.regressor.measure import (
    held_out,
    landmarks_of,
    one_line,
    predict,
    score_reliability,
    spread,
    summary,
)
from training.regressor.nothing import load_nothing, load_scenes
from training.regressor.settled import settled_features
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
    settled: bool = False  # batch norms stay, features are bfloat16: half the time on a CPU
    taught: bool = False  # a teacher, where there is one, is asked, too


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
    w_wink: float = 3.0  # the gaps of one eye less those of the other
    w_param: float = 0.05
    w_scores: float = 0.5
    w_error: float = 0.1
    nothing_error: float = 20.0  # pixels, what a picture without a face counts as
    w_teacher: float = 0.5  # of the terms once more, with a teacher's answers as the truth
    frozen: tuple[str, ...] = ()  # layers that stay as they started


FINE_TUNING = TrainConfig(
    peak_lr=5e-4,  # at full width; Adam's steps go with its inverse (Yang et al. 2022)
    weight_decay=0.01,
    stages=(
        Stage(0.5, 96, settled=True),
        Stage(1.0, 120, 0.5, settled=True, taught=True),
    ),
    w_scores=1.0,
    # edges and their like are known; without their backward pass a step takes a third less
    frozen=("conv1", "bn1", "dw2_1", "dw2_2", "dw3_1"),
)


class FaceLoss:
    """The training loss: pixels of the 120-pixel crop, but for the whitened terms.

    What nobody knows of a sample (see ``Kind``) costs nothing.
    """

    def __init__(
        self, model: Model, mean: Tensor, std: Tensor, scores: ScoreStatistics, config: TrainConfig
    ) -> None:
        weight = torch.ones(len(model.mean), device=mean.device)
        weight[LIPS] = 2.0
        weight[EYES] = 3.0
        weight[JAW] = 3.0
        lids = [pair for u, d in zip(UPPER_LID, LOWER_LID) for pair in zip(u[1:6], d[1:6])]
        self.gaps = torch.tensor([(13, 14), (82, 87), (312, 317)] * 2 + lids).T
        self.weight = weight / weight.mean()
        self.model, self.mean, self.std, self.config = model, mean, std, config
        self.scores = scores

    def gap(self, landmarks: Tensor) -> Tensor:
        """Vectors (B, g, 2) across mouth and eyes of landmarks (B, L, 3)."""
        return landmarks[:, self.gaps[0], :2] - landmarks[:, self.gaps[1], :2]

    def wink(self, landmarks: Tensor) -> Tensor:
        """The right lids' mean gap less the left ones' of landmarks (B, L, 3), (B, 2)."""
        right, left = self.gap(landmarks)[:, -10:].split(5, 1)
        return right.mean(1) - left.mean(1)

    def terms(self, outputs: tuple[Tensor, ...], batch: Sample) -> dict[str, Tensor]:
        """The weighted terms of the loss.

        outputs: whitened parameters (B, P) and scores (B, 52), log error (B, 1). The landmarks are
        MediaPipe's own where it is trusted, so that gaps are not the fit's, a bit too small.
        """
        output, told_scores, told_error = outputs
        param, face = batch.param, batch.kind >= 0
        guess = output * self.std + self.mean
        shape, exp = ((guess - param)[:, part] for part in (SHAPE, EXP))
        by_shape = (shape @ self.model.shape.flatten(0, 1).T).view(len(param), -1, 3) * PIXELS
        by_exp = (exp @ self.model.exp.flatten(0, 1).T).view(len(param), -1, 3) * PIXELS
        true = project_3d(param, self.model.vertices(param[:, SHAPE], param[:, EXP]))
        true = torch.cat([batch.points, true[..., 2:]], 2)
        seen = project_3d(guess, self.model.vertices(guess[:, SHAPE], guess[:, EXP]))
        ahead = face & (batch.kind <= Kind.AHEAD)
        error = (seen - true)[..., :2].detach().norm(dim=2).mean(1) + 0.1
        c = self.config
        error = torch.where(face, error, c.nothing_error).log()
        return dict(
            projected=c.w_projected * mean_of(self.weight * robust(seen - true), face),
            own=c.w_own_frame * mean_of(self.weight * robust(by_shape + by_exp), face),
            expression=c.w_expression * mean_of(self.weight * robust(by_exp), ahead),
            opening=c.w_opening * mean_of(robust(self.gap(seen) - self.gap(true)), ahead),
            wink=c.w_wink * mean_of(absolute(self.wink(seen) - self.wink(true))[:, None], ahead),
            param=c.w_param * mean_of(((guess - param) / self.std).square(), face),
            scores=c.w_scores * self.scores.loss(told_scores, batch.scores),
            error=c.w_error * nn.functional.smooth_l1_loss(told_error[:, 0], error),
        )

    def of_teacher(self, outputs: tuple[Tensor, ...], answer: Sample) -> Tensor:
        """The sum of the terms for a teacher's answer, but for the error, which is one's own."""
        terms = self.terms(outputs, answer)
        del terms["error"]
        return self.config.w_teacher * torch.stack(list(terms.values())).sum()


class Teacher:
    """A trained ×1.0 network, whose answers are labels, too.

    prefix: of its files, say ``weights/reenact_mb1``; model: at the points to judge; device: where
    all of it is.
    """

    def __init__(
        self, prefix: Path, model: Model, scores: ScoreStatistics, device: torch.device
    ) -> None:
        state, mean, std = load_start(prefix, 1.0)
        self.net = MobileNet(1.0, len(mean), len(scores.mean)).requires_grad_(False)
        self.net.load_state_dict(state)
        self.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean, self.std = mean.to(device), std.to(device)
        self.model, self.scores = model, scores

    def answer(self, inputs: Tensor, batch: Sample) -> Sample:
        """The batch labelled by what the teacher sees; of what shows no face it knows nothing."""
        told, scores, _ = self.net.heads(settled_features(self.net, inputs).float())
        param = told * self.std + self.mean
        vertices = self.model.vertices(param[:, SHAPE], param[:, EXP])
        scores = scores * self.scores.std + self.scores.mean
        return batch._replace(
            param=param,
            points=project_3d(param, vertices)[..., :2],
            scores=torch.where(batch.kind[:, None] >= 0, scores, torch.nan),
        )


@dataclass
class ScoreStatistics:
    """Mean and spread (52,) of the scores; constant ones have an infinite spread."""

    mean: Tensor
    std: Tensor

    def to(self, device: torch.device) -> ScoreStatistics:
        """The same on a device."""
        return ScoreStatistics(self.mean.to(device), self.std.to(device))

    def loss(self, told: Tensor, true: Tensor) -> Tensor:
        """Mean square of whitened scores (B, 52) off the true ones, where those are known."""
        error = told - (true - self.mean) / self.std
        known = torch.isfinite(error) & torch.isfinite(self.std)
        return torch.where(known, error, 0).square().sum() / known.sum().clamp(min=1)


def mean_of(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of (B, k) values over some rows; 0 over none."""
    return (values.mean(1) * rows).sum() / len(rows)


def robust(error: Tensor) -> Tensor:
    """Pseudo-Huber length of (..., 3) errors: square below a pixel and a half, linear above."""
    return (error.square().sum(-1) + 2.25).sqrt() - 1.5


def absolute(error: Tensor) -> Tensor:
    """Pseudo-Huber length of (..., 2) errors: linear above half a pixel."""
    return (error.square().sum(-1) + 0.25).sqrt() - 0.5


def project_3d(param: Tensor, vertices: Tensor) -> Tensor:
    """(B, P) parameters, (B, L, 3) vertices -> (B, L, 3) in the network's frame."""
    pose = param[:, :12].view(-1, 3, 4)
    return vertices @ pose[:, :, :3].transpose(1, 2) + pose[:, None, :, 3]


def whitening(loader: DataLoader, batches: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (P,) of the target parameters as the training stream has them."""
    stream = iter(loader)
    param = torch.cat([next(stream).param for _ in range(batches)])
    mean, std = param.mean(0), param.std(0)
    return mean, torch.where(std > 0, std, 1.0)  # the depth's origin is constant


def score_statistics(scores: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and spread (52,) of scores (n, 52), NaN where unknown; of those that hardly ever vary
    the spread is infinite."""
    mean, std = np.nanmean(scores, 0), np.nanstd(scores, 0)
    return torch.from_numpy(mean), torch.from_numpy(np.where(std > 0.003, std, np.inf))


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
        labelled, turned = [(args.labels, args.fits)], [(args.turned / "train",) * 2]
        self.faces = faces = Faces(labelled + turned, val=False)
        real = Faces(labelled, val=True)
        self.val = real.only(real.kind <= Kind.AHEAD)
        self.turned = Faces([(args.turned / "val",) * 2], val=True)
        self.scenes, self.nothing = load_scenes(args.scenes[0]), load_nothing(args.scenes)
        self.basis = load_points_model(args.fits, args.wheel)
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
        self.scores = ScoreStatistics(*score_statistics(faces.scores))
        self.net = self.new_net()
        if start:
            self.net.load_state_dict(self.net.state_dict() | start)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name in config.frozen:
            getattr(self.net, name).requires_grad_(False).eval()
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            dict(params=[p for p in parameters if p.ndim > 1]),
            dict(params=[p for p in parameters if p.ndim <= 1], weight_decay=0.0),
        ]
        self.optimiser = torch.optim.AdamW(groups, config.peak_lr, weight_decay=config.weight_decay)
        self.average = Average(self.net, config.average)
        basis, scores = self.basis.to(self.device), self.scores.to(self.device)
        self.loss = FaceLoss(basis, self.mean, self.std, scores, config)
        self.teacher = Teacher(args.teacher, basis, scores, self.device) if args.teacher else None
        if saved:
            self.restore(saved)

    def new_net(self) -> MobileNet:
        """A network with all heads."""
        net = MobileNet(self.args.widen, len(self.mean), len(self.faces.score_names))
        return net.to(self.device)

    def loader(self, seed: int, stage: Stage) -> DataLoader:
        """Batches of an endless augmented stream."""
        augment = AugmentConfig().eased(stage.hardship)
        samples = Samples(self.faces, self.scenes, self.nothing, augment, self.config.seed + seed)
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
        net = self.new_net().eval()
        net.load_state_dict(self.average.state)
        for name, faces in (("turned", self.turned), ("held-out", self.val)):
            pictures, points = held_out(faces, count)
            outputs = predict(
                lambda inputs: torch.cat(net(inputs.to(self.device))[:2], 1), pictures, side
            )
            whitened, scores = outputs.split([len(self.mean), len(self.scores.mean)], 1)
            seen = landmarks_of(self.basis, whitened * self.std.cpu() + self.mean.cpu())
            told = scores * self.scores.std + self.scores.mean
            reliability = score_reliability(faces.scores[spread(faces, count)], told.numpy())
            judged = reliability[reliability != 0].mean()
            text = one_line(summary(points, seen) | dict(scores=float(judged)))
            log.info("%s at %d px: %s", name, side, text)
        shipped = dict(state_dict=self.average.state, mean=self.mean, std=self.std)
        shipped |= dict(score_mean=self.scores.mean, score_std=self.scores.std)
        shipped |= dict(score_reliability=torch.from_numpy(reliability))
        shipped |= dict(score_names=[str(name) for name in self.faces.score_names])
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

    def train_step(self, batch: Sample, stage: Stage) -> dict[str, Tensor]:
        """One optimisation step; the loss terms."""
        batch = Sample(*(t.to(self.device, non_blocking=True) for t in batch))
        whole = normalise(batch.picture).contiguous(memory_format=torch.channels_last)
        inputs = shrink(whole, stage.side).contiguous(memory_format=torch.channels_last)
        net = self.net
        features = settled_features(net, inputs) if stage.settled else net.features(inputs)
        outputs = net.heads(features.float())
        terms = self.loss.terms(outputs, batch)
        if self.teacher and stage.taught:
            terms["teacher"] = self.loss.of_teacher(outputs, self.teacher.answer(whole, batch))
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
            terms = self.train_step(batch, stage)
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
    for name in ("labels", "fits", "turned", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--scenes", type=Path, nargs="+", required=True,
        help="tars of scenes, the first without people: backgrounds, and what is no face",
    )  # fmt: skip
    parser.add_argument("--wheel", type=Path, help=WHEEL_HELP)
    parser.add_argument("--widen", type=float, default=1.0, help="MobileNet's width factor")
    parser.add_argument(
        "--from-weights",
        type=Path,
        help="prefix of exported weights, as wide or half as wide, to start from (say "
        "weights/reenact_mb05) in place of random ones",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        help="prefix of a x1.0 network's exported weights to learn from, too, when fine tuning",
    )
    parser.add_argument(
        "--minutes", type=float, default=240, help="training time, with resumes added up"
    )
    parser.add_argument("--eval-minutes", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare samples")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tuning = replace(FINE_TUNING, peak_lr=FINE_TUNING.peak_lr / args.widen)
    config = tuning if args.from_weights else TrainConfig()
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
