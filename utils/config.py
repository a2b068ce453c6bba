"""The configuration of the regressor and the detector, from a YAML file or keywords."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

import yaml

from bfm.bfm import find_model
from bfm.params import ParamLayout
from models import ARCHITECTURES
from models.export import NetworkSpec
from models.networks import ENGINES
from utils.assets import find_asset
from utils.errors import AssetError, UsageError
from utils.io import PathLike, one_line

# `str | None` as Python 3.9 can evaluate it, too
_Text = Optional[str]
_Count = Optional[int]


@dataclass(frozen=True)
class TDDFAConfig:
    """What `TDDFA(**cfg)` understands; a config file holds the same keys.

    checkpoint_fp, onnx_fp : the regressor's weights, as a torch checkpoint and as an ONNX
        graph; one of them is enough.
    bfm_fp : the 3DMM.
    arch, widen_factor : the network of `checkpoint_fp`.
    size : side of the network's square input, pixels.
    num_params, shape_dim, exp_dim : length of the parameter vector and of its parts.
    num_scores : how many expression scores the network tells besides, and its doubt; 0: neither.
    param_mean_std_fp : mean and deviation of the parameters the network was trained with.
    detector_fp : FaceBoxes weights that belong with this regressor.
    gpu_mode, gpu_id : run on that CUDA device.
    engine : 'auto', 'onnx' or 'torch'.
    mode : accepted and unused, as older configs carry it.
    """

    checkpoint_fp: _Text = None
    onnx_fp: _Text = None
    bfm_fp: str = "configs/bfm_noneck_v3.pkl"
    arch: str = "mobilenet"
    widen_factor: float = 1.0
    size: int = 120
    num_params: _Count = None
    shape_dim: _Count = None
    exp_dim: _Count = None
    num_scores: int = 0
    param_mean_std_fp: _Text = None
    detector_fp: _Text = None
    gpu_mode: bool = False
    gpu_id: int = 0
    engine: str = "auto"
    mode: _Text = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TDDFAConfig:
        """Check every key and value of `mapping`.

        Raises
        ------
        UsageError : names the offending key and what would be right.
        """
        kinds = get_type_hints(cls)
        for key, value in mapping.items():
            if key not in kinds:
                nearest = difflib.get_close_matches(str(key), kinds, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(kinds)}"
                raise UsageError(f"config: unknown key {key!r}; {hint}")
            if not _fits(value, kinds[key]):
                raise UsageError(f"config: {key} must be {_name(kinds[key])}, got {value!r}")
        config = cls(**mapping)
        config._check_values()
        return config

    @property
    def layout(self) -> ParamLayout:
        """The parameter layout that the three dimensions determine."""
        return ParamLayout.resolve(self.num_params, self.shape_dim, self.exp_dim)

    @property
    def mean_std_fp(self) -> str:
        """Where the parameters' mean and deviation lie, by default as 3DDFA_V2 names it."""
        if self.param_mean_std_fp:
            return self.param_mean_std_fp
        return f"configs/param_mean_std_{self.layout.num_params}d_{self.size}x{self.size}.pkl"

    @property
    def network(self) -> NetworkSpec:
        """The regressor's network."""
        return NetworkSpec(
            build=lambda: ARCHITECTURES[self.arch](
                widen_factor=self.widen_factor,
                num_classes=self.layout.num_params,
                num_scores=self.num_scores,
            ),
            example_shape=(1, 3, self.size, self.size),
            outputs=("params", "scores", "log_error")[: 3 if self.num_scores else 1],
        )

    @property
    def weights_fp(self) -> str:
        """What to open of the weights that are named: the kind that is the engine's own."""
        named = [fp for fp in (self.onnx_fp, self.checkpoint_fp) if fp]
        return named[-1 if self.engine == "torch" else 0]

    def located(self, assets: PathLike | None = None) -> TDDFAConfig:
        """The same config with absolute paths, found as `utils.assets.find_asset` does.

        Of two kinds of weights, one may be missing: it then is None.

        Raises
        ------
        AssetError : a file is nowhere.
        """
        found = replace(
            self,
            checkpoint_fp=_place(self.checkpoint_fp, assets),
            onnx_fp=_place(self.onnx_fp, assets),
            bfm_fp=str(find_model(self.bfm_fp, assets)),
            param_mean_std_fp=str(find_asset(self.mean_std_fp, assets)),
            detector_fp=str(find_asset(self.detector_fp, assets)) if self.detector_fp else None,
        )
        if not (found.checkpoint_fp or found.onnx_fp):
            find_asset(self.weights_fp, assets)
        return found

    def _check_values(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise UsageError(f"config: arch {self.arch!r} is none of {', '.join(ARCHITECTURES)}")
        if self.engine not in ENGINES:
            raise UsageError(f"config: engine {self.engine!r} is none of {', '.join(ENGINES)}")
        if not (self.checkpoint_fp or self.onnx_fp):
            raise UsageError("config: give the weights as checkpoint_fp or onnx_fp")
        if self.num_scores < 0 or (self.num_scores and self.arch != "mobilenet"):
            raise UsageError("config: num_scores is 0, or a count that arch mobilenet tells")
        if self.size < 1 or not 0 < self.widen_factor < math.inf:
            raise UsageError("config: size and widen_factor must be positive numbers")
        ParamLayout.resolve(self.num_params, self.shape_dim, self.exp_dim)


def _place(path: PathLike | None, assets: PathLike | None) -> str | None:
    """Where a file is; None if it is nowhere or not named."""
    with suppress(AssetError):
        return str(find_asset(path, assets)) if path else None
    return None


def _fits(value: Any, kind: Any) -> bool:
    """Whether YAML's `value` is of the annotated type `kind`."""
    if get_origin(kind) is Union:
        return any(_fits(value, option) for option in get_args(kind))
    if isinstance(value, bool):
        return kind is bool  # to Python, True is an int
    return isinstance(value, (int, float) if kind is float else get_origin(kind) or kind)


def _name(kind: Any) -> str:
    """The annotated type `kind`, as a message calls it."""
    options = get_args(kind) if get_origin(kind) is Union else (kind,)
    return " or ".join(
        "null" if option is type(None) else getattr(option, "__name__", str(option))
        for option in options
    )


def load_config(config_fp: PathLike, assets: PathLike | None = None) -> dict[str, Any]:
    """Read and check a YAML config; relative paths resolve like assets, the current folder first.

    Returns
    -------
    The keyword arguments for `TDDFA`.

    Raises
    ------
    UsageError : no such file, no YAML mapping, unknown keys or wrong values.
    """
    try:
        path = config_fp if os.path.isfile(config_fp) else find_asset(config_fp, assets)
        with open(path, encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
    except (OSError, AssetError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the config {config_fp}: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise UsageError(f"bad config {path}: expected `key: value` lines, got {content!r:.60}")
    try:
        TDDFAConfig.from_mapping(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return content
