"""The FaceBoxes network in torch; module names are those of the published weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from FaceBoxes.utils.prior_box import ANCHORS_PER_CELL

NUM_CLASSES = 2  # background, face


class ConvBnRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(x)))


class CReLU(ConvBnRelu):
    """Convolution and batch norm, then both signs rectified: twice the channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return torch.relu(torch.cat([x, -x], dim=1))


class Inception(nn.Module):
    """Four branches of 32 channels with growing receptive fields, 128 -> 128."""

    def __init__(self) -> None:
        super().__init__()
        self.branch1x1 = ConvBnRelu(128, 32, 1)
        self.branch1x1_2 = ConvBnRelu(128, 32, 1)
        self.branch3x3_reduce = ConvBnRelu(128, 24, 1)
        self.branch3x3 = ConvBnRelu(24, 32, 3, padding=1)
        self.branch3x3_reduce_2 = ConvBnRelu(128, 24, 1)
        self.branch3x3_2 = ConvBnRelu(24, 32, 3, padding=1)
        self.branch3x3_3 = ConvBnRelu(32, 32, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        deep = self.branch3x3_3(self.branch3x3_2(self.branch3x3_reduce_2(x)))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch1x1_2(pooled),
                self.branch3x3(self.branch3x3_reduce(x)),
                deep,
            ],
            dim=1,
        )


class FaceBoxesNet(nn.Module):
    """(N, 3, H, W) float32 mean-free BGR -> loc (N, P, 4), conf (N, P, 2).

    `loc` are offsets from the P priors of `prior_boxes(H, W)`; `conf` are the class
    probabilities in evaluation mode, the logits in training mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = CReLU(3, 24, 7, 4, 3)
        self.conv2 = CReLU(48, 64, 5, 2, 2)
        self.inception1 = Inception()
        self.inception2 = Inception()
        self.inception3 = Inception()
        self.conv3_1 = ConvBnRelu(128, 128, 1)
        self.conv3_2 = ConvBnRelu(128, 256, 3, 2, 1)
        self.conv4_1 = ConvBnRelu(256, 128, 1)
        self.conv4_2 = ConvBnRelu(128, 256, 3, 2, 1)
        scales = tuple(zip((128, 256, 256), ANCHORS_PER_CELL))
        self.loc = nn.ModuleList(nn.Conv2d(c, 4 * n, 3, padding=1) for c, n in scales)
        self.conf = nn.ModuleList(nn.Conv2d(c, NUM_CLASSES * n, 3, padding=1) for c, n in scales)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = functional.max_pool2d(self.conv1(x), kernel_size=3, stride=2, padding=1)
        x = functional.max_pool2d(self.conv2(x), kernel_size=3, stride=2, padding=1)
        stride32 = self.inception3(self.inception2(self.inception1(x)))
        stride64 = self.conv3_2(self.conv3_1(stride32))
        stride128 = self.conv4_2(self.conv4_1(stride64))
        sources = (stride32, stride64, stride128)
        loc = torch.cat([_per_anchor(h(s), 4) for h, s in zip(self.loc, sources)], dim=1)
        conf = torch.cat(
            [_per_anchor(h(s), NUM_CLASSES) for h, s in zip(self.conf, sources)], dim=1
        )
        return loc, conf if self.training else conf.softmax(dim=-1)


def _per_anchor(head: torch.Tensor, size: int) -> torch.Tensor:
    """(N, anchors·size, h, w) -> (N, h·w·anchors, size), cells row by row."""
    return head.permute(0, 2, 3, 1).reshape(head.shape[0], -1, size)
