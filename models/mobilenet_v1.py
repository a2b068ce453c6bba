"""MobileNet-V1 (Howard et al. 2017, arXiv 1704.04861) as a 3DMM parameter regressor."""

from __future__ import annotations

import torch
from torch import nn

# name, output channels at widen_factor 1, stride of every depthwise separable block
BLOCKS = (
    ("dw2_1", 64, 1),
    ("dw2_2", 128, 2),
    ("dw3_1", 128, 1),
    ("dw3_2", 256, 2),
    ("dw4_1", 256, 1),
    ("dw4_2", 512, 2),
    ("dw5_1", 512, 1),
    ("dw5_2", 512, 1),
    ("dw5_3", 512, 1),
    ("dw5_4", 512, 1),
    ("dw5_5", 512, 1),
    ("dw5_6", 1024, 2),
    ("dw6", 1024, 1),
)


class DepthwiseSeparable(nn.Module):
    """A 3x3 depthwise convolution and a 1x1 one, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn_dw = nn.BatchNorm2d(inputs)
        self.conv_sep = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn_dw(self.conv_dw(x)))
        return torch.relu(self.bn_sep(self.conv_sep(x)))


class MobileNet(nn.Module):
    """(N, 3, S, S) float32 crops -> (N, num_classes) normalised parameters.

    With `num_scores` it returns a tuple of those parameters, (N, num_scores) normalised expression
    scores, and (N, 1) the logarithm of the landmark error to be expected, pixels of the crop.

    Parameters
    ----------
    widen_factor : multiplies every layer's channels (1.0, 0.5, ...).
    num_classes : length of the parameter vector.
    num_scores : how many scores, or 0 for 3DDFA_V2's network, which has neither head.
    """

    def __init__(
        self, widen_factor: float = 1.0, num_classes: int = 62, num_scores: int = 0
    ) -> None:
        super().__init__()
        channels = int(32 * widen_factor)
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        for name, base, stride in BLOCKS:
            outputs = int(base * widen_factor)
            self.add_module(name, DepthwiseSeparable(channels, outputs, stride))
            channels = outputs
        self.fc = nn.Linear(channels, num_classes)
        self.num_scores = num_scores
        if num_scores:
            self.fc_scores = nn.Linear(channels, num_scores)
            self.fc_error = nn.Linear(channels, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) crops -> (N, channels) what the heads read."""
        x = torch.relu(self.bn1(self.conv1(x)))
        for name, _, _ in BLOCKS:
            x = getattr(self, name)(x)
        return x.mean(dim=(2, 3))

    def heads(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(N, channels) features -> all outputs."""
        if not self.num_scores:
            return (self.fc(features),)
        return self.fc(features), self.fc_scores(features), self.fc_error(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        outputs = self.heads(self.features(x))
        return outputs if self.num_scores else outputs[0]
