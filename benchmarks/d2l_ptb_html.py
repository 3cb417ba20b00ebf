"""The page of the study d2l-ptb in HTML, docs/studies/d2l-ptb.html: one file, from the result file alone.

It says what the page in Markdown says, and shows loss curves and neighbours of all seeds, scores, a map, and all that
is known of how it was made. What the result file has not kept is said to be not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.d2l_ptb_page import ASKED, NAMES, QUESTION, Part, how_made, parts, protocol, runs_of
from wordlab import plots
from wordlab.html_page import (
    definitions,
    flat,
    folded,
    inline,
    listed,
    nothing,
    paragraph,
    row,
    section,
    table,
    whole_page,
)
from wordlab.loss_curves import LossCurve
from wordlab.reporting import format_mean, label_of
from wordlab.statistics import spread
from wordlab.study_loss_plot import panels_figure, scale_of
from wordlab.study_models import parse_map
from wordlab.tables import Table

HTML = Path("docs/studies/d2l-ptb.html")
OF_THE_BOOK = "Loss of the book's loop"
OF_OURS = "Loss of ours"
ON_SCORES = "Scores of all models, with their 95 % intervals"
ON_THE_MAP = "Frequent words on a plane"
OWN_LOSS = (
    "As our training reports it: the mean over all predictions since the point before, not over the masked ones of a "
    "centre word as the book has it. The losses that can be compared are in the table above."
)


def as_html(content: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page. figures: those of `figures_of`, by what they show."""
    return whole_page("Study: d2l-ptb", f"{QUESTION} {how_made(content)}", "".join(_sections(content, figures)))


def figures_of(content: Mapping[str, Any]) -> dict[str, bytes]:
    """What they show -> SVG, as far as the result file has it."""
    with plots.style():
        drawn = {OF_THE_BOOK: plots.loss_figure(_book_curves(content))}
        drawn[OF_THE_BOOK].axes[0].set_xlabel("centre words read")
        ours = _our_curves(content)
        if ours:
            drawn[OF_OURS] = panels_figure(ours, scale_of([curve for curves in ours.values() for curve in curves]))
        drawn[ON_SCORES] = plots.score_figure(_scores(content))
        if "map" in content:
            words = parse_map(content["map"]).drawn
            assert words is not None
            drawn[ON_THE_MAP] = plots.map_figure(words)
        return {
            name: plots.render(figure, f"d2l-{number}")["svg"] for number, (name, figure) in enumerate(drawn.items())
        }


def _book_curves(content: Mapping[str, Any]) -> list[LossCurve]:
    """Of each seed, a point an epoch."""
    curves = []
    for seed, run in zip(content["seeds"], runs_of(content)["book"], strict=True):
        tokens = np.cumsum([float(epoch["centre_words"]) for epoch in run["by_epoch"]])
        curves.append(LossCurve(int(seed), tokens, np.array([epoch["loss"] for epoch in run["by_epoch"]])))
    return curves


def _our_curves(content: Mapping[str, Any]) -> dict[str, list[LossCurve]]:
    """Of each model of ours that has any."""
    found: dict[str, list[LossCurve]] = {}
    for key, runs in runs_of(content).items():
        for seed, run in zip(content["seeds"], runs, strict=True):
            if "curve" in run:
                tokens, loss = (np.array(run["curve"][name], np.float64) for name in ("tokens", "loss"))
                found.setdefault(NAMES[key], []).append(LossCurve(int(seed), tokens, loss))
    return found


def _scores(content: Mapping[str, Any]) -> list[plots.ScoreSpread]:
    """A row for each score of each model."""
    runs = runs_of(content)
    rows = []
    for score in runs["book"][0]["scores"]:
        for key, name in NAMES.items():
            values = [run["scores"][score]["value"] for run in runs[key] if run["scores"][score]["value"] is not None]
            rows.append(plots.ScoreSpread(f"{label_of(score)}: {name}", "rho", values, spread(values)))
    return rows


def _sections(content: Mapping[str, Any], figures: Mapping[str, bytes]) -> Iterator[str]:
    losses, models, speeds, neighbors = parts(runs_of(content))
    yield f'<div class="tiles">{"".join(_tiles(content))}</div>\n'
    yield section("What was done", listed(protocol(content)))
    yield _section(losses, inline(figures[OF_THE_BOOK], OF_THE_BOOK))
    yield _section(models, inline(figures[ON_SCORES], ON_SCORES))
    yield section(OF_OURS, _figure(figures, OF_OURS), OWN_LOSS)
    yield _section(speeds, nothing("Memory was not measured."))
    yield _section(neighbors, "".join(_all_neighbors(content)))
    yield section(
        "Map of frequent words", f'<div class="map scroll">{_figure(figures, ON_THE_MAP)}</div>', _on_map(content)
    )
    yield section("How it was made", "".join(_made(content)))


def _figure(figures: Mapping[str, bytes], name: str) -> str:
    return inline(figures[name], name) if name in figures else nothing("Not there: the result file kept none.")


def _on_map(content: Mapping[str, Any]) -> str:
    if "map" not in content:
        return ""
    kept = parse_map(content["map"])
    assert kept.drawn is not None
    count = len(kept.drawn.words)
    return (
        f"The {count} most frequent words in the model of {NAMES[content['map_of']]}, seed {kept.seed}: "
        "t-SNE of the cosine distances; only who is close to whom has a meaning. Colours: clusters of the full vectors."
    )


def _section(part: Part, more: str) -> str:
    """A part of the page as it is in Markdown, and what this page has besides."""
    shown = []
    for block in part.blocks:
        if isinstance(block, Table):
            shown.append(table(block.columns, [row(cells) for cells in block.rows]))
        elif isinstance(block, tuple):
            shown.append(listed(block))
        else:
            shown.append(paragraph(block))
    return section(part.heading.replace("`", ""), "".join(shown) + more)


def _tiles(content: Mapping[str, Any]) -> Iterator[str]:
    """Loss on examples drawn anew, of every model."""
    for key, runs in runs_of(content).items():
        text = format_mean(spread([run["loss_fresh"] for run in runs]), "rho")
        yield f'<div class="tile"><b>{text}</b><span>loss on examples drawn anew, {NAMES[key]}</span></div>'


def _all_neighbors(content: Mapping[str, Any]) -> Iterator[str]:
    for key, runs in runs_of(content).items():
        lists = {f"seed {seed}": run["neighbors"][ASKED] for seed, run in zip(content["seeds"], runs, strict=True)}
        told = {seed: ", ".join(words) or "the word is not known" for seed, words in lists.items()}
        yield folded(f"All seeds, {NAMES[key]}", definitions(told))


def _made(content: Mapping[str, Any]) -> Iterator[str]:
    yield folded("Our configuration; the model of 50 epochs has no other", definitions(flat(content["ours"])))
    yield folded("Machine, versions", definitions(flat(content["machine"])))
    texts = {"text": content["text_sha256"], **content["sets"]}
    yield folded("SHA-256 of the text and of the evaluation sets", definitions(texts))
