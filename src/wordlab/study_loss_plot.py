"""Loss curves of a study: a panel for each arm, in it a line for each seed, all panels of a figure on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from wordlab import plots
from wordlab.study_results import ArmResult, StudyResult, with_like_losses

COLUMNS = 2
MOST_PANELS = 12
"""In one figure; the next is drawn for those that are left."""
PANEL_INCHES = 1.45
EARLY = 20
"""The first of so many points, before much is learned, does not count for the scale: it would flatten the rest."""
EDGE = 0.06


def loss_parts(result: StudyResult) -> Iterator[tuple[str, Sequence[ArmResult]]]:
    """For each figure the name of its group, and its arms."""
    for name, group in with_like_losses(result.arms).items():
        arms = [arm for arm in group if arm.models.curves]
        for start in range(0, len(arms), MOST_PANELS):
            yield name, arms[start : start + MOST_PANELS]


def loss_figures(result: StudyResult) -> Iterator[tuple[str, Sequence[ArmResult], Figure]]:
    """For each part its group, arms and figure. Call it within `plots.style()`."""
    groups = with_like_losses(result.arms)
    for name, arms in loss_parts(result):
        yield name, arms, _figure(arms, _limits(groups[name]))


def _limits(arms: Sequence[ArmResult]) -> tuple[float, float] | None:
    """Of the loss axis, for all panels of a group; None where there is no room to set."""
    late = [curve.loss[-(-len(curve.loss) // EARLY) :] for arm in arms for curve in arm.models.curves]
    values = np.concatenate(late) if late else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) == 0:
        return None
    return values.min() - EDGE * np.ptp(values), values.max() + EDGE * np.ptp(values)


def _figure(arms: Sequence[ArmResult], limits: tuple[float, float] | None) -> Figure:
    rows = -(-len(arms) // COLUMNS)
    figure = Figure(figsize=(plots.WIDTH_INCHES, 0.75 + PANEL_INCHES * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False, sharey=limits is not None).flat)
    seeds = sorted({curve.seed for arm in arms for curve in arm.models.curves})
    for axes, arm in zip(panels, arms, strict=False):
        _panel(axes, arm, {seed: plots.COLORS[number % len(plots.COLORS)] for number, seed in enumerate(seeds)})
        if limits:
            axes.set_ylim(limits)
    for axes in panels[len(arms) :]:
        axes.set_visible(False)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    order = [f"seed {seed}" for seed in seeds]
    figure.legend([lines[label] for label in order], order, loc="outside upper left", ncols=4)
    figure.supxlabel("tokens read", fontsize="medium")
    figure.supylabel("loss of a prediction", fontsize="medium")
    return figure


def _panel(axes: Axes, arm: ArmResult, colors: dict[int, str]) -> None:
    for curve in arm.models.curves:
        color, label = colors[curve.seed], f"seed {curve.seed}"
        axes.plot(curve.tokens, curve.loss, color=color, linewidth=0.9, alpha=0.85, label=label)
    axes.set_title(arm.name, fontsize="small")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens / 1e6:g} M"))
    axes.set_xlim(0)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelsize="small")
    axes.grid(axis="y")
