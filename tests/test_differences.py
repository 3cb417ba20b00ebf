"""Differences of means: SciPy's intervals and p-values, effect sizes without bias, power that is kept."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wordlab.differences import (
    MOST_SEEDS,
    POWER,
    Difference,
    effect_size,
    holm,
    paired_difference,
    power,
    seeds_needed,
    welch_difference,
)

SIDE = st.lists(st.floats(-100, 100).map(lambda value: round(value, 4)), min_size=2, max_size=12)


def varied(values: NDArray[np.float64]) -> bool:
    """Rounding is far below the spread, so that two ways to compute it can agree."""
    return bool(values.std() > 1e-5 * (1 + np.abs(values).max()))


@given(SIDE)
def test_paired_differences_are_scipys(ours: list[float]) -> None:
    theirs = [round(value * 0.9 + 7 * math.sin(place + value), 4) for place, value in enumerate(ours)]
    found = paired_difference(ours, theirs)
    assert found is not None and found.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-9)
    if varied(np.subtract(ours, theirs)):
        expected = scipy.stats.ttest_rel(ours, theirs)
        bounds = expected.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=1e-6, abs=1e-6)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
        assert found.degrees_of_freedom == len(ours) - 1


@given(SIDE, SIDE)
def test_unpaired_differences_are_welchs(ours: list[float], theirs: list[float]) -> None:
    found = welch_difference(ours, theirs)
    assert found is not None and found.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-9)
    if varied(np.array(ours)) and varied(np.array(theirs)):
        expected = scipy.stats.ttest_ind(ours, theirs, equal_var=False)
        bounds = expected.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=1e-6, abs=1e-6)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
        assert found.degrees_of_freedom == pytest.approx(expected.df)


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("paired", [True, False])
def test_95_of_100_intervals_hold_the_true_difference(seeds: int, paired: bool) -> None:
    """3,000 experiments with unequal spreads: the share that cover has a standard error of 0.4 points."""
    draw = np.random.default_rng(seeds)
    ours, theirs = draw.normal(36, 0.5, (3000, seeds)), draw.normal(34, 1.0, (3000, seeds + (0 if paired else 2)))
    test = paired_difference if paired else welch_difference
    found = [test(a.tolist(), b.tolist()) for a, b in zip(ours, theirs, strict=True)]
    covered = np.mean([d is not None and d.low <= 2 <= d.high for d in found])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_one_seed_has_no_interval() -> None:
    assert paired_difference([3.0], [2.0]) is None
    assert welch_difference([3.0], [2.0, 4.0]) is None
    assert effect_size([3.0], [2.0], paired=True) is None
    assert effect_size([3.0], [2.0, 4.0, 5.0], paired=False) is None


@pytest.mark.parametrize("difference", [0.0, 0.1])
def test_differences_that_do_not_vary_have_no_p_value(difference: float) -> None:
    """0.3 - 0.2 and 0.4 - 0.3 differ in the last bit: that is no spread."""
    ours, theirs = [0.2 + difference, 0.3 + difference, 0.4 + difference], [0.2, 0.3, 0.4]
    found = paired_difference(ours, theirs)
    assert found is not None and found.low == found.mean == found.high == pytest.approx(difference)
    assert found.p is None and found.degrees_of_freedom is None
    assert welch_difference([0.1 + difference] * 2, [0.1] * 3) == Difference(
        pytest.approx(difference), pytest.approx(difference), pytest.approx(difference), None, None
    )
    assert effect_size(ours, theirs, paired=True) is None
    assert effect_size([0.1 + difference] * 2, [0.1] * 3, paired=False) is None


@pytest.mark.parametrize(("seeds", "paired"), [(3, True), (10, True), (3, False), (10, False)])
def test_effect_sizes_are_right_on_average(seeds: int, paired: bool) -> None:
    """Without Hedges' correction three pairs give 1.8 times the effect. 20,000 experiments with an effect of 1."""
    draw = np.random.default_rng(seeds)
    theirs = draw.normal(0, 1, (20_000, seeds))
    ours = (theirs + draw.normal(1, 1, (20_000, seeds))) if paired else draw.normal(1, 1, (20_000, seeds))
    found = [effect_size(a, b, paired) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    # three pairs: two degrees of freedom, an estimate without a variance, so its median is looked at beside theory
    if seeds == 3 and paired:
        raw = scipy.stats.nct.median(2, math.sqrt(3)) / math.sqrt(3)
        assert np.median(np.array(found, float)) == pytest.approx(raw * math.sqrt(1 / math.pi), abs=0.02)
    else:
        assert np.mean(np.array(found, float)) == pytest.approx(1, abs=0.04)


def test_the_effect_of_unequal_sides_is_in_units_of_the_pooled_sd() -> None:
    ours, theirs = [3.0, 5.0, 4.0, 6.0], [1.0, 2.0]
    pooled = math.sqrt((3 * np.var(ours, ddof=1) + 1 * np.var(theirs, ddof=1)) / 4)
    correction = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))
    assert effect_size(ours, theirs, paired=False) == pytest.approx(3.0 / pooled * correction)


@pytest.mark.parametrize(("paired", "effect"), [(True, 0.4), (True, 1.5), (False, 0.8), (False, 3.0)])
def test_so_many_seeds_find_the_effect_four_times_of_five(paired: bool, effect: float) -> None:
    needed = seeds_needed(effect, paired, 0.05)
    assert needed is not None
    assert power(effect, needed, paired, 0.05) >= POWER > power(effect, needed - 1, paired, 0.05)
    draw = np.random.default_rng(1)
    ours, theirs = draw.normal(effect, 1, (4000, needed)), draw.normal(0, 1, (4000, needed))
    p = (
        scipy.stats.ttest_1samp(ours, 0, axis=1).pvalue
        if paired
        else scipy.stats.ttest_ind(ours, theirs, axis=1).pvalue
    )
    assert (p <= 0.05).mean() == pytest.approx(power(effect, needed, paired, 0.05), abs=0.03)


def test_known_sample_sizes() -> None:
    """Cohen (1988), tables 2.3.5 and 2.4.1: d = 0.5 and 0.8 at 5 %, power 0.8, take 64 and 26 a side."""
    assert (seeds_needed(0.5, False, 0.05), seeds_needed(0.8, False, 0.05)) == (64, 26)


def test_a_hopeless_effect_has_no_number_of_seeds() -> None:
    assert seeds_needed(0.0, True, 0.05) is None
    assert seeds_needed(0.05, True, 0.05) is None
    assert (seeds_needed(0.1, True, 0.05) or 0) < MOST_SEEDS
    assert seeds_needed(-100.0, True, 0.05) == seeds_needed(100.0, True, 0.05) == 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holms_p_values_are_the_closed_tests_of_bonferroni(p_values: list[float]) -> None:
    """Brute force: the largest Bonferroni p-value of all sets of tests that hold this one."""
    places = range(len(p_values))
    sets = [chosen for size in places for chosen in combinations(places, size + 1)]
    expected = [
        max(min(1.0, len(chosen) * min(p_values[other] for other in chosen)) for chosen in sets if place in chosen)
        for place in places
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_tests_that_could_not_be_made_do_not_count() -> None:
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]
    assert holm([]) == []
