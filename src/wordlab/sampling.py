"""The random choices of training: kept tokens, window widths, noise words, word n-grams that are left out.

Every choice is a pure function of (seed, epoch, position): no thread, batch or earlier draw has a part. So a run
is the same on any number of threads and can be taken up at any position. One stream of choices has a 64-bit key; its
n-th number is splitmix64's output function (Steele et al. 2014) at key + n * GOLDEN: n steps of that generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.compiled import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
KEEP, WINDOW, NOISE, START, START_NGRAMS, DROPOUT = 1, 2, 3, 4, 5, 6
"""Streams: one for each kind of choice."""
DRAWS_PER_POSITION = np.uint64(2048)
"""Noise draws reserved for one block's position; block_negatives is at most 1024 and a noise word takes one draw."""


@njit(inline="always")
def mix(x: Any) -> Any:
    """splitmix64's output function: uint64 -> uint64, one to one, every input bit changes half of the output bits."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(inline="always")
def draw(key: Any, n: Any) -> Any:
    """Number n of the stream `key`: uint64, uniform."""
    return mix(key + np.uint64(n) * GOLDEN)


@njit
def stream_key(seed: int, epoch: int, stream: int) -> Any:
    """Key of one stream of one epoch, uint64. Mixed after every part, so that neighbouring seeds share nothing."""
    key = mix(np.uint64(seed) + GOLDEN)
    key = mix(key ^ (np.uint64(epoch) * GOLDEN + np.uint64(1)))
    return mix(key ^ (np.uint64(stream) * GOLDEN + np.uint64(2)))


@njit(inline="always")
def window_width(key: Any, position: Any, window: Any) -> Any:
    """Width of the window drawn for a target: uniform on 1..window."""
    return np.int64(1) + np.int64(((draw(key, position) >> np.uint64(32)) * np.uint64(window)) >> np.uint64(32))


@njit(inline="always")
def is_kept(key: Any, position: Any, threshold: Any) -> Any:
    """Whether the token at a position survives subsampling; threshold is keep_probability * 2**32, as uint64."""
    return (draw(key, position) >> np.uint64(32)) < threshold


@njit(inline="always")
def noise_word(key: Any, position: Any, n: Any, accept: Any, alias: Any) -> Any:
    """Noise word n of the block at a position, by the alias method: one draw, one look-up, maybe one more."""
    number = draw(key, np.uint64(position) * DRAWS_PER_POSITION + np.uint64(n))
    slot = np.int64(((number >> np.uint64(32)) * np.uint64(accept.shape[0])) >> np.uint64(32))
    if (number & np.uint64(0xFFFFFFFF)) < accept[slot]:
        return np.int32(slot)
    return alias[slot]


def keep_thresholds(keep_probability: NDArray[np.float32]) -> NDArray[np.uint64]:
    """keep_probability as the numbers `is_kept` compares with, shape (V,); probability 1 keeps every token."""
    return np.ceil(keep_probability.astype(np.float64) * 2.0**32).astype(np.uint64)


def alias_table(probability: NDArray[np.float64]) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Walker's alias table of a distribution, built by Vose's method.

    probability: shape (V,), sums to 1. Returns accept (uint64, 0..2**32) and alias (int32), both of shape (V,):
    a uniform slot is itself with chance accept / 2**32, else its alias. Exact to 2**-32 for every word.
    """
    accept, alias = _vose(probability * probability.shape[0])
    return np.round(accept * 2.0**32).astype(np.uint64), alias


def initial_vectors(seed: int, vectors: NDArray[np.float32]) -> None:
    """Fill a (V, D) array with numbers uniform in +-1/(2D), as word2vec.c starts its input rows."""
    _fill_uniform(np.uint64(stream_key(seed, 0, START)), vectors)


def initial_ngram_vectors(seed: int, buckets: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
    """Likewise for the rows of n-grams' buckets, (G, D): by the bucket's number, whatever other buckets are used."""
    _fill_uniform_numbered(np.uint64(stream_key(seed, 0, START_NGRAMS)), buckets, vectors)


@njit(cache=True)
def _fill_uniform(key: Any, vectors: Any) -> None:
    for row in range(vectors.shape[0]):
        _fill_row(key, row, vectors[row])


@njit(cache=True)
def _fill_uniform_numbered(key: Any, numbers: Any, vectors: Any) -> None:
    for row in range(vectors.shape[0]):
        _fill_row(key, np.int64(numbers[row]), vectors[row])


@njit(inline="always")
def _fill_row(key: Any, number: Any, vector: Any) -> None:
    dim = vector.shape[0]
    for k in range(dim):
        uniform = np.float64(draw(key, number * dim + k) >> np.uint64(40)) / 2.0**24
        vector[k] = (uniform - 0.5) / dim


@njit(cache=True)
def _vose(scaled: Any) -> Any:
    size = scaled.shape[0]
    scaled = scaled.copy()
    accept, alias = np.ones(size), np.arange(size).astype(np.int32)
    small, large = np.empty(size, np.int64), np.empty(size, np.int64)
    smalls = larges = 0
    for word_id in range(size):
        if scaled[word_id] < 1.0:
            small[smalls] = word_id
            smalls += 1
        else:
            large[larges] = word_id
            larges += 1
    while smalls > 0 and larges > 0:
        smalls -= 1
        below, above = small[smalls], large[larges - 1]
        accept[below], alias[below] = scaled[below], above
        scaled[above] = (scaled[above] + scaled[below]) - 1.0
        if scaled[above] < 1.0:
            larges -= 1
            small[smalls] = above
            smalls += 1
    return accept, alias
