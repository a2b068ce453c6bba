"""Files that lie elsewhere, by URLs such as s3://bucket/a.jpg, where fsspec is installed."""

from __future__ import annotations

import os
from typing import Any, Union

_PathLike = Union[str, "os.PathLike[str]"]


def is_url(path: _PathLike) -> bool:
    """Whether a name is a URL, not a path."""
    scheme, separator, _ = os.fspath(path).partition("://")
    return bool(separator) and scheme.isalnum()


def read_url(url: _PathLike) -> bytes:
    """The content of a file; raises OSError for whatever keeps it from us."""
    system, place = _open(url)
    try:
        return bytes(system.cat_file(place))
    except Exception as error:  # each kind of storage has errors of its own
        raise _as_oserror(error) from error


def write_url(url: _PathLike, content: bytes | memoryview) -> bool:
    """Write a file, and tell whether there was one; raises OSError."""
    system, place = _open(url)
    try:
        there = bool(system.exists(place))
        system.makedirs(system._parent(place), exist_ok=True)
        system.pipe_file(place, bytes(content))
    except Exception as error:
        raise _as_oserror(error) from error
    return there


def size_of_url(url: _PathLike) -> int:
    """The bytes of a file; raises OSError."""
    system, place = _open(url)
    try:
        return int(system.info(place)["size"])
    except Exception as error:
        raise _as_oserror(error) from error


def _open(url: _PathLike) -> tuple[Any, str]:
    """The storage of a URL, and the file's place in it."""
    try:
        import fsspec
    except ImportError as error:
        raise OSError("URLs need fsspec: pip install fsspec") from error
    try:
        return fsspec.core.url_to_fs(os.fspath(url))
    except Exception as error:  # say, an unknown protocol, or a package that it needs
        raise _as_oserror(error) from error


def _as_oserror(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}")
