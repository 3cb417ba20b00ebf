"""Ours against another program, as a page in Markdown and as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wordlab.comparison import Comparison
from wordlab.comparison_sentences import sentences
from wordlab.comparison_text import as_markdown, described, differences_table, means_table, notes, told_first
from wordlab.experiments import Experiment
from wordlab.html_page import definitions, flat, folded, inline, listed, row, section, table, whole_page
from wordlab.peers.programs import SEEDS
from wordlab.reporting import speed_line
from wordlab.tables import Table

NO_BENCHMARK = (
    "These are the runs as they were, whatever else the machine did, one after the other: no benchmark. `make bench` "
    "interleaves."
)


@dataclass(frozen=True)
class SpeedRatio:
    """Words per CPU second of ours, divided by theirs."""

    ratio: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval over the seeds; None with fewer than two."""


def as_page(found: Comparison, program: str, ratio: SpeedRatio | None) -> str:
    """The page in Markdown."""
    theirs, ours = found.experiments
    lines = [f"# {_title(theirs)}", "", f"Made by stage `versus`. {_alike(program)}", ""]
    lines += [f"- {line}" for line in _conditions(theirs, program)]
    lines += ["", as_markdown(found).rstrip(), "", "![Differences with 95 % intervals](differences.svg)"]
    lines += ["", "## Speed", "", *(f"- {line}" for line in (*_speeds(ours, theirs, ratio), NO_BENCHMARK))]
    return "\n".join(lines) + "\n"


def as_html(found: Comparison, program: str, ratio: SpeedRatio | None, figure: bytes) -> str:
    """The same as HTML, with every parameter and where the runs were made. figure: of the differences, as SVG."""
    theirs, ours = found.experiments
    (pair,) = found.pairs
    parts = [
        section("Found", listed(sentences(pair)), " ".join(notes(found))),
        section("Scores", _shown(means_table(found)), "Mean ± sd over the seeds, with the 95 % interval of the mean."),
        section("Differences", inline(figure, "Differences with 95 % intervals") + _shown(differences_table(pair))),
        section("Speed and memory", listed(_speeds(ours, theirs, ratio)), NO_BENCHMARK.replace("`", "")),
        section("How it was made", "".join(_made(found, program))),
    ]
    return whole_page(_title(theirs), _alike(program), f'<div class="tiles"></div>{"".join(parts)}')


def _title(theirs: Experiment) -> str:
    return f"wordlab and {next(iter(theirs.runs.values()), {}).get('engine', theirs.label)}"


def _alike(program: str) -> str:
    return (
        "Both were trained on the same encoded corpus and scored by the same evaluator; differences are ours − "
        f"{program}'s."
    )


def _conditions(theirs: Experiment, program: str) -> Iterator[str]:
    """What a reader must know of the other side."""
    yield "Each has its own learning rate and ours its blocks and damping: better tuned, a side may gain."
    yield f"A seed is, to {program}: {SEEDS[program]}. To ours: all random choices, and the same bits each time."
    threads = theirs.first["config"]["program"]["threads"]
    racing = "which race, so that none of its runs can be repeated to the bit" if threads > 1 else "which cannot race"
    yield f"{program} ran on {threads} thread{'s' if threads > 1 else ''}, {racing}."


def _speeds(ours: Experiment, theirs: Experiment, ratio: SpeedRatio | None) -> Iterator[str]:
    for side in (ours, theirs):
        yield f"{side.label}: {speed_line(list(side.runs.values()))}"
    if ratio:
        interval = "" if ratio.low is None else f" (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
        yield f"Ours reads {ratio.ratio:.2f}{interval} times as many words per CPU second."


def _shown(one: Table) -> str:
    return table(one.columns, [row(cells) for cells in one.rows])


def _made(found: Comparison, program: str) -> Iterator[str]:
    theirs, ours = found.experiments
    (pair,) = found.pairs
    lines: Sequence[str] = [*_conditions(theirs, program), *map(described, (ours, theirs)), *told_first(pair)]
    yield listed(lines)
    for side in (ours, theirs):
        yield folded(f"Configuration of {side.label}", definitions(flat(side.first["config"])))
        first = next(iter(side.runs.values()), {})
        yield folded(f"Machine and versions of {side.label}, first seed", definitions(flat(first)))
    yield folded("Rules of the evaluation", definitions(flat(ours.first["evaluator"])))
