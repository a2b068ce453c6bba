"""A page about a batch: the failures first, then results with thumbnails."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import cv2

from batch.ledger import FAILED, read_entries
from utils.errors import ReenactmentError
from utils.image import encode_image, read_image
from utils.io import PathLike, write_bytes

SHOWN = 500  # rows of each kind; the ledger has all
_THUMBNAIL = 128  # pixels

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 2em; color: #222; background: #fff }}
table {{ border-collapse: collapse }}
td {{ padding: .3em .7em; border-bottom: 1px solid #ddd }}
.failed td {{ color: #a00 }}
img {{ display: block }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
{sections}
</html>
"""


def write_report(path: PathLike, ledger_fp: PathLike) -> Path:
    """Write the page of a ledger; returns its place, raises OutputError."""
    last: dict[str, dict[str, Any]] = {entry["digest"]: entry for entry in read_entries(ledger_fp)}
    entries = sorted(last.values(), key=lambda entry: entry["row"])
    failed = [entry for entry in entries if entry["status"] == FAILED]
    done = [entry for entry in entries if entry["status"] != FAILED]
    kinds = Counter(f"code {entry['code']}" for entry in failed)
    counts = [f"{len(done)} done", *(f"{n} failed ({kind})" for kind, n in kinds.most_common())]
    page = _PAGE.format(
        title=f"Batch {escape(str(ledger_fp))}",
        summary=escape(", ".join(counts)),
        sections=_section("Failed", failed, _failure) + _section("Done", done, _result),
    )
    return write_bytes(path, page.encode())


def _section(title: str, entries: list[dict[str, Any]], row: Any) -> str:
    if not entries:
        return ""
    shown = "".join(row(entry) for entry in entries[:SHOWN])
    more = len(entries) - SHOWN
    note = f"<p>and {more} more, in the ledger</p>" if more > 0 else ""
    return f"<h2>{title}: {len(entries)}</h2><table>{shown}</table>{note}"


def _cells(cells: Iterable[str], kind: str = "") -> str:
    return f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"


def _failure(entry: Mapping[str, Any]) -> str:
    words = entry["row"], entry["source"], entry["target"], entry["code"], entry["message"]
    return _cells((escape(str(word)) for word in words), "failed")


def _result(entry: Mapping[str, Any]) -> str:
    pictures = "".join(_thumbnail(path) for path in [entry["target"], *entry["outputs"]])
    names = "<br>".join(escape(path) for path in entry["outputs"])
    words = (escape(str(entry[key])) for key in ("row", "source", "target"))
    return _cells([*words, names, f'<div style="display:flex">{pictures}</div>'])


def _thumbnail(path: str) -> str:
    """A small copy of a picture as a part of the page; nothing where there is none."""
    try:
        img = read_image(path)
    except ReenactmentError:
        return ""
    scale = _THUMBNAIL / max(img.shape[:2])
    size = [max(1, round(scale * side)) for side in img.shape[1::-1]]
    small = cv2.resize(img, size, interpolation=cv2.INTER_AREA)
    data = base64.b64encode(encode_image(small, ".jpg")).decode()
    return f'<img alt="{escape(path)}" src="data:image/jpeg;base64,{data}">'
