"""A program's process: `python -m wordlab.peers.worker JOB`, started by `running`.

Standard output carries the report alone; whatever the program prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np

from wordlab.peers import c_program, fasttext_program, gensim_program
from wordlab.peers.job import Job, Measured, Train
from wordlab.stage import end_with_parent, run_stage

PREPARE: dict[str, Callable[[Job], Train]] = {
    "gensim": gensim_program.prepare,
    "fasttext": fasttext_program.prepare,
    "word2vec": c_program.prepare,
}
"""Of each program. The modules import it only where it is to run."""


def main() -> None:
    end_with_parent()
    with reports() as report:
        report(json.dumps(dataclasses.asdict(train(Job.from_json(sys.argv[1])))))


def train(job: Job) -> Measured:
    """Prepare, train, save the vectors where the job says."""
    measured, vectors = PREPARE[job.program](job)()
    if job.save:
        np.save(job.save, np.ascontiguousarray(vectors, dtype=np.float32))
    return measured


@contextlib.contextmanager
def reports() -> Iterator[Callable[[str], None]]:
    """A function that prints a line on standard output, from which all other output is turned away meanwhile."""
    with os.fdopen(os.dup(1), "w") as stream:
        os.dup2(2, 1)

        def report(line: str) -> None:
            stream.write(line + "\n")
            stream.flush()

        yield report


if __name__ == "__main__":
    run_stage(main)
