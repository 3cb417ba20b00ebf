"""What the stages that work on models will need: train, evaluate and report."""

from __future__ import annotations

from pathlib import Path

from wordlab.artifacts import read_manifest
from wordlab.config import Params
from wordlab.needs import (
    COUNTED_WORD_BYTES,
    DATA,
    FOLDED_WORD_BYTES,
    KIWI_BYTES,
    MB,
    MINIMUM_DISK,
    PROCESS_BYTES,
    WORD_BYTES,
    Need,
    vocabulary,
)
from wordlab.preflight_words import counted_words
from wordlab.shards import DICTIONARY_SCHEMA, map_batch
from wordlab.stage import available_cores

# Measured on Linux, x86-64, Python 3.11 to 3.13; tests/test_preflight.py holds them against this machine.
TRAIN_BYTES = 160 * MB
"""A process with the compiled functions of training, of which there are more."""
PLOTS_BYTES = 150 * MB
"""A process with matplotlib and three figures drawn."""
CUT_WORD_BYTES = 400
"""The tokens of a word that is put together of them: a list and a few strings."""


def train(params: Params, seed: int | None) -> Need:
    from wordlab.kernels.memory import memory_bytes
    from wordlab.training import WordParts, fit_to_vocabulary
    from wordlab.vocab import SamplingTables

    words, word_bytes = vocabulary()
    vocab = map_batch(DATA / "vocab" / "words.arrow", DICTIONARY_SCHEMA, "vocab")
    counts = vocab.column(1).to_numpy()
    tables = SamplingTables.build(counts, params.vocab.subsample_t, params.vocab.noise_power)
    threads = params.run.threads or available_cores()
    parts = WordParts.of(params.model, vocab.column(0), counts, tables)
    train = fit_to_vocabulary(params.train, counts, tables, parts.subwords)
    engine = memory_bytes(params.model, train, words, threads, *parts)
    ngrams = words + len(parts.subwords.buckets) if parts.subwords else 0
    memory = TRAIN_BYTES + engine + words * (WORD_BYTES + word_bytes) + 4 * ngrams * params.model.dim
    model = words * (8 * params.model.dim + word_bytes) + 4 * (ngrams + params.model.word_ngram_rows) * params.model.dim
    folder = DATA / "train" / f"seed-{seed}"
    fewer = ", fewer model.sent2vec.buckets" if params.model.word_ngram_rows else ""
    lower = f"a smaller model.dim{fewer}, a higher vocab.min_count, a vocab.max_size or fewer run.threads"
    return Need("train", memory, _size_of(DATA / "encode"), model + MINIMUM_DISK, folder, lower)


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.arrow"))


def evaluate(params: Params, seed: int | None) -> Need:
    words, vectors = _model(DATA / "train" / f"seed-{seed}")
    copies = 2 if params.evaluate.vectors == "input" else 4
    memory = PROCESS_BYTES + copies * vectors + words * (WORD_BYTES + FOLDED_WORD_BYTES)
    if params.evaluate.words == "corpus":
        memory += _asked_words(params)
    lower = "a model with a smaller model.dim, a higher vocab.min_count or a vocab.max_size"
    return Need("evaluate", memory, vectors, MINIMUM_DISK, DATA / "evaluate" / f"seed-{seed}", lower)


def _asked_words(params: Params) -> int:
    """Bytes of words that are put together of tokens: counted, cut, and with vectors of their own."""
    from wordlab.tokenizers import CUT_IN_PARTS, words_name

    folder = DATA / "tokenize"
    shards = read_manifest(folder, "tokenize")["shards"]
    if params.tokenize.tokenizer not in CUT_IN_PARTS or not (folder / words_name(0)).exists():
        return 0  # where they are missing, the stage says so
    distinct, kept, word_bytes, _ = counted_words(folder, len(shards), params.vocab.min_count, words_name)
    kept = min(kept, params.vocab.max_size or kept)
    each = WORD_BYTES + FOLDED_WORD_BYTES + CUT_WORD_BYTES + 12 * params.model.dim  # as made, joined, of length 1
    kiwi = KIWI_BYTES if params.tokenize.tokenizer == "kiwi" else 0
    return distinct * (COUNTED_WORD_BYTES + 3 * word_bytes) + kept * (each + word_bytes) + kiwi


def report(params: Params, _: int | None) -> Need:
    words, vectors = _model(DATA / "train" / f"seed-{params.seeds[0]}")
    memory = PLOTS_BYTES + words * WORD_BYTES
    return Need("report", memory, vectors, MINIMUM_DISK, DATA / "report", "a smaller report.map_words")


def _model(folder: Path) -> tuple[int, int]:
    """Words of a model and the bytes of its input vectors."""
    vectors = int(read_manifest(folder, "train")["files"]["input_vectors.npy"]["size_bytes"])
    return map_batch(folder / "words.arrow", DICTIONARY_SCHEMA, "train").num_rows, vectors
