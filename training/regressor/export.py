"""Turn a training run's averaged weights into the files that are shipped.

    python -m training.regressor.export --run RUN --name reenact_mb05

writes ``weights/NAME_120x120.onnx`` (dynamic batch), ``weights/NAME_120x120.pth`` ({'state_dict':
…}, the head named ``fc_param`` as in the original's checkpoints) and
``weights/NAME_param_mean_std.npz`` (mean, std: param = output·std + mean; the same of the scores,
with their names and reliability). The eyelid directions
that the parameters speak of are the run's FITS/eyelids.npz; they belong in bfm/eyelids.npz.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from models.export import NetworkSpec, export_onnx
from models.mobilenet_v1 import MobileNet
from utils.io import write_bytes


def bare_graph(graph: bytes) -> bytes:
    """The graph without metadata and documentation."""
    model = onnx.load_from_string(graph)
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model.SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    args = parser.parse_args()

    saved = torch.load(args.run / "average.pt", weights_only=True, map_location="cpu")
    args.weights.mkdir(parents=True, exist_ok=True)
    torch_fp = args.weights / f"{args.name}_120x120.pth"
    state = {
        re.sub(r"^fc\.", "fc_param.", name): value.contiguous()
        for name, value in saved["state_dict"].items()
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
