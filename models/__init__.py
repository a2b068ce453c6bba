"""The regressor networks, by the `arch` name of a config. Torch is imported on use only."""

from __future__ import annotations

from typing import Any


def mobilenet(**kwargs: Any) -> Any:
    """MobileNet-V1; keyword arguments `widen_factor` (1.0), `num_classes` (62) and `num_scores` (0)
    count."""
    from models.mobilenet_v1 import MobileNet

    return MobileNet(
        kwargs.get("widen_factor", 1.0), kwargs.get("num_classes", 62), kwargs.get("num_scores", 0)
    )


def resnet22(**kwargs: Any) -> Any:
    """ResNet-22; the keyword argument `num_classes` (62) counts."""
    from models.resnet import ResNet22

    return ResNet22(num_classes=kwargs.get("num_classes", 62))


ARCHITECTURES = {"mobilenet": mobilenet, "resnet22": resnet22}
