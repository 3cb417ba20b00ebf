"""What models said to each question of a set: data/evaluate/seed-N/<set>.tsv, read and graded again.

A file has one line a question under a header (`evaluation.detail_lines`). Analogies have columns `asked` and, for each
method, `<method>_correct`; pairs have `human` and `cosine`, those of sentences a column for each way to make their
vectors; sentences to complete have `correct`. A score is graded from the answers anew and must come to
what metrics/seed-N.json says: then its resamples mean the same thing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.evaluation import KINDS, score_name
from wordlab.rules import WORDLAB, Rules

LARGEST = 1e9
"""No score of a person, cosine or distance is as large; squares of sums of larger ones would overflow."""
TOLERANCE = 2e-4
"""Part of a score by which answers may miss it: cosines stand in the files with six decimals."""
ANALOGY_COLUMNS = {"section", "asked"}
ASKED_COLUMNS = ("section", "a", "b", "c", "expected", "word1", "word2", "sentence1", "sentence2", "id", "human")
"""Columns that say what was asked, and not what was answered."""
PEARSON = "_pearson"
"""Ending of scores that are Pearson's r."""
_NO_SIZE = 1e-12
"""A spread that is rounding, of values that are all alike."""


class Graded(Protocol):
    """Answers of one model to a set's questions, as one score sees them."""

    def __len__(self) -> int: ...

    def score(self) -> float | None:
        """The score on the questions as they are; None where too few could be asked."""

    def weighted_scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score if question q had been there weights[b, q] times, shape (B, Q) -> (B,); NaN where there is none."""


@dataclass(frozen=True, eq=False)
class Average:
    """A mean over the questions that count: 100 for a right answer makes it an accuracy."""

    counts: NDArray[np.bool_]
    """Shape (Q,)."""
    values: NDArray[np.float64]
    """Shape (Q,); what does not count is not looked at."""

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def _summed(self) -> NDArray[np.float64]:
        """Values that count, and ones for them, shape (Q, 2)."""
        return np.stack([np.where(self.counts, self.values, 0.0), self.counts], axis=1)

    def score(self) -> float | None:
        return float(self.values[self.counts].mean()) if self.counts.any() else None

    def weighted_scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        # of right and wrong answers, sums of whole numbers: BLAS gives the same on every machine
        total, number = (weights @ self._summed).T
        return np.divide(total, number, out=np.full(len(weights), np.nan), where=number > 0)


@dataclass(frozen=True, eq=False)
class Correlation:
    """Pairs with a human score and a cosine: Spearman's ρ or Pearson's r over those that are known."""

    human: NDArray[np.float64]
    """Shape (P,)."""
    cosine: NDArray[np.float64]
    """Shape (P,); NaN where a pair is unknown."""
    by_rank: bool = True
    """Spearman's."""

    def __len__(self) -> int:
        return len(self.human)

    def score(self) -> float | None:
        value = float(self.weighted_scores(np.ones((1, len(self))))[0])
        return None if np.isnan(value) else value

    def weighted_scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        known = ~np.isnan(self.cosine)
        weights = weights[:, known]
        human, cosine = (self._centred(values[known], weights) for values in (self.human, self.cosine))
        joint = (weights * human * cosine).sum(axis=1)
        size = np.sqrt((weights * human**2).sum(axis=1) * (weights * cosine**2).sum(axis=1))
        return np.divide(joint, size, out=np.full(len(weights), np.nan), where=size > _NO_SIZE)

    def _centred(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values or their ranks less their weighted mean, shape (B, P)."""
        total = weights.sum(axis=1, keepdims=True)
        if self.by_rank:
            return weighted_ranks(values, weights) - (total + 1) / 2  # their mean, whatever the ties
        mean = np.divide(weights @ values[:, None], total, out=np.zeros_like(total), where=total > 0)
        return values - mean


def weighted_ranks(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each value, from 1, ties at their mean rank, if values[q] were there weights[b, q] times.

    values: shape (P,).   weights: shape (B, P), whole numbers.   Returns shape (B, P).
    """
    order = np.argsort(values, kind="stable")
    ordered, of_group = values[order], weights[:, order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf))
    if tied := len(starts) < len(values):
        of_group = np.add.reduceat(of_group, starts, axis=1)
    middle = np.cumsum(of_group, axis=1) - (of_group - 1) / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = np.repeat(middle, np.diff(starts, append=len(values)), axis=1) if tied else middle
    return ranks


@dataclass(frozen=True, eq=False)
class AnswerFile:
    """One set's answers of one model."""

    row: str
    """Catalog row of the set, the file's name."""
    where: str
    """Place of the file, for messages."""
    questions: tuple[tuple[str, ...], ...]
    """What was asked, with the answer that is expected: equal sets have equal questions."""
    columns: Mapping[str, list[str]]

    def graded(self, score: str, rules: Rules = WORDLAB) -> Graded | None:
        """The answers as the score of this name sees them; None if it is none of this set.

        Raises ArtifactError if they are damaged.
        """
        if not score.startswith(score_name(self.row)):
            return None
        ending = score.removeprefix(score_name(self.row))
        if "human" in self.columns:
            return self._correlation(ending, rules)
        if "correct" in self.columns:  # of sentences to complete, all count
            correct = self._numbers("correct")
            return None if ending else Average(np.ones(len(correct), dtype=bool), 100 * correct)
        return self._average(ending, rules) if self.columns.keys() >= ANALOGY_COLUMNS else None

    def _correlation(self, ending: str, rules: Rules) -> Correlation | None:
        """Of pairs of words, or of sentences: then the ending begins with the way in which their vectors are made."""
        way = ending.removesuffix(PEARSON).removeprefix("_") or "cosine"
        if way not in self.columns or way in ASKED_COLUMNS:
            return None
        cosine = self._numbers(way)
        if rules.unknown == "wrong":
            cosine = np.nan_to_num(cosine, nan=0.0)
        return Correlation(self._numbers("human"), cosine, by_rank=not ending.endswith(PEARSON))

    def _average(self, ending: str, rules: Rules) -> Average | None:
        """Of analogies: of all or one kind, by 3CosAdd or 3CosMul, or the mean distance."""
        kind, measure = _kind_and_measure(ending)
        column = "distance" if measure == "distance" else f"{measure}_correct"
        if column not in self.columns:
            return None
        chosen, asked = self._of_kind(kind, rules), self._numbers("asked") == 1
        if measure == "distance":
            return Average(chosen & asked, self._numbers(column))
        return Average(chosen if rules.unknown == "wrong" else chosen & asked, 100 * self._numbers(column))

    def _of_kind(self, kind: str, rules: Rules) -> NDArray[np.bool_]:
        """Which questions are semantic or syntactic; all for an empty `kind`."""
        sections = self.columns["section"]
        if not kind:
            return np.ones(len(sections), dtype=bool)
        kinds = {section: rules.kind(section, number) for number, section in enumerate(dict.fromkeys(sections))}
        return np.array([kinds[section] == kind for section in sections])

    def _numbers(self, column: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where it is empty."""
        texts = self.columns[column]
        try:
            numbers = np.array([float(text or "nan") for text in texts])
            if not (np.abs(numbers[[text != "" for text in texts]]) <= LARGEST).all():
                raise ValueError("a number that is not finite, or far too large")
        except ValueError as error:
            told = f"{column}: {str(error)[:300]}"
            raise ArtifactError(f"{self.where} is damaged, column {told}. Run: dvc repro evaluate") from None
        return numbers


def _kind_and_measure(ending: str) -> tuple[str, str]:
    """What the end of a score's name says: `_semantic_distance` -> semantic, distance."""
    kind = next((name for name in KINDS if ending.startswith(f"_{name}")), "")
    rest = ending.removeprefix(f"_{kind}") if kind else ending
    return kind, {"": "add", "_mul": "mul", "_distance": "distance"}.get(rest, rest or "add")


def read_answers(row: str, data: bytes, where: str) -> AnswerFile:
    """Parse the bytes of <set>.tsv. where: names the file in messages.

    Raises ArtifactError if the file is damaged.
    """
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
        header, body = lines[0], lines[1:]
        columns = {name: [line[place] for line in body] for place, name in enumerate(header)}
        if not body or any(len(line) != len(header) for line in body):
            raise ValueError("lines of different length, or none")
    except (ValueError, IndexError, csv.Error) as error:
        raise ArtifactError(f"{where} is damaged: {str(error)[:300]}. Run: dvc repro evaluate") from None
    asked = [columns[name] for name in ASKED_COLUMNS if name in columns]
    return AnswerFile(row, where, tuple(zip(*asked, strict=True)), columns)


def reproduces(graded: Graded, value: float) -> bool:
    """Whether answers give the score that stands in the results."""
    found = graded.score()
    return found is not None and abs(found - value) <= TOLERANCE * max(abs(value), 0.01)
