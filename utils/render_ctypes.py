"""3DDFA_V2's second renderer drew the same pictures; the name is kept for its callers."""

from __future__ import annotations

from utils.render import render

__all__ = ["render"]
