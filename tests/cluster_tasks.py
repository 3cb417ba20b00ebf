"""A Dask cluster on this machine, and tasks for its workers, which import this module."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def fail_noting(number: int, folder: Path) -> int:
    """Note each call in a file; number 3 fails."""
    with (folder / "calls").open("a") as file:
        file.write(f"{number}\n")
    if number == 3:
        raise ValueError(f"task {number} is broken")
    return number


def die(number: int) -> None:
    """As a worker does that the kernel kills for want of memory."""
    os.kill(os.getpid(), 9)


def sleep_a_minute(number: int) -> None:
    time.sleep(60)


class Cluster:
    """A scheduler and workers, each a process of its own, with logs in `folder`. Call `stop` at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.address = str(self.file)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._started("dask_scheduler", "--port", "0", "--host", "127.0.0.1")
        _wait_until(self.file.exists)

    def _started(self, program: str, *arguments: str, path: Path = ROOT / "src") -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(path)]),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            "DASK_TEMPORARY_DIRECTORY": str(self.folder),
        }
        command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{program}", "--scheduler-file", self.address]
        with (self.folder / f"{program}-{len(self.workers)}.log").open("w") as log:
            return subprocess.Popen(
                [*command, "--no-dashboard", *arguments], env=environment, stdout=log, stderr=log, cwd=self.folder
            )

    def start_workers(self, number: int, path: Path = ROOT / "src") -> list[subprocess.Popen[bytes]]:
        """So many more workers, once they are there. path: where they import wordlab from."""
        options = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0")
        before = len(self.workers)
        for _ in range(number):
            self.workers.append(self._started("dask_worker", *options, path=path))
        logs = [self.folder / f"dask_worker-{index}.log" for index in range(before, before + number)]
        _wait_until(lambda: all("Registered to" in log.read_text() for log in logs))
        return self.workers[before:]

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self.file.unlink(missing_ok=True)


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    running = Cluster(folder)
    try:
        running.start_workers(workers)
        yield running
    finally:
        running.stop()


def _wait_until(ready) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline, "the cluster does not start"
        time.sleep(0.05)
