"""A job in a process of its own: a program that crashes is told of and takes nothing with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from wordlab.errors import PeerError
from wordlab.peers import worker
from wordlab.peers.c_program import ended
from wordlab.peers.job import Job, Measured
from wordlab.peers.programs import FRESH_MEMORY

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
"""A program has the threads it is given and no others."""


def run_job(job: Job) -> Measured:
    """Train one model. Raises PeerError where the program fails; what it said stands on standard error."""
    command = [sys.executable, "-m", worker.__name__, job.to_json()]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, **ONE_THREAD, **FRESH_MEMORY, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            report, _ = process.communicate()
        finally:
            process.kill()
    told = f"{job.program}, {job.model.arch}, seed {job.seed}"
    if process.returncode:
        above = "; what it said is above" if process.returncode > 0 else ""
        raise PeerError(f"{told}: it {ended(process.returncode)}{above}. Mend it, or take it out of peers.programs.")
    try:
        return Measured(**json.loads(report))
    except (ValueError, TypeError):
        raise PeerError(f"{told}: the program ended well without a report of what it took. Run it again.") from None
