"""Train FaceBoxes, from random or from given weights, on the scenes of ``compose_scenes``.

The learning rate follows the clock, so a run ends when it is told to, on any machine.  Every few
minutes it measures the averaged weights on held-out scenes and writes into the output folder
``faceboxes.pth`` (plain state dict of the averaged weights), ``checkpoint.pth`` (all there is to go
on from) and a line of ``log.csv``.  Scenes that appear while it runs are picked up.  The same
command again resumes.

Usage::

    python -m training.train_faceboxes --scenes scenes/ --out run/ --minutes 90
    python -m training.train_faceboxes --scenes scenes/ --out tuned/ --minutes 45 \
        --from-weights FaceBoxes/weights/reenact_faceboxes.pth --learning-rate 4e-4
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
from training import multibox
from training.average import Average
from training.composition import tone
from training.detection import Detector, to_input
from training.evaluate_faceboxes import load_scenes, on_scenes
from training.pictures import decode_picture, iterate_files

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that shapes a run apart from its data and its length."""

    seed: int = 0
    batch_pixels: int = 8 * 416 * 416  # larger scenes come in smaller batches
    crop: float = 0.93  # of a scene's side, to the next lower multiple of 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 5e-3
    warmup_steps: int = 200
    final_share: float = 0.005  # of the learning rate, at the end
    box_weight: float = 2.0
    negatives: int = 5  # for each positive prior
    gradient_norm: float = 10.0
    min_visible: float = 0.9  # a face that the crop cuts off more than this is ignored
    average_decay: float = 0.998
    report_minutes: float = 8.0
    held_out: int = 120


class Scenes(IterableDataset):
    """Endless batches: inputs (B, 3, S, S), offsets (B, P, 4), classes (B, P), as torch tensors."""

    def __init__(self, folder: Path, cfg: TrainConfig, seed: int) -> None:
        self.folder, self.cfg, self.seed = folder, cfg, seed
        self.by_size: dict[int, list[tuple[bytes, dict]]] = {}
        self.loaded: set[Path] = set()

    def load_new_shards(self) -> None:
        for shard in sorted(set(self.folder.glob("train_*.tar")) - self.loaded):
            files = dict(iterate_files(shard))
            labels = json.loads(files.pop("labels.json"))
            scenes = self.by_size.setdefault(int(shard.stem.split("_")[1]), [])
            scenes.extend((files[name], labels[name]) for name in sorted(files))
            self.loaded.add(shard)
        if not self.loaded:
            raise FileNotFoundError(f"no train_*.tar in {self.folder}")

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng(self.seed)
        while True:
            self.load_new_shards()
            batches = [
                (size, rows)
                for size, scenes in self.by_size.items()
                for rows in self._split(rng, len(scenes), size)
            ]
            for b in rng.permutation(len(batches)):
                size, rows = batches[b]
                yield self._batch(rng, [self.by_size[size][row] for row in rows], size)

    def _crop_side(self, size: int) -> int:
        return int(size * self.cfg.crop) // 32 * 32

    def _split(self, rng: np.random.Generator, count: int, size: int) -> list[np.ndarray]:
        per_batch = max(self.cfg.batch_pixels // self._crop_side(size) ** 2, 1)
        return np.array_split(rng.permutation(count), max(count // per_batch, 1))

    def _batch(self, rng: np.random.Generator, scenes: list, size: int) -> Batch:
        side = self._crop_side(size)
        priors = prior_boxes(side, side)
        pictures, targets = [], []
        for content, label in scenes:
            picture = decode_picture(content)
            picture, faces, ignore = augment(rng, picture, label, side, self.cfg.min_visible)
            pictures.append(picture)
            targets.append(multibox.assign(faces, ignore, priors, side, side))
        offsets, classes = (torch.from_numpy(np.stack(column)) for column in zip(*targets))
        return to_input(np.stack(pictures)), offsets, classes


def augment(
    rng: np.random.Generator, picture: np.ndarray, label: dict, side: int, min_visible: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random square crop of a scene, mirrored and toned at random.

    Parameters
    ----------
    picture : (S, S, 3) uint8 BGR
    label : its "faces" and "ignore", lists of boxes in pixels
    side : of the crop, in pixels
    min_visible : faces of which the crop keeps less than this share are ignored

    Returns
    -------
    picture (side, side, 3), faces (n, 4) and areas to ignore (m, 4) in the crop's pixels
    """
    size = picture.shape[0]
    faces, ignore = (np.array(label[key], float).reshape(-1, 4) for key in ("faces", "ignore"))
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        faces, ignore = mirror(faces, size), mirror(ignore, size)
    x, y = rng.integers(size - side + 1, size=2)
    crop = np.ascontiguousarray(picture[y : y + side, x : x + side])
    in_scene = area(faces.clip(0, size))
    faces, ignore = faces - (x, y, x, y), ignore - (x, y, x, y)
    in_crop = faces.clip(0, side)
    visible = area(in_crop) >= min_visible * in_scene
    ignore = np.concatenate([ignore, in_crop[~visible]])
    return tone(rng, crop, rng.uniform(0, 0.8)), faces[visible], ignore


def mirror(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes (n, 4) in a picture of `width` pixels that is flipped left to right."""
    return boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)


def area(boxes: np.ndarray) -> np.ndarray:
    """(n,) areas of boxes (n, 4), in square pixels."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


class Run:
    """A network in training: its optimiser, its average, and how far it has come."""

    def __init__(
        self, cfg: TrainConfig, out: Path, device: str, from_weights: Path | None = None
    ) -> None:
        torch.manual_seed(cfg.seed)
        self.cfg, self.out, self.device = cfg, out, device
        self.net = FaceBoxesNet().to(device, memory_format=torch.channels_last)
        if from_weights:
            state = torch.load(from_weights, map_location=device, weights_only=True)
            self.net.load_state_dict(state)
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=cfg.learning_rate, weight_decay=cfg.weight_decay
        )
        self.averaged = Average(self.net, cfg.average_decay)
        self.step, self.elapsed = 0, 0.0  # elapsed: seconds

    def learn(self, batch: Batch, progress: float) -> tuple[float, float]:
        """One step; `progress` in [0, 1] sets the learning rate. Returns box and class loss."""
        inputs, offsets, classes = (tensor.to(self.device) for tensor in batch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.cfg, self.step, progress)
        loc, logits = self.net(inputs)
        box_loss, class_loss = multibox.multibox_loss(
            loc, logits, offsets, classes, self.cfg.negatives
        )
        self.optimizer.zero_grad()
        (self.cfg.box_weight * box_loss + class_loss).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.cfg.gradient_norm)
        self.optimizer.step()
        self.averaged.update(self.net)
        self.step += 1
        return box_loss.item(), class_loss.item()

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
    """How the weights do on held-out scenes, against the labelling detector's finds."""
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
            box_loss, class_loss = np.mean(losses, 0).round(4)
            row = {
                "minutes": round(run.elapsed / 60, 1),
                "step": run.step,
                "per_second": round(seen / (run.elapsed - reported), 1),
                "box_loss": box_loss,
                "class_loss": class_loss,
            }
            append_log(run.out / "log.csv", row | measure(run.averaged.state, held_out))
            reported, losses, seen = time.time() - started, [], 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, required=True, help="folder of train_*, val_* tars")
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
    run = Run(cfg, args.out, args.device, args.from_weights)
    run.resume()
    train(run, args.scenes, 60 * args.minutes)


if __name__ == "__main__":
    main()
