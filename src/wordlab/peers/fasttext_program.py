"""fastText, through its own Python binding (PyPI `fasttext`, compiled from its C++ source).

The binding reads the text, counts words, allocates both matrices and trains in one call. The same call with no epoch
does all of it but the training, so it is made first, and its time is taken off.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ConfigError, PeerError
from wordlab.machine import peak_memory_bytes
from wordlab.peers.job import Job, Measured, Train
from wordlab.vocab import SamplingTables, Vocab

NO_LABEL = "\x01label"
"""What begins so is no word to fastText but a label, also where it learns none. No tokenizer of ours makes it."""


def prepare(job: Job) -> Train:
    """Read job.text once without training; the returned function trains.

    Raises ConfigError without the package, PeerError where it fails.
    """
    try:
        import fasttext_pybind as binding
    except ImportError:
        raise ConfigError(
            "fastText is not installed, and there is nothing to compare with without it. "
            "Install it with: pip install -c constraints.txt -e '.[peers]'"
        ) from None
    vocab = Vocab.load(job.vocab_folder / "words.arrow")

    def train(epochs: int) -> Any:
        model = binding.fasttext()
        try:
            binding.train(model, _arguments(binding, job, epochs))
        except (RuntimeError, ValueError) as error:  # what its C++ throws: NaN, a file it cannot read
            raise PeerError(
                f"fastText, seed {job.seed}, failed: {error} If numbers grew too large, lower its learning rate of "
                f"{job.lr:g}, in the pipeline peers.lr.fasttext."
            ) from None
        return model

    def timed(epochs: int) -> tuple[Any, float, float]:
        started, cpu_started = time.perf_counter(), time.process_time()
        model = train(epochs)
        return model, time.perf_counter() - started, time.process_time() - cpu_started

    kept = SamplingTables.build(vocab.counts, job.sampling.subsample_t, job.sampling.noise_power).keep_probability
    trained_words = float((vocab.counts * kept.astype(np.float64)).sum()) * job.train.epochs
    _, reading_seconds, reading_cpu_seconds = timed(0)

    def run() -> tuple[Measured, NDArray[np.float32]]:
        model, seconds, cpu_seconds = timed(job.train.epochs)
        raw_words = int(vocab.counts.sum()) * job.train.epochs
        measured = Measured(
            wall_seconds=seconds - reading_seconds,
            cpu_seconds=cpu_seconds - reading_cpu_seconds,
            raw_words=raw_words,
            trained_words=trained_words,
            peak_memory_bytes=peak_memory_bytes(),
        )
        if job.native:
            model.saveModel(str(job.native))
        return measured, _vectors(binding, model, vocab, job.model.dim)

    return run


def _arguments(binding: Any, job: Job, epochs: int) -> Any:
    """The program's own arguments. Its Python functions would not let a seed through."""
    model, subwords = job.model, job.model.subwords
    plain = subwords.units == "none"
    values = {
        "input": str(job.text),
        "model": getattr(binding.model_name, model.arch),
        "loss": getattr(binding.loss_name, model.objective),
        "dim": model.dim,
        "ws": model.window,
        "neg": model.negatives,
        "t": job.sampling.subsample_t or 1.0,  # 0, by which others keep every word, is here to keep none
        "label": NO_LABEL,
        "lr": job.lr,
        "epoch": epochs,
        "minCount": 1,
        "minn": 0 if plain else subwords.min_n,
        "maxn": 0 if plain else subwords.max_n,
        "bucket": 1 if plain else subwords.buckets,
        "thread": job.threads,
        "seed": job.seed,
        "verbose": 0,
    }
    arguments = binding.args()
    for name, value in values.items():
        setattr(arguments, name, value)
    return arguments


def _vectors(binding: Any, model: Any, vocab: Vocab, dim: int) -> NDArray[np.float32]:
    """Input vectors in the order of the vocabulary, (V, dim)."""
    vectors, one = np.empty((len(vocab), dim), np.float32), binding.Vector(dim)
    for row, word in enumerate(vocab.words):
        model.getWordVector(one, word)
        vectors[row] = np.array(one)
    return vectors
