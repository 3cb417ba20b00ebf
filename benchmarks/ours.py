"""This project's CPU engine as a measured program: what stage `train` calls, with another corpus folder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpus import first_tokens
from benchmarks.jobs import Job, Measured
from wordlab.machine import peak_memory_bytes
from wordlab.training import TrainingData, train_model

WARM_UP_TOKENS = 50_000


def prepare(job: Job) -> Callable[[], tuple[Measured, NDArray[np.float32]]]:
    """Map the corpus and train on its first sentences, which compiles or loads every kernel; the function trains."""
    data = TrainingData.open(job.vocab_folder, job.encode_folder)
    train_model(first_tokens(data, WARM_UP_TOKENS), job.model, job.train, job.seed, job.threads, show_progress=False)
    kept = float((data.vocab.counts * data.tables.keep_probability.astype(np.float64)).sum())

    def run() -> tuple[Measured, NDArray[np.float32]]:
        engine, trained = train_model(data, job.model, job.train, job.seed, job.threads, show_progress=False)
        measured = Measured(
            wall_seconds=trained.seconds,
            cpu_seconds=trained.cpu_seconds,
            raw_words=job.train.epochs * data.corpus.num_tokens,
            trained_words=job.train.epochs * kept,
            peak_memory_bytes=peak_memory_bytes(),
        )
        return measured, engine.input_vectors

    return run
