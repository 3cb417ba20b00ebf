"""The rows that make up each word of a vocabulary: its own, and those of its character n-grams' buckets.

Only buckets that some word's n-gram falls into get a row, in the order of their numbers: the others would never move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.compiled import njit
from wordlab.ngrams import Ngrams
from wordlab.sections.model import SubwordsConfig


@dataclass(frozen=True)
class Subwords:
    """Which n-gram rows each word of a vocabulary of V words has; G rows in all."""

    start: NDArray[np.int64]
    """Shape (V + 1,)."""
    row: NDArray[np.int32]
    """Word w has the n-gram rows row[start[w] : start[w + 1]], 0..G-1; one that it has twice stands there twice."""
    buckets: NDArray[np.int32]
    """Shape (G,): the bucket of each n-gram row, rising."""
    others: NDArray[np.float32]
    """Shape (V,): by how much the curvature that other words give a word's rows counts where the word's own step on
    them is damped. A word's vector is the mean of n rows. If one of them is moved by many words and the rest by none
    but this, that reaches the vector divided by n, and the share is 1 / n; if all are moved alike, it is 1. Between:
    sum of the rows' frequencies / (n * the highest). (docs/LOG.md has what led to it.)"""
    overlap: float
    """How much of their rows two tokens of the corpus have in common, on average; of words alone the chance that they
    are the same."""

    @classmethod
    def of_vocabulary(
        cls, words: pa.LargeStringArray, frequency: NDArray[np.float64], config: SubwordsConfig
    ) -> Subwords | None:
        """Of `model.subwords`; None where it is switched off. frequency: of the words' kept tokens, in any unit."""
        if config.units == "none":
            return None
        bags = ngrams_of(config).of_words(words)
        buckets = np.unique(bags.bucket)
        row = np.searchsorted(buckets, bags.bucket).astype(np.int32)
        others, overlap = _meetings(bags.start, row, len(buckets), frequency / frequency.sum())
        return cls(bags.start, row, buckets, others, overlap)

    @classmethod
    def none(cls, vocab_size: int) -> Subwords:
        """Words that are nothing but themselves."""
        return cls(
            np.zeros(vocab_size + 1, np.int64),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.ones(vocab_size, np.float32),
            0.0,
        )

    @property
    def longest(self) -> int:
        """Most n-gram rows of a word."""
        return int(np.diff(self.start).max(initial=0))


def _meetings(
    start: NDArray[np.int64], row: NDArray[np.int32], num_rows: int, chance: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Subwords.others and .overlap. chance: of each word to be a kept token."""
    size = np.diff(start)
    word = np.repeat(np.arange(len(size)), size)
    of_row = np.bincount(row, chance[word], num_rows)[row]
    total = chance + np.bincount(word, of_row, len(size))
    highest = chance.copy()
    np.maximum.at(highest, word, of_row)
    return (total / ((1 + size) * highest)).astype(np.float32), float((chance * total / (1 + size)).sum())


def mean_vectors(
    start: NDArray[np.int64], row: NDArray[np.int32], words: NDArray[np.float32], ngrams: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Vectors of words: the mean of a word's own row, of (V, dim), and its n-grams', of (G, dim).

    start, row: as in Subwords. Returns float32 (V, dim), summed in float64.
    """
    means = np.empty(words.shape, np.float32)
    _mean_rows(start, row, words, ngrams, means)
    return means


@njit(cache=True)
def _mean_rows(start: Any, row: Any, words: Any, ngrams: Any, means: Any) -> None:
    total = np.empty(words.shape[1])
    for w in range(words.shape[0]):
        total[:] = words[w]
        for k in range(start[w], start[w + 1]):
            total += ngrams[row[k]]
        means[w] = total / (1 + start[w + 1] - start[w])


def ngrams_of(config: SubwordsConfig) -> Ngrams:
    """The n-grams of `model.subwords`, which is switched on."""
    return Ngrams(config.min_n, config.max_n, config.buckets, config.units)
