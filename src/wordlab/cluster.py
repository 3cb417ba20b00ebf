"""Tasks on the workers of a Dask cluster (extra `cluster`), as wordlab.parallel gives them out.

The cluster is the user's: this finds its scheduler by `run.dask_address`, sees that every worker has the same wordlab
and the same libraries and sees the same folder, and gives out tasks. A task is a function and its argument, pickled
here and unpickled in the worker alone, so the scheduler needs neither wordlab nor memory for more than what waits. A
worker that is lost loses nothing: the scheduler gives its tasks to others. Workers write by rename, so one that was
taken for dead and is not cannot spoil what another has written in its place.

Whoever can reach a scheduler can run code on its workers, and workers on this machine; docs/cluster.md.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from wordlab.code_identity import code_identity
from wordlab.errors import ConfigError, ResourceError
from wordlab.stage import say

Task = TypeVar("Task")
Result = TypeVar("Result")

CONNECT_SECONDS = 20.0
NO_WORKER_SECONDS = 300.0
"""Without any worker for so long, the run gives up."""
_POLL_SECONDS = 2.0
TASKS_PER_THREAD = 2
"""Tasks given out for each thread of the cluster: one is worked on while the next is on its way."""
_ADVICE = (
    "All its workers need the same wordlab and libraries (pip install -c constraints.txt -e '.[cluster]') and must see "
    "the project's folder under the same path. See docs/cluster.md"
)
_NO_CLUSTER = (OSError, ValueError, TypeError, EOFError, MemoryError, ImportError)
"""What connecting raises: nobody answers, no address, or another service than a scheduler answers."""


def map_on_cluster(
    function: Callable[[Task], Result], tasks: Iterable[Task], address: str, shared: Path
) -> Iterator[Result]:
    """function(task) of each task on the workers of the cluster at `address`, in the order of the tasks.

    shared: a folder that this process and all workers see under the same path.
    Raises what `function` raises; ConfigError where Dask is missing, the address is none, or workers differ from this
    process; ResourceError where the scheduler or all workers are lost, or a task has killed several workers.
    """
    with _connected(address) as client, _probe(shared) as probe:
        say(f"working on the Dask cluster at {address}: {_check_workers(client, probe, address)} threads")
        work = _by_value(probe)
        pending: deque[Any] = deque()
        room = 0
        for task in tasks:
            if len(pending) >= room:  # also the first time; workers may have come or gone
                room = 1 + TASKS_PER_THREAD * max(1, _num_threads(client, address))
            pending.append(client.submit(work, pickle.dumps((function, task)), pure=False, key=_key(function)))
            if len(pending) >= room:
                yield _result(client, pending.popleft(), address)
        while pending:
            yield _result(client, pending.popleft(), address)


def _key(function: Callable[..., Any]) -> str:
    """A name of its own for each task, as the dashboard shows it."""
    name = getattr(getattr(function, "func", function), "__name__", "task")
    return f"wordlab-{name}-{secrets.token_hex(8)}"


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client of the scheduler, which forgets what was not finished when it is closed."""
    try:
        import dask
        import distributed
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"run.executor is dask, but the package {error.name} is not installed. Install it: "
            "pip install -c constraints.txt -e '.[cluster]'. Or choose another executor: -S run.executor=processes"
        ) from None
    logger = logging.getLogger("distributed")
    level, silent = logger.level, logging.CRITICAL + 1
    logger.setLevel(silent)  # what goes wrong is told here, in one message
    # the bytes of a shard are part of its task, on purpose: the scheduler then has them for another worker
    settings = {"distributed.admin.large-graph-warning-threshold": "1 TiB"}
    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        with dask.config.set(settings):
            try:
                if "scheduler_file" in where:
                    Path(address).read_bytes()  # the client would wait for it to appear
                client = distributed.Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
            except _NO_CLUSTER as error:
                raise ConfigError(_no_scheduler_message(address, error)) from None
            try:
                yield client
            finally:
                client.close(timeout=5)
    finally:
        logger.setLevel(level)


def _no_scheduler_message(address: str, error: BaseException) -> str:
    return (
        f"run.dask_address is {address!r}, where no Dask scheduler was found: {str(error)[:300]}. Give the address "
        "that the scheduler shows when it starts, such as tcp://host:8786, or the path of its --scheduler-file "
        "(docs/cluster.md). Or work on this machine: -S run.executor=processes"
    )


@contextlib.contextmanager
def _probe(shared: Path) -> Iterator[tuple[str, str]]:
    """A file in the shared folder with a word that only those can know who see it: its path, and the word."""
    path, word = shared.absolute() / f".probe-{secrets.token_hex(4)}.tmp", secrets.token_hex(16)
    path.write_text(word)
    try:
        yield str(path), word
    finally:
        path.unlink(missing_ok=True)


@cache
def worker_complaint(wanted: tuple[tuple[str, str], ...], probe: str, word: str) -> str:
    """In a worker: why it cannot take part, or nothing. Looked at once for each run."""
    own = code_identity()
    differing = [f"{name} {own.get(name, 'missing')}, not {value}" for name, value in wanted if own.get(name) != value]
    if differing:
        return "has " + ", ".join(differing)
    try:
        if Path(probe).read_text() == word:
            return ""
    except (OSError, UnicodeDecodeError):
        pass
    return f"does not see the folder {Path(probe).parent}"


def _by_value(probe: tuple[str, str]) -> Callable[[bytes], Any]:
    """The function that a worker calls with a pickled task. It is pickled by value, as what it encloses is:
    a scheduler, which unpickles it too, need not have wordlab."""
    path, word = probe
    wanted, advice = tuple(code_identity().items()), _ADVICE

    def work(pickled: bytes) -> Any:
        import pickle

        from wordlab.cluster import worker_complaint
        from wordlab.errors import ConfigError

        if complaint := worker_complaint(wanted, path, word):
            raise ConfigError(f"A worker of the Dask cluster {complaint}. {advice}")
        function, task = pickle.loads(pickled)
        return function(task)

    return work


def _check_workers(client: Any, probe: tuple[str, str], address: str) -> int:
    """Ask every worker that is there whether it can take part; the cluster's threads. Waits for a first worker."""
    threads = _num_threads(client, address)
    path, word = probe
    wanted = tuple(code_identity().items())

    def complain() -> str:
        try:
            from wordlab.cluster import worker_complaint
        except ImportError as error:
            return f"cannot import wordlab.cluster ({error})"
        return worker_complaint(wanted, path, word)

    complaints = {worker: text for worker, text in client.run(complain).items() if text}
    if complaints:
        shown = "; ".join(f"{worker} {text}" for worker, text in list(complaints.items())[:3])
        raise ConfigError(f"{len(complaints)} workers of the Dask cluster cannot take part: {shown}. {_ADVICE}")
    return threads


def _num_threads(client: Any, address: str) -> int:
    """Threads of all workers. Waits where there is none."""
    deadline = None
    while True:
        try:
            threads = sum(client.sync(client.scheduler.ncores, callback_timeout=CONNECT_SECONDS).values())
        except (OSError, TimeoutError):
            raise ResourceError(_lost_message(address)) from None
        if threads:
            return threads
        if deadline is None:
            say(f"the Dask cluster at {address} has no workers; waiting for one")
            deadline = time.monotonic() + NO_WORKER_SECONDS
        if time.monotonic() > deadline:
            raise ResourceError(
                f"The Dask cluster at {address} has had no workers for {NO_WORKER_SECONDS:.0f} seconds. Start some: "
                f"dask worker {address} (docs/cluster.md), then run this again; finished shards are kept."
            )
        time.sleep(_POLL_SECONDS)


def _result(client: Any, future: Any, address: str) -> Any:
    """The result of a task, once it is there."""
    from distributed import KilledWorker

    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    while not done.wait(_POLL_SECONDS):
        _num_threads(client, address)
    try:
        return future.result()
    except CancelledError:
        raise ResourceError(_lost_message(address)) from None
    except KilledWorker:
        raise ResourceError(
            "The same task was given to several workers of the Dask cluster, and each was killed over it, most "
            "likely for want of memory. Give workers more memory or fewer threads (dask worker --nthreads 1), or "
            "lower tokenize.shard_bytes, then run this again; finished shards are kept."
        ) from None


def _lost_message(address: str) -> str:
    return (
        f"The Dask scheduler at {address} was lost: it ended, or the network did. Start it and its workers again, then "
        "run this again; finished shards are kept."
    )
