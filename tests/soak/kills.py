"""Stages killed by SIGKILL, at random moments and before every operation that changes files, and run again."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Sequence

from tests.soak.syscalls import CHANGES, Fault
from tests.soak.workbench import Stage, Tally, Workbench

START = ("absent", "old")
"""Outputs that a killed run finds: none, as DVC leaves it, or those of an earlier run with other parameters."""
END_SHARE = 0.4
"""Half of the random moments lie in so much of a run, its end: most of a run is the start of Python."""


def kill_at_random(bench: Workbench, stage: Stage, points: int, seed: int) -> Tally:
    """Kill the stage `points` times, each time as it starts from the inputs of the uninterrupted run.

    After each kill nothing half-written may stand in an output's place, and the next run must end in the same bytes.
    """
    tally = Tally("killed at random moments", stage.name)
    draw = random.Random(f"{seed} {stage.name}")
    bench.set_back(stage, "absent")
    seconds = _duration(bench, stage)
    while tally.tried < points:
        start = START[tally.tried % 2]
        moment = seconds * draw.uniform(0 if tally.tried % 4 < 2 else 1 - END_SHARE, 1)
        bench.set_back(stage, start)
        bench.set_params({"run.workers": draw.choice((1, 2))})
        if not _killed_after(bench, stage, moment):
            seconds *= 0.97  # it had ended before: this machine was slower a moment ago
            continue
        problems = bench.half_written(stage)
        bench.set_params({})
        tally.add(problems + bench.problems_after_rerun(stage), f"outputs {start}, after {moment:.3f} s")
    return tally


def _duration(bench: Workbench, stage: Stage) -> float:
    started = time.monotonic()
    status, output = bench.run(stage)
    assert status == 0, output
    return time.monotonic() - started


def _killed_after(bench: Workbench, stage: Stage, seconds: float) -> bool:
    """Start the stage and kill it; False if it was over by then."""
    process = subprocess.Popen(
        stage.command, cwd=bench.work, env=bench.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    process.kill()
    return process.wait() == -signal.SIGKILL


def kill_at_boundaries(bench: Workbench, stage: Stage, most: int, seed: int, starts: Sequence[str] = START) -> Tally:
    """Kill the stage before each create, rename, remove and sync below the project, or `most` of them by each start."""
    tally = Tally("killed before a change of files", stage.name)
    for start in starts:
        bench.set_back(stage, start)
        seen = bench.watch(stage)
        assert seen.status == 0, seen.output
        total = sum(operation.kind in CHANGES for operation in seen.operations)
        for place in chosen(total, most, random.Random(f"{seed} {stage.name} {start}")):
            bench.set_back(stage, start)
            killed = bench.watch(stage, Fault(CHANGES, place))
            where = f"outputs {start}, before change {place} ({killed.struck})"
            if killed.status != -signal.SIGKILL:
                tally.add([f"ended with status {killed.status}: {killed.output}"], where)
                continue
            tally.add(bench.half_written(stage) + bench.problems_after_rerun(stage, warm=True), where)
    return tally


def chosen(total: int, most: int, draw: random.Random) -> list[int]:
    """`most` numbers below `total`, or all of them."""
    return list(range(total)) if total <= most else sorted(draw.sample(range(total), most))
