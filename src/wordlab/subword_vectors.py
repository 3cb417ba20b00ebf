"""Vectors of words that no vocabulary has, made of the vectors of their character n-grams (Bojanowski et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.ngrams import Ngrams


@dataclass(frozen=True, eq=False)
class SubwordVectors:
    """The rows of which a model with subwords makes words: V words' own, and G n-grams' buckets.

    A word's vector is the mean of its own row and its n-grams' rows. Buckets that no word of the vocabulary has an
    n-gram in were never trained and have no row here; in means they count as rows of zeros.
    """

    ngrams: Ngrams
    word_rows: NDArray[np.float32]
    """Shape (V, dim); may be a read-only memory map, as the other arrays."""
    buckets: NDArray[np.int32]
    """Shape (G,), rising."""
    rows: NDArray[np.float32]
    """Shape (G, dim)."""

    def vector(self, word: str) -> NDArray[np.float32] | None:
        """The vector of a word that is not in the vocabulary, shape (dim,): the mean of its n-grams' rows.

        That is fastText's getWordVector. None where no n-gram of it was trained.
        """
        wanted = self.ngrams.of_word(word)
        if len(wanted) == 0 or len(self.buckets) == 0:
            return None
        place = np.minimum(np.searchsorted(self.buckets, wanted), len(self.buckets) - 1)
        known = self.buckets[place] == wanted
        if not known.any():
            return None
        with np.errstate(invalid="ignore", over="ignore"):  # rows that are no numbers, in files from elsewhere
            mean = self.rows[place[known]].sum(axis=0, dtype=np.float64) / len(wanted)
            vector: NDArray[np.float32] = mean.astype(np.float32)
        return vector
