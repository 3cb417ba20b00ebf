"""What a comparison says of each score, in one sentence in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from wordlab.comparison import PairComparison, ScoreDifference
from wordlab.differences import MOST_SEEDS
from wordlab.reporting import label_of

NONE = "–"
NO_COMPARISON = "no comparison, since a side has no score"
LESS_IS_BETTER = ("distance",)
"""Units of scores that are better where they are smaller."""


def signed(value: float, unit: str) -> str:
    text = f"{value:+.2f}" if unit == "percent" else f"{value:+.4f}"
    return text.replace("-", "−") if float(text) else text[1:]


def interval_text(ends: tuple[float, float] | None, unit: str) -> str:
    return NONE if not ends else f"{signed(ends[0], unit)} to {signed(ends[1], unit)}"


def p_text(p: float | None) -> str:
    if p is None:
        return NONE
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def sentences(pair: PairComparison) -> Iterator[str]:
    """What is to be believed of all scores of a pair; those that cannot be compared share one sentence."""
    yield from (sentence(pair, one) for one in pair.scores if one.difference is not None)
    if without := [label_of(one.score) for one in pair.scores if one.difference is None]:
        yield f"{', '.join(without)}: {NO_COMPARISON}."


def sentence(pair: PairComparison, one: ScoreDifference) -> str:
    """What is to be believed of one score, in plain words."""
    return f"{label_of(one.score)}: {_claim(pair, one)}."


def _claim(pair: PairComparison, one: ScoreDifference) -> str:
    if one.difference is None:
        return NO_COMPARISON
    better = one.difference < 0 if one.unit in LESS_IS_BETTER else one.difference > 0
    ahead, behind = (pair.other, pair.base) if better else (pair.base, pair.other)
    by = _amount(abs(one.difference), one.unit)
    if one.verdict == "equal":
        return f"{pair.other} and {pair.base} are equal with every seed"
    if one.verdict == "constant":
        return f"{ahead} is ahead of {behind} by {by} with every seed alike; without any spread no test applies"
    if one.verdict == "one seed":
        if abs(one.difference) <= 1e-9:
            return f"{pair.other} and {pair.base} are equal, with too few seeds to know the spread"
        seeds = " and ".join(map(str, sorted({one.base.seeds, one.other.seeds})))
        return (
            f"{ahead} is ahead of {behind} by {by}, but with {_seeds(seeds)} on a side "
            "nothing is known of the spread; three or more would tell"
        )
    if one.verdict in ("higher", "lower"):
        return f"{ahead} beats {behind} by {by} ({_bounds(one)}){_on_other_questions(one)}"
    if one.verdict == "doubtful":
        return (
            f"{ahead} seems to beat {behind} by {by} ({_bounds(one)}), which may be chance among so many comparisons "
            f"(corrected p = {p_text(one.corrected_p)}); {_would_do(one)}"
        )
    return (
        f"{pair.other} and {pair.base} cannot be told apart with {_counts(one)} "
        f"(difference {signed(one.difference, one.unit)}, {_bounds(one, signed=True)}); {_would_do(one)}"
    )


def _amount(value: float, unit: str) -> str:
    return f"{value:.2f} points" if unit == "percent" else f"{value:.4f}"


def _seeds(number: str) -> str:
    return f"{number} seed" if number == "1" else f"{number} seeds"


def _counts(one: ScoreDifference) -> str:
    if one.paired or one.base.seeds == one.other.seeds:
        return f"{one.base.seeds} seeds"
    return f"{one.base.seeds} and {one.other.seeds} seeds"


def _bounds(one: ScoreDifference, signed: bool = False) -> str:
    """The interval; of the amount if not `signed`."""
    if one.t is None:
        return "no interval"
    ends = sorted((one.t.low, one.t.high)) if signed or one.t.mean > 0 else sorted((-one.t.low, -one.t.high))
    return f"95 % interval {interval_text((ends[0], ends[1]), one.unit)}".replace("+", "" if not signed else "+")


def _on_other_questions(one: ScoreDifference) -> str:
    if one.questions is None or not one.questions.low <= 0 <= one.questions.high:
        return ""
    return ", on these questions; on others of their kind it might not"


def _would_do(one: ScoreDifference) -> str:
    if one.effect is None:
        return "three seeds or more would say how many are needed"
    if one.seeds_needed is None:
        return f"even {MOST_SEEDS:,} seeds would hardly show a difference as small as this one"
    return f"about {one.seeds_needed} seeds would show it, if it is what it looks"
