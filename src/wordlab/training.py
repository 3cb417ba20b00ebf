"""Train one model: epochs over memory-mapped shards, learning rate, loss, progress, in memory of fixed size.

A training can be taken up again where a checkpoint left it (`wordlab.checkpoints`), to the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.artifacts import output_folder, write_atomic, write_manifest
from wordlab.checkpoints import Checkpoints, code_digest
from wordlab.config import Params
from wordlab.divergence import DivergedError
from wordlab.engine import Engine
from wordlab.errors import ArtifactError, CorpusError
from wordlab.huffman import Paths
from wordlab.kernels.cpu import CpuEngine
from wordlab.kernels.memory import SEGMENT_TOKENS, longest_sentence, memory_bytes
from wordlab.machine import require_disk, require_memory
from wordlab.recorded_config import recorded_config
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.shards import EncodedCorpus
from wordlab.stage import available_cores, progress
from wordlab.subwords import Subwords
from wordlab.training_run import CURVE_POINTS, CurvePoint, Run, Trained
from wordlab.vocab import SamplingTables, Vocab

if TYPE_CHECKING:
    from wordlab.torch_engine.choice import Plan

CPU = {"name": "cpu"}
"""The CPU engine's description."""
SAME_WORD_TOKENS = 2
"""Tokens of a micro-batch that may be the same word as a given one, on average."""


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


def resolve_threads(threads: int) -> int:
    """`run.threads` -> number of threads: 0 means all cores this process may use."""
    return threads or available_cores()


def fit_to_vocabulary(
    train: TrainConfig, counts: NDArray[np.int64], tables: SamplingTables, subwords: Subwords | None
) -> TrainConfig:
    """`train` with smaller micro-batches and blocks where the vocabulary is too small for them.

    Updates from the same rows add up, and where words meet themselves too often in a micro-batch the sum overshoots
    beyond what damping can hold. The number of tokens in it that are the same word as a given one is
    batch_tokens * sum of p^2 over the words, p a word's share of the kept tokens. Measured (docs/LOG.md), trainings of
    50 words and more hold up to 10, of two words up to 2. enwik8 has 0.4, without subsampling 5. With subwords, words
    are partly the same, as far as they share rows (Subwords.overlap): enwik8 has 2.03.
    """
    kept = counts * tables.keep_probability.astype(np.float64)
    share = kept / kept.sum()
    same = subwords.overlap if subwords else float((share**2).sum())
    most = max(1, int(SAME_WORD_TOKENS / same))
    block_tokens = min(train.block_tokens, most)
    batch_tokens = min(train.batch_tokens, most) // block_tokens * block_tokens
    return dataclasses.replace(train, block_tokens=block_tokens, batch_tokens=batch_tokens)


class WordParts(NamedTuple):
    """What the words of a vocabulary are made of, beyond their chances."""

    paths: Paths | None
    """For hierarchical softmax."""
    subwords: Subwords | None
    """For model.subwords."""

    @classmethod
    def of(
        cls, model: ModelConfig, words: pa.LargeStringArray, counts: NDArray[np.int64], tables: SamplingTables
    ) -> WordParts:
        """words, counts, tables: of the vocabulary, by word id."""
        kept = counts.astype(np.float64) * tables.keep_probability
        paths = Paths.of_counts(counts) if model.objective == "hs" else None
        return cls(paths, Subwords.of_vocabulary(words, kept, model.subwords))


def training_identity(
    data: TrainingData, model: ModelConfig, train: TrainConfig, seed: int, engine: Mapping[str, Any] = CPU
) -> dict[str, Any]:
    """All that decides the bytes of a training, for the name of its checkpoints.

    train: of params.yaml, or of a plan for the GPU, which depends on more. engine: CPU, or the plan's `identity`.
    """
    tables = hashlib.sha256(data.tables.keep_probability.tobytes() + data.tables.noise_probability.tobytes())
    return {
        "seed": seed,
        "model": dataclasses.asdict(model),
        "train": dataclasses.asdict(train),
        "vocabulary": data.vocab.fingerprint,
        "sampling": tables.hexdigest(),
        "encode": data.corpus.fingerprint,
        "engine": {"segment_tokens": SEGMENT_TOKENS, **engine},
        "curve_points": CURVE_POINTS,
        "code": code_digest(engine["name"]),
    }


def long_sentences(data: TrainingData, train: TrainConfig) -> int:
    """sent2vec: sentences that are cut into pieces, having more words than are looked at together."""
    return sum(int((np.diff(shard.offsets) > longest_sentence(train)).sum()) for shard in data.corpus.shards)


def open_engine(
    data: TrainingData, model: ModelConfig, train: TrainConfig, seed: int, threads: int, gpu: Plan | None = None
) -> Engine:
    """The engine that trains, its kernels compiled: on the GPU where there is a plan for it, else on the CPU.

    Raises ResourceError before allocating where memory will not suffice.
    """
    if gpu is not None:
        from wordlab.torch_engine import choice  # imports torch, which takes a second

        return choice.open_engine(gpu, data, model, seed)
    parts = WordParts.of(model, data.vocab.arrow_words(), data.vocab.counts, data.tables)
    train = fit_to_vocabulary(train, data.vocab.counts, data.tables, parts.subwords)
    ngram_rows = model.word_ngram_rows + (len(parts.subwords.buckets) if parts.subwords else 0)
    ngrams = f", and {ngram_rows:,} of n-grams," if ngram_rows else ""
    fewer = ", fewer model.sent2vec.buckets" if model.word_ngram_rows else ""
    scores = f", and the scores of all words for {train.batch_tokens} tokens" if model.objective == "softmax" else ""
    others = ", or another model.objective" if scores else ""
    require_memory(
        memory_bytes(model, train, len(data.vocab), threads, *parts),
        f"{2 * len(data.vocab):,} vectors{ngrams} of {model.dim} numbers{scores}",
        f"a smaller model.dim{fewer}, a higher vocab.min_count or a vocab.max_size{others}",
    )
    compile_kernels(model, train)
    return CpuEngine(model, train, data.tables, seed, threads, *parts)


def train_model(
    data: TrainingData,
    model: ModelConfig,
    train: TrainConfig,
    seed: int,
    threads: int,
    show_progress: bool = True,
    checkpoints: Checkpoints | None = None,
    gpu: Plan | None = None,
) -> tuple[Engine, Trained]:
    """Train. Same data, configuration, seed and engine: same bits, whatever `threads` (1 or more) is.

    checkpoints: where to go on from, and to leave what an interrupted training has reached; None: nowhere.
    gpu: train there, as planned.
    Raises ResourceError before allocating where memory will not suffice, DivergedError where the training leads
    nowhere, CorpusError where there is nothing to train on, StoppedError where a signal asked for the end.
    """
    engine = open_engine(data, model, train, seed, threads, gpu)
    with contextlib.closing(engine):
        word_ids = len(data.vocab) if gpu is None else None  # on a GPU they are looked at there
        knows_nothing = math.log(len(data.vocab) if model.objective == "softmax" else 2)
        run = Run(data.corpus, word_ids, model.arch, engine, checkpoints, knows_nothing)
        try:
            with progress(
                run.total, "word", f"train seed {seed}", disable=not show_progress, initial=run.trained.tokens
            ) as bar:
                run.to_the_end(bar)
            return engine, run.finished()
        except DivergedError as error:
            error.trained = run.measured()
            raise


def end_checkpoints(checkpoints: Checkpoints, engine: Engine, trained: Trained) -> None:
    """Remove them, now that the outputs are in place; leave the end to a training of the same that waits for it."""
    if checkpoints.awaited():
        checkpoints.write(trained.segments, dataclasses.asdict(trained), engine.read_table())
    else:
        checkpoints.remove()


def compile_kernels(model: ModelConfig, train: TrainConfig) -> None:
    """Compile or load what training calls, on a corpus of two words, so that no timer and no progress bar sees it."""
    counts = np.array([1, 1])
    tables = SamplingTables.build(counts, 0.0, 0.75)
    small = dataclasses.replace(model, dim=1, sent2vec=dataclasses.replace(model.sent2vec, buckets=1))
    engine = CpuEngine(small, train, tables, 0, 1, Paths.of_counts(counts))
    engine.train_segment(np.array([0, 1], np.int32), np.array([2]), 0, 0, 0, 2)
    engine.close()


def describe(engine: Engine) -> dict[str, Any]:
    """What of an engine decides the bits of a model, the parameters aside, with the micro-batches that were used."""
    sizes = {"block_tokens": engine.train.block_tokens, "batch_tokens": engine.train.batch_tokens}
    return {"name": "", **sizes, **engine.description}


def save_model(folder: Path, engine: Engine, data: TrainingData, params: Params, seed: int) -> None:
    """Write data/train/seed-N: vectors, words, manifest. Equal runs write equal bytes.

    Hierarchical softmax has no output vectors of words, but one vector an inner node, (V - 1, dim). With subwords,
    input_vectors.npy holds what words are to their users, and three more files the rows of which that is the mean. Of
    arch sent2vec, word_ngram_rows.npy has the rows of the word n-grams' buckets, where there are any.
    """
    rows, subwords = len(data.vocab), engine.subwords
    vectors = 2 * rows + (rows + len(subwords.buckets) if subwords else 0) + params.model.word_ngram_rows
    require_disk(4 * vectors * params.model.dim + 64 * rows, folder, "a smaller model.dim or a higher vocab.min_count")
    with output_folder(folder) as building:
        np.save(building / "input_vectors.npy", engine.input_vectors)
        if subwords:
            np.save(building / "word_rows.npy", engine.word_vectors)
            np.save(building / "ngram_rows.npy", engine.ngram_vectors)
            np.save(building / "ngram_buckets.npy", subwords.buckets)
        if params.model.word_ngram_rows:
            np.save(building / "word_ngram_rows.npy", engine.ngram_vectors)
        if params.model.objective == "hs":
            np.save(building / "node_vectors.npy", engine.output_vectors[: rows - 1])
        else:
            np.save(building / "output_vectors.npy", engine.output_vectors)
        data.vocab.save(building / "words.arrow")
        content = {
            "seed": seed,
            "config": recorded_config(params, dataclasses.asdict(params.model), dataclasses.asdict(params.train)),
            "vocabulary": data.vocab.fingerprint,
            "encode": data.corpus.fingerprint,
            "engine": describe(engine),
        }
        if params.model.arch == "sent2vec":
            content["cut_sentences"] = long_sentences(data, engine.train)
        write_manifest(building, "train", content)


def save_curve(path: Path, curve: list[CurvePoint]) -> None:
    """Write the loss curve as TSV with a header, for `dvc plots`."""
    rows = [f"{p.step}\t{p.tokens}\t{p.loss:.6g}\t{p.lr:.6g}\n" for p in curve]
    write_atomic(path, ("step\ttokens\tloss\tlr\n" + "".join(rows)).encode())
