"""Teach FaceBoxes what another one says, from random or from given weights.

The pictures are random parts of the scenes of ``compose_scenes``, enlarged or shrunk.  The teacher
looks at each, too, and its answer is the target (see ``distillation``), but for the places where it
disagrees with what we know to be in the scene: nothing is learned there.

The learning rate follows the clock, so a run ends when it is told to, on any machine.  Every few
minutes it measures the averaged weights on held-out scenes and writes into the output folder
``faceboxes.pth`` (plain state dict of the averaged weights), ``checkpoint.pth`` (all there is to go
on from) and a line of ``log.csv``.  Scenes that appear while it runs are picked up.  The same
command again resumes.

Usage::

    python -m training.detector.train --scenes scenes/ --teacher FaceBoxesProd.pth --out run/
    python -m training.detector.train --scenes scenes/ --teacher FaceBoxesProd.pth --out tuned/ \
        --minutes 45 --from-weights FaceBoxes/weights/reenact_faceboxes.pth
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from FaceBoxes.models.faceboxes import FaceBoxesNet
from FaceBoxes.utils.prior_box import prior_boxes
from training.average import Average
from training.detector.composition import log_uniform, resize, tone
from training.detector.detection import Detector, match_boxes, to_input
from training.detector.distillation import Losses, distillation_losses, touching
from training.detector.evaluate import load_scenes, on_scenes
from training.pictures import decode_picture, iterate_files

# Pictures (B, S, S, 3) uint8 BGR, and (B, P) bool, which anchors of each count.
Batch = tuple[torch.Tensor, torch.Tensor]

SAME_FACE_IOU = 0.4  # of a find and the box of what was put there


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes a run apart from its data and its length."""

    seed: int = 0
    sides: tuple[int, ...] = (320, 416, 416, 512, 640)  # of the pictures of a batch, pixels
    batch_pixels: int = 8 * 416 * 416  # larger pictures come in smaller batches
    zoom: tuple[float, float] = (0.6, 2.5)
    learning_rate: float = 1.2e-3
    weight_decay: float = 5e-3
    warmup_steps: int = 200
    final_share: float = 0.005  # of the learning rate, at the end
    box_weight: float = 3.0
    logit_weight: float = 0.2
    gradient_norm: float = 10.0
    average_decay: float = 0.999
    report_minutes: float = 8.0
    held_out: int = 200


class Scenes(IterableDataset):
    """Endless batches."""

    def __init__(self, folder: Path, cfg: TrainConfig, seed: int) -> None:
        self.folder, self.cfg, self.seed = folder, cfg, seed
        self.scenes: list[tuple[bytes, dict]] = []
        self.loaded: set[Path] = set()

    def load_new_shards(self) -> None:
        for shard in sorted(set(self.folder.glob("train_*.tar")) - self.loaded):
            files = dict(iterate_files(shard))
            labels = json.loads(files.pop("labels.json"))
            self.scenes.extend((files[name], labels[name]) for name in sorted(files))
            self.loaded.add(shard)
        if not self.loaded:
            raise FileNotFoundError(f"no train_*.tar in {self.folder}")

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng(self.seed)
        while True:
            self.load_new_shards()
            order = rng.permutation(len(self.scenes))
            while len(order):
                side = int(rng.choice(self.cfg.sides))
                count = max(self.cfg.batch_pixels // side**2, 1)
                yield self._batch(rng, [self.scenes[i] for i in order[:count]], side)
                order = order[count:]

    def _batch(self, rng: np.random.Generator, scenes: list, side: int) -> Batch:
        priors = prior_boxes(side, side)
        pictures, counts = [], []
        for content, label in scenes:
            picture, areas = augment(
                rng, decode_picture(content), disputed(label), side, self.cfg.zoom
            )
            pictures.append(picture)
            counts.append(~touching(priors, areas / side))
        return torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(counts))


def disputed(label: dict) -> np.ndarray:
    """Boxes (n, 4) where the teacher and what was put into a scene disagree.

    Real pictures may hold faces that nobody put there: what the teacher finds in them is right.
    """
    put, found = (np.array(label[key], float).reshape(-1, 5)[:, :4] for key in ("put", "found"))
    pairs = match_boxes(put, found, SAME_FACE_IOU)
    missed = np.delete(put, [i for i, _ in pairs], axis=0)
    if label["kind"] == "real":
        return missed
    return np.concatenate([missed, np.delete(found, [j for _, j in pairs], axis=0)])


def augment(
    rng: np.random.Generator,
    picture: np.ndarray,
    areas: np.ndarray,
    side: int,
    zoom: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """A random square part of a scene, resized, mirrored and toned at random.

    Parameters
    ----------
    picture : (S, S, 3) uint8 BGR
    areas : (n, 4) boxes in its pixels
    side : of the result, pixels
    zoom : range of the enlargement, as far as the scene is large enough

    Returns
    -------
    picture (side, side, 3) uint8, areas (n, 4) in its pixels
    """
    size = picture.shape[0]
    part = min(round(side / log_uniform(rng, *zoom)), size)
    x, y = rng.integers(size - part + 1, size=2)
    shown = resize(picture[y : y + part, x : x + part], side, side)
    areas = (areas - (x, y, x, y)) * (side / part)
    if rng.random() < 0.5:
        shown, areas = shown[:, ::-1], mirror(areas, side)
    return tone(rng, np.ascontiguousarray(shown), rng.uniform(0, 0.8)), areas


def mirror(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes (n, 4) in a picture of `width` pixels that is flipped left to right."""
    return boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)


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
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=cfg.learning_rate, weight_decay=cfg.weight_decay
        )
        self.averaged = Average(self.net, cfg.average_decay)
        self.step, self.elapsed = 0, 0.0  # elapsed: seconds

    def learn(self, batch: Batch, progress: float) -> Losses:
        """One step; `progress` in [0, 1] sets the learning rate."""
        inputs, counts = to_input(batch[0].numpy()).to(self.device), batch[1].to(self.device)
        priors = torch.tensor(prior_boxes(*inputs.shape[2:]), device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.cfg, self.step, progress)
        with torch.no_grad():
            wanted = self.teacher(inputs)
        losses = distillation_losses(self.net(inputs), wanted, priors, counts)
        loss = (
            losses.scores
            + self.cfg.logit_weight * losses.logits
            + self.cfg.box_weight * losses.boxes
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.cfg.gradient_norm)
        self.optimizer.step()
        self.averaged.update(self.net)
        self.step += 1
        return Losses(*(part.detach() for part in losses))

    def save(self) -> None:
        """Write the averaged weights and the checkpoint; each appears whole or not at all."""
        checkpoint = {
            "net": self.net.state_dict(),
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
        self.optimizer.load_state_dict(saved["optimizer"])
        self.averaged.state, self.averaged.steps = saved["average"], saved["average_steps"]
        self.step, self.elapsed = saved["step"], saved["elapsed"]


def learning_rate(cfg: TrainConfig, step: int, progress: float) -> float:
    """Linear warm-up by steps, then half a cosine by the share of the time that is used up."""
    warm = min((step + 1) / cfg.warmup_steps, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    return cfg.learning_rate * warm * max(cosine, cfg.final_share)


def measure(state: dict[str, torch.Tensor], held_out: list) -> dict[str, float]:
    """How the weights do on held-out scenes, against the teacher's finds."""
    net = FaceBoxesNet()
    net.load_state_dict(state)
    return on_scenes(Detector(net), held_out)["all"].summary()


def append_log(log_fp: Path, row: dict) -> None:
    """Add a row to a CSV (with the header, if it is the first) and print it."""
    new = not log_fp.exists()
    with log_fp.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)


def train(run: Run, scenes_dir: Path, seconds: float) -> None:
    """Train until `seconds` of training, over all resumed parts, are used up."""
    cfg = run.cfg
    held_out = load_scenes(scenes_dir)[: cfg.held_out]
    scenes = Scenes(scenes_dir, cfg, cfg.seed + run.step)
    batches = iter(DataLoader(scenes, batch_size=None, num_workers=1, prefetch_factor=4))
    started = time.time() - run.elapsed
    reported, losses, seen = run.elapsed, [], 0
    run.net.train()
    while run.elapsed < seconds:
        batch = next(batches)
        losses.append(run.learn(batch, run.elapsed / seconds))
        seen, run.elapsed = seen + len(batch[0]), time.time() - started
        if run.elapsed - reported > 60 * cfg.report_minutes or run.elapsed >= seconds:
            run.save()
            means = (round(float(torch.stack(part).mean()), 4) for part in zip(*losses))
            row = {
                "minutes": round(run.elapsed / 60, 1),
                "step": run.step,
                "per_second": round(seen / (run.elapsed - reported), 1),
                **dict(zip(Losses._fields, means)),
            }
            append_log(run.out / "log.csv", row | measure(run.averaged.state, held_out))
            reported, losses, seen = time.time() - started, [], 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder of train_*, val_* tars")
    parser.add_argument("--teacher", required=True, help="state dict to learn from")
    parser.add_argument("--out", type=Path, required=True, help="for weights, checkpoint, log")
    parser.add_argument("--minutes", type=float, default=90, help="of training, over all parts")
    parser.add_argument(
        "--from-weights", type=Path, help="state dict to start from in place of random weights"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=TrainConfig.learning_rate, help="its peak"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    cfg = replace(TrainConfig(), learning_rate=args.learning_rate)
    (args.out / "config.json").write_text(json.dumps(asdict(cfg), indent=1))
    run = Run(cfg, args.out, args.device, Detector(args.teacher).net, args.from_weights)
    run.resume()
    train(run, args.scenes, 60 * args.minutes)


if __name__ == "__main__":
    main()
