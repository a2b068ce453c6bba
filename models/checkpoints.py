"""Loading torch checkpoints safely into our networks."""

from __future__ import annotations

from typing import Any

from utils.errors import AssetError
from utils.io import DAMAGED, PathLike, one_line


def read_state_dict(checkpoint_fp: PathLike) -> dict[str, Any]:
    """Read the tensors of a `.pth` file: a plain state dict, or one under `state_dict`.

    The prefix `module.` of data-parallel training is dropped. Only tensors and plain
    data are admitted (`weights_only`).

    Raises
    ------
    AssetError : the file is unreadable or is no state dict.
    """
    import torch

    try:
        content = torch.load(checkpoint_fp, map_location="cpu", weights_only=True)
    except OSError as error:
        raise AssetError(f"cannot read the weights {checkpoint_fp}: {one_line(error)}") from error
    except DAMAGED as error:  # torch's words go on for lines, and advise to trust the file
        raise AssetError(f"cannot read the weights {checkpoint_fp}: no file of tensors") from error
    if isinstance(content, dict) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(hasattr(t, "shape") for t in content.values()):
        raise AssetError(f"cannot read the weights {checkpoint_fp}: no state dict of tensors")
    return {key[7:] if key.startswith("module.") else key: t for key, t in content.items()}


def load_model(model: Any, checkpoint_fp: PathLike) -> Any:
    """Load a checkpoint into `model`, in place, and return it.

    3DDFA_V2 checkpoints name the regression head `fc_param` and carry a second head
    `fc_lm`, which is unused. Every other tensor has to fit exactly.

    Raises
    ------
    AssetError : tensors are missing, left over, or of the wrong shape.
    """
    state = read_state_dict(checkpoint_fp)
    own = model.state_dict()
    for name in ("weight", "bias"):
        if f"fc_param.{name}" in state and f"fc.{name}" in own:
            state[f"fc.{name}"] = state.pop(f"fc_param.{name}")
        state.pop(f"fc_lm.{name}", None)
    # batch counters are of no use after training, and old checkpoints lack them
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    wrong = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or extra or wrong:
        problems = [
            f"{what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for what, names in (("missing", missing), ("unknown", extra), ("wrong shape", wrong))
            if names
        ]
        raise AssetError(
            f"the weights {checkpoint_fp} do not fit {type(model).__name__} "
            f"({'; '.join(problems)}); check arch, widen_factor and num_params in the config"
        )
    model.load_state_dict(state, strict=False)
    return model
