"""onnxruntime, imported here and nowhere else, so that it keeps to itself.

From 1.32 on (Linux), its import writes a permanent device id and a database of events to the
user's cache folder and looks up its maker's host, unless a variable is set before. Where a user has
set it, that stands.

Its log goes to stderr, in colours. What matters of it comes as an exception, too; the rest is about
the machine, such as processors that a container has but may not use.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: E402

onnxruntime.set_default_logger_severity(4)  # fatal

__all__ = ["onnxruntime"]
