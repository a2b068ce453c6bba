"""A ``MobileNet``'s features for fine tuning on a CPU: batch norms as they are, in bfloat16.

A trained network's batch norms only scale and add, so they go into the weights before them, and
what is trained is what ships. Depthwise steps of two stay float32: their backward pass takes thirty
times as long in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from models.mobilenet_v1 import BLOCKS, MobileNet


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what both do one after the other."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # ours keep track
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return conv.weight * scale[:, None, None, None], norm.bias - mean * scale


def convolve(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolution, batch norm and ReLU."""
    weight, bias = folded(conv, norm)
    half = conv.groups == 1 or conv.stride == (1, 1)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        x = x if half else x.float()
        return conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups).relu_()


def settled_features(net: MobileNet, x: Tensor) -> Tensor:
    """What ``net.features`` gives in evaluation mode, (N, channels) bfloat16."""
    x = convolve(x, net.conv1, net.bn1)
    for name, _, _ in BLOCKS:
        block = getattr(net, name)
        x = convolve(x, block.conv_dw, block.bn_dw)
        x = convolve(x, block.conv_sep, block.bn_sep)
    return x.mean(dim=(2, 3))
