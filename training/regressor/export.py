"""Turn a training run's averaged weights into the files that are shipped.

    python -m training.regressor.export --run RUN --name reenact_mb05

writes ``weights/NAME_120x120.onnx`` (dynamic batch), ``weights/NAME_120x120.pth`` ({'state_dict':
…}, the head named ``fc_param`` as in the original's checkpoints) and
``weights/NAME_param_mean_std.npz`` (mean, std: param = output·std + mean; the same of the scores,
with their names and reliability). Batch norms are folded into the convolutions before them, so that
both files hold the same numbers, and those are rounded to 12 bits, of which the outputs notice
nothing and which pack to two thirds. The eyelid directions
that the parameters speak of are the run's FITS/eyelids.npz; they belong in bfm/eyelids.npz. The
brows' coefficients, of bfm/brows.npz, are added to the parameters here.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from bfm.provision import BROWS
from models.export import NetworkSpec, export_onnx
from models.mobilenet_v1 import MobileNet
from training.regressor.brows import with_brow_rows
from utils.io import load_arrays, write_bytes


def bare_graph(graph: bytes) -> bytes:
    """The graph without metadata and documentation."""
    model = onnx.load_from_string(graph)
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model.SerializeToString()


def folded(state: dict[str, Tensor], eps: float = 1e-5) -> dict[str, Tensor]:
    """A ``MobileNet``'s state dict that computes the same, with batch norms that only add."""
    new = dict(state)
    for weight in [name for name in state if "conv" in name]:
        norm = weight.replace("conv", "bn").removesuffix(".weight")
        mean, var, gain, bias = (
            state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / (var + eps).sqrt()
        new[weight] = state[weight] * scale[:, None, None, None]
        new[f"{norm}.bias"] = bias - mean * scale
        new[f"{norm}.running_mean"] = torch.zeros_like(mean)
        new[f"{norm}.running_var"] = torch.full_like(var, 1 - eps)
        new[f"{norm}.weight"] = torch.ones_like(gain)
    return new


def rounded(weight: Tensor, bits: int = 12) -> Tensor:
    """float32 numbers with so many bits before the zeros, the implicit one included."""
    mantissa, exponent = torch.frexp(weight)
    return torch.ldexp((mantissa * 2**bits).round(), exponent - bits)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    args = parser.parse_args()

    saved = torch.load(args.run / "average.pt", weights_only=True, map_location="cpu")
    saved = with_brow_rows(saved, load_arrays(BROWS))
    args.weights.mkdir(parents=True, exist_ok=True)
    torch_fp = args.weights / f"{args.name}_120x120.pth"
    state = {
        re.sub(r"^fc\.", "fc_param.", name): rounded(value) if value.ndim > 1 else value
        for name, value in folded(saved["state_dict"]).items()
    }
    torch.save({"state_dict": state}, torch_fp)
    taught = torch.isfinite(saved["score_std"])
    columns: dict[str, Any] = {
        key: torch.where(taught, saved[key], 0).float().numpy()
        for key in ("score_mean", "score_std", "score_reliability")
    }
    columns |= {key: saved[key].numpy() for key in ("mean", "std")}
    columns["score_names"] = np.array(saved["score_names"])
    np.savez(args.weights / f"{args.name}_param_mean_std.npz", **columns)
    spec = NetworkSpec(
        lambda: MobileNet(saved["widen"], len(saved["mean"]), len(taught)),
        (1, 3, 120, 120),
        ("params", "scores", "log_error"),
    )
    write_bytes(torch_fp.with_suffix(".onnx"), bare_graph(export_onnx(spec, torch_fp)))


if __name__ == "__main__":
    main()
