"""Permutation tests: SciPy's p-values, every arrangement by brute force, and what few seeds cannot show."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from wordlab import permutation
from wordlab.permutation import Permutation, sign_flips, splits

# few different values, so that arrangements tie
DIFFERENCES = st.lists(st.sampled_from([-0.3, -0.1, 0.0, 0.1, 0.2, 0.3, 1.7]), min_size=1, max_size=8)


def mean_difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


@given(DIFFERENCES)
def test_sign_flips_count_all_arrangements(differences: list[float]) -> None:
    found = sign_flips(differences)
    sums = [
        round(sum(sign * d for sign, d in zip(signs, differences, strict=True)), 6)
        for signs in product((1, -1), repeat=len(differences))
    ]
    observed = round(sum(differences), 6)
    tails = [sum(s >= observed for s in sums), sum(s <= observed for s in sums)]
    assert found == Permutation(min(1.0, 2 * min(tails) / len(sums)), min(1.0, 2 / 2 ** len(differences)), True)


@pytest.mark.parametrize("pairs", [3, 6, 9])
def test_paired_p_values_are_scipys(pairs: int) -> None:
    draw = np.random.default_rng(pairs)
    ours, theirs = draw.normal(36, 1, pairs), draw.normal(35.5, 1, pairs)
    options = {"permutation_type": "samples", "n_resamples": np.inf, "vectorized": True}
    expected = scipy.stats.permutation_test((ours, theirs), mean_difference, **options)
    found = sign_flips((ours - theirs).tolist())
    assert found is not None and found.p == pytest.approx(expected.pvalue) and found.exact


@pytest.mark.parametrize(("first", "second"), [(3, 3), (2, 5), (6, 5)])
def test_unpaired_p_values_are_scipys(first: int, second: int) -> None:
    draw = np.random.default_rng(first)
    ours, theirs = draw.normal(36, 1, first), draw.normal(35, 1, second)
    options = {"permutation_type": "independent", "n_resamples": np.inf, "vectorized": True}
    expected = scipy.stats.permutation_test((ours, theirs), mean_difference, **options)
    found = splits(ours.tolist(), theirs.tolist())
    assert found is not None and found.p == pytest.approx(expected.pvalue) and found.exact


def test_five_pairs_cannot_reach_5_percent_and_six_can() -> None:
    clear = [2.0, 2.1, 1.9, 2.2, 1.8, 2.05]
    assert sign_flips(clear[:5]) == Permutation(0.0625, 0.0625, True)
    assert sign_flips(clear) == Permutation(0.03125, 0.03125, True)
    assert splits([9.0, 8.0, 9.5], [1.0, 2.0, 3.0]) == Permutation(0.1, 0.1, True)


def test_no_difference_is_no_evidence() -> None:
    for found in (sign_flips([0.0] * 7), splits([0.5] * 4, [0.5] * 4), sign_flips([1.0])):
        assert found is not None and found.p == 1.0
    assert sign_flips([]) is None and splits([], [1.0]) is None and splits([1.0], []) is None


def test_many_seeds_are_sampled_and_agree_with_the_t_test() -> None:
    draw = np.random.default_rng(1)
    ours, theirs = draw.normal(36.0, 1, 40), draw.normal(35.4, 1, 40)
    paired, apart = sign_flips((ours - theirs).tolist()), splits(ours.tolist(), theirs.tolist())
    assert paired is not None and apart is not None and not paired.exact and not apart.exact
    assert paired.p == pytest.approx(scipy.stats.ttest_rel(ours, theirs).pvalue, abs=0.005)
    assert apart.p == pytest.approx(scipy.stats.ttest_ind(ours, theirs).pvalue, abs=0.005)
    assert paired == sign_flips((ours - theirs).tolist())


def test_a_sample_holds_what_was_observed() -> None:
    """None of the arrangements that are drawn is as far from zero; p is not zero for that."""
    found = sign_flips([1 + n / 100 for n in range(40)])
    assert found is not None and found.p == found.least == 2 / (permutation.SAMPLE + 1)


def test_a_sample_gives_the_exact_p_value_nearly(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(4)
    ours, theirs = draw.normal(0.6, 1, 9).tolist(), draw.normal(0, 1, 9).tolist()
    exact = sign_flips(np.subtract(ours, theirs).tolist()), splits(ours, theirs)
    monkeypatch.setattr(permutation, "MOST_EXACT_PAIRS", 8)
    monkeypatch.setattr(permutation, "MOST_EXACT_SPLITS", 10)
    drawn = sign_flips(np.subtract(ours, theirs).tolist()), splits(ours, theirs)
    for one, other in zip(exact, drawn, strict=True):
        assert one is not None and other is not None and one.exact and not other.exact
        assert other.p == pytest.approx(one.p, abs=0.01)


def test_p_values_of_equal_sides_are_no_smaller_than_they_say() -> None:
    """2,000 experiments without a difference, six seeds: p is at most 0.05 in no more than 5 of 100."""
    sides = np.random.default_rng(2).normal(size=(2000, 2, 6))
    paired = [sign_flips((ours - theirs).tolist()) for ours, theirs in sides]
    assert np.mean([found is not None and found.p <= 0.05 for found in paired]) == pytest.approx(2 / 64, abs=0.012)
