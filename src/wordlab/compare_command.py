"""What `wordlab compare` and `wordlab results --csv` do, apart from `cli` because it takes a second to import."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from wordlab.artifacts import write_atomic
from wordlab.comparison import compare
from wordlab.comparison_json import as_json
from wordlab.comparison_text import as_markdown, as_text
from wordlab.experiments import open_experiment
from wordlab.stage import say
from wordlab.tidy_results import all_experiments, as_csv


def print_comparison(
    names: Sequence[str], all_pairs: bool, scores: Sequence[str] | None, form: str, plot: Path | None
) -> None:
    """Compare experiments by name and print what comes out. form: text, markdown or json."""
    if plot:
        from wordlab.comparison_plot import require_suffix, save_figure  # matplotlib

        require_suffix(plot)
    found = compare([open_experiment(name) for name in names], all_pairs, scores)
    if form == "json":
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(as_markdown(found) if form == "markdown" else as_text(found), end="")
    if plot:
        save_figure(found, plot)
        say(f"{plot}: the differences with their intervals")


def write_csv(names: Sequence[str], output: str) -> None:
    """Write one line for each seed of these experiments, or of all. output: a file, or - for standard output."""
    experiments = [open_experiment(name) for name in names] or all_experiments()
    text = as_csv(experiments)
    if output == "-":
        sys.stdout.write(text)
        return
    write_atomic(Path(output), text.encode())
    seeds = sum(len(experiment.results) for experiment in experiments)
    say(f"{output}: {seeds} models of {len(experiments)} experiments")
