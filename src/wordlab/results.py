"""Results of all seeds: read, checked to belong together, averaged.

The seeds are those that params.yaml lists, never whatever a folder holds. All must have been scored in the same way, on
the same data, with the same configuration, and for a report each must come from the model that lies in data/train now:
a mean over anything else would look right and mean nothing.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wordlab.artifacts import fingerprint, read_json, read_manifest, sha256_file
from wordlab.errors import ArtifactError
from wordlab.evaluation import rounded
from wordlab.statistics import Spread, spread

MEASURED = ("raw_words_per_second", "seconds", "cpu_seconds", "peak_memory_bytes")
SHARED = ("arch", "objective", "config", "evaluator", "absent")
"""What all seeds' results must have in common, besides the data."""
EXPECTED = {"seed", "scores", "sections", "neighbors", "num_words", "fingerprints", *SHARED}
REMEDY = "Run: dvc repro"


def load_results(seeds: Sequence[int], metrics: Path) -> list[dict[str, Any]]:
    """metrics/seed-N.json of every seed, in order.

    Raises ArtifactError if a file is missing or damaged, or differs from the first in anything but seed and scores.
    """
    results = []
    for seed in seeds:
        path = metrics / f"seed-{seed}.json"
        result = read_json(path, REMEDY)
        if not isinstance(result, dict) or not result.keys() >= EXPECTED:
            raise ArtifactError(f"{path} is damaged: it is no result of stage evaluate. {REMEDY}")
        if result["seed"] != seed:
            raise ArtifactError(f"{path} holds the results of seed {result['seed']}. {REMEDY}")
        results.append(result)
    require_alike(results, str(metrics))
    return results


def require_fresh(results: Sequence[Mapping[str, Any]], data: Path, metrics: Path) -> None:
    """Check that each seed's file is what the last evaluation wrote, and that its model is the one in data/train now.

    Raises ArtifactError naming the stale file.
    """
    for result in results:
        seed = result["seed"]
        path = metrics / f"seed-{seed}.json"
        answers, model = data / "evaluate" / f"seed-{seed}", data / "train" / f"seed-{seed}"
        if read_manifest(answers, "evaluate").get("results") != sha256_file(path):
            raise ArtifactError(f"{path} is stale: {answers} belongs to other results. {REMEDY}")
        if result["fingerprints"]["model"] != fingerprint(read_manifest(model, "train")):
            raise ArtifactError(f"{path} is stale: {model} now holds another model. {REMEDY}")


def require_alike(results: Sequence[Mapping[str, Any]], metrics: str) -> None:
    """Check that seeds differ in nothing but seed and scores. metrics: their folder, for messages.

    Raises ArtifactError that says in what two of them differ.
    """
    first, data = results[0], ("vocabulary", "encode", "evaluation_sets")
    for other in results[1:]:
        unlike = [key for key in (*SHARED, "sentence_evaluator") if other.get(key) != first.get(key)]
        unlike += [key for key in data if other["fingerprints"].get(key) != first["fingerprints"].get(key)]
        if unlike:
            raise ArtifactError(
                f"{metrics}/seed-{first['seed']}.json and {metrics}/seed-{other['seed']}.json cannot be averaged: "
                f"they differ in {', '.join(unlike)}. Bring all seeds up to date with: dvc repro"
            )


def summarize(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | int | None]]:
    """Score name -> mean, sd, low, high, seeds, coverage: the content of metrics/summary.json."""
    return {
        name: {
            **{key: _rounded(value) for key, value in dataclasses.asdict(score_spread(results, name)).items()},
            "coverage": rounded(statistics.fmean(result["scores"][name]["coverage"] for result in results)),
        }
        for name in results[0]["scores"]
    }


def score_values(results: Iterable[Mapping[str, Any]], name: str) -> list[float | None]:
    """A score's value for every seed."""
    return [result["scores"][name]["value"] for result in results]


def score_spread(results: Iterable[Mapping[str, Any]], name: str) -> Spread:
    """A score's spread over the seeds."""
    return spread(score_values(results, name))


def _rounded(value: float | int | None) -> float | int | None:
    return rounded(value) if isinstance(value, float) else value


def load_runs(seeds: Sequence[int], metrics: Path) -> list[dict[str, Any]]:
    """metrics/run/seed-N.json, speed and provenance, of the seeds that have one."""
    paths = [metrics / "run" / f"seed-{seed}.json" for seed in seeds]
    return [read_json(path, "Run: dvc repro") for path in paths if path.exists()]


def mean_of(runs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Mean of a measurement over the runs that have it."""
    values = [run[key] for run in runs if isinstance(run.get(key), int | float)]
    return statistics.fmean(values) if values else None
