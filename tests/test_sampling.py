"""The random choices: against splitmix64 in plain Python, and against the distributions they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.engine import many_draws, many_kept, many_noise_words, many_widths, stream_key
from tests.strategies import distributions
from wordlab import sampling
from wordlab.sampling import KEEP, NOISE, START, WINDOW, alias_table, initial_vectors, keep_thresholds

STREAMS = (KEEP, WINDOW, NOISE, START)
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
UNLIKELY = 1e-5
"""Chance of a wrong alarm of a statistical test; the draws are fixed, so a test that passes once always does."""
KEY = stream_key(1, 0, NOISE)
uint64 = st.integers(0, MASK)


def mix(x: int) -> int:
    """splitmix64's output function in whole numbers of any size."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def draw(key: int, n: int) -> int:
    return mix((key + n * GOLDEN) & MASK)


def test_draws_are_those_of_splitmix64() -> None:
    """First numbers for seed 1234567, as printed on rosettacode.org (Pseudo-random numbers/Splitmix64)."""
    printed = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(sampling.draw(np.uint64(1234567), n)) for n in range(1, 6)] == printed


@given(key=uint64, n=st.integers(0, 1 << 62))
@settings(deadline=None)
def test_a_draw_is_a_pure_function_of_key_and_number(key: int, n: int) -> None:
    assert int(sampling.draw(np.uint64(key), np.uint64(n))) == draw(key, n)


@given(key=uint64, position=st.integers(0, 1 << 45), window=st.integers(1, 100))
@settings(deadline=None)
def test_a_window_width_is_the_upper_half_of_its_draw(key: int, position: int, window: int) -> None:
    width = sampling.window_width(np.uint64(key), position, window)
    assert width == 1 + ((draw(key, position) >> 32) * window >> 32)
    assert 1 <= width <= window


@given(key=uint64, position=st.integers(0, 1 << 45), probability=st.floats(0, 1, width=32))
@settings(deadline=None)
def test_a_token_is_kept_where_its_draw_is_below_the_probability(key: int, position: int, probability: float) -> None:
    (threshold,) = keep_thresholds(np.array([probability], np.float32))
    assert sampling.is_kept(np.uint64(key), position, threshold) == ((draw(key, position) >> 32) / 2**32 < probability)


@given(key=uint64, position=st.integers(0, 1 << 45), n=st.integers(0, 1023), probability=distributions())
@settings(deadline=None)
def test_a_noise_word_is_a_slot_or_its_alias(key: int, position: int, n: int, probability: np.ndarray) -> None:
    accept, alias = alias_table(probability)
    number = draw(key, (position * 2048 + n) & MASK)
    slot = (number >> 32) * len(accept) >> 32
    expected = slot if number % 2**32 < accept[slot] else alias[slot]
    assert sampling.noise_word(np.uint64(key), position, n, accept, alias) == expected
    assert probability[expected] > 0


def chances(accept: np.ndarray, alias: np.ndarray) -> np.ndarray:
    """The distribution that an alias table draws from."""
    own = accept.astype(np.float64) / 2**32
    return (own + np.bincount(alias, 1 - own, len(alias))) / len(alias)


@given(probability=distributions())
@settings(deadline=None)
def test_alias_table_is_exact_to_the_bits_of_a_draw(probability: np.ndarray) -> None:
    accept, alias = alias_table(probability)
    assert accept.dtype == np.uint64 and alias.dtype == np.int32
    assert accept.max() <= 2**32 and alias.min() >= 0 and alias.max() < len(alias)
    assert np.abs(chances(accept, alias) - probability).max() <= 2.0**-32


def test_alias_table_of_a_large_vocabulary_is_exact() -> None:
    """The usual case: 300,000 words by Zipf's law to the power of 0.75."""
    weights = np.arange(1, 300_001) ** -0.75
    probability = weights / weights.sum()
    assert np.abs(chances(*alias_table(probability)) / probability - 1).max() < 1e-4


def test_noise_words_have_their_distribution() -> None:
    """A million draws of blocks side by side, chi-squared test; the words of each number n by themselves too."""
    weights = np.arange(1, 101) ** -0.75
    probability = weights / weights.sum()
    words = many_noise_words(KEY, 62_500, 16, *alias_table(probability))
    for part in (words, words[:, 0], words[:, 15]):
        counts = np.bincount(part.ravel(), minlength=100)
        assert stats.chisquare(counts, probability * part.size).pvalue > UNLIKELY


def test_noise_words_of_one_block_are_independent() -> None:
    """Pairs of neighbouring draws, within a block and from block to block, have the product of their chances."""
    probability = np.array([0.4, 0.3, 0.2, 0.1])
    words = many_noise_words(KEY, 100_000, 4, *alias_table(probability))
    for a, b in ((words[:, 0], words[:, 1]), (words[:, 2], words[:, 3]), (words[:-1, 0], words[1:, 0])):
        counts = np.bincount(4 * a + b, minlength=16)
        assert stats.chisquare(counts, np.outer(probability, probability).ravel() * len(a)).pvalue > UNLIKELY


@pytest.mark.parametrize("window", [1, 2, 5, 10, 100])
def test_window_widths_are_uniform(window: int) -> None:
    widths = many_widths(stream_key(1, 0, WINDOW), 200_000, window)
    counts = np.bincount(widths - 1)
    assert len(counts) == window
    assert window == 1 or stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize("probability", [1e-4, 0.01, 0.3, 0.5, 0.999])
def test_tokens_are_kept_at_their_rate(probability: float) -> None:
    """Within 5 standard deviations of a million tosses."""
    (threshold,) = keep_thresholds(np.array([probability], np.float32))
    kept = many_kept(stream_key(1, 0, KEEP), 1_000_000, threshold).sum()
    assert abs(kept - 1e6 * probability) < 5 * np.sqrt(1e6 * probability * (1 - probability))


def test_probability_1_keeps_every_token_and_0_none() -> None:
    """Also where the draw is the largest of all, 2**32 - 1."""
    thresholds = keep_thresholds(np.array([0, 1], np.float32))
    assert thresholds.dtype == np.uint64 and thresholds.tolist() == [0, 2**32]
    assert many_kept(stream_key(1, 0, KEEP), 100_000, thresholds[1]).all()
    assert not many_kept(stream_key(1, 0, KEEP), 100_000, thresholds[0]).any()


def test_neighbouring_seeds_epochs_and_streams_share_nothing() -> None:
    """No number comes twice in 10,000 draws of each of 200 streams: they are stretches of one cycle, far apart."""
    keys = [stream_key(*parts) for parts in itertools.product(range(10), range(5), STREAMS)]
    numbers = np.concatenate([many_draws(key, 10_000) for key in keys])
    assert len(np.unique(numbers)) == len(numbers)


def test_streams_are_not_correlated() -> None:
    """All pairs of 24 streams of neighbouring seeds, epochs and kinds, within 5 standard errors."""
    keys = [stream_key(*parts) for parts in itertools.product((1, 2, 3), (0, 1), STREAMS)]
    uniform = np.array([many_draws(key, 40_000) for key in keys]) / 2.0**64
    correlations = np.corrcoef(uniform) - np.eye(len(keys))
    assert np.abs(correlations).max() < 5 / np.sqrt(40_000)
    assert np.abs(uniform.mean(axis=1) - 0.5).max() < 5 / np.sqrt(12 * 40_000)


@pytest.mark.parametrize("lag", [1, 2, 7, 2048])
def test_neighbouring_positions_are_not_correlated(lag: int) -> None:
    uniform = many_draws(stream_key(1, 0, WINDOW), 100_000) / 2.0**64
    assert abs(np.corrcoef(uniform[:-lag], uniform[lag:])[0, 1]) < 5 / np.sqrt(100_000)


@given(seed=st.integers(0, (1 << 63) - 1), epoch=st.integers(0, 1000), stream=st.sampled_from(STREAMS))
@settings(deadline=None)
def test_a_stream_key_is_mixed_after_every_part(seed: int, epoch: int, stream: int) -> None:
    """Golden by definition: changing how keys are made changes every result, so it must be meant."""
    key = mix((seed + GOLDEN) & MASK)
    key = mix(key ^ ((epoch * GOLDEN + 1) & MASK))
    assert int(stream_key(seed, epoch, stream)) == mix(key ^ ((stream * GOLDEN + 2) & MASK))


@pytest.mark.parametrize("dim", [1, 3, 100])
def test_initial_vectors_are_uniform_within_half_over_dim(dim: int) -> None:
    vectors = np.full((3000, dim), np.nan, np.float32)
    initial_vectors(1, vectors)
    scaled = vectors.ravel() * dim
    assert scaled.min() >= -0.5 and scaled.max() <= 0.5
    assert abs(scaled.mean()) < 5 / np.sqrt(12 * scaled.size)
    assert stats.kstest(scaled, "uniform", (-0.5, 1)).pvalue > UNLIKELY


def test_initial_vectors_depend_on_the_seed_alone() -> None:
    """Not on what was in the array, nor on how wide its rows lie apart in memory."""
    first, padded, other = np.zeros((50, 7), np.float32), np.ones((50, 16), np.float32), np.zeros((50, 7), np.float32)
    initial_vectors(1, first)
    initial_vectors(1, padded[:, :7])
    initial_vectors(2, other)
    assert np.array_equal(first, padded[:, :7]) and np.all(padded[:, 7:] == 1)
    assert not np.any(first == other)
    key = int(stream_key(1, 0, START))
    expected = [((draw(key, n) >> 40) / 2**24 - 0.5) / 7 for n in range(350)]
    assert np.array_equal(first.ravel(), np.array(expected, np.float32))
