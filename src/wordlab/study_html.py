"""A study's results as one HTML file, docs/studies/NAME.html: from its result file alone, like the page in Markdown.

It says the same and more: seeds, loss curves, neighbours, a map of words, memory, all settings of all arms, experiments
and commits. What is long is folded, since there may be 200 arms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from wordlab.comparison_sentences import NONE
from wordlab.comparison_text import differences_table, notes, title, told_first
from wordlab.html_page import chips, definitions, flat, folded, inline, listed, nothing, row, section, table, whole_page
from wordlab.reporting import format_mean, label_of
from wordlab.statistics import spread
from wordlab.study_page import AS_THEY_WERE, MEANS, arms_table, described, found_lines, scores_table, study_value
from wordlab.study_results import ArmResult, StudyResult
from wordlab.tables import Table

LOSS = (
    "Training loss of every seed: the mean over the predictions since the point before. Panels of one figure have one "
    "scale; losses of different architectures, objectives or numbers of noise words cannot be compared."
)
MEASURED = {
    "raw_words_per_second": ("M raw words/s", 1e6, "{:.2f}"),
    "seconds": ("seconds", 1, "{:,.1f}"),
    "cpu_seconds": ("CPU seconds", 1, "{:,.1f}"),
    "peak_memory_bytes": ("MiB at the peak", 2**20, "{:,.0f}"),
}


@dataclass(frozen=True)
class LossFigure:
    """Loss curves of some arms."""

    group: str
    """What tells the losses of these arms from those of others; empty where all can be compared."""
    arms: tuple[str, ...]
    svg: bytes


@dataclass(frozen=True)
class PageFigures:
    """What the page shows, as SVG."""

    scores: bytes
    losses: tuple[LossFigure, ...]
    map: bytes | None


def as_html(result: StudyResult, figures: PageFigures) -> str:
    """The page. figures: as `study_plot.page_figures` draws them."""
    seeds = result.definition.seeds
    return whole_page(
        f"Study: {result.name}",
        f"{result.definition.question} {len(result.arms)} arms, {len(seeds)} seeds each.",
        "".join(_sections(result, figures)),
    )


def _sections(result: StudyResult, figures: PageFigures) -> Iterator[str]:
    yield f'<div class="tiles">{"".join(_tiles(result))}</div>\n'
    yield section("Found", listed(found_lines(result)), " ".join(notes(result.comparison)))
    yield section("Scores", _shown(scores_table(result)), f"{MEANS} {AS_THEY_WERE}")
    yield section("Figure", inline(figures.scores, "Scores of all arms, with their 95 % intervals"))
    yield section(f"Against {result.definition.base}", "".join(_pairs(result)) or nothing("There is one arm."))
    yield section("Seed by seed", "".join(_seeds(result)))
    yield section("Loss", "".join(_losses(result, figures.losses)), LOSS)
    yield section("Nearest neighbours", "".join(_neighbors(result)))
    yield _map(result, figures.map)
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


def _losses(result: StudyResult, figures: Sequence[LossFigure]) -> Iterator[str]:
    """Figures group by group, folded where there are several; then what is not there."""
    steps = max(arm.models.steps for arm in result.arms)
    if figures and steps > 1:
        yield nothing(f"For the page each curve was thinned: a point is the mean of up to {steps} steps.")
    for group in dict.fromkeys(figure.group for figure in figures):
        shown = [figure for figure in figures if figure.group == group]
        images = "".join(inline(one.svg, f"Training loss over tokens of {', '.join(one.arms)}") for one in shown)
        count = sum(len(figure.arms) for figure in shown)
        yield images if len(figures) == 1 else folded(f"{group or 'All arms'}: {count} arm{'s' * (count > 1)}", images)
    if figures:
        yield nothing("At the last point, of all seeds:")
        yield _shown(_last_losses(result))
    yield _absent(result, "curves")


def _last_losses(result: StudyResult) -> Table:
    """Where the curves end: those of the seeds of one arm often cannot be told apart by eye."""
    rows = []
    for arm in result.arms:
        found = spread([float(curve.loss[-1]) for curve in arm.models.curves if math.isfinite(curve.loss[-1])])
        mean, low, high = (NONE if one is None else f"{one:.4f}" for one in (found.mean, found.low, found.high))
        sd = "" if found.sd is None else f" ± {found.sd:.4f}"
        rows.append((arm.name, f"{mean}{sd}", NONE if found.low is None else f"{low} to {high}"))
    return Table(("arm", "loss, mean ± sd", "95 % interval"), tuple(rows))


def _absent(result: StudyResult, what: str) -> str:
    """Which arms have nothing of a kind, or not all of it, and why."""
    reasons: dict[str, list[str]] = {}
    for arm in result.arms:
        if what in arm.models.absent:
            reasons.setdefault(arm.models.absent[what], []).append(arm.name)
    return "".join(
        nothing(f"Not there, of {'all arms' if len(names) == len(result.arms) else ', '.join(names)}: {reason}.")
        for reason, names in reasons.items()
    )


def _neighbors(result: StudyResult) -> Iterator[str]:
    """The arms below one another, word by word."""
    known = [arm for arm in result.arms if arm.models.neighbors]
    seeds = sorted({arm.models.neighbors_seed for arm in known if arm.models.neighbors_seed is not None})
    if known:
        of = ", ".join(map(str, seeds))
        yield nothing(f"In the model of seed {of}, with their cosines: seeds differ in them as arms do.")
    for word in dict.fromkeys(word for arm in known for word in arm.models.neighbors):
        lines = (chips(arm.name, arm.models.neighbors[word]) for arm in known if word in arm.models.neighbors)
        yield folded(word, f'<dl class="neighbors">{"".join(lines)}</dl>')
    yield _absent(result, "neighbors")


def _map(result: StudyResult, drawn: bytes | None) -> str:
    """Words of the base arm."""
    base, known = result.definition.base, result.base_map
    if drawn is None or known.drawn is None:
        return section("Map of frequent words", nothing(f"Not there, of {base}: {known.absent}."))
    count = len(known.drawn.words)
    hint = f"The {count} most frequent words in the model of {base}, seed {known.seed}: t-SNE of the cosine distances; "
    image = f'<div class="map scroll">{inline(drawn, f"The {count} most frequent words on a plane")}</div>'
    told = "only who is close to whom has a meaning. Colours: clusters of the full vectors."
    return section("Map of frequent words", image, hint + told)


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
    if result.origin:
        base = result.definition.base
        told = f"All parameters: those of {base}, and of the other arms but for their settings"
        yield folded(told, definitions(result.origin.parameters))
        yield folded("Rules of the evaluation", definitions(result.origin.rules))
        yield folded("Machines, versions, fingerprints", definitions(result.origin.provenance))
    yield folded("The study's file", definitions(flat(dataclasses.asdict(result.definition))))
