"""Intervals over seeds and questions: SciPy's bootstrap, brute force, and coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wordlab.differences import paired_difference
from wordlab.question_answers import Average, Correlation, weighted_ranks
from wordlab.resampling import question_interval, resampled_scores


@dataclass(frozen=True, eq=False)
class Mean:
    """A score that is a mean over questions, so that its variances are known."""

    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def score(self) -> float | None:
        return float(self.values.mean())

    def weighted_scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return weights @ self.values / weights.sum(axis=1)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=9))
def test_weighted_ranks_are_those_of_values_written_out(items: list[tuple[int, int]]) -> None:
    values, times = np.array([value for value, _ in items], float), np.array([count for _, count in items])
    found = weighted_ranks(values, times[None, :].astype(float))[0]
    written_out = np.repeat(values, times)
    if len(written_out):
        expected = scipy.stats.rankdata(written_out)
        assert np.repeat(found, times) == pytest.approx(expected)


def test_a_resampled_correlation_is_that_of_the_pairs_written_out() -> None:
    draw = np.random.default_rng(1)
    human, cosine = draw.integers(0, 9, 30).astype(float), draw.normal(size=30).round(1)
    cosine[[3, 7]] = np.nan
    answers, weights = Correlation(human, cosine), draw.integers(0, 4, (20, 30))
    known = ~np.isnan(cosine)
    for row, found in zip(weights, answers.weighted_scores(weights.astype(float)), strict=True):
        pairs = (np.repeat(column[known], row[known]) for column in (human, cosine))
        assert found == pytest.approx(scipy.stats.spearmanr(*pairs).statistic)
    assert answers.score() == pytest.approx(scipy.stats.spearmanr(human[known], cosine[known]).statistic)


def test_a_resampled_product_moment_is_that_of_the_pairs_written_out() -> None:
    draw = np.random.default_rng(2)
    human, cosine, weights = draw.normal(size=25), draw.normal(size=25), draw.integers(0, 4, (20, 25))
    answers = Correlation(human, cosine, by_rank=False)
    for row, found in zip(weights, answers.weighted_scores(weights.astype(float)), strict=True):
        assert found == pytest.approx(scipy.stats.pearsonr(np.repeat(human, row), np.repeat(cosine, row)).statistic)


def test_a_resampled_accuracy_counts_what_was_asked() -> None:
    answers = Average(np.array([True, True, False, True]), np.array([100.0, 0, 0, 100]))
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 5, 2], [0, 0, 3, 0]])
    assert answers.weighted_scores(weights) == pytest.approx([200 / 3, 50, np.nan], nan_ok=True)
    assert Average(np.zeros(2, bool), np.zeros(2)).score() is None


def test_with_one_seed_it_is_scipys_bootstrap_error() -> None:
    """One seed leaves the questions: SciPy resamples them too, and gives the standard error. 2 % is chance."""
    draw = np.random.default_rng(2)
    ours, theirs = draw.normal(1, 1, 200), draw.normal(0, 1, 200)
    found = question_interval([Mean(ours)], [Mean(theirs)], paired=True, resamples=4000)
    expected = scipy.stats.bootstrap((ours - theirs,), np.mean, n_resamples=4000, rng=1, vectorized=True)
    assert found is not None and (found.questions, found.seeds) == (200, 1)
    assert found.high - found.low == pytest.approx(
        2 * scipy.stats.t.ppf(0.975, 199) * expected.standard_error, rel=0.05
    )
    assert (found.high + found.low) / 2 == pytest.approx((ours - theirs).mean())


def test_resamples_are_the_same_for_all_seeds_and_every_time() -> None:
    values = np.random.default_rng(3).normal(size=50)
    ours, theirs = resampled_scores([[Mean(values), Mean(values)], [Mean(values)]], 20)
    assert ours.shape == (20, 2) and np.array_equal(ours[:, 0], ours[:, 1]) and np.array_equal(ours[:, :1], theirs)
    assert np.array_equal(theirs, resampled_scores([[Mean(values)]], 20)[0])


def test_memory_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Average(np.ones(50, bool), 100.0 * (np.arange(50) % 3 == 0))
    whole = resampled_scores([[answers]], 20)[0]
    monkeypatch.setattr("wordlab.resampling.CHUNK_BYTES", 8 * 50 * 7)
    assert np.array_equal(resampled_scores([[answers]], 20)[0], whole)


CASES = {
    "seeds differ most": (1.0, 1.0, 1.0),
    "seeds alone": (1.0, 0.0, 0.01),
    "questions differ most": (0.01, 3.0, 1.0),
    "of all a little": (0.2, 1.0, 1.0),
}


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [3, 6])
@pytest.mark.parametrize("case", CASES)
def test_95_of_100_intervals_hold_the_true_difference(case: str, seeds: int, paired: bool) -> None:
    """1,000 experiments of 50 questions; the standard error is 0.7 points. Without pairs, both sides vary."""
    assert covered(*CASES[case], seeds, paired) == pytest.approx(0.95, abs=0.02)


def test_seeds_that_differ_in_single_questions_alone_have_wide_intervals() -> None:
    assert 0.94 < covered(0.0, 0.0, 1.0, 3, paired=True) <= 0.995


def covered(of_seeds: float, of_questions: float, of_both: float, seeds: int, paired: bool) -> float:
    """Part of the intervals that hold zero, the true difference. The numbers are standard deviations."""
    draw, hits = np.random.default_rng(11), 0
    for _ in range(1000):
        shared = of_questions * draw.normal(size=50)
        sides = []
        for _ in range(2):
            own = shared + of_questions * draw.normal(size=50)
            scatter = of_seeds * draw.normal(size=(seeds, 1)) + of_both * draw.normal(size=(seeds, 50))
            sides.append([Mean(row) for row in own + scatter])
        found = question_interval(sides[0], sides[1], paired, resamples=100)
        hits += found is not None and found.low <= 0 <= found.high
    return hits / 1000


def test_an_interval_is_no_narrower_than_that_of_the_seeds() -> None:
    draw = np.random.default_rng(5)
    ours, theirs = draw.normal(1, 1, (3, 40)), draw.normal(0, 1, (3, 40))
    found = question_interval([Mean(row) for row in ours], [Mean(row) for row in theirs], paired=True)
    alone = paired_difference(ours.mean(axis=1).tolist(), theirs.mean(axis=1).tolist())
    assert found is not None and alone is not None
    assert found.high - found.low >= alone.high - alone.low - 1e-12


def test_too_few_answers_have_no_interval() -> None:
    known, unknown = (
        Correlation(np.arange(3.0), np.arange(3.0)),
        Correlation(np.arange(3.0), np.full(3, np.nan)),
    )
    assert question_interval([known], [unknown], paired=True) is None
    assert question_interval([known], [known], paired=True) is None, "a resample may hold one pair three times"


def test_equal_answers_differ_by_nothing() -> None:
    answers = [Average(np.ones(20, bool), 100.0 * (np.arange(20) % 3 == 0))] * 3
    found = question_interval(answers, answers, paired=True)
    assert found is not None and (found.low, found.high) == (0, 0)
