"""data/report/: a page to read, the same table as Markdown, and the figures as files.

The page is one file: style and figures are inside it, nothing is fetched when it is opened, and it is as readable on
a phone as in a paper's appendix. Unlike metrics/, it also tells speed and provenance, so its bytes differ from run to
run.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from wordlab import plots
from wordlab.artifacts import output_folder, write_json, write_manifest
from wordlab.embeddings import Embeddings, unit_rows
from wordlab.errors import ArtifactError
from wordlab.html_page import chips, definitions, flat, inline, nothing, row, table, whole_page
from wordlab.loss_curves import LossCurve, parse_curve
from wordlab.reporting import (
    capitalized,
    format_mean,
    headline,
    label_of,
    markdown_table,
    score_rows,
    speed_line,
)
from wordlab.results import (
    MEASURED,
    load_results,
    load_runs,
    mean_of,
    require_fresh,
    score_spread,
    score_values,
    summarize,
)
from wordlab.statistics import spread
from wordlab.word_map import map_of

TEMPLATE = Path(__file__).with_name("report.html")
HEADLINE_SCORES = 3
"""Scores shown in large figures at the top: the first one of each of so many sets."""


def write_report(
    seeds: Sequence[int],
    corpus: str,
    map_words: int,
    data: Path,
    metrics: Path,
    others: Mapping[str, Any] | None = None,
) -> None:
    """Write metrics/summary.json and data/report/ from the results of `seeds`.

    map_words: words in the 2-D map, the most frequent ones of the first seed's model.
    others: sections of params.yaml that the results themselves do not hold, to be shown with those that they do.
    Raises ArtifactError if a seed's results are missing, stale, or not comparable with the first one's.
    """
    results = load_results(seeds, metrics)
    require_fresh(results, data, metrics)
    runs = load_runs(seeds, metrics)
    figures = _figures(results, data, metrics, map_words)
    with output_folder(data / "report") as building:
        for name, files in figures.items():
            for kind, content in files.items():
                (building / f"{name}.{kind}").write_bytes(content)
        (building / "results.md").write_text(markdown_table(results, runs, corpus), encoding="utf-8")
        (building / "index.html").write_text(page(results, runs, corpus, figures, others or {}), encoding="utf-8")
        write_json(metrics / "summary.json", summarize(results))
        write_manifest(building, "report", {"seeds": list(seeds)})


def read_curve(seed: int, path: Path) -> LossCurve:
    """metrics/curves/seed-N.tsv -> LossCurve. Raises ArtifactError if the file is damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. Run: dvc repro") from None
    return parse_curve(seed, data, str(path))


def _figures(
    results: Sequence[Mapping[str, Any]], data: Path, metrics: Path, map_words: int
) -> dict[str, Mapping[str, bytes]]:
    """Name -> the figure as SVG and PNG. A run without loss curves has no such figure."""
    seeds = [result["seed"] for result in results]
    paths = {seed: metrics / "curves" / f"seed-{seed}.tsv" for seed in seeds}
    curves = [read_curve(seed, path) for seed, path in paths.items() if path.exists()]
    embeddings = Embeddings.load(data / "train" / f"seed-{seeds[0]}", mmap=True)
    frequent = embeddings.words[:map_words]
    with plots.style():
        drawn = {"scores": plots.score_figure(_score_spreads(results))}
        if curves:
            drawn["loss"] = plots.loss_figure(curves)
        drawn["map"] = plots.map_figure(map_of(frequent, unit_rows(embeddings.input_vectors[: len(frequent)])))
        return {name: plots.render(figure, name) for name, figure in drawn.items()}


def _score_spreads(results: Sequence[Mapping[str, Any]]) -> list[plots.ScoreSpread]:
    """The scores that have a value."""
    rows = []
    for name, score in results[0]["scores"].items():
        values = [value for value in score_values(results, name) if value is not None]
        if values:
            rows.append(plots.ScoreSpread(label_of(name), score["unit"], values, spread(values)))
    return rows


def page(
    results: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    corpus: str,
    figures: Mapping[str, Mapping[str, bytes]],
    others: Mapping[str, Any],
) -> str:
    """The page as HTML. others: as of `write_report`."""
    first = results[0]
    main = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        tiles=_tiles(results, runs),
        results=_results_table(results),
        seeds_note=_seeds_note(len(results)),
        scores_figure=_figure(figures, "scores", "Scores with their spread over seeds"),
        sections="".join(_section_table(results, name) for name in first["sections"]) or nothing("No analogy set."),
        loss_figure=_figure(figures, "loss", "Training loss over tokens"),
        map_figure=_figure(figures, "map", "The most frequent words on a plane"),
        map_seed=first["seed"],
        neighbors=_neighbors(first),
        speed=_speed_table(runs),
        configuration=definitions(_configuration(first, others)),
        evaluator=definitions(first["evaluator"] | first.get("sentence_evaluator", {})),
        provenance=definitions({**_provenance(runs), **flat({"fingerprint": first["fingerprints"]})}),
    )
    return whole_page(f"{first['arch']} on {corpus}", headline(results, corpus), main)


def _configuration(first: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, str]:
    """Every parameter by its name with dots; what the results hold counts more than params.yaml."""
    values = dict(sorted((flat(others) | flat(first["config"])).items()))
    return {**values, "vocabulary": f"{first['num_words']:,} words"}


def _tiles(results: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> str:
    """The main score of the first sets, and the speed, in large figures."""
    chosen: list[str] = []
    for name in results[0]["scores"]:
        if len(chosen) < HEADLINE_SCORES and not any(name.startswith(taken) for taken in chosen):
            chosen.append(name)
    tiles = [
        (label_of(name), format_mean(score_spread(results, name), results[0]["scores"][name]["unit"]))
        for name in chosen
    ]
    words = mean_of(runs, "raw_words_per_second")
    if words is not None:
        tiles.append(("Training", f"{words / 1e6:.1f} M words/s"))
    return "".join(
        f'<div class="tile"><b>{escape(text)}</b><span>{escape(label)}</span></div>' for label, text in tiles
    )


def _seeds_note(count: int) -> str:
    if count == 1:
        return "One seed: there is no spread to report. List three or more under <code>seeds</code> in params.yaml."
    return (
        f"Mean ± sample standard deviation over {count} seeds, with the 95 % t interval of the mean. "
        "Accuracies and coverage are in percent, correlations are Spearman’s ρ."
    )


def _results_table(results: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for score in score_rows(results):
        if score.note:
            lines.append(
                f'<tr><td>{escape(score.label)}</td><td colspan="3" class="note">{escape(score.note)}</td></tr>'
            )
        else:
            lines.append(row([score.label, score.mean, score.interval, score.coverage]))
    return table(["score", "mean ± sd", "95 % interval", "coverage"], lines)


def _section_table(results: Sequence[Mapping[str, Any]], name: str) -> str:
    """Both methods' accuracy in every section of a set, with a bar as long as the mean."""
    lines = []
    for section, asked in results[0]["sections"][name].items():
        add, mul = (
            spread([result["sections"][name][section][method] for result in results]) for method in ("add", "mul")
        )
        bar = f'<i class="bar" style="width:{add.mean or 0:.1f}%"></i>'
        coverage = f"{asked['coverage']:.1f} %"
        cells = [f"{escape(section)}{bar}", format_mean(add, "percent"), format_mean(mul, "percent"), coverage]
        lines.append(row(cells, raw={0}, total=section in ("semantic", "syntactic", "total")))
    return f"<h3>{escape(label_of(name))}</h3>{table(['section', '3CosAdd', '3CosMul', 'coverage'], lines)}"


def _neighbors(result: Mapping[str, Any]) -> str:
    lines = [chips(word, nearest) for word, nearest in result["neighbors"].items()]
    return f'<dl class="neighbors">{"".join(lines)}</dl>' if lines else nothing("No word is listed.")


def _speed_table(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return nothing(f"{capitalized(speed_line(runs))}.")
    names = ("raw words/s", "seconds", "CPU seconds", "peak memory")
    scales = ((1e6, "{:.2f} M"), (1, "{:,.1f}"), (1, "{:,.1f}"), (2**20, "{:,.0f} MiB"))
    lines = []
    for name, key, (scale, form) in zip(names, MEASURED, scales, strict=True):
        values = [run[key] / scale for run in runs if isinstance(run.get(key), int | float)]
        texts = (
            [form.format(value) for value in (statistics.fmean(values), min(values), max(values))] if values else ["–"]
        )
        lines.append(row([name, texts[0], " to ".join(texts[1:]) if len(values) > 1 else ""]))
    return table(["training a seed", "mean", "range"], lines)


def _provenance(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What differs from machine to machine: all values found, over the seeds."""
    told = [flat({key: value for key, value in run.items() if key not in MEASURED}) for run in runs]
    keys = dict.fromkeys(key for run in told for key in run)
    return {key: ", ".join(dict.fromkeys(run[key] for run in told if key in run)) for key in keys}


def _figure(figures: Mapping[str, Mapping[str, bytes]], name: str, description: str) -> str:
    return inline(figures[name]["svg"], description) if name in figures else nothing("Nothing was recorded.")
