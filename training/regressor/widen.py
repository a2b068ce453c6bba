"""Start a wide network from a trained narrow one: twice the channels, the same function.

Net2Net (Chen et al. 2016, arXiv 1511.05641): every channel is there twice, and whoever reads the
two copies splits its weight between them. The splits are random, so the copies get different
gradients and part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bfm.bfm import LID_COLUMNS
from bfm.params import POSE_DIM
from bfm.provision import SHAPE_DIM
from models.checkpoints import load_model, read_state_dict
from models.mobilenet_v1 import MobileNet

TRAINED = POSE_DIM + SHAPE_DIM + LID_COLUMNS.stop  # parameters


def twice_as_wide(state: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """The state dict of a ``MobileNet`` of twice the ``widen_factor`` that computes the same."""
    generator = torch.Generator().manual_seed(seed)

    def split(weight: Tensor) -> Tensor:
        """(o, i, ...) -> (o, 2i, ...) for inputs that come twice."""
        share = 0.2 + 0.6 * torch.rand(weight.shape, generator=generator)
        return torch.cat([weight * share, weight * (1 - share)], 1)

    wide = {}
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            wide[name] = value.clone()
        elif name == "fc.weight":
            wide[name] = split(value)
        elif name == "fc.bias":
            wide[name] = value.clone()
        else:
            twice = torch.cat([value, value])
            wide[name] = split(twice) if name.endswith("conv_sep.weight") else twice
    return wide


def load_start(prefix: Path, widen_factor: float) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """State dict, mean and standard deviation of the exported network ``prefix`` (say
    ``weights/reenact_mb05``), doubled in width where ``widen_factor`` needs it.

    Without the brows' rows, which are not trained.
    """
    numbers = np.load(prefix.with_name(f"{prefix.name}_param_mean_std.npz"))
    mean, std = torch.from_numpy(numbers["mean"]), torch.from_numpy(numbers["std"])
    checkpoint = prefix.with_name(f"{prefix.name}_120x120.pth")
    channels = len(read_state_dict(checkpoint)["conv1.weight"])
    net = MobileNet(channels / 32, len(mean), len(numbers.get("score_mean", ())))
    state = load_model(net, checkpoint).state_dict()
    state |= {f"fc.{key}": state[f"fc.{key}"][:TRAINED] for key in ("weight", "bias")}
    mean, std = mean[:TRAINED], std[:TRAINED]
    if int(32 * widen_factor) == 2 * channels:
        return twice_as_wide(state), mean, std
    if int(32 * widen_factor) == channels:
        return state, mean, std
    raise ValueError(f"{checkpoint} is neither as wide as asked for nor half as wide")
