"""What must be reached, what was, and the arithmetic between: medians over rounds, differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from wordlab.statistics import CONFIDENCE, spread


@dataclass(frozen=True)
class Target:
    """One line of what must be reached."""

    name: str
    wanted: str
    """The bound, in words."""
    found: str
    """What was measured, in words."""
    met: bool


@dataclass(frozen=True)
class Median:
    """A figure over rounds."""

    median: float
    low: float
    """Least of all rounds."""
    high: float
    rounds: tuple[float, ...]
    """Round by round."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Median:
        """Raises ValueError without values."""
        if not values:
            raise ValueError("no rounds to take a median of")
        ordered = sorted(values)
        half = len(ordered) // 2
        middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
        return cls(middle, ordered[0], ordered[-1], tuple(values))


@dataclass(frozen=True)
class Difference:
    """Difference of two means with its 95 % interval."""

    mean: float
    low: float
    high: float
    degrees_of_freedom: float | None
    """None where neither side varies."""


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference | None:
    """Mean of `ours` minus mean of `theirs`, with Welch's interval: the two need not have the same variance.

        se² = s₁²/n₁ + s₂²/n₂,    df = se⁴ / ((s₁²/n₁)²/(n₁-1) + (s₂²/n₂)²/(n₂-1)),    mean ± t(df) · se

    None where one side has fewer than two values: then nothing is known about its spread.
    """
    a, b = spread(ours), spread(theirs)
    if a.mean is None or b.mean is None or a.sd is None or b.sd is None:
        return None
    parts = a.sd**2 / a.seeds, b.sd**2 / b.seeds
    mean, variance = a.mean - b.mean, sum(parts)
    if variance == 0:
        return Difference(mean, mean, mean, None)
    freedom = variance**2 / (parts[0] ** 2 / (a.seeds - 1) + parts[1] ** 2 / (b.seeds - 1))
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return Difference(mean, mean - half, mean + half, freedom)
