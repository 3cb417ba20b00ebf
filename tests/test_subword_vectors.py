"""Vectors of words outside the vocabulary."""

import numpy as np
import pytest

from wordlab.ngrams import Ngrams
from wordlab.subword_vectors import SubwordVectors

NGRAMS = Ngrams(3, 4, 1000)


def model(*words: str) -> SubwordVectors:
    """One that knows the n-grams of some words, each bucket's row being its number and its negative."""
    buckets = np.unique(np.concatenate([NGRAMS.of_word(word) for word in words]))
    rows = np.stack([buckets, -buckets], axis=1).astype(np.float32)
    return SubwordVectors(NGRAMS, np.zeros((len(words), 2), np.float32), buckets, rows)


def test_an_unknown_word_is_the_mean_of_its_ngrams():
    mean = NGRAMS.of_word("kings").mean()
    assert model("kings").vector("kings") == pytest.approx([mean, -mean])


def test_an_ngram_counts_as_often_as_the_word_has_it():
    wanted = NGRAMS.of_word("nananana")
    assert len(np.unique(wanted)) < len(wanted)
    assert model("nananana", "other").vector("nananana")[0] == pytest.approx(wanted.mean())


def test_ngrams_that_were_not_trained_count_as_zeros():
    """As fastText, of whose untrained rows only the direction they add is left out."""
    known, wanted = set(NGRAMS.of_word("king").tolist()), NGRAMS.of_word("kingdom")
    shared = [bucket for bucket in wanted.tolist() if bucket in known]
    assert 0 < len(shared) < len(wanted)
    assert model("king").vector("kingdom")[0] == pytest.approx(sum(shared) / len(wanted))


def test_a_word_without_a_trained_ngram_has_no_vector():
    assert model("king").vector("공부하다") is None
    assert model("king").vector("") is None, "shorter than the shortest n-gram"
    nothing = SubwordVectors(NGRAMS, np.zeros((0, 2)), np.zeros(0, np.int32), np.zeros((0, 2), np.float32))
    assert nothing.vector("king") is None


def test_a_vector_is_float32_and_the_models_rows_stay():
    subwords = model("king")
    before = subwords.rows.copy()
    found = subwords.vector("kings")
    found += 1
    assert found.dtype == np.float32 and np.array_equal(subwords.rows, before)


def test_rows_that_are_no_numbers_give_vectors_that_are_none():
    """In files from elsewhere; without a warning, since it is nobody's mistake here."""
    subwords = model("king")
    subwords.rows[0], subwords.rows[1] = np.inf, -np.inf
    assert np.isnan(subwords.vector("king")).all()
