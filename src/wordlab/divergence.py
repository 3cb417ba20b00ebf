"""Does a training go well? Its loss against its own past, its rows at the end.

What cannot be made good stops the training: a loss that is not a number, one far above that of a model that knows
nothing, one that rises over a whole pass of the corpus, rows that are not finite. What may be meant is a warning,
which the stage shows and records: rows unusually long, a model that has learned nothing. Both name the parameters to
change. docs/LOG.md has the trainings, good and bad, that the limits were chosen from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import CorpusError
from wordlab.sections.train import Damping
from wordlab.stage import say

KNOWS_NOTHING = math.log(2)
"""Loss of a model that gives every prediction a chance of one half."""
DIVERGED = 2
"""A mean loss since the last row of the curve, in units of that of a model that knows nothing."""
RISE_STOPS, RISE_WARNS = 1.25, 1.1
"""Mean loss over the last pass of the corpus as a multiple of that over the pass before it. Both cover the same text,
so that a text that gets harder towards its end raises neither."""
LONG_ROW, USUAL = 100.0, "usual are 20 or less"
"""Length of a row from which on it is told of."""
NOTHING_LEARNED = 0.995
"""Loss over the last pass, in units of that of a model that knows nothing, from which on nothing has been learned."""
SAME_DIRECTION = 0.99
"""Mean cosine of all pairs of input rows from which on they count as one and the same."""
_ROWS = 1 << 14
"""Rows looked at together, so that memory stays small."""


class DivergedError(CorpusError):
    """A training that leads nowhere, stopped. There is no model."""

    trained: Any = None
    """How far it was (`training_run.Trained`)."""


@dataclass
class Watch:
    """Sees every segment's loss and every row of the curve, in order, and in the end the rows."""

    arch: str
    corpus_tokens: int
    """Tokens of one pass."""
    knows_nothing: float = KNOWS_NOTHING
    """Loss of a model that holds all outcomes for equally likely."""
    objective: str = "ns"
    warnings: list[str] = field(default_factory=list)
    _tokens: list[int] = field(default_factory=lambda: [0])
    _summed: list[float] = field(default_factory=lambda: [0.0])
    """Loss times tokens, summed up to each of `_tokens`."""

    def see_segment(self, tokens: int, loss: float) -> None:
        """tokens: read so far. loss: sum over the segment. Raises DivergedError where it is not finite."""
        if not math.isfinite(loss):
            raise self._diverged(tokens, f"the loss is {loss:.3g}, {self._nothing()}")

    def see_point(self, tokens: int, loss: float) -> None:
        """One row of the curve: tokens read so far, mean loss since the row before. Raises DivergedError."""
        if not loss < DIVERGED * self.knows_nothing:
            raise self._diverged(tokens, f"the loss is {loss:.3g}, {self._nothing()}")
        self._summed.append(self._summed[-1] + loss * (tokens - self._tokens[-1]))
        self._tokens.append(tokens)
        rise = self._rise()
        if rise > RISE_STOPS:
            raise self._diverged(tokens, f"over the last pass of the corpus the loss was {rise:.2f} times that before")
        if rise > RISE_WARNS:
            self._warn(
                "rising loss",
                f"after {tokens:,} words the loss over the last pass of the corpus was {rise:.3f} times that of the "
                f"pass before. {self._remedy()}",
            )

    def _rise(self) -> float:
        """Mean loss of the last pass in units of that of the pass before; 1 where there are not two yet."""
        last = self._tokens[-1]
        if last < 2 * self.corpus_tokens:
            return 1.0
        before = self._mean(last - 2 * self.corpus_tokens, last - self.corpus_tokens)
        return self.last_loss() / before if before > 0 else 1.0

    def last_loss(self) -> float:
        """Mean loss over the last pass of the corpus, or over all there was."""
        return self._mean(max(0, self._tokens[-1] - self.corpus_tokens), self._tokens[-1])

    def _mean(self, start: int, stop: int) -> float:
        """Mean loss between two numbers of tokens read."""
        first, last = np.interp([start, stop], self._tokens, self._summed)
        return float((last - first) / (stop - start))

    def see_model(
        self,
        input_vectors: NDArray[np.float32],
        output_vectors: NDArray[np.float32],
        ngram_vectors: NDArray[np.float32],
    ) -> dict[str, object]:
        """The finished rows, (V, dim) each, and (G, dim). Returns what is recorded about them. Raises DivergedError.

        Rows of n-grams may be long where the means of which they are parts are not; they must only be finite.
        """
        longest = max(_longest(input_vectors), _longest(output_vectors))
        if not math.isfinite(longest) or (len(ngram_vectors) and not math.isfinite(_longest(ngram_vectors))):
            raise self._diverged(self._tokens[-1], "some vectors are not finite")
        last = self.last_loss()
        if longest > LONG_ROW:
            self._warn("long rows", f"the longest vector has length {longest:.3g}, {USUAL}. {self._remedy()}")
        if last > NOTHING_LEARNED * self.knows_nothing:
            self._warn(
                "nothing learned",
                f"the loss over the last pass is {last:.4f}, as if nothing were known. {self._too_little()}",
            )
        alike = _mean_cosine(input_vectors)
        if len(input_vectors) > 2 and alike > SAME_DIRECTION:
            self._warn(
                "equal vectors", f"all vectors point the same way (mean cosine {alike:.3f}). {self._too_little()}"
            )
        return {"loss_of_last_pass": _short(last), "longest_vector": _short(longest), "mean_cosine": _short(alike)}

    def _warn(self, kind: str, message: str) -> None:
        """Say a warning, once a kind."""
        if not any(warning.startswith(kind) for warning in self.warnings):
            self.warnings.append(f"{kind}: {message}")
            say(f"WARNING: {kind}: {message}")

    def _diverged(self, tokens: int, what: str) -> DivergedError:
        return DivergedError(f"The training diverged: after {tokens:,} words {what}. {self._remedy()}")

    def _nothing(self) -> str:
        return f"where a model that knows nothing has {self.knows_nothing:.3g}"

    def _remedy(self) -> str:
        noise = f"train.block_negatives.{self.arch} or " if self.objective == "ns" else ""
        return f"Lower train.lr.{self.arch} or train.batch_tokens, or raise {noise}{self._damping}."

    def _too_little(self) -> str:
        return f"Raise train.lr.{self.arch} or train.epochs, lower {self._damping}, or use more text."

    @property
    def _damping(self) -> str:
        return f"train.damping.{Damping.name(self.arch, self.objective)}"


def _longest(vectors: NDArray[np.float32]) -> float:
    """Length of the longest row; not finite where any number is not."""
    squares = [np.square(part, dtype=np.float64).sum(axis=1).max() for part in _parts(vectors)]
    return math.sqrt(max(squares)) if all(map(math.isfinite, squares)) else math.inf


def _mean_cosine(vectors: NDArray[np.float32]) -> float:
    """Mean cosine over all pairs of different rows: the squared length of the rows' mean, less each row with itself."""
    total, count = np.zeros(vectors.shape[1]), 0
    for part in _parts(vectors):
        lengths = np.linalg.norm(part.astype(np.float64), axis=1)
        total += (part[lengths > 0] / lengths[lengths > 0, None]).sum(axis=0)
        count += int((lengths > 0).sum())
    return float((total @ total - count) / (count * (count - 1))) if count > 1 else 0.0


def _parts(vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [vectors[start : start + _ROWS] for start in range(0, len(vectors), _ROWS)]


def _short(number: float) -> float:
    return float(f"{number:.6g}")
