"""Tasks on the nodes of a Ray cluster, which may come and go."""

from __future__ import annotations

import importlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from batch.pool import Died, Start
from utils.assets import PROJECT_ROOT
from utils.errors import UsageError

CHUNK = 16  # tasks that travel together
LOCAL = "local"  # in place of an address: a cluster on this machine, for this run
_REFRESH_SECONDS = 5.0  # how often the cluster is asked how large it is


@dataclass(frozen=True)
class _Chunk:
    """Tasks that an actor has; those of one that died come again, one by one."""

    tasks: tuple[Any, ...]
    again: bool = False


class RayPool:
    """Actors on a cluster, each with the models open, as many as it has processors.

    An actor gets tasks only when it is there, so that none waits for a node that will not come. The
    tasks of a dead one are done once more; the result of one that is deadly twice is `Died`.

    Parameters
    ----------
    address : of the cluster; `LOCAL` starts one.
    workers : how many actors; None follows the cluster's size.

    Raises
    ------
    UsageError : Ray is not installed, or there is no cluster.
    """

    def __init__(self, address: str, start: Start, workers: int | None = None) -> None:
        self._ray, self._start, self._workers = _import_ray(), start, workers
        try:
            self._ray.init(
                address=None if address == LOCAL else address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": str(PROJECT_ROOT)}},
                ignore_reinit_error=True,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"--ray: no cluster at {address}: {error}") from error
        self._actor = self._ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        self._given: dict[Any, tuple[Any, _Chunk | None]] = {}  # what is awaited, of which actor
        self._again: deque[Any] = deque()
        self._asked, self._size = 0.0, 0

    def run(
        self, tasks: Iterable[Any], mourn: Callable[[Any], None]
    ) -> Iterator[tuple[Any, Any | Died]]:
        """Tasks and their results, in any order; tasks are taken as they are needed.

        mourn : called with each task of an actor that has died.
        """
        source = iter(tasks)
        held: deque[Any] = deque(islice(source, 1))
        try:
            while held or self._again or any(chunk for _, chunk in self._given.values()):
                if held or self._again:
                    self._recruit()
                ready, _ = self._ray.wait(list(self._given), timeout=1.0)
                for awaited in ready:
                    actor, chunk = self._given.pop(awaited)
                    alive, results = self._take(awaited, chunk, mourn)
                    yield from results
                    if alive:
                        self._give(actor, held, source)
        finally:
            for actor, _ in self._given.values():
                self._ray.kill(actor)
            self._ray.shutdown()

    def _recruit(self) -> None:
        """As many actors as the cluster has processors now; they report when they are there."""
        if time.monotonic() - self._asked > _REFRESH_SECONDS:
            self._asked = time.monotonic()
            self._size = int(self._ray.cluster_resources().get("CPU", 0))
        for _ in range(len(self._given), self._workers or max(1, self._size)):
            actor = self._actor.remote()
            self._given[actor.open.remote(self._start, os.getcwd())] = actor, None

    def _take(
        self, awaited: Any, chunk: _Chunk | None, mourn: Callable[[Any], None]
    ) -> tuple[bool, list[tuple[Any, Any]]]:
        """Whether the actor lives, and the results that it brought."""
        try:
            results = self._ray.get(awaited)
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from error
        except self._ray.exceptions.RayError as error:
            if chunk is None:
                return False, []
            for task in chunk.tasks:
                mourn(task)
            if chunk.again:
                return False, [(chunk.tasks[0], Died(type(error).__name__))]
            self._again.extend(chunk.tasks)
            return False, []
        return True, list(zip(chunk.tasks, results)) if chunk else []

    def _give(self, actor: Any, held: deque[Any], source: Iterator[Any]) -> None:
        """Give an actor its next tasks; it goes where there are none."""
        if self._again:
            chunk = _Chunk((self._again.popleft(),), again=True)
        else:
            chunk = _Chunk((*held, *islice(source, CHUNK - len(held))))
            held.clear()
            held.extend(islice(source, 1))
        if chunk.tasks:
            self._given[actor.do.remote(chunk.tasks)] = actor, chunk
        else:
            self._ray.kill(actor)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports on its users
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError("--ray needs Ray: pip install -r requirements-ray.txt") from error


class _Actor:
    """A worker on some node."""

    def open(self, start: Start, folder: str) -> None:
        """Open the models; paths are relative to `folder`, as on the driver."""
        os.chdir(folder)
        self._work = start()

    def do(self, tasks: tuple[Any, ...]) -> list[Any]:
        return [self._work(task) for task in tasks]
