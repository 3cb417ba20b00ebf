"""A study's results as a page, docs/studies/NAME.md, and for a terminal: from its result file alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wordlab.comparison_sentences import LESS_IS_BETTER, NONE, sentence
from wordlab.comparison_text import differences_table, notes, title, told_first
from wordlab.reporting import format_interval, format_mean, label_of
from wordlab.study_results import ArmResult, StudyResult
from wordlab.tables import Table
from wordlab.yaml_file import shown

PAGES = Path("docs/studies")
SPEED = {"raw_words_per_second": "M raw words/s", "seconds": "s a seed"}
PER_MILLION = 1e-6
MEANS = (
    "Mean ± sd over the seeds, with the 95 % interval of the mean. The arm with the best mean has had good luck as "
    "well as, perhaps, good parameters."
)
AS_THEY_WERE = (
    "Speeds are of the trainings as they were, on a machine that may have done other things at the time: no benchmark, "
    "and no ground to call an arm faster."
)


def as_markdown(result: StudyResult, study: Path, figure: Path) -> str:
    """The page. study: its YAML file; figure: the figure's file; both relative to the project."""
    yaml, drawn = (os.path.relpath(path, PAGES).replace(os.sep, "/") for path in (study, figure))
    head = [
        f"# Study: {result.name}",
        "",
        f"<!-- made by `wordlab study show {study.as_posix()}`; not to be edited -->",
        "",
        f"**{result.definition.question}**",
        "",
        f"Its file is [{study.name}]({yaml}); how studies are run and read: [studies.md](../studies.md).",
        "",
        f"![scores of all arms]({drawn})",
    ]
    lines = [*head, *_blocks(result, markdown=True), "", " ".join(notes(result.comparison))]
    return "\n".join(lines) + "\n"


def as_text(result: StudyResult) -> str:
    """For a terminal."""
    head = [f"{result.name}: {result.definition.question}"]
    return "\n".join([*head, *_blocks(result, markdown=False), "", *notes(result.comparison)]) + "\n"


def _blocks(result: StudyResult, markdown: bool) -> Iterator[str]:
    """Lines from the first heading to the last table."""

    def heading(text: str) -> list[str]:
        return ["", f"## {text}" if markdown else text.upper(), ""]

    def table(one: Table) -> list[str]:
        return one.as_markdown() if markdown else one.as_text()

    yield from heading("Found")
    yield from (f"- {line}" for line in found_lines(result))
    yield from heading("Scores")
    yield from table(scores_table(result))
    yield ""
    yield from _wrapped(f"{MEANS} {AS_THEY_WERE}", markdown)
    yield from heading("What was run")
    yield from (f"- {line}" for line in described(result))
    yield ""
    yield from table(arms_table(result))
    yield from heading(f"Against {result.definition.base}")
    for number, pair in enumerate(result.comparison.pairs):
        yield from [""] * bool(number)
        yield f"**{title(pair)}**" if markdown else title(pair)
        yield ""
        yield from (f"- {line}" for line in told_first(pair))
        yield ""
        yield from table(differences_table(pair))


def _wrapped(text: str, markdown: bool) -> list[str]:
    """A paragraph; a terminal gets a line a sentence."""
    return [text] if markdown else [line.strip() for line in text.replace(". ", ".\n").splitlines()]


def found_lines(result: StudyResult) -> Iterator[str]:
    """What was found, a sentence each."""
    yield from _extremes(result)
    yield from _sentences(result)


def _extremes(result: StudyResult) -> Iterator[str]:
    """Best and worst arm of each score, by their means."""
    for score, unit in result.units.items():
        means = {arm.name: arm.spread(score).mean for arm in result.arms}
        known = {name: mean for name, mean in means.items() if mean is not None}
        if known:
            order = sorted(known, key=known.__getitem__, reverse=unit not in LESS_IS_BETTER)
            best, worst = (_named(result, name, score, unit) for name in (order[0], order[-1]))
            yield f"{label_of(score)}, best by its mean: {best}; worst: {worst}"


def _named(result: StudyResult, name: str, score: str, unit: str) -> str:
    arm = next(arm for arm in result.arms if arm.name == name)
    return f"{name}, {format_mean(arm.spread(score), unit)}"


def _sentences(result: StudyResult) -> Iterator[str]:
    for pair in result.comparison.pairs:
        for one in pair.scores:
            yield sentence(pair, one)


def scores_table(result: StudyResult) -> Table:
    """A row for each arm, a column for each score, and how fast it was trained."""
    columns = ("arm", *map(label_of, result.units), *SPEED.values())
    rows = [
        (
            arm.name,
            *(_cell(arm, score, unit) for score, unit in result.units.items()),
            *map(arm_speed, [arm] * 2, SPEED),
        )
        for arm in result.arms
    ]
    return Table(columns, tuple(rows))


def _cell(arm: ArmResult, score: str, unit: str) -> str:
    values = arm.spread(score)
    interval = format_interval(values, unit)
    return format_mean(values, unit) + (f" ({interval})" if interval else "")


def arm_speed(arm: ArmResult, key: str) -> str:
    """A mean measurement, as a cell."""
    value = arm.speed.get(key)
    if value is None:
        return NONE
    return f"{value * PER_MILLION:.2f}" if key == "raw_words_per_second" else f"{value:.1f}"


def arms_table(result: StudyResult) -> Table:
    """What differs between the arms, how much of the sets they were asked, and their names as DVC experiments."""
    keys = [key for key in _keys(result) if len({study_value(arm, key) for arm in result.arms}) > 1]
    covered = [f"{label_of(score)}, coverage" for score in result.units]
    rows = [
        (arm.name, *(study_value(arm, key) for key in keys), *(_coverage(arm, s) for s in result.units), arm.experiment)
        for arm in result.arms
    ]
    return Table(("arm", *keys, *covered, "experiment"), tuple(rows))


def _coverage(arm: ArmResult, score: str) -> str:
    value = arm.coverage.get(score)
    return NONE if value is None else f"{value:.1f} %"


def _keys(result: StudyResult) -> list[str]:
    return list(dict.fromkeys(key for arm in result.arms for key in arm.settings))


def study_value(arm: ArmResult, key: str) -> str:
    """One setting of an arm."""
    return _plain(arm.settings[key]) if key in arm.settings else NONE


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def described(result: StudyResult) -> Iterator[str]:
    """What all arms have in common."""
    seeds = result.definition.seeds
    yield f"{len(result.arms)} arms, {len(seeds)} seeds each: {', '.join(map(str, seeds))}"
    corpora = dict.fromkeys(arm.corpus for arm in result.arms)
    yield f"corpus: {', '.join(corpora)}"
    for key in _keys(result):
        values = {study_value(arm, key) for arm in result.arms}
        if len(values) == 1:
            yield f"{key}: {values.pop()}"
    yield "all other parameters: params.yaml, as it was committed when the arms were run"
    yield f"trained on: {'; '.join(_machines(result)) or 'not recorded'}"
    yield from result.remarks


def _machines(result: StudyResult) -> list[str]:
    return list(dict.fromkeys(where for arm in result.arms for where in arm.where_run))
