"""Figures of the report, as matplotlib figures: loss curves, scores with their spread, a 2-D map of words.

Colours are Okabe and Ito's, which people with any colour vision can tell apart. Figures are as narrow as a phone
allows, so that their letters stay readable there; the map alone is wide, and the page lets it scroll.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.font_manager

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from wordlab.loss_curves import LossCurve
from wordlab.statistics import Spread
from wordlab.word_map import WordMap

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B00", "#000000")
INK, FAINT = "#1f2933", "#d5dbe1"
WIDTH_INCHES = 4.7
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa5b1",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters: sharp, searchable, small
}
CJK_FONTS = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "UnDotum", "Malgun Gothic", "Apple SD Gothic Neo")
MAP_COLORS = ("#0072B2", "#C24E00", "#007A59", "#AA4499", "#7A6200", "#332288", "#B84A5F", "#444444")
"""Darker than COLORS: letters need more contrast than lines. As many as word_map.MAP_CLUSTERS."""
MAP_POINTS = 620
"""Side of a map of up to 300 words, in points; more words get more room."""
WORD_POINTS = 7.5


@dataclass(frozen=True)
class ScoreSpread:
    """A score, as a row of the score figure."""

    label: str
    unit: str
    values: Sequence[float]
    """One for each seed."""
    spread: Spread


@contextmanager
def style() -> Iterator[None]:
    """Our look, while a figure is made and written."""
    installed = set(matplotlib.font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in CJK_FONTS if font in installed)]
    with matplotlib.rc_context({**STYLE, "font.sans-serif": fonts}), warnings.catch_warnings():
        # Without such a font the PNG shows boxes for Hangul; the SVG keeps the letters, and browsers have fonts
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def loss_figure(curves: Sequence[LossCurve]) -> Figure:
    """Loss over tokens, one line for each seed."""
    figure = Figure(figsize=(WIDTH_INCHES, 3.1), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        axes.plot(curve.tokens, curve.loss, color=color, linewidth=1.2, alpha=0.85, label=f"seed {curve.seed}")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens / 1e6:g} M"))
    axes.set_xlabel("tokens read")
    axes.set_ylabel("loss of a prediction")
    axes.grid(axis="y")
    if curves:
        axes.set_xlim(0)
        # The first steps, before anything is learned, would flatten the rest
        late = np.concatenate([curve.loss[len(curve.loss) // 50 :] for curve in curves])
        late = late[np.isfinite(late)]
        if len(late) and np.ptp(late) > 0:
            axes.set_ylim(late.min() - 0.05 * np.ptp(late), late.max() + 0.05 * np.ptp(late))
        axes.legend(ncols=min(3, len(curves)) if len(curves) <= 9 else 4)
    return figure


def score_figure(scores: Sequence[ScoreSpread]) -> Figure:
    """Mean and 95 % interval, every seed's score as a small dot below; accuracies and correlations apart."""
    units = {"percent": "accuracy, %", "rho": "rank correlation ρ"}
    panels = [(title, [score for score in scores if score.unit == unit]) for unit, title in units.items()]
    panels = [(title, rows) for title, rows in panels if rows]
    heights = [len(rows) + 1.2 for _, rows in panels] or [1.0]
    figure = Figure(figsize=(WIDTH_INCHES, 0.4 + 0.33 * sum(heights)), layout="constrained")
    if not panels:
        figure.text(0.5, 0.5, "no score to show", ha="center", va="center")
        return figure
    all_axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for number, (axes, (title, rows)) in enumerate(zip(all_axes, panels, strict=True)):
        _score_panel(axes, title, rows, COLORS[number])
    figure.align_ylabels(all_axes)
    return figure


def _score_panel(axes: Axes, title: str, rows: Sequence[ScoreSpread], color: str) -> None:
    for place, row in enumerate(rows):
        spread = row.spread
        axes.plot(row.values, [place + 0.24] * len(row.values), "o", color=color, alpha=0.45, markersize=4, mew=0)
        if spread.mean is not None and spread.low is not None and spread.high is not None:
            errors = [[spread.mean - spread.low], [spread.high - spread.mean]]
            axes.errorbar(spread.mean, place, xerr=errors, color=color, capsize=3, linewidth=1.6)
        if spread.mean is not None:
            axes.plot(spread.mean, place, "D", color=color, markersize=5.5, markeredgecolor="white")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlabel(title)
    axes.grid(axis="x")


def map_figure(drawn: WordMap) -> Figure:
    """Words on a plane, similar ones close to one another; colours are clusters of the full vectors."""
    words, places = drawn.words, np.asarray(drawn.places, np.float64)
    sizes = np.array([[WORD_POINTS * 0.62 * len(word) + 3, WORD_POINTS * 1.25] for word in words])
    side = MAP_POINTS * max(1.0, (len(words) / 300) ** 0.5)
    places = move_apart(places / (np.ptp(places, axis=0).max() or 1) * side, sizes)
    figure = Figure(figsize=(side / 72, side / 72), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim((places - sizes / 2)[:, 0].min(), (places + sizes / 2)[:, 0].max())
    axes.set_ylim((places - sizes / 2)[:, 1].min(), (places + sizes / 2)[:, 1].max())
    for word, (x, y), cluster in zip(words, places.tolist(), drawn.clusters, strict=True):
        color = MAP_COLORS[cluster % len(MAP_COLORS)]
        axes.text(x, y, word, ha="center", va="center", fontsize=WORD_POINTS, color=color, parse_math=False)
    return figure


def move_apart(places: NDArray[np.float64], sizes: NDArray[np.float64], rounds: int = 200) -> NDArray[np.float64]:
    """Push boxes that overlap away from one another, a little each round, so that words can be read.

    places, sizes: centres and (width, height), shape (N, 2).   Returns new centres.
    """
    places, reach = places.copy(), (sizes[:, None] + sizes) / 2
    for _ in range(rounds):
        apart = places[:, None] - places
        overlap = np.clip(reach - np.abs(apart), 0, None)
        overlap[np.arange(len(places)), np.arange(len(places))] = 0
        hit = overlap.min(axis=2) > 0
        if not hit.any():
            break
        # the shorter way out is nearly always up or down
        upwards = np.where(apart[..., 1] == 0, np.sign(np.subtract.outer(range(len(places)), range(len(places)))), 0)
        upwards = upwards + np.sign(apart[..., 1])
        places[:, 1] += (hit * upwards * overlap[..., 1]).sum(axis=1) / 4
    return places


def render(figure: Figure, name: str) -> Mapping[str, bytes]:
    """The figure as `svg` and `png`, the same bytes for the same figure. Call it within `style()`.

    name: keeps the ids of several figures in one page apart.
    """
    with matplotlib.rc_context({"svg.hashsalt": name}):
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return {"svg": svg.getvalue(), "png": png.getvalue()}
