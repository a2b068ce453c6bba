"""The native reconstruction and its binding."""

from __future__ import annotations

try:
    from bfm.lib import reconstruct_binding as native  # type: ignore[attr-defined]
except ImportError as error:
    raise ImportError(
        "the native extensions are not built for this Python: run "
        f"`python setup.py build_ext --inplace` in the project folder ({error})"
    ) from error

__all__ = ["native"]
