"""The configuration of the regressor and the detector, from a YAML file or keywords."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import yaml

from bfm.params import ParamLayout
from models import ARCHITECTURES
from models.backends import ENGINES
from utils.assets import find_asset
from utils.errors import AssetError, UsageError
from utils.io import PathLike, one_line


@dataclass(frozen=True)
class TDDFAConfig:
    """What `TDDFA(**cfg)` understands; a config file holds the same keys.

    checkpoint_fp, onnx_fp : the regressor's weights, as a torch checkpoint and as an ONNX
        graph; one of them is enough.
    bfm_fp : the 3DMM.
    arch, widen_factor : the network of `checkpoint_fp`.
    size : side of the network's square input, pixels.
    num_params, shape_dim, exp_dim : length of the parameter vector and of its parts.
    param_mean_std_fp : mean and deviation of the parameters the network was trained with.
    detector_fp : FaceBoxes weights that belong with this regressor.
    gpu_mode, gpu_id : run on that CUDA device.
    engine : 'auto', 'onnx' or 'torch'.
    mode : accepted and unused, as older configs carry it.
    """

    checkpoint_fp: str | None = None
    onnx_fp: str | None = None
    bfm_fp: str = "configs/bfm_noneck_v3.pkl"
    arch: str = "mobilenet"
    widen_factor: float = 1.0
    size: int = 120
    num_params: int | None = None
    shape_dim: int | None = None
    exp_dim: int | None = None
    param_mean_std_fp: str | None = None
    detector_fp: str | None = None
    gpu_mode: bool = False
    gpu_id: int = 0
    engine: str = "auto"
    mode: str | None = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TDDFAConfig:
        """Check every key and value of `mapping`.

        Raises
        ------
        UsageError : names the offending key and what would be right.
        """
        kinds = {f.name: f.type for f in fields(cls)}
        for key, value in mapping.items():
            if key not in kinds:
                nearest = difflib.get_close_matches(str(key), kinds, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(kinds)}"
                raise UsageError(f"config: unknown key {key!r}; {hint}")
            _check_type(key, value, str(kinds[key]))
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

    def _check_values(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise UsageError(f"config: arch {self.arch!r} is none of {', '.join(ARCHITECTURES)}")
        if self.engine not in ENGINES:
            raise UsageError(f"config: engine {self.engine!r} is none of {', '.join(ENGINES)}")
        if not (self.checkpoint_fp or self.onnx_fp):
            raise UsageError("config: give the weights as checkpoint_fp or onnx_fp")
        if self.size < 1 or not 0 < self.widen_factor < math.inf:
            raise UsageError("config: size and widen_factor must be positive numbers")
        ParamLayout.resolve(self.num_params, self.shape_dim, self.exp_dim)


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def _check_type(key: str, value: Any, annotation: str) -> None:
    name, _, optional = annotation.partition(" | ")
    if optional and value is None:
        return
    right = isinstance(value, _TYPES[name])
    if isinstance(value, bool) and name != "bool":
        right = False  # to Python, True is an int
    if not right:
        raise UsageError(f"config: {key} must be {name}, got {value!r}")


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
