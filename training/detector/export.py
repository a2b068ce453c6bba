"""Write trained detector weights as the product ships them: a plain state dict and an ONNX graph.

The graph takes (1, 3, H, W) float32 BGR minus the mean, of any height and width, and gives loc
(1, P, 4) and softmaxed conf (1, P, 2); it is compared with the torch network before it is written.

Usage::

    python -m training.detector.export --weights run/faceboxes.pth --out weights/faceboxes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from FaceBoxes.FaceBoxes import NETWORK
from FaceBoxes.models.faceboxes import FaceBoxesNet
from models.export import export_onnx
from utils.io import write_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="state dict that the training wrote")
    parser.add_argument("--out", type=Path, required=True, help="path without suffix to write to")
    args = parser.parse_args()
    net = FaceBoxesNet()
    net.load_state_dict(torch.load(args.weights, map_location="cpu", weights_only=True))
    weights_fp = args.out.with_suffix(".pth")
    weights_fp.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(net.state_dict()), weights_fp)
    graph = export_onnx(NETWORK, weights_fp)
    write_bytes(args.out.with_suffix(".onnx"), graph)
    print(f"{weights_fp} and {args.out.with_suffix('.onnx')}")


if __name__ == "__main__":
    main()
