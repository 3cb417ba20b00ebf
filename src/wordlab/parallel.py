"""Work spread over processes, results in order, never more than a few tasks in memory."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from wordlab.errors import ResourceError
from wordlab.stage import available_cores, end_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_processes(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """Results in the order of the tasks. workers: number of processes, 0 for all cores; 1 works in this process.

    Processes are spawned, not forked, because libraries here run threads of their own.
    Raises what `function` raises, and ResourceError if a worker was killed.
    """
    workers = workers or available_cores()
    if workers == 1:
        yield from map(function, tasks)
        return
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
