"""Words by the vectors of their tokens, where a corpus was cut into pieces or morphemes: the mean of those known.

So models of different tokenizers can be asked about the same words. A word is cut as it stands alone: sentencepiece
puts its mark of a word's beginning before it, and Kiwi sees no neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def mean_vectors_of_tokens(
    tokens: Sequence[Sequence[str]], index: Mapping[str, int], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Means of the vectors of each word's known tokens, float32 (W, D), and how many those are, (W,).

    tokens: of each word.   index: token -> row.   vectors: (V, D).   A word without a known token is zeros.
    """
    rows = [[row for token in word if (row := index.get(token, -1)) >= 0] for word in tokens]
    known = np.array([len(word) for word in rows], np.int64)
    means = np.zeros((len(tokens), vectors.shape[1]), np.float32)
    ends = np.cumsum([0, *known])
    flat = np.array([row for word in rows for row in word], np.int64)
    for number, (first, last) in enumerate(pairwise(ends.tolist())):
        if last > first:
            means[number] = vectors[flat[first:last]].mean(axis=0, dtype=np.float64)
    return means, known
