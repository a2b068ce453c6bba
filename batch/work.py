"""What a worker does with a job: the story, made an entry of the ledger."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from batch.ledger import DONE, FAILED, describe
from reenactment.job import Job, Outcome
from utils.console import Silent
from utils.errors import InputError, ReenactmentError

UNEXPECTED = 1  # the code of a failure that is a fault of the program
Story = Callable[..., Outcome]  # (job, reenactor, tell)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A row that is to be done.

    digest : tells what is asked for apart, models included.
    extra : cells of columns that are no options; they travel through to the ledger.
    """

    number: int
    digest: str
    job: Job
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Workshop:
    """Opens the models and returns what turns tasks into entries; calling it is a worker's start.

    story : does a job.
    config, assets : of the `Reenactor`; folder : of the cache, if there is one.
    """

    story: Story
    config: dict[str, Any]
    assets: str | None = None
    folder: str | None = None

    def __call__(self) -> Callable[[Task], dict[str, Any]]:
        import cv2

        from batch.cache import RememberingReenactor
        from utils.image import silence_opencv

        silence_opencv()
        cv2.setNumThreads(1)  # the workers are as many as the cores
        with _one_processor():
            reenactor = RememberingReenactor(self.config, self.assets, folder=self.folder)
        return lambda task: self.do(task, reenactor)

    def do(self, task: Task, reenactor: Any) -> dict[str, Any]:
        """Do a task; whatever goes wrong is in its entry."""
        begin = time.perf_counter()
        try:
            outcome = self.story(task.job, reenactor, Silent())
            result = {**entry(task, DONE), **_made(outcome)}
        except ReenactmentError as error:
            result = failure(task, error.exit_code, str(error))
        except MemoryError:
            result = failure(task, InputError.exit_code, "out of memory; give smaller pictures")
        except Exception as error:  # a fault of ours must not cost the other rows
            logger.exception("row %d", task.number)
            result = failure(task, UNEXPECTED, f"unexpected {type(error).__name__}: {error}")
        return {**result, "seconds": round(time.perf_counter() - begin, 4)}


@contextmanager
def _one_processor() -> Iterator[None]:
    """Networks that are opened here run on one thread, where processors can be chosen."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


def entry(task: Task, status: str) -> dict[str, Any]:
    """The beginning of a task's entry."""
    job = task.job
    return {
        "digest": task.digest,
        "status": status,
        "row": task.number,
        "source": job.source,
        "target": job.target,
        "extra": dict(task.extra),
    }


def failure(task: Task, code: int, message: str) -> dict[str, Any]:
    """The entry of a task that failed."""
    return {**entry(task, FAILED), "code": code, "message": message}


def _made(outcome: Outcome) -> dict[str, Any]:
    return {
        "code": 0,
        "found": outcome.found,
        "picked": list(outcome.picked),
        "confidence": [round(value, 3) for value in outcome.confidence],
        "outputs": {path: describe(path) for path in outcome.written},
    }
