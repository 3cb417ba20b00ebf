"""Is one mean larger than another? Intervals and p-values of Student's t, effect sizes, and how many seeds would do.

    paired    d_i = a_i - b_i for every seed i:    mean(d) ± t(n-1) · sd(d) / √n
    Welch     the two sides apart:                 mean(a) - mean(b) ± t(df) · √(sd(a)²/n_a + sd(b)²/n_b)

with Welch's (1947) degrees of freedom. Both suppose values that scatter normally, which means over thousands of
questions do well; `permutation` has tests that suppose nothing of the kind. A difference that does not vary at all has
no p-value: a test would be sure of what two seeds can hardly show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import gammaln, nctdtr, stdtr, stdtrit

from wordlab.statistics import CONFIDENCE, spread

POWER = 0.8
"""Chance to find a difference that is there, for `seeds_needed`; 0.8 is what studies are usually planned with."""
MOST_SEEDS = 1000
"""`seeds_needed` looks no further."""
_FAR = 5.0
"""So many standard errors from zero, the chance of a significant difference of the wrong sign is below 10⁻⁶."""
_NO_SPREAD = 1e-9
"""An sd below this part of the values themselves is rounding: scores have six significant digits."""


@dataclass(frozen=True)
class Difference:
    """Difference of two means, in the unit of the values, with its 95 % interval."""

    mean: float
    low: float
    high: float
    degrees_of_freedom: float | None
    """None where nothing varies; then the interval has no width."""
    p: float | None
    """Two-sided p-value of the t test; None where nothing varies."""


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference | None:
    """Mean of ours[i] - theirs[i], as `scipy.stats.ttest_rel`; None with fewer than two pairs."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    found = spread(differences)
    if found.mean is None or found.sd is None:
        return None
    if _negligible(found.sd, ours, theirs):
        return Difference(found.mean, found.mean, found.mean, None, None)
    return _t_difference(found.mean, found.sd / math.sqrt(found.seeds), found.seeds - 1)


def welch_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference | None:
    """Mean of `ours` minus mean of `theirs`, as `scipy.stats.ttest_ind(equal_var=False)`: variances may differ.

        se² = s₁²/n₁ + s₂²/n₂,    df = se⁴ / ((s₁²/n₁)²/(n₁-1) + (s₂²/n₂)²/(n₂-1))

    None where one side has fewer than two values: then nothing is known about its spread.
    """
    a, b = spread(ours), spread(theirs)
    if a.mean is None or b.mean is None or a.sd is None or b.sd is None:
        return None
    parts = a.sd**2 / a.seeds, b.sd**2 / b.seeds
    mean, variance = a.mean - b.mean, sum(parts)
    if _negligible(math.sqrt(variance), ours, theirs):
        return Difference(mean, mean, mean, None, None)
    freedom = variance**2 / (parts[0] ** 2 / (a.seeds - 1) + parts[1] ** 2 / (b.seeds - 1))
    return _t_difference(mean, math.sqrt(variance), freedom)


def _t_difference(mean: float, error: float, freedom: float) -> Difference:
    half = half_width(error, freedom)
    return Difference(mean, mean - half, mean + half, freedom, 2 * float(stdtr(freedom, -abs(mean) / error)))


def half_width(error: float, freedom: float) -> float:
    """Half of the 95 % t interval of something with this standard error and these degrees of freedom."""
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error


def _negligible(sd: float, *sides: Sequence[float]) -> bool:
    return sd <= _NO_SPREAD * max(abs(value) for values in sides for value in values)


def effect_size(ours: Sequence[float], theirs: Sequence[float], paired: bool) -> float | None:
    """The difference in standard deviations, of the differences if `paired` (d_z), else pooled (Hedges' g).

    Both times Hedges' (1981) correction Γ(m/2) / (√(m/2) Γ((m-1)/2)), m the degrees of freedom, without which few
    seeds give effects far too large (by three quarters with three pairs). None with fewer than two degrees of freedom,
    for which there is no correction, or where nothing varies.
    """
    if paired:
        found = spread([a - b for a, b in zip(ours, theirs, strict=True)])
        mean, sd, freedom = found.mean, found.sd, found.seeds - 1
    else:
        a, b = spread(ours), spread(theirs)
        freedom = a.seeds + b.seeds - 2
        mean = None if a.mean is None or b.mean is None else a.mean - b.mean
        squares = (a.sd or 0.0) ** 2 * (a.seeds - 1) + (b.sd or 0.0) ** 2 * (b.seeds - 1)
        sd = math.sqrt(squares / freedom) if freedom > 0 and a.seeds > 1 and b.seeds > 1 else None
    if mean is None or sd is None or freedom < 2 or _negligible(sd, ours, theirs):
        return None
    return mean / sd * _correction(freedom)


def _correction(freedom: int) -> float:
    half = freedom / 2
    return math.exp(float(gammaln(half) - gammaln(half - 0.5))) / math.sqrt(half)


def power(effect: float, seeds: int, paired: bool, alpha: float) -> float:
    """Chance that a two-sided t test with `seeds` seeds a side finds an effect of this size at level alpha."""
    freedom = seeds - 1 if paired else 2 * seeds - 2
    shift = abs(effect) * math.sqrt(seeds if paired else seeds / 2)
    bound = float(stdtrit(freedom, 1 - alpha / 2))
    wrong_side = float(nctdtr(freedom, shift, -bound)) if shift < _FAR else 0.0  # beyond, SciPy gives NaN or 0
    return 1 - float(nctdtr(freedom, shift, bound)) + (0.0 if math.isnan(wrong_side) else wrong_side)


def seeds_needed(effect: float, paired: bool, alpha: float) -> int | None:
    """Fewest seeds a side with which an effect of this size is found with a chance of POWER; None above MOST_SEEDS.

    Taken at an observed effect it is a rough guide, since that varies as the means do.
    """
    low, high = 1, 2  # too few, perhaps enough
    while power(effect, high, paired, alpha) < POWER:
        low, high = high, 2 * high
        if low >= MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, paired, alpha) >= POWER else (middle, high)
    return high if high <= MOST_SEEDS else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p-values, in the order given; None stays None and does not count.

    With m tests, the i-th smallest p (i from 0) times m - i, no smaller than the one before, and at most 1. Calling
    significant what is at most 5 % errs even once with a chance of at most 5 %, however the tests depend on each other.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for rank, (p, place) in enumerate(order):
        reached = max(reached, min(1.0, p * (len(order) - rank)))
        adjusted[place] = reached
    return adjusted
