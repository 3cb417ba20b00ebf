"""A measured process: `python -m benchmarks.worker KIND SPEC`, started by benchmarks/jobs.py.

Standard output carries the reports alone, one a line; whatever a program prints goes to standard error.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.jobs import READY, Job
from wordlab.peers.job import Train
from wordlab.peers.worker import PREPARE, reports
from wordlab.stage import run_stage

PROGRAMS = {
    **{name: prepare.__module__ for name, prepare in PREPARE.items()},
    "ours": "benchmarks.ours",
    "racing": "benchmarks.racing_run",
}
"""Program -> module with `prepare(job) -> Train`, imported only where it is measured."""

OTHER_WORK = (
    "benchmarks.preprocessing_run",
    "benchmarks.throughput_run",
    "benchmarks.wikipedia_run",
    "benchmarks.serving_run",
    "benchmarks.formats_run",
)
"""Modules whose WORK has a kind."""


def main() -> None:
    kind, spec = sys.argv[1:]
    with reports() as report:
        if kind == "train":
            train(Job.from_json(spec), report)
        else:
            report(json.dumps(work_of(kind)(json.loads(spec))))


def work_of(kind: str) -> Callable[[Any], Any]:
    """The function of a kind of work other than training."""
    modules = map(importlib.import_module, OTHER_WORK)
    return next(module.WORK[kind] for module in modules if kind in module.WORK)


def train(job: Job, report: Callable[[str], None]) -> None:
    """Prepare, wait for the word on standard input, train, report."""
    run: Train = importlib.import_module(PROGRAMS[job.program]).prepare(job)
    report(READY)
    if not sys.stdin.readline():  # the benchmark has ended
        return
    measured, vectors = run()
    if job.save:
        np.save(job.save, np.ascontiguousarray(vectors, dtype=np.float32))
    report(json.dumps(dataclasses.asdict(measured)))


if __name__ == "__main__":
    run_stage(main)
