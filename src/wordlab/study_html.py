"""A study's results as one HTML file, docs/studies/NAME.html: from its result file alone, like the page in Markdown.

It says the same and more: seeds, memory, all settings of all arms, experiments and commits. Loss curves, maps and
neighbours are of single models and stand on each experiment's own page (`dvc exp apply`, then data/report).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from html import escape

from wordlab.comparison_sentences import NONE
from wordlab.comparison_text import differences_table, notes, title, told_first
from wordlab.html_page import definitions, flat, folded, inline, listed, nothing, row, section, table, whole_page
from wordlab.reporting import format_mean, label_of
from wordlab.study_page import AS_THEY_WERE, MEANS, arms_table, described, found_lines, scores_table, study_value
from wordlab.study_results import ArmResult, StudyResult
from wordlab.tables import Table

MEASURED = {
    "raw_words_per_second": ("M raw words/s", 1e6, "{:.2f}"),
    "seconds": ("seconds", 1, "{:,.1f}"),
    "cpu_seconds": ("CPU seconds", 1, "{:,.1f}"),
    "peak_memory_bytes": ("MiB at the peak", 2**20, "{:,.0f}"),
}


def as_html(result: StudyResult, figure: bytes) -> str:
    """The page. figure: the study's figure as SVG."""
    seeds = result.definition.seeds
    return whole_page(
        f"Study: {result.name}",
        f"{result.definition.question} {len(result.arms)} arms, {len(seeds)} seeds each.",
        "".join(_sections(result, figure)),
    )


def _sections(result: StudyResult, figure: bytes) -> Iterator[str]:
    yield f'<div class="tiles">{"".join(_tiles(result))}</div>\n'
    yield section("Found", listed(found_lines(result)), " ".join(notes(result.comparison)))
    yield section("Scores", _shown(scores_table(result)), f"{MEANS} {AS_THEY_WERE}")
    yield section("Figure", inline(figure, "Scores of all arms, with their 95 % intervals"))
    yield section(f"Against {result.definition.base}", "".join(_pairs(result)) or nothing("There is one arm."))
    yield section("Seed by seed", "".join(_seeds(result)))
    yield section("Speed and memory", _shown(_speed(result)), AS_THEY_WERE)
    yield section("How it was made", "".join(_made(result)))


def _tiles(result: StudyResult) -> Iterator[str]:
    """The base arm's scores in large figures."""
    base = next(arm for arm in result.arms if arm.name == result.definition.base)
    for score, unit in result.units.items():
        text = format_mean(base.spread(score), unit)
        label = f"{label_of(score)}, {base.name}"
        yield f'<div class="tile"><b>{escape(text)}</b><span>{escape(label)}</span></div>'


def _shown(one: Table) -> str:
    return table(one.columns, [row(cells) for cells in one.rows])


def _pairs(result: StudyResult) -> Iterator[str]:
    """Each arm's differences, opened by whoever wants them: there may be 200 arms."""
    for pair in result.comparison.pairs:
        yield folded(title(pair), listed(told_first(pair)) + _shown(differences_table(pair)))


def _seeds(result: StudyResult) -> Iterator[str]:
    """A table a score: an arm a row, a seed a column."""
    for score, unit in result.units.items():
        form = "{:.2f}" if unit == "percent" else "{:.4f}"
        rows = []
        for arm in result.arms:
            values = arm.scores.get(score, {})
            cells = (form.format(values[seed]) if seed in values else NONE for seed in result.definition.seeds)
            rows.append((arm.name, *cells))
        columns = ("arm", *(f"seed {seed}" for seed in result.definition.seeds))
        yield folded(label_of(score), _shown(Table(columns, tuple(rows))))


def _speed(result: StudyResult) -> Table:
    rows = [(arm.name, *(_measured(arm, key) for key in MEASURED), "; ".join(arm.where_run)) for arm in result.arms]
    return Table(("arm, means over its seeds", *(name for name, *_ in MEASURED.values()), "where"), tuple(rows))


def _measured(arm: ArmResult, key: str) -> str:
    _, scale, form = MEASURED[key]
    value = arm.speed.get(key)
    return NONE if value is None else form.format(value / scale)


def _made(result: StudyResult) -> Iterator[str]:
    yield listed(described(result))
    yield folded("What differs between the arms, and coverage", _shown(arms_table(result)))
    for arm in result.arms:
        about = {"experiment": arm.experiment, "commit": arm.commit or NONE, "corpus": arm.corpus}
        settings = {key: study_value(arm, key) for key in arm.settings}
        yield folded(f"All settings of {arm.name}", definitions(about | settings))
    yield folded("The study's file", definitions(flat(dataclasses.asdict(result.definition))))
