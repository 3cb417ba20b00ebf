"""What must be reached, what was, and medians over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
