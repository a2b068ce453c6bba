"""Where model files come from: this project, then a 3DDFA_V2 checkout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Union

from utils.errors import AssetError

ASSETS_ENV = "FACE_REENACTMENT_ASSETS"
PROJECT_ROOT = Path(__file__).resolve().parent.parent

PathLike = Union[str, "os.PathLike[str]"]


def candidate_paths(path: PathLike, assets: PathLike | None = None) -> list[Path]:
    """List the places where `path` may lie, in the order they are tried.

    Parameters
    ----------
    path : an absolute path, or one relative to the project, the assets folder or, last, the
        current folder.
    assets : a 3DDFA_V2 checkout; by default the folder that the environment
        variable FACE_REENACTMENT_ASSETS names, if it is set.
    """
    path = _at_home(path)
    if path.is_absolute():
        return [path]
    assets = assets or os.environ.get(ASSETS_ENV)
    roots = [PROJECT_ROOT, *([_at_home(assets)] if assets else []), Path.cwd()]
    return [root / path for root in dict.fromkeys(roots)]


def _at_home(path: PathLike) -> Path:
    """`path` with a leading `~` resolved; as it is, where there is no such home."""
    return Path(os.path.expanduser(path))


def find_asset(path: PathLike, assets: PathLike | None = None, remedy: str | None = None) -> Path:
    """Return the first existing place of `path`; see `candidate_paths`.

    remedy : how to get the file, for the error; by default from a 3DDFA_V2 checkout.

    Raises
    ------
    AssetError : the file is nowhere; the message lists every place that was tried.
    """
    tried = candidate_paths(path, assets)
    for candidate in tried:
        if os.path.isfile(candidate):  # false for names, too, that no file can have
            return candidate
    places = ", ".join(str(candidate) for candidate in tried)
    remedy = remedy or (
        f"point the environment variable {ASSETS_ENV} at a 3DDFA_V2 checkout that holds it"
    )
    raise AssetError(f"missing file {path}: looked for {places}; {remedy}")


def find_first(paths: Sequence[PathLike], assets: PathLike | None = None) -> Path:
    """Return the place of the first of `paths` that is to be found; see `find_asset`.

    Raises
    ------
    AssetError : none is; the message is about the first.
    """
    for path in paths:
        with suppress(AssetError):
            return find_asset(path, assets)
    return find_asset(paths[0], assets)
