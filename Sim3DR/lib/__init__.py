"""The native kernels and their bindings."""

from __future__ import annotations

try:
    from Sim3DR.lib import fields_binding as fields  # type: ignore[attr-defined]
    from Sim3DR.lib import kernels_binding as kernels  # type: ignore[attr-defined]
except ImportError as error:
    raise ImportError(
        "Sim3DR's native extensions are not built for this Python: run "
        f"`python setup.py build_ext --inplace` in the project folder ({error})"
    ) from error

__all__ = ["fields", "kernels"]
