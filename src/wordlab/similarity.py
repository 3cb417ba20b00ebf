"""Word similarity: does the model rank pairs of words as people do?

Spearman's ρ between human scores and cosines, over the pairs whose words are both known, ties at their mean rank;
beside it Pearson's r. `rules` says what counts as known; tests compare with gensim's `evaluate_word_pairs`.

A model with subwords also knows words outside its vocabulary, made of their n-grams' vectors, as Bojanowski et al.
(2017, section 5.1) score rare words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.embeddings import row_lengths
from wordlab.evaluation_sets import Pair
from wordlab.rules import WORDLAB, Rules

Compose = Callable[[str], NDArray[np.float32] | None]
"""A word that the vocabulary lacks -> its vector, shape (D,), or None where nothing of it is known."""


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
    composed: NDArray[np.bool_] | None
    """Shape (P,): a word of the pair was made of n-grams. None where that is not done."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Shape (P,): both words of the pair are known."""
        return ~np.isnan(self.cosines)


def compare_pairs(
    index: Mapping[str, int],
    unit_rows: NDArray[np.float32],
    pairs: Sequence[Pair],
    rules: Rules = WORDLAB,
    compose: Compose | None = None,
) -> PairCosines:
    """Cosine of each pair and their correlations with the human scores.

    index: folded word -> row (`analogies.folded_index`).   unit_rows: shape (V, D), rows of length 1 (or 0).
    compose: makes the words that `index` lacks; None: they are unknown.
    """
    words = list(dict.fromkeys(word for pair in pairs for word in pair[:2]))
    vectors, known_words, made_words = _vectors_of(words, index, unit_rows, rules, compose)
    place = {word: number for number, word in enumerate(words)}
    both = np.array([[place[word] for word in pair[:2]] for pair in pairs], np.int64)
    known = known_words[both].all(axis=1)
    first, second = vectors[both[known, 0]], vectors[both[known, 1]]
    cosines = np.full(len(pairs), np.nan)
    # float64, so that (a, b) and (b, a) tie exactly and a rotation of all vectors breaks no order
    cosines[known] = np.einsum("ij,ij->i", first, second, dtype=np.float64)
    rho, r = correlations(np.array([pair.score for pair in pairs]), cosines, rules)
    composed = np.logical_and(known, made_words[both].any(axis=1)) if compose else None
    return PairCosines(pairs, cosines, rho, r, composed)


def _vectors_of(
    words: Sequence[str],
    index: Mapping[str, int],
    unit_rows: NDArray[np.float32],
    rules: Rules,
    compose: Compose | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Vectors of length 1, shape (W, D), zeros where unknown; which words are known, and which of those were made."""
    vectors = np.zeros((len(words), unit_rows.shape[1]), np.float32)
    known, made = np.zeros(len(words), np.bool_), np.zeros(len(words), np.bool_)
    for number, word in enumerate(words):
        row = index.get(rules.fold(word), -1)
        vector = compose(word) if row < 0 and compose else None
        if row >= 0:
            vectors[number] = unit_rows[row]
        elif vector is not None:
            vectors[number] = vector / row_lengths(vector[None])
        made[number] = vector is not None
        known[number] = row >= 0 or vector is not None
    return vectors, known, made


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
