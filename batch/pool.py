"""Worker processes that may die: each has one task at a time, so it is known what it died of."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

_STOP_SECONDS = 10.0  # for a worker to finish its task when the run is stopped

Task = TypeVar("Task")
Result = TypeVar("Result")
Start = Callable[[], Callable[[Any], Any]]  # makes what turns a task into its result


@dataclass(frozen=True)
class Died:
    """In place of a result: two workers died of the task, the last one like this."""

    how: str

    @classmethod
    def with_code(cls, code: int | None) -> Died:
        """Of a process that ended with an exit code, negative for a signal."""
        return cls(f"killed by signal {-code}" if code and code < 0 else f"exit code {code}")

    def __str__(self) -> str:
        return f"the worker died, twice ({self.how}); it may have run out of memory"


@dataclass(frozen=True)
class _Given(Generic[Task]):
    task: Task
    again: bool = False


class _Worker(Generic[Task]):
    """A process, the pipe to it, and the task that it has."""

    def __init__(self, start: Start) -> None:
        # a fork would share the threads' locks of the networks
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start), daemon=True)
        self.process.start()
        theirs.close()
        self.given: _Given[Task] | None = None
        self.ready = False

    def give(self, given: _Given[Task]) -> None:
        self.given = given
        with suppress(OSError):  # a dead worker: `receive` will say so
            self.pipe.send(given.task)

    def stop(self) -> None:
        self.pipe.close()  # it ends after its task
        self.process.join(_STOP_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, start: Start) -> None:
    """What a worker does: says that it is ready, then turns tasks into results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run stops it, in order
    try:
        work: Callable[[Any], Any] | None = start()
        pipe.send(None)
    except Exception as error:
        pipe.send(error)
        return
    with suppress(EOFError, OSError):  # the run has ended, or was killed
        while work:
            pipe.send(work(pipe.recv()))


def run_tasks(
    tasks: Iterable[Task], mourn: Callable[[Task], None], start: Start, workers: int
) -> Iterator[tuple[Task, Any | Died]]:
    """Turn tasks into results, in any order, as many at a time as there are workers.

    A worker that dies is replaced, and its task done once more; if that worker dies, too, its
    result is `Died`. Tasks are taken as they are needed.

    Parameters
    ----------
    mourn : called with the task of a worker that has died, before anything else is done with it.
    start : runs in each worker, at its beginning; has to be picklable, and an exception of it is
        raised here.
    """
    source = iter(tasks)
    crew: list[_Worker[Task]] = []
    try:
        while True:
            while len(crew) < workers and (task := next(source, None)) is not None:
                crew.append(_Worker(start))
                crew[-1].given = _Given(task)
            if not crew:
                return
            for ready in wait([worker.pipe for worker in crew]):
                worker = next(worker for worker in crew if worker.pipe is ready)
                yield from _heard(worker, crew, source, mourn, start)
    finally:
        for worker in crew:
            worker.stop()


def _heard(
    worker: _Worker[Task],
    crew: list[_Worker[Task]],
    source: Iterator[Task],
    mourn: Callable[[Task], None],
    start: Start,
) -> Iterator[tuple[Task, Any | Died]]:
    """Take what a worker has sent, and give it its next task."""
    given = worker.given
    assert given is not None
    try:
        answer = worker.pipe.recv()
    except (EOFError, OSError):
        crew.remove(worker)
        worker.process.join()
        mourn(given.task)
        if given.again:
            yield given.task, Died.with_code(worker.process.exitcode)
        else:
            crew.append(_Worker(start))
            crew[-1].given = replace(given, again=True)
        return
    if worker.ready:
        yield given.task, answer
        task = next(source, None)
        given = None if task is None else _Given(task)
    elif isinstance(answer, BaseException):
        raise answer
    worker.ready = True
    if given is None:
        crew.remove(worker)
        worker.stop()
    else:
        worker.give(given)


def usable_cores() -> int:
    """How many cores this process may use: by affinity, and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(cores or 1, _quota())))


def _quota() -> float:
    """The processors that control groups (version 2, else 1) grant."""
    root = "/sys/fs/cgroup"
    with suppress(OSError, ValueError), open(f"{root}/cpu.max") as stream:
        quota, period = stream.read().split()
        return max(1.0, float(quota) / float(period))
    with suppress(OSError, ValueError, ZeroDivisionError):
        with open(f"{root}/cpu/cpu.cfs_quota_us") as stream:
            quota_us = float(stream.read())
        with open(f"{root}/cpu/cpu.cfs_period_us") as stream:
            return max(1.0, quota_us / float(stream.read())) if quota_us > 0 else float("inf")
    return float("inf")
