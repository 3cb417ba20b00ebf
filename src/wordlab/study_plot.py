"""A study as a figure: every arm's mean with its 95 % interval, along a parameter, or side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wordlab import plots
from wordlab.artifacts import write_atomic
from wordlab.comparison_plot import require_suffix
from wordlab.reporting import label_of
from wordlab.study import level_name
from wordlab.study_html import LossFigure, PageFigures
from wordlab.study_loss_plot import loss_figures
from wordlab.study_results import ArmResult, StudyResult

UNITS = {"percent": "%", "rho": "ρ", "r": "r", "distance": "distance"}
PANEL_INCHES = 2.6
ROW_INCHES = 0.24
WIDE = 3
"""The largest of a parameter's values is so many times the smallest: the axis is logarithmic."""


def save_figure(result: StudyResult, path: Path) -> None:
    """Write the figure as .svg or .png; the same bytes for the same result."""
    require_suffix(path)
    with plots.style():
        drawn = plots.render(study_figure(result), f"study-{result.name}")
    write_atomic(path, drawn[path.suffix.lower().removeprefix(".")])


def page_figures(result: StudyResult, scores: bytes) -> PageFigures:
    """All figures of the page in HTML. scores: the study's figure, as it lies beside the page."""
    with plots.style():
        losses = tuple(
            LossFigure(group, tuple(arm.name for arm in arms), _svg(figure, f"loss-{result.name}-{number}"))
            for number, (group, arms, figure) in enumerate(loss_figures(result))
        )
        drawn = result.base_map.drawn
        return PageFigures(scores, losses, _svg(plots.map_figure(drawn), f"map-{result.name}") if drawn else None)


def _svg(figure: Figure, name: str) -> bytes:
    return plots.render(figure, name)["svg"]


def study_figure(result: StudyResult) -> Figure:
    """A panel for each score. With `x`, lines over that parameter; else a row for each arm."""
    x, scores = result.definition.x, list(result.units.items())
    high = PANEL_INCHES if x else 0.7 + ROW_INCHES * len(result.arms)
    figure = Figure(figsize=(plots.WIDTH_INCHES, 0.6 * bool(x) + high * len(scores)), layout="constrained")
    all_axes = figure.subplots(len(scores), squeeze=False)[:, 0]
    for axes, (score, unit) in zip(all_axes, scores, strict=True):
        title = f"{label_of(score)}, {UNITS.get(unit, unit)}"
        if x:
            _lines(axes, result, score, x)
            axes.set_ylabel(title)
        else:
            _rows(axes, result, score)
            axes.set_xlabel(title)
    if x:
        all_axes[-1].set_xlabel(x)
        handles, labels = all_axes[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure


def _rows(axes: Axes, result: StudyResult, score: str) -> None:
    """Mean and interval of each arm, every seed as a small dot; a line at the base arm's mean."""
    for place, arm in enumerate(result.arms):
        color = plots.COLORS[1 if arm.name == result.definition.base else 0]
        values, spread = list(arm.scores.get(score, {}).values()), arm.spread(score)
        axes.plot(values, [place + 0.25] * len(values), ".", color=color, markersize=3, alpha=0.6)
        if spread.low is not None and spread.high is not None:
            axes.plot([spread.low, spread.high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
        if spread.mean is not None:
            axes.plot(spread.mean, place, "D", color=color, markersize=5, markeredgecolor="white")
            if arm.name == result.definition.base:
                axes.axvline(spread.mean, color=plots.INK, linewidth=0.7, zorder=0)
    axes.set_yticks(range(len(result.arms)), [arm.name for arm in result.arms])
    axes.set_ylim(len(result.arms) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _lines(axes: Axes, result: StudyResult, score: str, x: str) -> None:
    """A line for all arms that differ in `x` alone, with intervals."""
    for number, (name, arms) in enumerate(_series(result, x).items()):
        color = plots.COLORS[number % len(plots.COLORS)]
        points = [(float(arm.settings[x]), arm.spread(score)) for arm in arms]
        means = [(place, spread.mean) for place, spread in points if spread.mean is not None]
        axes.plot(
            [place for place, _ in means], [mean for _, mean in means], "o-", color=color, markersize=4, label=name
        )
        for place, spread in points:
            if spread.low is not None and spread.high is not None:
                axes.plot([place, place], [spread.low, spread.high], color=color, linewidth=1.6, alpha=0.7)
    places = sorted({float(arm.settings[x]) for arm in result.arms})
    if places[0] > 0 and places[-1] >= WIDE * places[0]:
        axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()
    axes.grid(axis="y")


def _series(result: StudyResult, x: str) -> dict[str, Sequence[ArmResult]]:
    """Arms that differ in `x` alone, sorted along it, by the values of what else differs between arms."""
    keys = dict.fromkeys(key for arm in result.arms for key in arm.settings if key != x)
    varying = [key for key in keys if len({str(arm.settings.get(key)) for arm in result.arms}) > 1]
    found: dict[str, list[ArmResult]] = {}
    for arm in result.arms:
        name = ", ".join(level_name(key, arm.settings[key]) for key in varying if key in arm.settings)
        found.setdefault(name or x, []).append(arm)
    return {name: sorted(arms, key=lambda arm: float(arm.settings[x])) for name, arms in found.items()}
