"""gensim's Word2Vec: `corpus_file` mode, which is its fastest."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.machine import peak_memory_bytes
from wordlab.peers.job import Job, Measured, Train
from wordlab.vocab import Vocab


def prepare(job: Job) -> Train:
    """Build gensim's vocabulary from job.text; the returned function trains. Raises ArtifactError if words differ."""
    from gensim.models import Word2Vec

    logging.getLogger("gensim").setLevel(logging.WARNING)
    model = Word2Vec(
        sg=int(job.model.arch == "skipgram"),
        vector_size=job.model.dim,
        window=job.model.window,
        hs=int(job.model.objective == "hs"),
        negative=job.model.negatives if job.model.objective == "ns" else 0,
        ns_exponent=job.sampling.noise_power,
        sample=job.sampling.subsample_t,
        alpha=job.lr,
        epochs=job.train.epochs,
        seed=job.seed,
        workers=job.threads,
        min_count=1,
    )
    model.build_vocab(corpus_file=str(job.text))
    vocab = Vocab.load(job.vocab_folder / "words.arrow")
    rows = _rows(model, vocab, job)

    def run() -> tuple[Measured, NDArray[np.float32]]:
        started, cpu_started = time.perf_counter(), time.process_time()
        trained_words, raw_words = model.train(
            corpus_file=str(job.text),
            total_examples=model.corpus_count,
            total_words=model.corpus_total_words,
            epochs=job.train.epochs,
        )
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        measured = Measured(
            wall_seconds=seconds,
            cpu_seconds=cpu_seconds,
            raw_words=raw_words,
            trained_words=trained_words,
            peak_memory_bytes=peak_memory_bytes(),
        )
        return measured, model.wv.vectors[rows]

    return run


def _rows(model: Any, vocab: Vocab, job: Job) -> NDArray[np.int64]:
    """Row of gensim's matrix for each of our words."""
    index = model.wv.key_to_index
    if len(index) != len(vocab) or any(word not in index for word in vocab.words):
        raise ArtifactError(
            f"gensim found {len(index):,} words in {job.text}, but the vocabulary has {len(vocab):,}. The file does "
            "not belong to it: remove the file and run the same again."
        )
    counts = np.array([model.wv.get_vecattr(word, "count") for word in vocab.words])
    if not np.array_equal(counts, vocab.counts):
        raise ArtifactError(f"{job.text} has other tokens than the encoded corpus: remove it and run the same again.")
    return np.array([index[word] for word in vocab.words])
