"""Word n-grams of a sentence and the buckets they are hashed into: what arch sent2vec adds to the words.

An n-gram is a run of 2 to `word_ngrams` words of one sentence. Its bucket follows from the words' ids, in order:

    h(a) = mix(a + G)        h(a, b) = mix(h(a) ^ (b G + 1))        h(a, b, c) = mix(h(a, b) ^ (c G + 1))  ...
    bucket = upper half of h, times the number of buckets, over 2^32

with `mix` and G of `wordlab.sampling`. fastText and sent2vec take h = h * 116049371 + id, modulo the buckets
(dictionary.cc, addNgrams): linear, so that n-grams with ids that differ by fixed amounts collide always, and with a
first id of 0, the placeholder of sent2vec, n-grams of different lengths do. Here every id goes through `mix`, so that
two n-grams share a bucket with chance 1 / buckets, whatever their ids and lengths. The number of words plays no part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.compiled import njit
from wordlab.sampling import GOLDEN, draw, mix

DROPOUT_DRAWS = np.uint64(1024)
"""Draws reserved for a sentence at each position: `dropout` is at most that many words."""


@njit(inline="always")
def first_hash(word: Any) -> Any:
    """Hash of a run of one word, uint64."""
    return mix(np.uint64(word) + GOLDEN)


@njit(inline="always")
def longer_hash(value: Any, word: Any) -> Any:
    """Hash of a run, made longer by a word."""
    return mix(value ^ (np.uint64(word) * GOLDEN + np.uint64(1)))


@njit(inline="always")
def bucket_of(value: Any, buckets: Any) -> Any:
    """Bucket of a hash, int64 from 0 to buckets - 1."""
    return np.int64(((value >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32))


@njit(inline="always")
def draw_dropped(key: Any, position: Any, length: Any, count: Any, dropped: Any) -> None:
    """Choose `count` words of a sentence of `length`, all choices alike: dropped[i] = 1, of the others 0.

    position: of the sentence's first token in the corpus. Two words at least are left. Floyd's method, one draw a word.
    The program draws until it has enough (dictionary.cc, addNgrams), for every target anew; here a sentence keeps its
    choice for an epoch, so that the targets' bags differ in the rows around the target only.
    """
    for i in range(length):
        dropped[i] = 0
    for last in range(max(length - count, 2), length):
        number = draw(key, np.uint64(position) * DROPOUT_DRAWS + np.uint64(length - 1 - last))
        place = np.int64(((number >> np.uint64(32)) * np.uint64(last + 1)) >> np.uint64(32))
        dropped[last if dropped[place] else place] = 1


@njit(cache=True)
def _bucket(words: Any, buckets: Any) -> Any:
    value = first_hash(words[0])
    for i in range(1, words.shape[0]):
        value = longer_hash(value, words[i])
    return bucket_of(value, buckets)


def ngram_bucket(words: NDArray[np.int32], buckets: int) -> int:
    """Bucket of one n-gram, given its word ids."""
    return int(_bucket(np.asarray(words, np.int32), buckets))


@njit(cache=True, nogil=True)
def mean_rows(ids: Any, offsets: Any, word_ngrams: Any, word_rows: Any, ngram_rows: Any, means: Any) -> None:
    """means[i] = mean of the rows of sentence i's words and n-grams, summed in float64; 0 for a sentence without words.

    ids: int32. offsets: int64, (sentences + 1,). word_rows, ngram_rows: float32, (V, dim) and (buckets, dim).
    """
    dim = means.shape[1]
    total = np.zeros(dim)
    for i in range(offsets.shape[0] - 1):
        total[:] = 0
        rows = 0
        for t in range(offsets[i], offsets[i + 1]):
            for k in range(dim):
                total[k] += word_rows[ids[t], k]
            rows += 1
            value = first_hash(ids[t])
            for other in range(t + 1, min(t + word_ngrams, offsets[i + 1])):
                value = longer_hash(value, ids[other])
                bucket = bucket_of(value, ngram_rows.shape[0])
                for k in range(dim):
                    total[k] += ngram_rows[bucket, k]
                rows += 1
        for k in range(dim):
            means[i, k] = total[k] / max(rows, 1)
