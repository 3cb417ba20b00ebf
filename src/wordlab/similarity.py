"""Word similarity: does the model rank pairs of words as people do?

Spearman's ρ between human scores and cosines, over the pairs whose words are both known; ties get their mean rank.
The rules are those of gensim's `evaluate_word_pairs(case_insensitive=True, dummy4unknown=False)` without a limit on
the vocabulary, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.analogies import fold_case
from wordlab.evaluation_sets import Pair


@dataclass(frozen=True, eq=False)
class PairCosines:
    """What a model says of each pair."""

    pairs: Sequence[Pair]
    cosines: NDArray[np.float64]
    """Shape (P,); NaN where a word is unknown."""
    rho: float | None
    """Spearman's ρ over the known pairs; None where it has no meaning: fewer than two, or all alike on one side."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Shape (P,): both words of the pair are known."""
        return ~np.isnan(self.cosines)


def compare_pairs(index: Mapping[str, int], unit_rows: NDArray[np.float32], pairs: Sequence[Pair]) -> PairCosines:
    """Cosine of each pair and their rank correlation with the human scores.

    index: folded word -> row (`analogies.folded_index`).   unit_rows: shape (V, D), rows of length 1 (or 0).
    """
    rows = np.array([[index.get(fold_case(word), -1) for word in pair[:2]] for pair in pairs], dtype=np.int64)
    known = (rows >= 0).all(axis=1)
    first, second = unit_rows[rows[known, 0]], unit_rows[rows[known, 1]]
    cosines = np.full(len(pairs), np.nan)
    # float64, so that (a, b) and (b, a) tie exactly and a rotation of all vectors breaks no order
    cosines[known] = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    scores = np.array([pair.score for pair in pairs])
    return PairCosines(pairs, cosines, spearman(scores[known], cosines[known]))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where x or y has fewer than two different values."""
    from scipy.stats import spearmanr  # half a second to import

    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)
