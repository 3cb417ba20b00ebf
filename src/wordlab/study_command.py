"""What `wordlab study` does, apart from `cli` because it takes a second to import."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from wordlab.artifacts import read_json, write_atomic
from wordlab.stage import say
from wordlab.study import load_study, plain
from wordlab.study_fill import filled
from wordlab.study_html import as_html
from wordlab.study_page import PAGES, as_markdown, as_text
from wordlab.study_results import collect, read_result, result_path, write_result
from wordlab.study_run import finished, open_arms, run_missing


def run(path: Path, dry: bool) -> None:
    """Run what is missing of a study, then write its result file, page and figure. dry: only tell what is missing."""
    study = load_study(path)
    if dry:
        found = finished(study)
        for arm in study.arms:
            print(f"{'done   ' if arm.name in found else 'missing'}  {arm.experiment}")
        return
    run_missing(study)
    say(f"{study.name}: comparing {len(study.arms)} arms")
    write_result(result_path(path), collect(study, open_arms(study)))
    say(f"{result_path(path)}: all that the page is made from; commit it with the page")
    show(path, None)


def fill(path: Path, project: Path) -> None:
    """Add to a study's result file what it lacks of its models, from the experiments it names, then show it anew."""
    place = result_path(path)
    result = read_result(place)
    write_result(place, filled(read_json(place, "Run: wordlab study run"), result, project))
    say(f"{place}: filled from the experiments in {project.absolute()}; scores and comparisons are as they were")
    show(path, None)


def show(path: Path, plot: Path | None) -> None:
    """Print a study's results, and write its page and figure anew from its result file. plot: a figure of one's own."""
    from wordlab.study_plot import page_figures, require_suffix, save_figure  # matplotlib

    if plot:
        require_suffix(plot)
    result = read_result(result_path(path))
    if plain(dataclasses.asdict(result.definition)) != load_study(path).definition:
        say(f"{path} has changed since these results. To bring them up to date: wordlab study run {path}")
    page = PAGES / f"{path.stem}.md"
    figure = page.with_suffix(".svg")
    print(as_text(result), end="")
    save_figure(result, figure)
    write_atomic(page, as_markdown(result, path, figure).encode())
    write_atomic(page.with_suffix(".html"), as_html(result, page_figures(result, figure.read_bytes())).encode())
    say(f"{page}, {figure}: the page and its figure; {page.with_suffix('.html')}: all of it in one file")
    if plot:
        save_figure(result, plot)
        say(f"{plot}: the figure")
