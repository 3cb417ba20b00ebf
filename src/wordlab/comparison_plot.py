"""A comparison as a figure: every score's difference with its intervals, and a line at zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wordlab import plots
from wordlab.artifacts import write_atomic
from wordlab.comparison import Comparison, ScoreDifference
from wordlab.errors import ConfigError
from wordlab.reporting import label_of

UNITS = {
    "percent": "difference in points of accuracy",
    "rho": "difference in ρ",
    "r": "difference in Pearson's r",
    "distance": "difference in distance; less is better",
}
SUFFIXES = (".svg", ".png")
ROW_INCHES = 0.33
ASIDE = 0.6
"""Part of a row that the differences of several pairs are spread over."""


@dataclass(frozen=True)
class _Row:
    """A score, with one difference for each pair of experiments that has it."""

    label: str
    differences: Sequence[tuple[int, float, ScoreDifference]]
    """Number of the pair, its difference, and all about it."""


def require_suffix(path: Path) -> None:
    """Raises ConfigError for a file that is neither .svg nor .png, before anything is computed for it."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} has no suffix that a figure can have. Name it {' or '.join(SUFFIXES)}.")


def save_figure(found: Comparison, path: Path) -> None:
    """Write the figure as .svg or .png; the same bytes for the same comparison."""
    require_suffix(path)
    with plots.style():
        drawn = plots.render(difference_figure(found), "comparison")
    write_atomic(path, drawn[path.suffix.lower().removeprefix(".")])


def difference_figure(found: Comparison) -> Figure:
    """Thick: the 95 % interval over seeds; thin, below it: over seeds and questions. Accuracies and ρ apart."""
    panels = [(title, rows) for unit, title in UNITS.items() if (rows := _rows(found, unit))]
    high = [ROW_INCHES * len(rows) * max(1.0, 0.6 * len(found.pairs)) + 0.6 for _, rows in panels] or [1.0]
    figure = Figure(figsize=(plots.WIDTH_INCHES, 0.5 + 0.2 * len(found.pairs) + sum(high)), layout="constrained")
    if not panels:
        figure.text(0.5, 0.5, "no difference to show", ha="center", va="center")
        return figure
    all_axes = figure.subplots(len(panels), squeeze=False, height_ratios=high)[:, 0]
    for axes, (title, rows) in zip(all_axes, panels, strict=True):
        _panel(axes, title, rows, len(found.pairs))
    names = [f"{pair.other} − {pair.base}" for pair in found.pairs]
    handles = [
        all_axes[0].plot([], [], "D", color=plots.COLORS[number % len(plots.COLORS)], markersize=5)[0]
        for number in range(len(names))
    ]
    figure.legend(handles, names, loc="outside upper left", ncols=1)
    figure.align_ylabels(all_axes)
    return figure


def _rows(found: Comparison, unit: str) -> list[_Row]:
    by_score: dict[str, list[tuple[int, float, ScoreDifference]]] = {}
    for number, pair in enumerate(found.pairs):
        for one in pair.scores:
            if one.difference is not None and one.unit == unit:
                by_score.setdefault(one.score, []).append((number, one.difference, one))
    return [_Row(label_of(score), differences) for score, differences in by_score.items()]


def _panel(axes: Axes, title: str, rows: Sequence[_Row], pairs: int) -> None:
    axes.axvline(0, color=plots.INK, linewidth=0.9)
    for place, row in enumerate(rows):
        for number, difference, one in row.differences:
            height, color = place + ASIDE * ((number + 0.5) / pairs - 0.5), plots.COLORS[number % len(plots.COLORS)]
            _intervals(axes, one, height, ASIDE / pairs / 3, color)
            axes.plot(difference, height, "D", color=color, markersize=5, markeredgecolor="white")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlabel(title, x=1, horizontalalignment="right")  # scores with long names leave little room to the left
    axes.grid(axis="x")


def _intervals(axes: Axes, one: ScoreDifference, height: float, below: float, color: str) -> None:
    if one.t is not None:
        axes.plot([one.t.low, one.t.high], [height, height], color=color, linewidth=2.2, solid_capstyle="butt")
    if one.questions is not None:
        ends = [one.questions.low, one.questions.high]
        axes.plot(ends, [height + below, height + below], color=color, linewidth=0.9, alpha=0.8)
