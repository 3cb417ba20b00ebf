"""What stage `peers` will need, told before it begins, as `preflight` does for the other stages.

Most of it is the program's own: matrices, and tables of fixed size that it makes whatever the corpus. The constants
were measured with gensim 4.4.0, fastText 0.9.3 and word2vec.c, 2,000 and 150,000 words, 20 and 200 dimensions.
"""

from __future__ import annotations

import math

import pyarrow.compute as pc

from wordlab.config import Params
from wordlab.needs import (
    DATA,
    FOLDED_WORD_BYTES,
    MB,
    MINIMUM_DISK,
    PROCESS_BYTES,
    WORD_BYTES,
    Need,
)
from wordlab.sections.model import ModelConfig
from wordlab.shards import DICTIONARY_SCHEMA, map_batch

STAGE_BYTES, STAGE_WORD_BYTES = 100 * MB, 110
"""The stage itself while it waits for the program: a process, and its list of words."""
GENSIM_BYTES, GENSIM_WORD_BYTES, GENSIM_TREE_BYTES = 120 * MB, 280, 280
"""Python with gensim and SciPy; a word in dicts and arrays; its nodes and path in the Huffman tree, Python objects."""
FASTTEXT_BYTES, FASTTEXT_WORD_BYTES, FASTTEXT_TREE_BYTES = 200 * MB, 270, 250
"""120 MB of it are a hash table of 30 million entries (dictionary.h, MAX_VOCAB_SIZE)."""
FASTTEXT_NOISE_BYTES = 105 * MB
"""10 million entries (loss.h, NEGATIVE_TABLE_SIZE), in a vector that doubles as it grows."""
NGRAM_BYTES = 5
"""An n-gram's number in a word's list, which doubles as it grows."""
WORD2VEC_BYTES, WORD2VEC_WORD_BYTES, WORD2VEC_TREE_BYTES = 180 * MB, 300, 50
"""120 MB of it are a hash table of 30 million entries (vocab_hash_size)."""
WORD2VEC_NOISE_BYTES = 400 * MB
"""100 million entries (table_size)."""


def need_of_peer(program: str, seed: int, params: Params) -> Need:
    """What stage `peers` takes for one program and seed. Raises ArtifactError where the vocabulary is missing."""
    vocab = map_batch(DATA / "vocab" / "words.arrow", DICTIONARY_SCHEMA, "vocab")
    words, lengths = vocab.num_rows, pc.cast(pc.binary_length(vocab.column("word")), "int64")
    word_bytes = math.ceil(pc.mean(lengths).as_py() or 0)
    matrix = 4 * words * params.model.dim
    training = STAGE_BYTES + words * STAGE_WORD_BYTES + program_bytes(program, params.model, words, word_bytes)
    scoring = PROCESS_BYTES + 2 * matrix + words * (WORD_BYTES + FOLDED_WORD_BYTES)
    text = pc.sum(pc.multiply(pc.add(lengths, 1), vocab.column("count"))).as_py() or 0
    buckets = _bucket_bytes(params.model)
    disk = text + 2 * matrix + (2 * matrix + buckets if buckets else 0) + MINIMUM_DISK
    fewer = ", fewer model.subwords.buckets" if buckets else ""
    lower = f"a smaller model.dim{fewer}, a higher vocab.min_count, a vocab.max_size or fewer peers.programs"
    encoded = sum(file.stat().st_size for file in (DATA / "encode").glob("*.arrow"))
    folder = DATA / "peers" / program
    return Need(f"peers ({program}, seed {seed})", max(training, scoring), encoded, disk, folder, lower)


def program_bytes(program: str, model: ModelConfig, words: int, word_bytes: int) -> int:
    """What the program's process takes at its peak. word_bytes: mean bytes of a word."""
    matrix, tree = 4 * words * model.dim, model.objective == "hs"
    if program == "gensim":  # input, output, and the input in our order
        return GENSIM_BYTES + 3 * matrix + words * (GENSIM_WORD_BYTES + tree * GENSIM_TREE_BYTES)
    noise = model.objective == "ns"
    if program == "fasttext":
        total = FASTTEXT_BYTES + 3 * matrix + words * (FASTTEXT_WORD_BYTES + tree * FASTTEXT_TREE_BYTES)
        ngrams = words * NGRAM_BYTES * _ngrams_of_a_word(model, word_bytes)
        return total + noise * FASTTEXT_NOISE_BYTES + _bucket_bytes(model) + ngrams
    total = WORD2VEC_BYTES + 2 * matrix + words * (WORD2VEC_WORD_BYTES + tree * WORD2VEC_TREE_BYTES)
    return total + noise * WORD2VEC_NOISE_BYTES


def _bucket_bytes(model: ModelConfig) -> int:
    """Rows of n-grams, of which fastText makes all."""
    return 0 if model.subwords.units == "none" else 4 * model.subwords.buckets * model.dim


def _ngrams_of_a_word(model: ModelConfig, word_bytes: int) -> int:
    """n-grams of a word of mean length with its two marks, were each character a byte: at most."""
    if model.subwords.units == "none":
        return 0
    length = word_bytes + 2
    return sum(max(0, length - n + 1) for n in range(model.subwords.min_n, model.subwords.max_n + 1))
