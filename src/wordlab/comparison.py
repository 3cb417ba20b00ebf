"""Compare finished experiments, score by score: by how much do they differ, and can it be believed?

    difference     of the means over seeds, other - base, with its 95 % t interval: paired where both have the same
                   seeds, Welch's where not (`differences`)
    p              of that t test; `holm` corrects it for all scores and pairs of experiments that are compared
    permutation    the same question without supposing a distribution (`permutation`)
    questions      interval over seeds and questions (`resampling`), where each model's answers are at hand
    effect         the difference in standard deviations; `seeds_needed`: how many seeds would find it

What is said in the end follows from the corrected p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from wordlab.comparability import Comparable, answers_for, comparable, rules_of
from wordlab.differences import (
    MOST_SEEDS,
    Difference,
    effect_size,
    holm,
    paired_difference,
    seeds_needed,
    welch_difference,
)
from wordlab.errors import ArtifactError, ConfigError, suggestion
from wordlab.experiments import Experiment
from wordlab.permutation import Permutation, sign_flips, splits
from wordlab.question_answers import Graded, reproduces
from wordlab.resampling import QuestionInterval, question_interval
from wordlab.statistics import CONFIDENCE, Spread, spread

ALPHA = 1 - CONFIDENCE

Verdict = Literal["higher", "lower", "doubtful", "undecided", "equal", "constant", "one seed", "no score"]
"""Of the other experiment's score against the base's: higher and lower after correction; doubtful only before it;
undecided not even then. equal and constant: the seeds do not differ in the difference, which is zero or not."""


@dataclass(frozen=True)
class ScoreDifference:
    """One score of two experiments."""

    score: str
    unit: str
    base: Spread
    other: Spread
    paired: bool
    """Both have the same seeds, which were compared one by one; else the means were."""
    difference: float | None
    """Mean of the other minus mean of the base, in the unit of the score; None where one has no value."""
    t: Difference | None
    """None with fewer than two seeds on a side."""
    permutation: Permutation | None
    questions: QuestionInterval | None
    no_questions: str
    """Why there is no interval over questions; empty where there is one."""
    effect: float | None
    effect_name: Literal["d_z", "g"]
    corrected_p: float | None = None
    seeds_needed: int | None = None
    """Seeds a side that would find such a difference among as many comparisons, 4 times in 5; more than there are
    where these have not told. None where unknown, or above MOST_SEEDS."""
    verdict: Verdict = "no score"


@dataclass(frozen=True)
class PairComparison:
    """All scores of two experiments."""

    base: str
    other: str
    what: Comparable
    scores: tuple[ScoreDifference, ...]


@dataclass(frozen=True)
class Comparison:
    """All pairs of experiments that were compared."""

    experiments: tuple[Experiment, ...]
    pairs: tuple[PairComparison, ...]
    tests: int
    """p-values that were corrected together."""


def compare(
    experiments: Sequence[Experiment], all_pairs: bool = False, scores: Sequence[str] | None = None
) -> Comparison:
    """Compare every experiment with the first, or every two of them.

    scores: only these; the fewer there are, the less correction they need.
    Raises ConfigError for fewer than two experiments, two of one name or an unknown score, ArtifactError if
    two experiments have no score that can be compared.
    """
    labels = [experiment.label for experiment in experiments]
    if len(experiments) < 2 or len(set(labels)) < len(labels):
        raise ConfigError(f"there must be two experiments or more, each once; found: {', '.join(labels) or 'none'}.")
    _require_known(scores or (), experiments)
    chosen = list(combinations(experiments, 2)) if all_pairs else [(experiments[0], one) for one in experiments[1:]]
    pairs = [_compare_two(base, other, scores) for base, other in chosen]
    raw = [None if found.t is None else found.t.p for pair in pairs for found in pair.scores]
    tests, corrected = sum(p is not None for p in raw), iter(holm(raw))
    judged = tuple(
        replace(pair, scores=tuple(_judged(found, next(corrected), tests) for found in pair.scores)) for pair in pairs
    )
    return Comparison(tuple(experiments), judged, tests)


def _require_known(scores: Sequence[str], experiments: Sequence[Experiment]) -> None:
    known = list(dict.fromkeys(name for experiment in experiments for name in experiment.first["scores"]))
    for score in scores:
        if score not in known:
            raise ConfigError(f"no experiment has a score {score}.{suggestion(score, known)}")


def _compare_two(base: Experiment, other: Experiment, scores: Sequence[str] | None) -> PairComparison:
    what = comparable(base, other, scores)
    return PairComparison(base.label, other.label, what, tuple(_one_score(base, other, score) for score in what.scores))


def _one_score(base: Experiment, other: Experiment, score: str) -> ScoreDifference:
    ours, theirs = other.values(score), base.values(score)
    paired = ours.keys() == theirs.keys()
    seeds = sorted(ours)
    a, b = [ours[seed] for seed in seeds], [theirs[seed] for seed in (seeds if paired else sorted(theirs))]
    mean_of_a, mean_of_b = spread(a), spread(b)
    known = mean_of_a.mean is not None and mean_of_b.mean is not None
    questions, why_not = _over_questions(base, other, score, paired) if known else (None, "a side has no score")
    return ScoreDifference(
        score=score,
        unit=base.first["scores"][score]["unit"],
        base=mean_of_b,
        other=mean_of_a,
        paired=paired,
        difference=_minus(mean_of_a.mean, mean_of_b.mean),
        t=paired_difference(a, b) if paired else welch_difference(a, b),
        permutation=sign_flips([x - y for x, y in zip(a, b, strict=True)]) if paired else splits(a, b),
        questions=questions,
        no_questions=why_not,
        effect=effect_size(a, b, paired) if known else None,
        effect_name="d_z" if paired else "g",
    )


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _over_questions(
    base: Experiment, other: Experiment, score: str, paired: bool
) -> tuple[QuestionInterval | None, str]:
    """The interval over seeds and questions, or why there is none."""
    try:
        sides = [_graded(experiment, score) for experiment in (other, base)]
    except ArtifactError as error:
        return None, str(error)
    found = question_interval(sides[0], sides[1], paired)
    return found, "" if found else "too few questions are known for it"


def _graded(experiment: Experiment, score: str) -> list[Graded]:
    """The answers of every seed that has the score. Raises ArtifactError if they are not at hand or do not give it."""
    found = []
    for seed, value in sorted(experiment.values(score).items()):
        file = answers_for(experiment, score, seed)
        graded = file and file.graded(score, rules_of(experiment))
        if not graded or not reproduces(graded, value):
            raise ArtifactError(f"the answers of {experiment.label}, seed {seed}, do not give this score")
        found.append(graded)
    return found


def _judged(found: ScoreDifference, corrected: float | None, tests: int) -> ScoreDifference:
    """With what follows from all comparisons together."""
    needed = None
    if found.effect is not None and found.t is not None and found.t.p is not None:
        needed = seeds_needed(found.effect, found.paired, ALPHA / tests)
    verdict = _verdict(found, corrected)
    if needed is not None and verdict in ("doubtful", "undecided"):  # as many as there are have not told
        needed = max(needed, min(found.base.seeds, found.other.seeds) + 1)
        needed = needed if needed <= MOST_SEEDS else None
    return replace(found, corrected_p=corrected, seeds_needed=needed, verdict=verdict)


def _verdict(found: ScoreDifference, corrected: float | None) -> Verdict:
    if found.difference is None:
        return "no score"
    if found.t is None:
        return "one seed"
    if found.t.p is None or corrected is None:
        return "equal" if abs(found.difference) <= 1e-9 else "constant"
    if corrected <= ALPHA:
        return "higher" if found.difference > 0 else "lower"
    return "doubtful" if found.t.p <= ALPHA else "undecided"
