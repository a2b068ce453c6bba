"""Teach FaceBoxes what another one says, corrected by what is known of the pictures.

The pictures are what ``crops`` cuts from real ones.  The teacher looks at each, too, and its answer
is the target (see ``distillation``); where that disagrees with what ``label`` knows of the picture,
it is corrected, or nothing is learned there.

The learning rate follows the clock, so a run ends when it is told to, on any machine.  Every few
minutes it writes into the output folder ``faceboxes.pth`` (plain state dict of the averaged
weights), ``checkpoint.pth`` (all there is to go on from) and a line of ``log.csv``.  The same
command again resumes.

Usage::

    python -m training.detector.train --data DIR_OF_TARS --labels faces.json \
        --teacher FaceBoxesProd.pth --out run/ --minutes 70 --from-weights faceboxes.pth
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from FaceBoxes.models.faceboxes import FaceBoxesNet
from FaceBoxes.utils.prior_box import prior_boxes
from training.average import Average
from training.detector.crops import Crop, CropConfig, Cutter, Source, load_sources
from training.detector.detection import Detector, to_input
from training.detector.distillation import Hint, amend, distillation_losses

Batch = list[Crop]
Answer = tuple[torch.Tensor, torch.Tensor]  # a network's: offsets (B, P, 4), scores (B, P, 2)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes a run apart from its data and its length."""

    seed: int = 0
    batch: int = 8
    side: int = 384  # of the crops, pixels
    wide_side: int = 640  # of the crops of some batches, with room for the largest faces
    p_wide: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 5e-3
    warmup_steps: int = 200
    final_share: float = 0.005  # of the learning rate, at the end
    box_weight: float = 3.0
    logit_weight: float = 0.2
    hint_weight: float = 2.0
    hint_share: float = 10.0  # of the learning rate, for the hint's linear map
    gradient_norm: float = 10.0
    average_decay: float = 0.999
    report_minutes: float = 4.0
    crops: CropConfig = CropConfig()


class Crops(IterableDataset):
    """Endless batches; wide ones have about as many pixels as the others, in fewer crops."""

    def __init__(self, sources: dict[str, list[Source]], cfg: TrainConfig, seed: int) -> None:
        self.sources, self.cfg, self.seed = sources, cfg, seed

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        worker = torch.utils.data.get_worker_info()
        cutter = Cutter(self.sources, self.cfg.crops, self.seed + (worker.id if worker else 0))
        cfg = self.cfg
        wide_batch = max(round(cfg.batch * (cfg.side / cfg.wide_side) ** 2), 1)
        while True:
            wide = cutter.rng.random() < cfg.p_wide
            side, count = (cfg.wide_side, wide_batch) if wide else (cfg.side, cfg.batch)
            yield [cutter.crop(side) for _ in range(count)]


class Run:
    """A network in training: its teacher, its optimiser, its average, how far it has come."""

    def __init__(
        self,
        cfg: TrainConfig,
        out: Path,
        device: str,
        teacher: FaceBoxesNet,
        from_weights: Path | None = None,
    ) -> None:
        torch.manual_seed(cfg.seed)
        self.cfg, self.out, self.device = cfg, out, device
        self.teacher = teacher.eval().to(device)
        self.net = FaceBoxesNet().to(device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if from_weights:
            state = torch.load(from_weights, map_location=device, weights_only=True)
            self.net.load_state_dict(state)
        self.hint = Hint(self.net, self.teacher).to(device)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": self.net.parameters(), "share": 1.0},
                {"params": self.hint.parameters(), "share": cfg.hint_share},
            ],
            lr=cfg.learning_rate,
            weight_decay=cfg.weight_decay,
            fused=True,
        )
        self.averaged = Average(self.net, cfg.average_decay)
        self.step, self.elapsed = 0, 0.0  # elapsed: seconds

    def amended(self, batch: Batch, wanted: Answer) -> tuple[Answer, torch.Tensor]:
        """The teacher's answer, corrected by what is known, and which anchors count (B, P)."""
        offsets, scores = (part.float().cpu().numpy() for part in wanted)
        side = len(batch[0].picture)
        priors = prior_boxes(side, side)
        counts = [
            amend(offset, score[:, 1], priors, *(boxes / side for boxes in crop[1:]))
            for crop, offset, score in zip(batch, offsets, scores)
        ]
        parts = (offsets, scores, np.stack(counts))
        wanted_offsets, wanted_scores, counted = (
            torch.from_numpy(part).to(self.device) for part in parts
        )
        return (wanted_offsets, wanted_scores), counted

    def learn(self, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        """One step; `progress` in [0, 1] sets the learning rate.  Returns the losses by name."""
        inputs = to_input(np.stack([crop.picture for crop in batch])).to(self.device)
        priors = torch.tensor(prior_boxes(*inputs.shape[2:]), device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(self.cfg, self.step, progress)
        with torch.autocast(self.device, torch.bfloat16):
            with torch.no_grad():
                wanted = self.teacher(inputs)
            loc, conf = self.net(inputs)
            hint = self.hint()
        wanted, counts = self.amended(batch, wanted)
        losses = distillation_losses((loc.float(), conf.float()), wanted, priors, counts)
        loss = (
            losses.scores
            + self.cfg.logit_weight * losses.logits
            + self.cfg.box_weight * losses.boxes
            + self.cfg.hint_weight * hint
        )
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.cfg.gradient_norm)
        if norm.isfinite():  # oneDNN's bfloat16 gradients of maps of one pixel may not be
            self.optimizer.step()
        self.averaged.update(self.net)
        self.step += 1
        named = {**losses._asdict(), "hint": hint}
        return {name: value.detach() for name, value in named.items()}

    def save(self) -> None:
        """Write the averaged weights and the checkpoint; each appears whole or not at all."""
        checkpoint = {
            "net": self.net.state_dict(),
            "hint": self.hint.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.averaged.state,
            "average_steps": self.averaged.steps,
            "step": self.step,
            "elapsed": self.elapsed,
        }
        average = {key: value.cpu().contiguous() for key, value in self.averaged.state.items()}
        for name, content in (("faceboxes.pth", average), ("checkpoint.pth", checkpoint)):
            partial = self.out / f"{name}.partial"
            torch.save(content, partial)
            partial.rename(self.out / name)

    def resume(self) -> None:
        """Go on from the output folder's checkpoint, if there is one."""
        checkpoint_fp = self.out / "checkpoint.pth"
        if not checkpoint_fp.exists():
            return
        saved = torch.load(checkpoint_fp, map_location=self.device, weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.hint.load_state_dict(saved["hint"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.averaged.state, self.averaged.steps = saved["average"], saved["average_steps"]
        self.step, self.elapsed = saved["step"], saved["elapsed"]


def learning_rate(cfg: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up by steps, then half a cosine by the share of the time that is used up."""
    warm = min((step + 1) / cfg.warmup_steps, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    return cfg.learning_rate * warm * max(cosine, cfg.final_share)


def append_log(log_fp: Path, row: dict) -> None:
    """Add a row to a CSV (with the header, if it is the first) and print it."""
    new = not log_fp.exists()
    with log_fp.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def train(run: Run, sources: dict[str, list[Source]], seconds: float, workers: int) -> None:
    """Train until `seconds` of training, over all resumed parts, are used up."""
    cfg = run.cfg
    crops = Crops(sources, cfg, cfg.seed + run.step)
    batches = iter(DataLoader(crops, batch_size=None, num_workers=workers, collate_fn=list))
    started = time.time() - run.elapsed
    reported, losses = run.elapsed, []
    run.net.train()
    while run.elapsed < seconds:
        losses.append(run.learn(next(batches), run.elapsed / seconds))
        run.elapsed = time.time() - started
        if run.elapsed - reported > 60 * cfg.report_minutes or run.elapsed >= seconds:
            run.save()
            means = {
                name: round(float(torch.stack([step[name] for step in losses]).mean()), 4)
                for name in losses[0]
            }
            row = {
                "minutes": round(run.elapsed / 60, 1),
                "step": run.step,
                "steps_per_second": round(len(losses) / (run.elapsed - reported), 2),
                **means,
            }
            append_log(run.out / "log.csv", row)
            reported, losses = run.elapsed, []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tars")
    parser.add_argument("--labels", type=Path, required=True, help="what label wrote")
    parser.add_argument("--teacher", required=True, help="state dict to learn from")
    parser.add_argument("--out", type=Path, required=True, help="for weights, checkpoint, log")
    parser.add_argument("--minutes", type=float, default=90, help="of training, over all parts")
    parser.add_argument(
        "--from-weights", type=Path, help="state dict to start from in place of random weights"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=TrainConfig.learning_rate, help="its peak"
    )
    parser.add_argument(
        "--hardship", type=float, default=1.0, help="less for the end; see crops.CropConfig"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that cut; 0: this one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    crops = CropConfig(hardship=args.hardship)
    cfg = TrainConfig(learning_rate=args.learning_rate, crops=crops)
    (args.out / "config.json").write_text(json.dumps(asdict(cfg), indent=1))
    run = Run(cfg, args.out, args.device, Detector(args.teacher).net, args.from_weights)
    run.resume()
    train(run, load_sources(args.data, args.labels, "train"), 60 * args.minutes, args.workers)


if __name__ == "__main__":
    main()
