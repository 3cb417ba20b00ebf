"""Train one model: epochs over memory-mapped shards, learning rate, loss, progress, in memory of fixed size."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.artifacts import output_folder, write_atomic, write_manifest
from wordlab.config import ModelConfig, Params, TrainConfig
from wordlab.errors import ArtifactError, CorpusError
from wordlab.kernels.cpu import SEGMENT_TOKENS, CpuEngine, memory_bytes
from wordlab.machine import require_disk, require_memory
from wordlab.shards import EncodedCorpus
from wordlab.stage import available_cores, progress
from wordlab.vocab import SamplingTables, Vocab

DIVERGED_LOSS = 2 * math.log(2)
"""A model that knows nothing gives every prediction a chance of one half, a loss of ln 2."""
SAME_WORD_TOKENS = 2
"""Tokens of a micro-batch that may be the same word as a given one, on average."""
CURVE_POINTS = 400
"""Rows of the loss curve, at most about this many."""


@dataclass(frozen=True)
class CurvePoint:
    """One row of the loss curve: means since the row before."""

    step: int
    tokens: int
    """Tokens read so far, before subsampling, all epochs."""
    loss: float
    """Mean logistic loss of a prediction, true pairs and noise words alike by their weight; float64."""
    lr: float


@dataclass(frozen=True)
class TrainingData:
    """The outputs of `vocab` and `encode`, checked to belong together."""

    vocab: Vocab
    tables: SamplingTables
    corpus: EncodedCorpus

    @classmethod
    def open(cls, vocab_folder: Path, encode_folder: Path) -> TrainingData:
        """Map them. Raises ArtifactError where one is missing, damaged or stale, CorpusError where there is no pair."""
        vocab = Vocab.load(vocab_folder / "words.arrow")
        tables = SamplingTables.load(vocab_folder / "sampling.arrow", vocab)
        corpus = EncodedCorpus.open(encode_folder)
        if corpus.vocabulary != vocab.fingerprint:
            raise ArtifactError(
                f"{encode_folder} was written with vocabulary {corpus.vocabulary[:12]}, but {vocab_folder} is now "
                f"{vocab.fingerprint[:12]}. The vocabulary changed after encoding. Run: dvc repro encode"
            )
        if not any(np.diff(shard.offsets).max(initial=0) > 1 for shard in corpus.shards):
            raise CorpusError(
                f"{encode_folder} has no sentence of two words or more in {corpus.num_sentences} sentences, so no word "
                "has a context. Use more text, or lower vocab.min_count, or set tokenize.sentences to lines."
            )
        return cls(vocab, tables, corpus)


@dataclass(frozen=True)
class Trained:
    """What a training run measured besides the model."""

    curve: list[CurvePoint]
    seconds: float
    cpu_seconds: float
    predictions: float
    """Sum of the weights of all predictions."""


def resolve_threads(threads: int) -> int:
    """`run.threads` -> number of threads: 0 means all cores this process may use."""
    return threads or available_cores()


def fit_to_vocabulary(train: TrainConfig, counts: NDArray[np.int64], tables: SamplingTables) -> TrainConfig:
    """`train` with smaller micro-batches and blocks where the vocabulary is too small for them.

    Updates from the same rows add up, and where words meet themselves too often in a micro-batch the sum overshoots
    beyond what damping can hold. The number of tokens in it that are the same word as a given one is
    batch_tokens * sum of p^2 over the words, p a word's share of the kept tokens. Measured (docs/LOG.md), trainings of
    50 words and more hold up to 10, of two words up to 2. enwik8 has 0.4, without subsampling 5.
    """
    kept = counts * tables.keep_probability.astype(np.float64)
    share = kept / kept.sum()
    most = max(1, int(SAME_WORD_TOKENS / float((share**2).sum())))
    block_tokens = min(train.block_tokens, most)
    batch_tokens = min(train.batch_tokens, most) // block_tokens * block_tokens
    return dataclasses.replace(train, block_tokens=block_tokens, batch_tokens=batch_tokens)


def train_model(
    data: TrainingData, model: ModelConfig, train: TrainConfig, seed: int, threads: int, show_progress: bool = True
) -> tuple[CpuEngine, Trained]:
    """Train on the CPU. Same data, configuration and seed: same bits, whatever `threads` (1 or more) is.

    Raises ResourceError before allocating where memory will not suffice, CorpusError where the training diverges.
    """
    train = fit_to_vocabulary(train, data.vocab.counts, data.tables)
    require_memory(
        memory_bytes(model, train, len(data.vocab), threads),
        f"{2 * len(data.vocab):,} vectors of {model.dim} numbers",
        "a smaller model.dim, a higher vocab.min_count or a vocab.max_size",
    )
    compile_kernels(model, train)
    engine = CpuEngine(model, train, data.tables, seed, threads)
    total = data.corpus.num_tokens
    curve: list[CurvePoint] = []
    every = max(1, math.ceil(train.epochs * total / SEGMENT_TOKENS / CURVE_POINTS))
    loss = weight = predictions = 0.0
    started, cpu_started = time.perf_counter(), time.process_time()
    bar = progress(train.epochs * total, "word", f"train seed {seed}", disable=not show_progress)
    with contextlib.closing(engine), bar:
        for step, (shard, start, epoch, position) in enumerate(_segments(data.corpus, train.epochs), 1):
            ids, ends = data.corpus.shards[shard].ids, data.corpus.shards[shard].offsets[1:]
            _require_word_ids(ids[start : start + SEGMENT_TOKENS], len(data.vocab), shard)
            part = engine.train_segment(ids, ends, start, position, epoch, total)
            loss, weight = loss + part[0], weight + part[1]
            size = min(SEGMENT_TOKENS, len(ids) - start)
            read = epoch * total + position + size
            if step % every == 0 or read == train.epochs * total:
                if weight > 0:
                    point = CurvePoint(len(curve) + 1, read, loss / weight, engine.learning_rate(read, total))
                    _require_learning(point, model.arch)
                    curve.append(point)
                    bar.set_postfix(loss=f"{point.loss:.4f}", lr=f"{point.lr:.4f}", refresh=False)
                predictions, loss, weight = predictions + weight, 0.0, 0.0
            bar.update(size)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if predictions == 0:
        raise CorpusError(
            "No pair of words was left to train on. Use more text, raise vocab.subsample_t, or "
            "set model.window_edges to cut."
        )
    return engine, Trained(curve, seconds, cpu_seconds, predictions)


def compile_kernels(model: ModelConfig, train: TrainConfig) -> None:
    """Compile or load what training calls, on a corpus of two words, so that no timer and no progress bar sees it."""
    tables = SamplingTables.build(np.array([1, 1]), 0.0, 0.75)
    engine = CpuEngine(dataclasses.replace(model, dim=1), train, tables, 0, 1)
    engine.train_segment(np.array([0, 1], np.int32), np.array([2]), 0, 0, 0, 2)
    engine.close()


def _segments(corpus: EncodedCorpus, epochs: int) -> Iterator[tuple[int, int, int, int]]:
    """(shard, first token in it, epoch, first token in the corpus) of every segment, in order."""
    for epoch in range(epochs):
        before = 0
        for number, shard in enumerate(corpus.shards):
            for start in range(0, shard.num_tokens, SEGMENT_TOKENS):
                yield number, start, epoch, before + start
            before += shard.num_tokens


def _require_word_ids(ids: np.ndarray[Any, np.dtype[np.int32]], vocab_size: int, shard: int) -> None:
    if ids.dtype != np.int32 or ids.min() < 0 or ids.max() >= vocab_size:
        raise ArtifactError(
            f"data/encode/ids-{shard:05d}.arrow holds {ids.dtype} from {ids.min()} to {ids.max()}, but word ids are "
            f"int32 from 0 to {vocab_size - 1}. It belongs to another vocabulary or is damaged. Run: dvc repro encode"
        )


def _require_learning(point: CurvePoint, arch: str) -> None:
    if not point.loss < DIVERGED_LOSS:
        raise CorpusError(
            f"The training diverged: after {point.tokens:,} words the loss is {point.loss:.3g}, where a model that "
            f"knows nothing has {math.log(2):.3g}. Lower train.lr.{arch} or train.batch_tokens, "
            f"or raise train.block_negatives.{arch} or train.damping."
        )


def save_model(folder: Path, engine: CpuEngine, data: TrainingData, params: Params, seed: int) -> None:
    """Write data/train/seed-N: vectors, words, manifest. Equal runs write equal bytes."""
    rows = len(data.vocab)
    require_disk(8 * rows * params.model.dim + 64 * rows, folder, "a smaller model.dim or a higher vocab.min_count")
    with output_folder(folder) as building:
        np.save(building / "input_vectors.npy", engine.input_vectors)
        np.save(building / "output_vectors.npy", engine.output_vectors)
        data.vocab.save(building / "words.arrow")
        content = {
            "seed": seed,
            "config": {
                "corpus": params.corpus,
                "model": dataclasses.asdict(params.model),
                "train": dataclasses.asdict(params.train),
                "vocab": dataclasses.asdict(params.vocab),
            },
            "vocabulary": data.vocab.fingerprint,
            "encode": data.corpus.fingerprint,
            "engine": {
                "name": "cpu",
                "block_tokens": engine.train.block_tokens,
                "batch_tokens": engine.train.batch_tokens,
            },
        }
        write_manifest(building, "train", content)


def save_curve(path: Path, curve: list[CurvePoint]) -> None:
    """Write the loss curve as TSV with a header, for `dvc plots`."""
    rows = [f"{p.step}\t{p.tokens}\t{p.loss:.6g}\t{p.lr:.6g}\n" for p in curve]
    write_atomic(path, ("step\ttokens\tloss\tlr\n" + "".join(rows)).encode())
