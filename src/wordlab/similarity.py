"""Word similarity: does the model rank pairs of words as people do?

Spearman's ρ between human scores and cosines, over the pairs whose words are both known, ties at their mean rank;
beside it Pearson's r. `rules` says what counts as known; tests compare with gensim's `evaluate_word_pairs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.evaluation_sets import Pair
from wordlab.rules import WORDLAB, Rules


@dataclass(frozen=True, eq=False)
class PairCosines:
    """What a model says of each pair."""

    pairs: Sequence[Pair]
    cosines: NDArray[np.float64]
    """Shape (P,); NaN where a word is unknown."""
    rho: float | None
    """Spearman's ρ over the known pairs; None where it has no meaning: fewer than two, or all alike on one side."""
    r: float | None
    """Pearson's r over the same pairs; None as for rho."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Shape (P,): both words of the pair are known."""
        return ~np.isnan(self.cosines)


def compare_pairs(
    index: Mapping[str, int], unit_rows: NDArray[np.float32], pairs: Sequence[Pair], rules: Rules = WORDLAB
) -> PairCosines:
    """Cosine of each pair and their correlations with the human scores.

    index: folded word -> row (`analogies.folded_index`).   unit_rows: shape (V, D), rows of length 1 (or 0).
    """
    rows = np.array([[index.get(rules.fold(word), -1) for word in pair[:2]] for pair in pairs], dtype=np.int64)
    known = (rows >= 0).all(axis=1)
    first, second = unit_rows[rows[known, 0]], unit_rows[rows[known, 1]]
    cosines = np.full(len(pairs), np.nan)
    # float64, so that (a, b) and (b, a) tie exactly and a rotation of all vectors breaks no order
    cosines[known] = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    return PairCosines(pairs, cosines, *correlations(np.array([pair.score for pair in pairs]), cosines, rules))


def correlations(
    scores: NDArray[np.float64], cosines: NDArray[np.float64], rules: Rules = WORDLAB
) -> tuple[float | None, float | None]:
    """Spearman's ρ and Pearson's r of human scores and cosines, both of shape (P,).

    Pairs of cosine NaN, which are unknown, are left out or have cosine 0, as the rules say.
    """
    if rules.unknown == "wrong":
        asked, cosines = np.ones(len(scores), np.bool_), np.nan_to_num(cosines, nan=0.0)
    else:
        asked = ~np.isnan(cosines)
    return spearman(scores[asked], cosines[asked]), pearson(scores[asked], cosines[asked])


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where x or y has fewer than two different values."""
    from scipy.stats import spearmanr  # half a second to import

    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Pearson's correlation, in float64; None where x or y has fewer than two different values."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1))
