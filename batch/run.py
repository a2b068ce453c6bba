"""A batch from its first row to its summary."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batch.ledger import DONE, FAILED, Ledger, intact
from batch.manifest import Row
from batch.pool import Died
from batch.work import UNEXPECTED, Task, failure
from reenactment.job import Job
from utils.errors import UsageError
from utils.io import Leftovers

# What failed, by the code of its entry.
KINDS = {
    1: "unexpected", 2: "bad row", 3: "unreadable", 4: "no face", 5: "assets", 6: "unwritable",
}
# Tasks, and what is to be done where a worker dies of one, to results; see `pool`.
Runner = Callable[[Iterator[Task], Callable[[Task], None]], Iterable[tuple[Task, Any]]]
MakeJob = Callable[[Row], tuple[Job, Mapping[str, Any]]]  # a row's job, and its other cells


@dataclass
class Tally:
    """How far a batch is.

    total : rows that there will be, where that is known.
    skipped : rows that an earlier run had done; failures : of the others, by kind; first : what
        was said of the one of them that ended first.
    worked : rows that this run has ended.
    """

    total: int | None = None
    done: int = 0
    skipped: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first: str = ""
    worked: int = 0
    begin: float = field(default_factory=time.perf_counter)

    @property
    def rows(self) -> int:
        return self.done + self.skipped + self.failed

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def rate(self) -> float:
        """Rows that this run has ended, a second."""
        return self.worked / max(time.perf_counter() - self.begin, 1e-9)

    def skip(self, before: Mapping[str, Any]) -> None:
        """Count a row by what an earlier run made of it."""
        if before["status"] == DONE:
            self.skipped += 1
        else:
            self.count(before)

    def count(self, result: Mapping[str, Any]) -> None:
        if result["status"] == DONE:
            self.done += 1
        else:
            self.failures[KINDS.get(result["code"], KINDS[UNEXPECTED])] += 1
            self.first = self.first or f"row {result['row']}: {result['message']}"

    def __str__(self) -> str:
        parts = [f"{self.done} done"]
        if self.skipped:
            parts.append(f"{self.skipped} done before")
        parts += [f"{count} failed ({kind})" for kind, count in self.failures.most_common()]
        return ", ".join(parts)


@dataclass(frozen=True)
class Batch:
    """Rows on their way into a ledger.

    make_job : raises UsageError for a row that asks for what cannot be.
    models : tells networks and 3DMM apart; a part of what a row's digest is of.
    versions : of program and models, for the ledger.
    retry_failed : whether rows that failed in an earlier run are done again.
    """

    ledger: Ledger
    make_job: MakeJob
    models: str
    versions: Mapping[str, str]
    retry_failed: bool = False

    def run(self, rows: Iterable[Row], runner: Runner, tally: Tally, tell: Callable[[], None]
            ) -> None:
        """Do all rows.

        Parameters
        ----------
        tell : called after each row that has ended.
        """

        def end(result: Mapping[str, Any]) -> None:
            self.ledger.append({**result, "versions": self.versions})
            tally.count(result)
            tally.worked += 1
            tell()

        def mourn(task: Task) -> None:
            self._clear(task.job, Leftovers())

        for task, result in runner(self._tasks(rows, tally, end, tell), mourn):
            if isinstance(result, Died):
                result = failure(task, UNEXPECTED, str(result))
            end(result)

    def _tasks(
        self,
        rows: Iterable[Row],
        tally: Tally,
        end: Callable[[Mapping[str, Any]], None],
        tell: Callable[[], None],
    ) -> Iterator[Task]:
        """The rows that are to be done; the others end here."""
        leftovers = Leftovers()
        for row in rows:
            found = self._task(row)
            before = self.ledger.last(found["digest"] if isinstance(found, dict) else found.digest)
            if before and self._stands(before):
                tally.skip(before)
                tell()
            elif isinstance(found, dict):
                end(found)
            else:
                if len(self.ledger):
                    self._clear(found.job, leftovers)
                yield found

    def _clear(self, job: Job, leftovers: Leftovers) -> None:
        """Remove what a killed run left half-written of a job."""
        for _, path in job.files():
            leftovers.remove(path)

    def _task(self, row: Row) -> Task | dict[str, Any]:
        """What a row asks for; its entry, if that cannot be."""
        try:
            if row.problem:
                raise UsageError(row.problem)
            job, extra = self.make_job(row)
        except UsageError as error:
            return self._bad(row, str(error))
        return Task(row.number, self._digest(job.digest), job, extra)

    def _stands(self, before: Mapping[str, Any]) -> bool:
        """Whether what an earlier run made of a row need not be made again."""
        if before["status"] == FAILED:
            return not self.retry_failed
        return intact(before["outputs"])

    def _digest(self, job: str) -> str:
        return hashlib.sha256(f"{self.models} {job}".encode()).hexdigest()

    def _bad(self, row: Row, message: str) -> dict[str, Any]:
        """The entry of a row that is no job."""
        cells = json.dumps(row.cells, sort_keys=True, default=str)
        return {
            "digest": self._digest(f"{row.problem} {cells}"),
            "status": FAILED,
            "row": row.number,
            "source": str(row.cells.get("source", "")),
            "target": str(row.cells.get("target", "")),
            "extra": dict(row.cells),
            "code": UsageError.exit_code,
            "message": message,
        }
