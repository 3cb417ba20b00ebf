"""Finished experiments, wherever they are: the scores of all their seeds, with parameters, speed and answers.

    name of a DVC experiment      what `dvc exp run` has kept; nothing is checked out
    git revision                  a branch, tag or hash
    folder                        a project, or its metrics/; `workspace` or `.` is the one we are in

The seeds are those that params.yaml of that revision lists. One that has no results is left out, and named.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wordlab.errors import ArtifactError, ConfigError
from wordlab.question_answers import AnswerFile, read_answers
from wordlab.result_sources import CommitSource, Source, folder_source, holds_results
from wordlab.results import require_alike
from wordlab.revisions import Revision, find_revision, unknown_revision
from wordlab.yaml_file import is_text, parse_yaml, shown

WORKSPACE = "workspace"
NEEDED = {"seed": int, "scores": dict, "sections": dict, "absent": dict, "config": dict, "evaluator": dict}
"""What results must hold to be compared, and as what."""
DESCRIBED: dict[str, dict[str, type]] = {
    "model": {"arch": str, "objective": str, "dim": int, "window": int},
    "train": {"epochs": int},
    "evaluate": {},
}
"""What a model's configuration must say for an experiment to be named by it."""
SUBWORDS = {"units", "min_n", "max_n"}
MOST_VALUES = 5000
"""Of a file of parameters."""
LARGEST = 1e9
"""No score is larger."""
AGAIN = "Bring it up to date with: dvc repro"


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment's results."""

    label: str
    """What the user calls it."""
    source: Source
    revision: Revision | None
    """None for a folder."""
    params: Mapping[str, Any]
    """Its params.yaml; empty where there is none."""
    results: tuple[Mapping[str, Any], ...]
    """metrics/seed-N.json of each seed, in the order of the seeds."""
    missing: tuple[int, ...]
    """Seeds that are listed and have no results."""
    fingerprints: Mapping[int, str]
    """Seed -> SHA-256 of its results' bytes, by which answers show that they belong to them."""
    _answers: dict[tuple[int, str], AnswerFile] = field(default_factory=dict, repr=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result["seed"] for result in self.results)

    @property
    def first(self) -> Mapping[str, Any]:
        """The first seed's results: what is the same in all of them is read here."""
        return self.results[0]

    @property
    def corpus(self) -> str:
        """Name of the corpus it was trained on."""
        return str(self.first["config"].get("corpus") or self.params.get("corpus") or "an unnamed corpus")

    def values(self, score: str) -> dict[int, float]:
        """Seed -> value of a score, for the seeds that have one."""
        found = {result["seed"]: result["scores"].get(score, {}).get("value") for result in self.results}
        return {seed: value for seed, value in found.items() if value is not None}

    @cached_property
    def runs(self) -> dict[int, dict[str, Any]]:
        """Seed -> metrics/run/seed-N.json, speed and provenance, for the seeds that have one."""
        found = {seed: _json(self.source, f"metrics/run/seed-{seed}.json") for seed in self.seeds}
        return {seed: run for seed, run in found.items() if isinstance(run, dict)}

    def answer_rows(self, seed: int) -> list[str]:
        """Catalog rows of the sets whose answers are at hand.

        Raises ArtifactError, which says why, if there are none.
        """
        return [name.removesuffix(".tsv") for name in self._answer_files(seed) if name.endswith(".tsv")]

    def answers(self, seed: int, row: str) -> AnswerFile:
        """One model's answers to a set. Raises ArtifactError if they are not at hand, or damaged."""
        if (seed, row) not in self._answers:
            path = f"data/evaluate/seed-{seed}/{row}.tsv"
            data = self.source.read_data(path)
            listed = self._answer_files(seed).get(f"{row}.tsv")
            if data is None or listed is None:
                raise ArtifactError(f"{self.source.where(path)} is not at hand")
            if not isinstance(listed, dict) or hashlib.sha256(data).hexdigest() != listed.get("sha256"):
                raise ArtifactError(f"{self.source.where(path)} has changed since it was written")
            self._answers[seed, row] = read_answers(row, data, self.source.where(path))
        return self._answers[seed, row]

    def _answer_files(self, seed: int) -> Mapping[str, Any]:
        """The files that the manifest of data/evaluate/seed-N lists."""
        folder = f"data/evaluate/seed-{seed}"
        data = self.source.read_data(f"{folder}/manifest.json")
        if data is None:
            where = "is in neither DVC's cache nor a remote" if self.revision else "does not exist"
            raise ArtifactError(f"{self.source.where(folder)} {where}")
        named = self.source.where(f"{folder}/manifest.json")
        manifest = _parsed(data, named)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise ArtifactError(f"{named} is damaged: it lists no files")
        if manifest.get("results") != self.fingerprints[seed]:
            raise ArtifactError(f"{self.source.where(folder)} belongs to other results")
        return manifest["files"]


def open_experiment(name: str, root: Path = Path()) -> Experiment:
    """The experiment that the user calls `name`. root: the project we are in.

    Raises ArtifactError if there is none, if it has no results, or results that do not belong together.
    """
    folder = root / ("." if name == WORKSPACE else name)
    revision = None if name in (WORKSPACE, ".") or "\0" in name else find_revision(root, name)
    if revision and "/" not in name and holds_results(folder):
        raise ArtifactError(f"{name} is both a folder and a git revision or experiment. For the folder, write ./{name}")
    if revision and not holds_results(folder):
        return load_experiment(name, CommitSource(root, revision), revision)
    if not _is_folder(folder):
        raise unknown_revision(root, name)
    return load_experiment(name, folder_source(folder), None)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long to be one
        return False


def load_experiment(label: str, source: Source, revision: Revision | None) -> Experiment:
    """Read an experiment's parameters and results. Raises ArtifactError as `open_experiment` does."""
    params = _params(source)
    seeds = params.get("seeds")
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds)):
        seeds = source.listed_results()
    results, fingerprints = [], {}
    for seed in seeds:
        path = f"metrics/seed-{seed}.json"
        data = source.read(path)
        if data is not None:
            results.append(_checked(_parsed(data, source.where(path)), seed, source.where(path)))
            fingerprints[seed] = hashlib.sha256(data).hexdigest()
    if not results:
        raise ArtifactError(f"{label} has no results: there is no {source.where('metrics/seed-N.json')}. {AGAIN}")
    require_alike(results, source.where("metrics"))
    if any(result["scores"].keys() != results[0]["scores"].keys() for result in results):
        raise ArtifactError(f"the seeds in {source.where('metrics')} do not have the same scores. {AGAIN}")
    missing = tuple(seed for seed in seeds if seed not in fingerprints)
    return Experiment(label, source, revision, params, tuple(results), missing, fingerprints)


def _params(source: Source) -> Mapping[str, Any]:
    data = source.read("params.yaml")
    if data is None:
        return {}
    tree = parse_yaml(data, source.where("params.yaml"), "Compare another revision.")
    if not isinstance(tree, dict) or not _is_plain(tree, MOST_VALUES):
        raise ConfigError(f"{source.where('params.yaml')} holds {shown(tree)}, not sections of parameters.")
    return tree


def _json(source: Source, path: str) -> Any:
    data = source.read(path)
    return None if data is None else _parsed(data, source.where(path))


def _parsed(data: bytes, where: str) -> Any:
    """Values of JSON; what is no finite number is none."""
    try:
        tree = json.loads(data, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where} is damaged: {error}. {AGAIN}") from None
    if not _is_plain(tree):
        raise ArtifactError(f"{where} is damaged: it holds what is no text. {AGAIN}")
    return tree


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _is_plain(tree: object, most: float = math.inf) -> bool:
    """Whether a tree has no more values than `most`, names as keys, and strings that can be written.

    It stops at `most`: a few lines of YAML can describe billions through aliases.
    """
    pending, seen = [tree], 0
    while pending and seen <= most:
        value = pending.pop()
        seen += 1
        if isinstance(value, dict):
            pending += [*value, *value.values()]
            if not all(isinstance(key, str) for key in value):
                return False
        elif isinstance(value, list | tuple | set):
            pending += value
        elif isinstance(value, str) and not is_text(value):
            return False
    return seen <= most


def _checked(result: Any, seed: int, where: str) -> dict[str, Any]:
    """One seed's results. A value that is no number is none. Raises ArtifactError if they are none."""
    good = isinstance(result, dict) and all(isinstance(result.get(key), kind) for key, kind in NEEDED.items())
    if not good or not isinstance(result.get("fingerprints"), dict) or not _says_what(result):
        raise ArtifactError(f"{where} is damaged: it is no result of stage evaluate. {AGAIN}")
    if result["seed"] != seed:
        raise ArtifactError(f"{where} holds the results of seed {result['seed']}. {AGAIN}")
    if not result["scores"]:
        raise ArtifactError(
            f"{where} has no scores: no evaluation set was there. See download.evaluation_sets. {AGAIN}"
        )
    for name, score in result["scores"].items():
        if not isinstance(score, dict) or not isinstance(score.get("unit"), str) or "value" not in score:
            raise ArtifactError(f"{where} is damaged: score {shown(name)} has no value and unit. {AGAIN}")
        for key in ("value", "coverage"):
            score[key] = _number(score.get(key))
    return result


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= LARGEST:
        return None
    return float(value)


def _says_what(result: dict[str, Any]) -> bool:
    """Whether the configuration has what describes an experiment."""
    config = result["config"]
    for name, keys in DESCRIBED.items():
        section = config.get(name, {})
        if not isinstance(section, dict) or not all(isinstance(section.get(key), kind) for key, kind in keys.items()):
            return False
    subwords = config["model"].get("subwords")
    return subwords is None or (isinstance(subwords, dict) and subwords.keys() >= SUBWORDS)
