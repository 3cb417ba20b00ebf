"""Spread over seeds: SciPy's intervals, and intervals that cover as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from wordlab.statistics import Spread, spread

scores = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20)


@given(scores)
def test_mean_sd_and_interval_are_those_of_scipy(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    if error > 1e-9:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-7), pytest.approx(high, abs=1e-7))
    assert found.seeds == len(values)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_95_of_100_intervals_hold_the_true_mean(seeds: int) -> None:
    """4,000 experiments: the share that cover has a standard error of 0.34 points."""
    samples = np.random.default_rng(seeds).normal(34.0, 0.5, size=(4000, seeds))
    found = [spread(sample.tolist()) for sample in samples]
    covered = np.mean([s.low is not None and s.high is not None and s.low <= 34.0 <= s.high for s in found])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_one_seed_has_a_mean_and_no_spread() -> None:
    assert spread([34.5]) == Spread(mean=34.5, sd=None, low=None, high=None, seeds=1)


def test_seeds_without_a_value_do_not_count() -> None:
    assert spread([None, 2.0, None]) == Spread(2.0, None, None, None, 1)
    assert spread([None, None]) == Spread(None, None, None, None, 0)


def test_equal_seeds_have_an_interval_of_no_width() -> None:
    assert spread([5.0, 5.0, 5.0]) == Spread(5.0, 0.0, 5.0, 5.0, 3)
