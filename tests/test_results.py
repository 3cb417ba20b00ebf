"""Results of several seeds: only what belongs together is averaged."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.project import make_project
from wordlab.artifacts import write_json
from wordlab.config import load_params
from wordlab.errors import ArtifactError
from wordlab.evaluation_run import evaluate_model
from wordlab.results import load_results, load_runs, mean_of, require_fresh, summarize
from wordlab.statistics import spread


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path, seeds=(1, 2))
    for seed in (1, 2):
        evaluate_seed(tmp_path, seed)
    return tmp_path


def evaluate_seed(project: Path, seed: int) -> dict[str, Any]:
    params = load_params(project / "params.yaml")
    return evaluate_model(seed, params.download.evaluation_sets, params.evaluate, project / "data", project / "metrics")


def edit(path: Path, change: str, value: Any) -> None:
    """Set one value in a JSON file; `change` is its path with dots."""
    tree = json.loads(path.read_text())
    *above, last = change.split(".")
    place = tree
    for key in above:
        place = place[key]
    place[last] = value
    write_json(path, tree)


def test_results_that_belong_together_are_read_in_the_order_of_the_seeds(project: Path) -> None:
    results = load_results((2, 1), project / "metrics")
    assert [result["seed"] for result in results] == [2, 1]
    require_fresh(results, project / "data", project / "metrics")


def test_a_file_of_a_seed_no_longer_listed_is_left_aside(project: Path) -> None:
    (project / "metrics" / "seed-9.json").write_text("{")
    assert [result["seed"] for result in load_results((1,), project / "metrics")] == [1]


def test_a_missing_seed_is_an_error(project: Path) -> None:
    with pytest.raises(ArtifactError) as error:
        load_results((1, 2, 7), project / "metrics")
    assert str(error.value) == f"{project}/metrics/seed-7.json is missing. Run: dvc repro"


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("seed", 5, "seed-2.json holds the results of seed 5."),
        ("arch", "cbow", "cannot be averaged: they differ in arch."),
        ("config.model.dim", 7, "cannot be averaged: they differ in config."),
        ("fingerprints.vocabulary", "0", "cannot be averaged: they differ in vocabulary."),
        ("fingerprints.evaluation_sets", "0", "cannot be averaged: they differ in evaluation_sets."),
    ],
)
def test_results_that_do_not_belong_together_are_an_error(project: Path, change: str, value: Any, message: str) -> None:
    edit(project / "metrics" / "seed-2.json", change, value)
    with pytest.raises(ArtifactError) as error:
        load_results((1, 2), project / "metrics")
    assert message in str(error.value)
    assert "dvc repro" in str(error.value)


def test_a_damaged_result_is_an_error(project: Path) -> None:
    path = project / "metrics" / "seed-1.json"
    for content, message in (("{", "is damaged: Expecting"), ("[]", "is no result of stage evaluate")):
        path.write_text(content)
        with pytest.raises(ArtifactError, match=message):
            load_results((1,), project / "metrics")


def test_an_edited_result_is_stale(project: Path) -> None:
    edit(project / "metrics" / "seed-2.json", "scores.men.value", 0.99)
    with pytest.raises(ArtifactError) as error:
        require_fresh(load_results((1, 2), project / "metrics"), project / "data", project / "metrics")
    assert str(error.value) == (
        f"{project}/metrics/seed-2.json is stale: {project}/data/evaluate/seed-2 belongs to other results. "
        "Run: dvc repro"
    )


def test_a_result_of_an_older_model_is_stale(project: Path) -> None:
    edit(project / "data" / "train" / "seed-1" / "manifest.json", "engine", {"name": "cuda"})
    with pytest.raises(
        ArtifactError, match=r"seed-1.json is stale: .*/data/train/seed-1 now holds another model\. Run"
    ):
        require_fresh(load_results((1, 2), project / "metrics"), project / "data", project / "metrics")


def test_the_summary_has_one_object_for_each_score(project: Path) -> None:
    results = load_results((1, 2), project / "metrics")
    summary = summarize(results)
    assert list(summary) == list(results[0]["scores"])
    values = spread([result["scores"]["men"]["value"] for result in results])
    assert list(summary["men"]) == ["mean", "sd", "low", "high", "seeds", "coverage"]
    assert summary["men"]["mean"] == pytest.approx(values.mean, rel=1e-5)
    assert summary["men"]["low"] == pytest.approx(values.low, rel=1e-5)
    assert (summary["men"]["seeds"], summary["men"]["coverage"]) == (2, 83.3333)


def test_one_seed_has_null_for_its_spread_and_an_unanswered_set_null_for_all(project: Path) -> None:
    summary = json.loads(json.dumps(summarize(load_results((1,), project / "metrics"))))
    nothing = {"sd": None, "low": None, "high": None}
    assert summary["google_analogy"] == {"mean": 100.0, **nothing, "seeds": 1, "coverage": 80.0}
    assert summary["rare_words"] == {"mean": None, **nothing, "seeds": 0, "coverage": 0.0}


def test_the_summary_does_not_depend_on_the_order_of_equal_seeds(project: Path) -> None:
    results = load_results((1, 2), project / "metrics")
    twice = [*results, copy.deepcopy(results[0])]
    assert summarize(twice) == summarize(twice[::-1])


def test_runs_are_read_where_they_were_recorded(project: Path) -> None:
    runs = load_runs((1, 2, 3), project / "metrics")
    assert [run["seconds"] for run in runs] == [11.0, 12.0]
    assert mean_of(runs, "seconds") == 11.5
    assert mean_of(runs, "joules") is None
