"""A training of a second on a made-up corpus, to see whether this machine repeats its bits."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib

import numpy as np
import pyarrow as pa

from wordlab.config import Params
from wordlab.kernels.cpu import CpuEngine
from wordlab.training import WordParts, compile_kernels, fit_to_vocabulary
from wordlab.vocab import SamplingTables

NUM_WORDS = 2_000
NUM_TOKENS = 20_000
SENTENCE_TOKENS = 20
LARGEST_DIM = 100
MOST_BUCKETS = 10_000


def trained_digest(params: Params, threads: int) -> str:
    """SHA-256 of the vectors that so many threads train, by the parameters but for epochs and a large dim or table."""
    ids = _zipf(NUM_TOKENS)
    counts = np.bincount(ids, minlength=NUM_WORDS) + 1
    tables = SamplingTables.build(counts, params.vocab.subsample_t, params.vocab.noise_power)
    own = dataclasses.replace(params.model.sent2vec, buckets=min(params.model.sent2vec.buckets, MOST_BUCKETS))
    model = dataclasses.replace(params.model, dim=min(params.model.dim, LARGEST_DIM), sent2vec=own)
    ends = np.arange(SENTENCE_TOKENS, NUM_TOKENS + 1, SENTENCE_TOKENS)
    words = pa.array([f"word{number}" for number in range(NUM_WORDS)], pa.large_string())
    parts = WordParts.of(model, words, counts, tables)
    train = fit_to_vocabulary(dataclasses.replace(params.train, epochs=1), counts, tables, parts.subwords)
    compile_kernels(model, train)
    with contextlib.closing(CpuEngine(model, train, tables, params.seeds[0], threads, *parts)) as engine:
        engine.train_segment(ids, ends, 0, 0, 0, NUM_TOKENS)
        return hashlib.sha256(np.ascontiguousarray(engine.table).tobytes()).hexdigest()


def _zipf(num_tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Word ids, the smaller the more frequent, the same ones every time."""
    draws = np.random.default_rng(1).random(num_tokens)
    return (NUM_WORDS**draws - 1).astype(np.int32)
