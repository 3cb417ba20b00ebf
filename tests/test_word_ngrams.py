"""Word n-grams: buckets without the collisions of a linear hash, and the words whose n-grams are left out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sentence_rule import dropped_words
from wordlab.word_ngrams import mean_rows, ngram_bucket

MANY = 1 << 30


def linear_hash(words: tuple[int, ...], buckets: int) -> int:
    """fastText's and sent2vec's."""
    value = words[0]
    for word in words[1:]:
        value = (value * 116049371 + word) % (1 << 64)
    return value % buckets


def bucket(*words: int, buckets: int = MANY) -> int:
    return ngram_bucket(np.array(words), buckets)


def test_n_grams_that_collide_in_a_linear_hash_do_not_here() -> None:
    """With a first id of 0 the linear hash forgets it: (0, 6) is (6) there, and (0, 2, 6) is (2, 6)."""
    assert bucket(2, 6) != bucket(0, 6)
    assert linear_hash((0, 2, 6), MANY) == linear_hash((2, 6), MANY)
    assert bucket(0, 2, 6) != bucket(2, 6)
    assert linear_hash((1, 6), 2_000_000) == linear_hash((0, 49_377), 2_000_000)
    assert bucket(1, 6, buckets=2_000_000) != bucket(0, 49_377, buckets=2_000_000)


def test_order_and_length_matter() -> None:
    """All n-grams of one to four of the words 0, 1, 2: 120 of them, in 120 buckets of 2^30."""
    ngrams = [words for length in (1, 2, 3, 4) for words in itertools.product(range(3), repeat=length)]
    assert len({bucket(*words) for words in ngrams}) == len(ngrams) == 120


def test_buckets_are_filled_evenly() -> None:
    """250,000 pairs of neighbouring ids in 1,000 buckets: chi-squared within five standard deviations of its mean."""
    pairs = np.array(list(itertools.product(range(500), repeat=2)))
    found = np.bincount([ngram_bucket(pair, 1000) for pair in pairs[::10]], minlength=1000)
    expected = len(pairs[::10]) / 1000
    chi_squared = float(((found - expected) ** 2 / expected).sum())
    assert abs(chi_squared - 999) < 5 * np.sqrt(2 * 999)


@given(words=st.lists(st.integers(0, (1 << 31) - 1), min_size=1, max_size=8), buckets=st.integers(1, MANY))
def test_a_bucket_is_one_of_those_there_are(words: list[int], buckets: int) -> None:
    assert 0 <= bucket(*words, buckets=buckets) < buckets


@pytest.mark.parametrize("length, count, left", [(1, 3, 1), (2, 3, 2), (3, 0, 3), (5, 2, 3), (5, 9, 2), (40, 10, 30)])
def test_so_many_words_are_dropped_and_two_are_left(length: int, count: int, left: int) -> None:
    for position in range(20):
        assert len(dropped_words(1, 0, position, length, count)) == length - left


def test_every_choice_of_words_to_drop_is_as_likely() -> None:
    """Two of five words: ten choices, each about 400 times in 4,000 sentences."""
    found = [tuple(dropped_words(3, 1, position, 5, 2)) for position in range(4000)]
    counts = [found.count(choice) for choice in itertools.combinations(range(5), 2)]
    assert sum(counts) == 4000
    assert max(abs(count - 400) for count in counts) < 5 * np.sqrt(400)


def test_means_count_words_and_n_grams_alike() -> None:
    rng = np.random.default_rng(2)
    words, ngrams = rng.normal(size=(9, 4)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    ids, offsets = np.array([3, 1, 1, 8, 0], np.int32), np.array([0, 3, 3, 4, 5])
    found = np.zeros((4, 4), np.float32)
    mean_rows(ids, offsets, 3, words, ngrams, found)
    rows = [words[[3, 1, 1]], ngrams[[bucket(*w, buckets=50) for w in ((3, 1), (3, 1, 1), (1, 1))]]]
    np.testing.assert_allclose(found[0], np.concatenate(rows).mean(axis=0), rtol=1e-5, atol=1e-6)
    assert not found[1].any(), "a sentence without a word"
    np.testing.assert_array_equal(found[2:], words[[8, 0]])
