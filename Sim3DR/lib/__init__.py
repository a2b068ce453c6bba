"""The native kernels and their binding."""

from __future__ import annotations

try:
    from Sim3DR.lib import kernels_binding as kernels  # type: ignore[attr-defined]
except ImportError as error:
    raise ImportError(
        "Sim3DR's native extension is not built for this Python: run "
        f"`python setup.py build_ext --inplace` in the project folder ({error})"
    ) from error

__all__ = ["kernels"]
