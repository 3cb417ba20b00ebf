"""Exact tests of a difference between two sides, which suppose nothing of how values scatter.

If two methods were alike, a pair's values could as well have come the other way round: every sign of every difference
would be as likely (Fisher 1935). Without pairs, every split of all values into two sides would be. The p-value is the
part of all these that are at least as far from zero, twice the smaller tail, as `scipy.stats.permutation_test` counts.
Few seeds allow few arrangements, so p has a least value, 2 / 2^n for n pairs: below six it cannot reach 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

MOST_EXACT_PAIRS = 20
"""So many pairs have a million arrangements of signs, all of which are looked at; of more, a sample is."""
MOST_EXACT_SPLITS = 200_000
"""Twenty values have 184,756 splits in halves."""
SAMPLE = 100_000
SEED = 20130116
"""Of the sample: the same data give the same p-value."""
_ROUNDING = 1e-9
"""Part of the values' size within which two sums are equal; scores have six significant digits."""


@dataclass(frozen=True)
class Permutation:
    """The outcome of a permutation test."""

    p: float
    """Two-sided."""
    least: float
    """The smallest p that so many values can give."""
    exact: bool
    """All arrangements were looked at, not a sample."""


def sign_flips(differences: Sequence[float]) -> Permutation | None:
    """Paired test: are the differences, one a seed, centred at zero? None without any."""
    values = np.array(differences, dtype=np.float64)
    count = len(values)
    if count == 0:
        return None
    if count <= MOST_EXACT_PAIRS:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate((sums + value, sums - value))
        return Permutation(_two_sided(sums, values.sum(), np.abs(values).sum()), min(1.0, 2 / 2**count), True)
    signs = np.random.default_rng(SEED).integers(0, 2, size=(SAMPLE, count), dtype=np.int8)
    sums = (2.0 * signs - 1) @ values
    return Permutation(_two_sided(sums, values.sum(), np.abs(values).sum(), drawn=True), 2 / (SAMPLE + 1), False)


def splits(ours: Sequence[float], theirs: Sequence[float]) -> Permutation | None:
    """Unpaired test: do the sides have the same mean? None if one is empty."""
    values, count = np.array([*ours, *theirs], dtype=np.float64), len(ours)
    if not count or count == len(values):
        return None
    number = math.comb(len(values), count)
    exact = number <= MOST_EXACT_SPLITS
    sums = values[_all_splits(len(values), count) if exact else _some_splits(len(values), count)].sum(axis=1)
    means = sums / count - (values.sum() - sums) / (len(values) - count)
    observed = values[:count].mean() - values[count:].mean()
    p = _two_sided(means, observed, np.abs(values).max(), drawn=not exact)
    return Permutation(p, min(1.0, 2 / number) if exact else 2 / (SAMPLE + 1), exact)


def _all_splits(count: int, chosen: int) -> NDArray[np.int64]:
    """Every choice of `chosen` places out of `count`, shape (number of choices, chosen)."""
    flat = chain.from_iterable(combinations(range(count), chosen))
    return np.fromiter(flat, dtype=np.int64).reshape(-1, chosen)


def _some_splits(count: int, chosen: int) -> NDArray[np.int64]:
    draw = np.random.default_rng(SEED)
    return draw.permuted(np.tile(np.arange(count), (SAMPLE, 1)), axis=1)[:, :chosen]


def _two_sided(found: NDArray[np.float64], observed: float, scale: float, drawn: bool = False) -> float:
    """Twice the smaller tail. drawn: `found` is a sample, to which the observed arrangement is added."""
    slack = _ROUNDING * scale
    tails = [int((found >= observed - slack).sum()), int((found <= observed + slack).sum())]
    return min(1.0, 2 * (min(tails) + drawn) / (len(found) + drawn))
