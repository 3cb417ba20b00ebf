"""Disks that are full or break, permissions that go, clocks that jump: one clear message, nothing half-written, the
same bytes once the fault is gone.

Errors are injected from outside, at each operation in turn (syscalls.py), and met for real where the system allows it:
a small tmpfs, and the limit on a file's size that every process may set itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.soak.kills import START, chosen
from tests.soak.syscalls import GROWS, OWNED, READS, WRITES, Fault, Operation
from tests.soak.workbench import Stage, Tally, Workbench

INJECTED = {
    "disk full": (GROWS, errno.ENOSPC),
    "quota used up": (GROWS, errno.EDQUOT),
    "write error": (WRITES, errno.EIO),
    "read error": (READS, errno.EIO),
    "permission lost": (OWNED, errno.EACCES),
    "disk turned read-only": (OWNED, errno.EROFS),
}
"""Kind of fault -> the operations it is injected into, and the error they fail with from then on."""
_CLOCK = """
import random, runpy, sys, time
draw, second = random.Random(sys.argv.pop(1)), time.time
def jumping():
    return second() + draw.choice((-1, 1)) * draw.uniform(0, 10**8)
time.time, time.time_ns = jumping, lambda: int(jumping() * 1e9)
sys.argv.pop(0)
module = sys.argv[0]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
"""Runs a module with a clock that jumps by up to three years at every look, forwards and back."""


_BLOCK = 4096


def inject(bench: Workbench, stage: Stage, kind: str, most: int, seed: int) -> Tally:
    """Fail the first, second, ... operation of the kind, and all after it; `most` of them."""
    tally = Tally(kind, stage.name)
    kinds, error = INJECTED[kind]
    for start in START:
        bench.set_back(stage, start)
        seen = bench.watch(stage).operations
        total = sum(operation.kind in kinds for operation in seen)
        for place in chosen(total, max(1, most // len(START)), random.Random(f"{seed} {stage.name} {kind} {start}")):
            bench.set_back(stage, start)
            failed = bench.watch(stage, Fault(kinds, place, error))
            problems = _told(bench, failed.status, failed.output, failed.struck) + bench.half_written(stage)
            where = f"outputs {start}, operation {place} ({failed.struck})"
            tally.add(problems + bench.problems_after_rerun(stage, warm=True), where)
    return tally


def _told(bench: Workbench, status: int, output: str, struck: Operation | None = None) -> list[str]:
    """What is wrong with how a run with a fault has ended: one message and status 1 are right.

    It may end well where the fault met nothing, or only the clearing away of what is old; then all must be there.
    struck: what a fault has met; None: perhaps nothing.
    """
    if status == 0 and (struck is None or struck.kind in ("remove", "open")):
        leftovers = re.compile(r"\.tmp|\.parts(/|$)|^\.wordlab/")
        results = [name for name in bench.mismatches() if not leftovers.search(name)]
        return [f"differs after a run that ended well: {name}" for name in results]
    told = len(re.findall(r"^error: ", output, re.MULTILINE)) == 1 and "Traceback" not in output
    return [] if status == 1 and told else [f"ends with status {status}: {output}"]


def fill_tmpfs(bench: Workbench, stage: Stage, most: int, seed: int) -> Tally:
    """Run the stage `most` times on a small disk: in turn too full at the start, and filled up while it runs."""
    tally = Tally("disk full: a small tmpfs", stage.name)
    draw = random.Random(f"{seed} {stage.name}")
    with _mounted(bench.work):
        bench.set_back(stage, "absent")
        before, started = _free_blocks(bench.work), time.monotonic()
        status, output = bench.run(stage)
        assert status == 0, output
        needed, seconds = before - _free_blocks(bench.work), time.monotonic() - started
        for number in range(most):
            bench.set_back(stage, "absent")
            free = draw.randrange(needed) if number % 2 == 0 else 0
            wait_seconds = 0 if number % 2 == 0 else draw.uniform(0.3, 1) * seconds
            status, output = _run_while_filled(bench, stage, free, wait_seconds)
            problems = _told(bench, status, output) + bench.half_written(stage)
            where = f"{free} blocks of {_BLOCK} bytes free after {wait_seconds:.3f} s"
            tally.add(problems + bench.problems_after_rerun(stage), where)
    return tally


def _run_while_filled(bench: Workbench, stage: Stage, free: int, wait_seconds: float) -> tuple[int, str]:
    """Run the stage; after some seconds, leave so many blocks free, until it has ended."""
    ballast = bench.work / "ballast.tmp"
    filler = threading.Timer(wait_seconds, _fill, (ballast, free))
    if wait_seconds:
        filler.start()
    else:
        _fill(ballast, free)
    ended = bench.run(stage)
    if wait_seconds:
        filler.cancel()
        filler.join()
    ballast.unlink(missing_ok=True)
    return ended


def _free_blocks(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize // _BLOCK


def _fill(ballast: Path, free_blocks: int) -> None:
    """Write a file that leaves so many blocks free, or as few as it can while others write."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while _free_blocks(ballast.parent) > free_blocks:
            file.write(bytes(_BLOCK))


@contextlib.contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """A small tmpfs at `folder`. Raises OSError where this user may mount nothing."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        raise PermissionError(errno.EPERM, done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def may_mount(folder: Path) -> str | None:
    """Why no tmpfs can be mounted here; None where it can."""
    try:
        with _mounted(folder):
            return None
    except OSError as error:
        return error.strerror


def limit_file_size(bench: Workbench, stage: Stage, most: int, seed: int) -> Tally:
    """Run the stage where files may have so many bytes at most: writes end short, as on a full disk."""
    tally = Tally("files limited in size", stage.name)
    bench.set_back(stage, "new")
    files = [file for output in stage.outputs for file in _files(bench.work / output)]
    largest = max(file.stat().st_size for file in files)
    for limit in chosen(largest, most, random.Random(f"{seed} {stage.name}")):
        bench.set_back(stage, "absent")

        def limited(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        status, output = bench.run(stage, before=limited)
        problems = _told(bench, status, output) + bench.half_written(stage)
        tally.add(problems + bench.problems_after_rerun(stage), f"limit of {limit} bytes")
    return tally


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def jump_clock(bench: Workbench, stage: Stage, most: int, seed: int) -> Tally:
    """Run the stage with a clock that jumps, on inputs dated from 1975 to 2105: the same bytes."""
    tally = Tally("clock jumps", stage.name)
    for number in range(most):
        draw = random.Random(f"{seed} {stage.name} {number}")
        bench.set_back(stage, START[number % 2])
        for file in _files(bench.work):
            date = draw.uniform(5 * 31_557_600, 135 * 31_557_600)
            os.utime(file, (date, date))
        command = [sys.executable, "-c", _CLOCK, str(number), *stage.command[2:]]
        status, output = bench.run(stage, command)
        problems = [output] if status else [f"differs: {name}" for name in bench.mismatches()]
        tally.add(problems, f"number {number}")
    return tally
