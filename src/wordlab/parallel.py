"""Work spread over processes, threads or a cluster: results in order, never more than a few tasks in memory.

Where the work is done (`Workers`) changes no byte of what comes out: a task depends on nothing but itself, and results
come in the order of the tasks.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from wordlab.errors import ResourceError
from wordlab.stage import available_cores, end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Who does the work: `run.executor`, `run.workers` and `run.dask_address` of params.yaml."""

    number: int = 1
    """Processes or threads on this machine, 0 for all cores; 1 works in the calling thread. A cluster has its own."""
    executor: Literal["processes", "threads", "dask"] = "processes"
    dask_address: str = ""
    """Of the cluster's scheduler."""

    @property
    def cores(self) -> int:
        """Processes or threads on this machine; with a cluster, for what is done here beside it."""
        return self.number or available_cores()


def as_workers(workers: int | Workers) -> Workers:
    """A plain number stands for so many processes."""
    return Workers(workers) if isinstance(workers, int) else workers


def map_tasks(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int | Workers,
    shared: Path,
    frees_lock: bool = False,
) -> Iterator[Result]:
    """function(task) of each task, in the order of the tasks.

    shared: a folder that is there, and that the workers of a cluster must see under the same path.
    frees_lock: whether most of the work leaves Python's lock to others. Such work goes to threads on one machine, also
    with the executor `processes`: they start at once, share what they have read, and hand results over without a copy.
    A single worker is a thread too then, one task ahead of who takes the results.
    Raises what `function` raises, and ResourceError if a worker was killed or the cluster is lost.
    """
    workers = as_workers(workers)
    if workers.executor == "dask":
        from wordlab.cluster import map_on_cluster  # the extra `cluster`

        yield from map_on_cluster(function, tasks, workers.dask_address, shared)
    elif workers.cores == 1 and not frees_lock:
        yield from map(function, tasks)
    elif workers.executor == "threads" or frees_lock:
        with ThreadPoolExecutor(workers.cores) as executor:
            yield from bounded_map(executor, function, tasks, workers.cores + 1)
    else:
        yield from map_in_processes(function, tasks, workers.cores)


def map_in_processes(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """The same in so many processes.

    Processes are spawned, not forked, because libraries here run threads of their own.
    Raises what `function` raises, and ResourceError if a worker was killed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _end_with_starter, (os.getpid(),)) as executor:
        try:
            yield from bounded_map(executor, function, tasks, workers + 1)
        except BrokenProcessPool:
            raise ResourceError(
                "A worker process was killed, most likely for want of memory. Run with fewer workers or smaller "
                "shards: lower run.workers or tokenize.shard_bytes in params.yaml, then run: dvc repro"
            ) from None


def _end_with_starter(starter: int) -> None:
    """In a new worker: end when process `starter` does, which may have been killed before this one could ask for it.

    A worker left alone would wait for work for ever, since its queues do not tell it.
    """
    end_with_parent()
    if os.getppid() != starter:
        os._exit(1)


def bounded_map(
    executor: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], max_pending: int
) -> Iterator[Result]:
    """Like executor.map, but takes a task only when fewer than `max_pending` are under way."""
    pending: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            pending.append(executor.submit(function, task))
            if len(pending) >= max_pending:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
