"""Loss curves of trainings: read from metrics/curves/seed-N.tsv, and thinned where many are kept together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ArtifactError


@dataclass(frozen=True, eq=False)
class LossCurve:
    """Training loss of one seed."""

    seed: int
    tokens: NDArray[np.float64]
    """Tokens read so far, shape (steps,)."""
    loss: NDArray[np.float64]
    """Mean loss of a prediction since the step before, shape (steps,)."""


def parse_curve(seed: int, data: bytes, where: str) -> LossCurve:
    """metrics/curves/seed-N.tsv -> LossCurve. where: its name in the ArtifactError raised if it is damaged."""
    try:
        lines = data.decode("utf-8").splitlines()
        names = lines[0].split("\t")
        table = np.array([[float(field) for field in line.split("\t")] for line in lines[1:]]).reshape(-1, len(names))
        return LossCurve(seed, table[:, names.index("tokens")], table[:, names.index("loss")])
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"{where} is damaged: {error}. Run: dvc repro") from None


def thinned(curve: LossCurve, points: int) -> LossCurve:
    """The curve with at most `points` points: each the mean of as many successive steps, at the last of them.

    All steps but the last have read equally many tokens, so a point is still the mean loss since the point before. A
    step whose loss is no number makes its point none.
    """
    steps = len(curve.loss)
    if steps <= points:
        return curve
    size = -(-steps // points)
    starts = np.arange(0, steps, size)
    ends = np.minimum(starts + size, steps)
    return LossCurve(curve.seed, curve.tokens[ends - 1], np.add.reduceat(curve.loss, starts) / (ends - starts))
