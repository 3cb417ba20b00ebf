"""Pairs of sentences: does the model find those alike that people find alike? Spearman's ρ and Pearson's r of cosines.

A sentence's vector is made of the vectors of its known words, in one of these ways:

    average   their mean
    sif       their mean with weights a / (a + p(w)), p(w) the word's share of the corpus, and of that the part along
              the first principal component of all sentences of the set taken off (Arora et al. 2017, algorithm 1)
    sent2vec  of models of that arch alone: what they were trained to make, the mean of words and word n-grams

The component is the eigenvector of the largest eigenvalue of the sum of v v^T, in float64 and not centred, as in the
authors' program; its sign does not matter, since what is taken off is u u^T v.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.embeddings import Embeddings
from wordlab.rules import Rules
from wordlab.sentence_sets import SentencePair
from wordlab.similarity import correlations

SIF_A = 1e-3
"""a: the authors' choice, who find anything from 1e-4 to 1e-3 as good."""


@dataclass(frozen=True, eq=False)
class SentenceCosines:
    """What a model says of each pair of a set."""

    pairs: Sequence[SentencePair]
    cosines: Mapping[str, NDArray[np.float64]]
    """Way -> shape (P,); NaN where a sentence has no known word."""
    correlations: Mapping[str, tuple[float | None, float | None]]
    """Way -> Spearman's ρ, Pearson's r."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Shape (P,): both sentences have a known word."""
        return ~np.isnan(self.cosines["average"])

    def lines(self) -> Iterator[str]:
        """Tab-separated lines, header first."""
        yield "\t".join(["sentence1", "sentence2", "human", *self.cosines])
        columns = [["" if np.isnan(cosine) else f"{cosine:.6f}" for cosine in way] for way in self.cosines.values()]
        for pair, *cosines in zip(self.pairs, *columns, strict=True):
            yield "\t".join([pair.first, pair.second, f"{pair.score:g}", *cosines])


def compare_sentences(
    model: Embeddings,
    pairs: Sequence[SentencePair],
    words_of: Callable[[Sequence[str]], list[list[str]]],
    rules: Rules,
    sent2vec: Embeddings | None = None,
) -> SentenceCosines:
    """Cosines of all pairs by every way there is for the model, and their correlations with the human scores.

    model: with counts.   words_of: texts -> words (`sentence_tokens`).
    sent2vec: the model as it was trained, where its arch is that.
    """
    sentences = words_of([pair.first for pair in pairs] + [pair.second for pair in pairs])
    bags = known_rows(model, sentences)
    empty = np.array([len(bag) == 0 for bag in bags])
    scores = np.array([pair.score for pair in pairs])
    cosines = {}
    ways = sentence_vectors(model, sentences, bags)
    if sent2vec is not None:
        ways["sent2vec"] = sent2vec.sentence_vectors(sentences).astype(np.float64)
    for way, vectors in ways.items():
        found = cosines_of(vectors[: len(pairs)], vectors[len(pairs) :])
        found[empty[: len(pairs)] | empty[len(pairs) :]] = np.nan
        cosines[way] = np.round(found, 9)  # as written: equal bags of words tie, in whatever order they are summed
    return SentenceCosines(pairs, cosines, {way: correlations(scores, found, rules) for way, found in cosines.items()})


def sentence_vectors(
    model: Embeddings, sentences: Sequence[Sequence[str]], bags: Sequence[NDArray[np.int64]]
) -> dict[str, NDArray[np.float64]]:
    """Way -> vectors of the sentences, shape (S, D). bags: the rows of each sentence's known words."""
    assert model.counts is not None  # those that the pipeline trained have them
    frequencies = model.counts / model.counts.sum()
    return {
        "average": weighted_means(bags, model.input_vectors, np.ones(len(model))),
        "sif": without_first_component(weighted_means(bags, model.input_vectors, SIF_A / (SIF_A + frequencies))),
    }


def known_rows(model: Embeddings, sentences: Sequence[Sequence[str]]) -> list[NDArray[np.int64]]:
    """Rows of the words of each sentence that the model knows, in their order."""
    distinct = list(dict.fromkeys(word for sentence in sentences for word in sentence))
    row_of = dict(zip(distinct, model.index.rows(distinct).tolist(), strict=True))
    return [
        np.array([row for word in sentence if (row := row_of[word]) >= 0], dtype=np.int64) for sentence in sentences
    ]


def weighted_means(
    bags: Sequence[NDArray[np.int64]], vectors: NDArray[Any], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum of weight times vector over a bag's rows, divided by the bag's size; zeros for an empty bag. Shape (S, D)."""
    means = np.zeros((len(bags), vectors.shape[1]))
    for mean, bag in zip(means, bags, strict=True):
        if len(bag):
            mean[:] = weights[bag] @ vectors[bag].astype(np.float64) / len(bag)
    return means


def without_first_component(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """vectors - (vectors u) u^T, u their first principal component, not centred. Shape (S, D)."""
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    first = directions[:, -1]  # eigenvalues rise
    return vectors - np.outer(vectors @ first, first)


def cosines_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of each row of one with that of the other; 0 where one is zero. Shape (P,)."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.einsum("ij,ij->i", first, second)
    return np.divide(products, lengths, out=np.zeros(len(first)), where=lengths > 0)
