"""onnxruntime, imported here and nowhere else, so that it does not report on its users.

From 1.32 on (Linux), its import writes a permanent device id and a database of events to the
user's cache folder and looks up its maker's host, unless this variable is set before. Where a user
has set the variable, that stands.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: E402

__all__ = ["onnxruntime"]
