"""`--batch` and `--pairs`: from options to the exit code."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Union

from batch.cache import SightFolder
from batch.claims import count_distinct, distinct
from batch.ledger import Ledger
from batch.manifest import Manifest, Pairs
from batch.options import row_reader
from batch.pool import run_tasks, usable_cores
from batch.run import Batch, Runner, Tally
from batch.work import Story, Workshop
from reenactment.job import Job
from reenactment.options import Parser, model_config
from reenactment.outputs import RESULTS_FOLDER, check_pattern, parse_kinds
from reenactment.reenactor import model_versions
from utils import __version__
from utils.config import TDDFAConfig
from utils.console import say
from utils.errors import UsageError

SOME_FAILED = 1  # the exit code
_TELL_SECONDS = 10.0
Rows = Union[Manifest, Pairs]


def run_batch(
    parser: Parser,
    args: argparse.Namespace,
    make_job: Callable[[argparse.Namespace, int], Job],
    story: Story,
) -> int:
    """Do all rows that the options ask for; returns the exit code.

    Parameters
    ----------
    make_job : (options, number of the row) to the job; raises UsageError.
    story : (job, reenactor, tell) does a job; has to be picklable.
    """
    rows, folder, ledger_fp = open_rows(args)
    config = model_config(args)
    versions = model_versions(TDDFAConfig.from_mapping(config).located(args.assets))
    base = prepare(args, folder)
    total = None if rows.once else count_distinct(rows, base)
    workshop = Workshop(story, config, args.assets, args.cache)
    tally = Tally(total)
    with Ledger(ledger_fp, args.resume) as ledger, Progress(tally) as progress:
        batch = Batch(ledger, row_reader(parser, base, make_job), repr(versions),
                      {"program": __version__, **versions}, args.retry_failed)
        checked = distinct(rows, base) if rows.once else rows
        try:
            batch.run(checked, make_runner(args, workshop), tally, progress.tell)
        except KeyboardInterrupt as stop:
            how = "" if rows.once else "; the same command with --resume goes on"
            raise KeyboardInterrupt(f"stopped; {tally}, in {ledger_fp}{how}") from stop
    if args.cache:
        SightFolder(args.cache, "", args.cache_size * 1e9).prune()
    say(f"{tally}; {tally.rate:.1f} rows/s; ledger {ledger_fp}")
    if tally.first:
        say(f"first failure: {tally.first}")
    if args.report:
        from batch.report import write_report

        say(f"wrote {write_report(args.report, ledger_fp)}")
    return SOME_FAILED if tally.failed else 0


def make_runner(args: argparse.Namespace, workshop: Workshop) -> Runner:
    """What does the tasks: processes here, or actors on a cluster."""
    if args.ray:
        from batch.ray_pool import RayPool

        return RayPool(args.ray, workshop, args.workers).run
    return partial(run_tasks, start=workshop, workers=args.workers or usable_cores())


def open_rows(args: argparse.Namespace) -> tuple[Rows, str, str]:
    """The rows, the folder of the results, and the ledger's place; raises UsageError."""
    if args.output_fp and os.path.isfile(args.output_fp):
        raise UsageError(f"--output_fp: {args.output_fp} is a file; for batches, name a folder")
    folder = args.output_fp or str(RESULTS_FOLDER)
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers: expected 1 or more, got {args.workers}")
    if args.batch and args.pairs:
        raise UsageError("--pairs contradicts --batch: a manifest tells the pairs itself")
    if args.pairs:
        if not (args.source_img_fp and args.target_img_fp):
            raise UsageError("--pairs needs -s and -t")
        rows: Rows = Pairs(args.source_img_fp, args.target_img_fp, args.pairs)
        return rows, folder, args.ledger or os.path.join(folder, "ledger.jsonl")
    rows = Manifest(args.batch)
    beside = os.path.join(folder, "stdin") if rows.once else os.path.splitext(args.batch)[0]
    return rows, folder, args.ledger or f"{beside}.ledger.jsonl"


def prepare(args: argparse.Namespace, folder: str) -> argparse.Namespace:
    """The options that rows start from; raises UsageError for a bad pattern."""
    pattern = os.path.join(folder, args.output_pattern)
    try:
        check_pattern(pattern, parse_kinds(args.opt))
    except UsageError as error:
        raise UsageError(f"--{error}") from error
    own = {"output_fp": None, "output_pattern": pattern}
    if args.pairs:
        own.update(source_img_fp=None, target_img_fp=None)
    return argparse.Namespace(**{**vars(args), **own})


class Progress:
    """Shows how far a batch is: a bar on a terminal, else a line every ten seconds."""

    def __init__(self, tally: Tally) -> None:
        from tqdm import tqdm

        self._tally, self._told = tally, time.monotonic()
        self._bar = tqdm(total=tally.total, unit=" rows", leave=False, disable=None)

    def tell(self) -> None:
        """A row has ended."""
        self._bar.update()
        if time.monotonic() - self._told < _TELL_SECONDS:
            return
        self._told = time.monotonic()
        if self._bar.disable:
            say(f"{self._tally}; {self._tally.rate:.1f} rows/s{self._left()}")
        else:
            self._bar.set_postfix_str(str(self._tally))

    def _left(self) -> str:
        if not self._tally.total or not self._tally.rate:
            return ""
        seconds = (self._tally.total - self._tally.rows) / self._tally.rate
        return f", {seconds:.0f} s left"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
