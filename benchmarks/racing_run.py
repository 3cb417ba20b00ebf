"""The racing prototype as a measured program."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.jobs import Job, Measured
from benchmarks.racing import noise_table, train_epoch
from wordlab.errors import ConfigError
from wordlab.machine import peak_memory_bytes
from wordlab.training import TrainingData

WARM_UP_TOKENS = 50_000


class Racer:
    """A model that races: its rows and what it is trained with."""

    def __init__(self, job: Job) -> None:
        if job.model.arch != "skipgram":
            raise ConfigError(f"the racing prototype trains skipgram alone, not {job.model.arch}.")
        self.job = job
        self.data = TrainingData.open(job.vocab_folder, job.encode_folder)
        self.ids = np.concatenate([shard.ids for shard in self.data.corpus.shards])
        self.noise = noise_table(self.data.tables.noise_probability)
        self.random = np.random.default_rng(job.seed)
        size = (len(self.data.vocab), job.model.dim)
        self.inputs = ((self.random.random(size, dtype=np.float32) - 0.5) / job.model.dim).astype(np.float32)
        self.outputs = np.zeros(size, np.float32)

    def kept(self) -> NDArray[np.int32]:
        """The corpus after subsampling, drawn anew at every call."""
        chance = self.data.tables.keep_probability[self.ids]
        return self.ids[self.random.random(len(self.ids), dtype=np.float32) < chance]

    def train(self, ids: NDArray[np.int32], epoch: int) -> None:
        """One epoch over kept tokens."""
        job, epochs = self.job, self.job.train.epochs
        first, last = job.lr * (1 - epoch / epochs), max(job.lr * (1 - (epoch + 1) / epochs), job.lr * 1e-4)
        bounds = np.linspace(0, len(ids), job.threads + 1).astype(np.int64)
        train_epoch(
            ids, bounds, self.inputs, self.outputs, self.noise, job.model.window, job.model.negatives,
            np.float32(first), np.float32(last), job.seed * 1000 + epoch,
        )  # fmt: skip


def prepare(job: Job) -> Callable[[], tuple[Measured, NDArray[np.float32]]]:
    """Load the corpus and compile the kernel on a model that is thrown away; the returned function trains."""
    racer = Racer(job)
    Racer(job).train(racer.ids[:WARM_UP_TOKENS], 0)

    def run() -> tuple[Measured, NDArray[np.float32]]:
        seconds = cpu_seconds = subsampling_seconds = 0.0
        trained_words = 0
        for epoch in range(job.train.epochs):
            before = time.perf_counter()
            ids = racer.kept()
            started, cpu_started = time.perf_counter(), time.process_time()
            racer.train(ids, epoch)
            seconds += time.perf_counter() - started
            cpu_seconds += time.process_time() - cpu_started
            subsampling_seconds += started - before
            trained_words += len(ids)
        measured = Measured(
            wall_seconds=seconds,
            cpu_seconds=cpu_seconds,
            raw_words=job.train.epochs * len(racer.ids),
            trained_words=trained_words,
            peak_memory_bytes=peak_memory_bytes(),
            subsampling_seconds=subsampling_seconds,
        )
        return measured, racer.inputs

    return run
