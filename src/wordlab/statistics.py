"""Spread over seeds: mean, sample standard deviation, and a 95 % interval for the mean.

    mean ± t · sd / √n,    t = the 97.5 % point of Student's distribution with n - 1 degrees of freedom

The interval is about the mean over all seeds one could have drawn, on this corpus; it says nothing about other
corpora. One seed has a mean and no spread: sd and interval are None, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit  # scipy.stats.t.ppf is the same function and half a second slower to import

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """A score over seeds, in the unit of the score."""

    mean: float | None
    """None where no seed has a value."""
    sd: float | None
    """Sample standard deviation (n - 1 below the root)."""
    low: float | None
    high: float | None
    """Ends of the 95 % t interval for the mean."""
    seeds: int
    """Seeds that have a value."""


def spread(values: Sequence[float | None]) -> Spread:
    """Spread over the seeds that have a value."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return Spread(None, None, None, None, 0)
    count, mean = len(numbers), math.fsum(numbers) / len(numbers)
    if count == 1:
        return Spread(mean, None, None, None, 1)
    sd = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (count - 1))
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(count)
    return Spread(mean, sd, mean - half, mean + half, count)
