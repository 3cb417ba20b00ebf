"""A comparison as text: tables and sentences, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from wordlab.comparison import ALPHA, Comparison, PairComparison
from wordlab.comparison_sentences import NONE, interval_text, p_text, sentences, signed
from wordlab.differences import POWER, Difference
from wordlab.experiments import Experiment
from wordlab.permutation import Permutation
from wordlab.reporting import format_interval, format_mean, headline, label_of
from wordlab.resampling import QuestionInterval
from wordlab.results import score_spread
from wordlab.tables import Table
from wordlab.yaml_file import shown

LEAST_PAIRS = 6
"""With fewer pairs, 2 / 2^n is above 0.05."""


def as_text(found: Comparison) -> str:
    """For a terminal."""
    lines = [*map(described, found.experiments), "", *means_table(found).as_text()]
    for pair in found.pairs:
        lines += ["", title(pair), *(f"  {line}" for line in told_first(pair)), ""]
        lines += [*differences_table(pair).as_text(), ""]
        lines += [f"- {told}" for told in sentences(pair)]
    return "\n".join([*lines, "", *notes(found)]) + "\n"


def as_markdown(found: Comparison) -> str:
    """For a page or an issue."""
    lines = [f"- {described(experiment)}" for experiment in found.experiments]
    lines += ["", *means_table(found).as_markdown()]
    for pair in found.pairs:
        lines += ["", f"**{title(pair)}**", ""]
        for line in told_first(pair):
            lines += [f"- {line}"]
        lines += ["", *differences_table(pair).as_markdown(), ""]
        lines += [f"- {told}" for told in sentences(pair)]
    return "\n".join([*lines, "", " ".join(notes(found))]).replace("\n\n\n", "\n\n") + "\n"


def described(experiment: Experiment) -> str:
    """What an experiment is, in one line."""
    commit = f" ({experiment.revision.commit[:7]})" if experiment.revision else ""
    return f"{experiment.label}{commit}: {headline(experiment.results, experiment.corpus)}"


def means_table(found: Comparison) -> Table:
    """Mean ± sd of every score, with the 95 % interval of the mean."""
    known = [name for one in found.experiments for name in one.first["scores"]]
    wanted = {name for pair in found.pairs for name in (*pair.what.scores, *pair.what.left_out)}
    rows = []
    for name in [name for name in dict.fromkeys(known) if name in wanted]:
        cells = [_mean_cell(experiment, name) for experiment in found.experiments]
        rows.append((label_of(name), *cells))
    return Table(("mean ± sd (95 % interval)", *(one.label for one in found.experiments)), tuple(rows))


def _mean_cell(experiment: Experiment, name: str) -> str:
    if name not in experiment.first["scores"]:
        return NONE
    unit, values = experiment.first["scores"][name]["unit"], score_spread(experiment.results, name)
    interval = format_interval(values, unit)
    return format_mean(values, unit) + (f" ({interval})" if interval else "")


def title(pair: PairComparison) -> str:
    return f"{pair.other} against {pair.base}"


def told_first(pair: PairComparison) -> Iterator[str]:
    """What differs between the two, and what was not compared."""
    for name, ours, theirs in pair.what.changed:
        yield f"{name}: {shown(ours)} → {shown(theirs)}"
    if not pair.what.changed:
        yield "no parameter differs"
    yield from pair.what.remarks
    reasons: dict[str, list[str]] = {}
    for score, why in pair.what.left_out.items():
        reasons.setdefault(why, []).append(score)
    for why, scores in reasons.items():
        yield f"not compared: {', '.join(scores)}: {why}"
    for paired in (True, False):
        seeds = {(one.base.seeds, one.other.seeds) for one in pair.scores if one.paired is paired and one.t}
        if seeds:
            counts = ", ".join(f"{a}" if paired else f"{a} and {b}" for a, b in sorted(seeds))
            how = "paired by seed" if paired else "not paired, since the seeds differ (Welch)"
            yield f"{how}, {counts} seeds"
    missing: dict[str, None] = dict.fromkeys(one.no_questions for one in pair.scores if one.no_questions)
    for why in missing:
        yield f"no interval over questions for {sum(one.no_questions == why for one in pair.scores)} scores: {why}"


def differences_table(pair: PairComparison) -> Table:
    """A line a score: the difference, its intervals, p-values and size."""
    columns = (
        "score",
        "difference",
        "95 % interval",
        "p",
        "corrected p",
        "permutation",
        "over questions too",
        "effect",
    )
    rows = []
    for one in pair.scores:
        rows.append(
            (
                label_of(one.score),
                NONE if one.difference is None else signed(one.difference, one.unit),
                interval_text(_ends(one.t), one.unit),
                p_text(one.t.p if one.t else None),
                p_text(one.corrected_p),
                _permutation(one.permutation),
                interval_text(_ends(one.questions), one.unit),
                NONE if one.effect is None else f"{one.effect_name} = {one.effect:+.1f}".replace("-", "−"),
            )
        )
    return Table(columns, tuple(rows))


def _ends(found: Difference | QuestionInterval | None) -> tuple[float, float] | None:
    return None if found is None else (found.low, found.high)


def _permutation(found: Permutation | None) -> str:
    if found is None:
        return NONE
    return p_text(found.p) + (f" (least {p_text(found.least)})" if found.least > ALPHA else "")


def notes(found: Comparison) -> Iterator[str]:
    """How to read the numbers."""
    yield "Differences are in points of accuracy, or in the score's own unit; each interval is about its score alone."
    if found.tests:
        yield f"p-values are of t tests; corrected for all {found.tests} of them (Holm), they decide what is said."
        yield "Effects are in standard deviations: d_z, of the paired differences, or Hedges' g."
    told = [one.seeds_needed for pair in found.pairs for one in pair.scores if one.verdict in ("doubtful", "undecided")]
    if any(told):
        yield f"So many seeds a side would show a difference of the size seen in {100 * POWER:.0f} of 100 cases."
    few = {one.base.seeds for pair in found.pairs for one in pair.scores if one.paired and one.t}
    if few and min(few) < LEAST_PAIRS:
        yield (
            f"With {min(few)} pairs of seeds a permutation test cannot come below {p_text(2 / 2 ** min(few))}; "
            f"{LEAST_PAIRS} could reach 0.05, without supposing a distribution."
        )
