"""The options of batches, and how rows become jobs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from batch import PAIRINGS
from reenactment.job import Job
from reenactment.options import Parser
from reenactment.outputs import DEFAULT_PATTERN, PATTERN_KEYS
from utils.errors import UsageError

if TYPE_CHECKING:  # else every start would load what reads manifests
    from batch.manifest import Row

MODEL_OPTIONS = frozenset(("config", "assets", "mode", "engine", "onnx", "log_level", "show_flag"))
_COLUMNS = {"source": "source_img_fp", "target": "target_img_fp", "output": "output_fp",
            "driving": "source_img_fp"}


def add_batch_options(parser: Parser) -> None:
    """The options that `batch.program` reads."""
    group = parser.add_argument_group(
        "batches (many pairs in one run; exit code 1 where some of them failed)"
    )
    group.add_argument("--batch", metavar="FILE",
                       help="a .csv, .jsonl or .parquet manifest with the columns source, target, "
                            "output and any option; - reads CSV or JSON lines from stdin")
    group.add_argument("--pairs", choices=PAIRINGS,
                       help="pair the files of the folders or globs -s and -t")
    group.add_argument("--output_pattern", default=DEFAULT_PATTERN, metavar="PATTERN",
                       help="names of the results, in the folder -o, made of "
                            + ", ".join(f"{{{key}}}" for key in PATTERN_KEYS)
                            + f" (default {DEFAULT_PATTERN})")
    group.add_argument("--ledger", metavar="FILE",
                       help="JSON lines, one for each row that has ended (default beside the "
                            "manifest, or in the folder -o)")
    group.add_argument("--resume", action="store_true",
                       help="go on with the ledger: skip what is done and still there")
    group.add_argument("--retry_failed", action="store_true",
                       help="with --resume, do the rows that failed again")
    group.add_argument("--workers", type=int, metavar="N",
                       help="processes of one thread (default: the cores that may be used)")
    group.add_argument("--cache", metavar="DIR",
                       help="keep what was seen in pictures, for other runs")
    group.add_argument("--cache_size", type=float, default=1.0, metavar="GB",
                       help="how large that may grow (default %(default)s)")
    group.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS",
                       help="run on the Ray cluster there, or on one started for this run")
    group.add_argument("--report", metavar="FILE.html",
                       help="write a page with thumbnails, the failures first")


def run_wide(parser: Parser) -> frozenset[str]:
    """The options that hold for a whole run, so that no row can set them."""
    own = Parser()
    add_batch_options(own)
    return MODEL_OPTIONS | vars(own.parse_args([])).keys()


def cells_of(row: Row) -> dict[str, Any]:
    """A row's cells, those that are options by their names."""
    cells = {name.strip().replace("-", "_"): cell for name, cell in row.cells.items()}
    return {_COLUMNS.get(name, name): cell for name, cell in cells.items()}


def row_reader(
    parser: Parser, base: argparse.Namespace, make_job: Callable[[argparse.Namespace, int], Job]
) -> Callable[[Row], tuple[Job, Mapping[str, Any]]]:
    """What makes a row's job, and finds its other cells.

    base : the options given to the whole run; a row's cells come before them.
    make_job : (options, number of the row) to the job; raises UsageError.
    """
    options, for_all = vars(base), run_wide(parser)

    def read(row: Row) -> tuple[Job, Mapping[str, Any]]:
        cells = cells_of(row)
        known = {name: cell for name, cell in cells.items() if name in options}
        for name in known:
            if name in for_all:
                raise UsageError(f"{name} holds for the whole run; give it as an option")
        words = [word for name, cell in known.items() for word in parser.spell(name, cell)]
        fresh = {name: parser.get_default(name) for name in known}
        args = parser.parse_args(words, argparse.Namespace(**{**options, **fresh}))
        extra = {name: cell for name, cell in cells.items() if name not in options}
        return make_job(args, row.number), extra

    return read
