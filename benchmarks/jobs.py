"""One measured run of one program: what to do, as JSON, and what came of it.

A job runs in a fresh process (`python -m benchmarks.worker`), so that no program profits from or suffers under what ran
before it. The process prepares (imports, compiled functions, gensim's vocabulary), says so, and waits for the word to
start: this is how two processes begin together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.corpus import BenchCorpus
from wordlab.config import Params
from wordlab.errors import WordlabError
from wordlab.peers.job import Job, Measured
from wordlab.peers.programs import FRESH_MEMORY

ROOT = Path(__file__).parents[1]
READY = "ready"
ProgramName = Literal["ours", "gensim", "fasttext", "racing"]
Arch = Literal["skipgram", "cbow", "sent2vec"]
LEAVE_SECONDS = 60
"""A worker that has reported must have ended after this time."""
ARCHITECTURES: tuple[Literal["skipgram"], Literal["cbow"]] = ("skipgram", "cbow")
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
"""What OpenBLAS's kernels for SkylakeX need. On some CPUs that have it all it takes slower ones by itself."""


class BenchmarkError(WordlabError):
    """A measured program failed."""


def make_job(
    program: ProgramName,
    arch: Arch,
    params: Params,
    corpus: BenchCorpus,
    text: Path,
    *,
    threads: int,
    seed: int,
    epochs: int | None = None,
    lr: float | None = None,
    damping: float | None = None,
    save: Path | None = None,
    **model: Any,
) -> Job:
    """A job with the values of params.yaml, but for those given. model: values of its section `model`."""
    train = dataclasses.replace(params.train, epochs=epochs or params.train.epochs)
    if lr is not None:
        train = dataclasses.replace(train, lr=dataclasses.replace(train.lr, **{arch: lr}))
    if damping is not None:
        train = dataclasses.replace(train, damping=dataclasses.replace(train.damping, **{arch: damping}))
    return Job(
        program=program,
        model=dataclasses.replace(params.model, arch=arch, **model),
        train=train,
        sampling=params.vocab,
        seed=seed,
        threads=threads,
        vocab_folder=corpus.vocab_folder,
        encode_folder=corpus.encode_folder,
        text=text,
        save=save,
    )


def run_together(jobs: Sequence[Job]) -> list[Measured]:
    """Run each job in a process of its own, all starting their timers at once. Raises BenchmarkError if one fails."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker("train", job.to_json(), environment(job))) for job in jobs]
        for worker in workers:
            _read(worker, READY)
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [Measured(**json.loads(_read(worker))) for worker in workers]


def run_worker(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Run another kind of work than training in a fresh process and return what it reports."""
    with _worker(kind, json.dumps(spec, default=str), environment(None)) as worker:
        found: dict[str, Any] = json.loads(_read(worker))
        return found


def environment(job: Job | None) -> dict[str, str]:
    """Environment of a worker: one BLAS thread for all, as many numba threads as the job has."""
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    variables |= FRESH_MEMORY if job is not None and job.program == "fasttext" else {}
    if job is not None and job.program == "racing":
        variables["NUMBA_NUM_THREADS"] = str(job.threads)
        if cpu_flags() >= AVX512:
            variables["OPENBLAS_CORETYPE"] = "SkylakeX"
    return variables


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the processor can do, in the kernel's words; empty where it does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


@contextlib.contextmanager
def _worker(kind: str, spec: str, variables: Mapping[str, str]) -> Any:
    """A worker process, whose errors go where ours go; killed if it is still there at the end."""
    command = [sys.executable, "-m", "benchmarks.worker", kind, spec]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=dict(variables), stdin=pipe, stdout=pipe, text=True) as worker:
        try:
            yield worker
            worker.communicate(timeout=LEAVE_SECONDS)
        finally:
            worker.kill()


def _read(worker: subprocess.Popen[str], wanted: str | None = None) -> str:
    """The worker's next line. Raises BenchmarkError where it ended instead, or said something else than `wanted`."""
    assert worker.stdout
    line = worker.stdout.readline().strip()
    if not line:
        raise BenchmarkError(
            f"A measured program ended with status {worker.wait()} before it had reported; what it said is above. "
            "See whether memory was short (dmesg), then run the benchmark again."
        )
    assert wanted is None or line == wanted, line
    return line
