"""Loss curves of a study: a panel for each arm, in it a line for each seed, all panels of a figure on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from wordlab import plots
from wordlab.loss_curves import LossCurve
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
        limits = scale_of([curve for arm in groups[name] for curve in arm.models.curves])
        yield name, arms, panels_figure({arm.name: arm.models.curves for arm in arms}, limits)


def scale_of(curves: Sequence[LossCurve]) -> tuple[float, float] | None:
    """Ends of the loss axis on which all curves can be read; None where there is no room to set."""
    late = [curve.loss[-(-len(curve.loss) // EARLY) :] for curve in curves]
    values = np.concatenate(late) if late else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) == 0:
        return None
    return values.min() - EDGE * np.ptp(values), values.max() + EDGE * np.ptp(values)


def panels_figure(panels: Mapping[str, Sequence[LossCurve]], limits: tuple[float, float] | None) -> Figure:
    """A panel for each name, with a line for each of its curves. limits: of the loss axis of all panels."""
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(plots.WIDTH_INCHES, 0.75 + PANEL_INCHES * rows), layout="constrained")
    places = list(figure.subplots(rows, COLUMNS, squeeze=False, sharey=limits is not None).flat)
    seeds = sorted({curve.seed for curves in panels.values() for curve in curves})
    colors = {seed: plots.COLORS[number % len(plots.COLORS)] for number, seed in enumerate(seeds)}
    for axes, (name, curves) in zip(places, panels.items(), strict=False):
        _panel(axes, name, curves, colors)
        if limits:
            axes.set_ylim(limits)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    order = [f"seed {seed}" for seed in seeds]
    figure.legend([lines[label] for label in order], order, loc="outside upper left", ncols=4)
    figure.supxlabel("tokens read", fontsize="medium")
    figure.supylabel("loss of a prediction", fontsize="medium")
    return figure


def _panel(axes: Axes, name: str, curves: Sequence[LossCurve], colors: Mapping[int, str]) -> None:
    for curve in curves:
        color, label = colors[curve.seed], f"seed {curve.seed}"
        axes.plot(curve.tokens, curve.loss, color=color, linewidth=0.9, alpha=0.85, label=label)
    axes.set_title(name, fontsize="small")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens / 1e6:g} M"))
    axes.set_xlim(0)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelsize="small")
    axes.grid(axis="y")
