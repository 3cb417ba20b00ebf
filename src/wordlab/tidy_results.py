"""All experiments and seeds as one table: a line for each model, a column for each value.

    experiment, revision, seed          which model; no revision for what lies in a folder
    params.model.dim, ...               params.yaml, and what the results say they were made with
    scores.men, ...                     values, accuracies in percent; coverage.men: percent of the set that was asked
    run.seconds, ...                    metrics/run/seed-N.json: speed, memory, versions
    fingerprints.model, ...             equal where the bytes are equal

A cell is empty where an experiment has no such value. Lists are written as JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wordlab.comparability import flat, parameters
from wordlab.errors import ArtifactError, WordlabError
from wordlab.experiments import WORKSPACE, Experiment, load_experiment, open_experiment
from wordlab.result_sources import CommitSource
from wordlab.revisions import Revision, commit_of, experiments
from wordlab.stage import say

NAMES = ("experiment", "revision", "seed")


def all_experiments(root: Path = Path()) -> list[Experiment]:
    """The commit that is checked out, the workspace where its results differ, and every DVC experiment.

    Those without results are told of and left out. Raises ArtifactError if none has any.
    """
    found: list[Experiment] = []
    head = commit_of(root, "HEAD")
    revisions = ([Revision("HEAD", head, None)] if head else []) + experiments(root)
    for revision in (None, *revisions):
        try:
            if revision:
                found.append(load_experiment(revision.name, CommitSource(root, revision), revision))
            else:
                found.append(open_experiment(WORKSPACE, root))
        except WordlabError as error:
            say(f"left out: {revision.name if revision else WORKSPACE}: {error}")
    if not found:
        raise ArtifactError("there is no experiment with results here. Run: dvc repro")
    if found[0].revision is None and any(one.fingerprints == found[0].fingerprints for one in found[1:]):
        found = found[1:]  # of HEAD, or of the experiment that was run last
    return found


def tidy_rows(experiments: Sequence[Experiment]) -> Iterator[dict[str, Any]]:
    """A mapping of column to value for every seed of every experiment."""
    for experiment in experiments:
        params = {f"params.{key}": value for key, value in parameters(experiment).items()}
        for result in experiment.results:
            yield {
                "experiment": experiment.label,
                "revision": experiment.revision.commit if experiment.revision else None,
                "seed": result["seed"],
                **params,
                "num_words": result.get("num_words"),
                **{f"scores.{name}": score["value"] for name, score in result["scores"].items()},
                **{f"coverage.{name}": score.get("coverage") for name, score in result["scores"].items()},
                **{f"run.{key}": value for key, value in flat(experiment.runs.get(result["seed"], {})).items()},
                **{f"fingerprints.{key}": value for key, value in flat(result["fingerprints"]).items()},
            }


def as_csv(experiments: Sequence[Experiment]) -> str:
    """The table as CSV (RFC 4180, UTF-8), columns of a kind side by side."""
    rows = list(tidy_rows(experiments))
    names = dict.fromkeys(name for row in rows for name in row)
    kinds = dict.fromkeys(name.partition(".")[0] for name in names)
    columns = [name for kind in kinds for name in names if name.partition(".")[0] == kind]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
