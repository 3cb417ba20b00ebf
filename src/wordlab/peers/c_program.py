"""word2vec.c, the program of Mikolov et al. (2013): started as it is, with files in a folder of its own.

It reads the text, counts words, allocates, trains and writes in one process. Without -output it ends after counting, so
that is run first and its time is taken off; what is left of the time is for allocating, its table of noise words and
writing the vectors, a second or two. It keeps file names in 100 bytes and does not look whether they fit, so it is
started in the folder of the text, with names alone.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordlab.embeddings import Embeddings
from wordlab.errors import PeerError, WordlabError
from wordlab.parent import follow_parent
from wordlab.peers.job import Job, Measured, Train
from wordlab.peers.programs import find_binary
from wordlab.vocab import SamplingTables, Vocab

VECTORS = "word2vec-vectors.bin"
LOG = "word2vec-log.txt"
TOLD_BYTES = 500
"""Of what the program said last, in messages."""


@dataclass(frozen=True)
class Took:
    """What one start of a program took."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


def prepare(job: Job) -> Train:
    """Let the program count the words; the returned function trains.

    Raises ConfigError where there is no program, PeerError where it fails or does not write a model.
    """
    binary, folder = find_binary(job.program), job.text.parent
    vocab = Vocab.load(job.vocab_folder / "words.arrow")
    counting = run_program(binary, _arguments(job), folder)
    tables = SamplingTables.build(vocab.counts, job.sampling.subsample_t, job.sampling.noise_power)
    kept = float((vocab.counts * tables.keep_probability.astype(np.float64)).sum())

    def run() -> tuple[Measured, NDArray[np.float32]]:
        took = run_program(binary, [*_arguments(job), "-output", VECTORS], folder)
        measured = Measured(
            wall_seconds=max(took.wall_seconds - counting.wall_seconds, 1e-3),
            cpu_seconds=max(took.cpu_seconds - counting.cpu_seconds, 1e-3),
            raw_words=int(vocab.counts.sum()) * job.train.epochs,
            trained_words=kept * job.train.epochs,
            peak_memory_bytes=took.peak_memory_bytes,
        )
        return measured, read_vectors(binary, folder / VECTORS, vocab, job.model.dim)

    return run


def _arguments(job: Job) -> list[str]:
    model = job.model
    values = {
        "train": job.text.name,
        "cbow": int(model.arch == "cbow"),
        "hs": int(model.objective == "hs"),
        "negative": model.negatives if model.objective == "ns" else 0,
        "size": model.dim,
        "window": model.window,
        "sample": f"{job.sampling.subsample_t:g}",
        "alpha": f"{job.lr:g}",
        "iter": job.train.epochs,
        "threads": job.threads,
        "min-count": 1,
        "binary": 1,
        "debug": 0,
    }
    return [text for name, value in values.items() for text in (f"-{name}", str(value))]


def run_program(binary: Path, arguments: list[str], folder: Path) -> Took:
    """Run a program in a folder to its end. Raises PeerError, with what it said last, where that is not a good one."""
    started = time.perf_counter()
    with (folder / LOG).open("wb") as log:
        try:
            process = subprocess.Popen(
                [str(binary), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=follow_parent,
            )
        except OSError as error:
            raise PeerError(f"{binary} cannot be started: {error.strerror}. Build it on this machine.") from None
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode:
        said = (folder / LOG).read_bytes()[-TOLD_BYTES:].decode(errors="replace").strip()
        raise PeerError(f"{binary} {ended(process.returncode)}. It said last: {said or 'nothing'}")
    seconds = time.perf_counter() - started
    return Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


def ended(status: int) -> str:
    """How a process ended, in words. status: as subprocess has it."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by signal {-status}" + (", perhaps for want of memory (see: dmesg)" if status == -9 else "")


def read_vectors(binary: Path, path: Path, vocab: Vocab, dim: int) -> NDArray[np.float32]:
    """The vectors in the order of the vocabulary, (V, dim). Raises PeerError for what is no model of these words."""
    if not path.exists():
        raise PeerError(f"{binary} ended well and wrote no vectors. Is it word2vec? See: docs/comparing.md")
    try:
        found = Embeddings.load(path)
    except WordlabError as error:
        raise PeerError(f"{binary} wrote what is no model: {error}") from None
    if found.dim != dim:
        raise PeerError(f"{binary} wrote vectors of {found.dim} dimensions, not of {dim}. Is it word2vec?")
    rows = found.index.rows(vocab.words)
    lost = [word for word, row in zip(vocab.words, rows.tolist(), strict=True) if row < 0]
    if lost:
        raise PeerError(
            f"{binary} wrote no vectors for {len(lost):,} of {len(vocab):,} words, such as {lost[0]!r}. It cuts words "
            "after 98 bytes; a higher vocab.min_count may drop such words."
        )
    vectors: NDArray[np.float32] = found.input_vectors[rows]
    return vectors
