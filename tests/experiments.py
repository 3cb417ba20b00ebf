"""Finished experiments of toy size, for tests of what reads and compares them.

result_of(seed, values)            metrics/seed-N.json with these scores
make_results(folder, values)       a folder of such files, which can be compared
experiment(folder, name, scores)   such a folder, opened; `only` takes the one pair out of a comparison
make_repository(folder)            a project under git and DVC: commit `base` of three seeds, experiment `noisy` of four
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.helpers import CONFIG, environment_of, make_model_folder
from tests.project import WORDS, make_project, run_of, vectors_of
from wordlab.artifacts import sha256_file, write_json, write_manifest
from wordlab.comparison import Comparison, PairComparison
from wordlab.config import load_params
from wordlab.evaluation_run import evaluate_model
from wordlab.experiments import Experiment, open_experiment

PIPELINE = """stages:
  evaluate:
    matrix: {seed: "${seeds}"}
    cmd: echo
    outs: ["data/evaluate/seed-${item.seed}"]
    metrics:
      - metrics/seed-${item.seed}.json: {cache: false}
      - metrics/run/seed-${item.seed}.json: {cache: false}
"""


def result_of(seed: int, values: Mapping[str, float | None], **changes: Any) -> dict[str, Any]:
    """What stage evaluate writes, with these scores: in percent if above 1, else ρ. changes: other values of keys."""
    scores = {
        name: {
            "value": value,
            "unit": "percent" if name.startswith("google") else "rho",
            "coverage": 90.0,
            "answered": 90,
            "asked": 100,
        }
        for name, value in values.items()
    }
    result = {
        "seed": seed,
        "arch": "skipgram",
        "objective": "ns",
        "num_words": 13,
        "scores": scores,
        "absent": {},
        "sections": {name: {} for name in values if name == "google_analogy"},
        "config": {**CONFIG, "corpus": "toy", "evaluate": {"restrict_vocab": 30000, "rules": "wordlab"}},
        "evaluator": {"case": "ignored"},
        "fingerprints": {"model": f"m{seed}", "vocabulary": "v", "encode": "e", "evaluation_sets": "s", "sets": {}},
    }
    return {**result, **changes}


def make_results(folder: Path, values: Mapping[int, Mapping[str, float | None]], **changes: Any) -> Path:
    """Write metrics/seed-N.json for every seed; returns the folder around metrics/."""
    for seed, scores in values.items():
        write_json(folder / "metrics" / f"seed-{seed}.json", result_of(seed, scores, **changes))
    return folder


def evaluate_seeds(project: Path, seeds: tuple[int, ...]) -> None:
    """Run stage evaluate, in this process."""
    params = load_params(project / "params.yaml")
    for seed in seeds:
        sets, folders = params.download.evaluation_sets, (project / "data", project / "metrics")
        evaluate_model(seed, sets, params.evaluate, *folders)


def make_repository(folder: Path) -> dict[str, str]:
    """Write the project, commit it, and save the experiment, which is what the workspace holds in the end.

    Returns the environment in which DVC keeps to this folder.
    """
    project = make_project(folder / "project")
    evaluate_seeds(project, (1, 2, 3))
    (project / "dvc.yaml").write_text(PIPELINE)
    (project / ".gitignore").write_text("/data\n")
    environment = environment_of(folder)
    for command in ("git init -q", "dvc init -q", "dvc commit -fq", "git add .", "git commit -qm base", "git tag base"):
        subprocess.run(command.split(), cwd=project, env=environment, check=True, capture_output=True)
    change_workspace(project)
    untracked = [f"-I metrics/{name}seed-4.json" for name in ("", "run/")]
    save = f"dvc exp save --name noisy {' '.join(untracked)}"
    subprocess.run(save.split(), cwd=project, env=environment, check=True, capture_output=True)
    return environment


def change_workspace(project: Path) -> None:
    """One seed more, and other vectors for all of them."""
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("seeds: [1, 2, 3]", "seeds: [1, 2, 3, 4]")
    params.write_text(text.replace("epochs: 5", "epochs: 7"), encoding="utf-8")
    shutil.rmtree(project / "data" / "train")
    for seed in (1, 2, 3, 4):
        model = project / "data" / "train" / f"seed-{seed}"
        config = {**CONFIG, "train": {**CONFIG["train"], "epochs": 7}}
        make_model_folder(model, WORDS, vectors_of(WORDS, seed + 50), seed, config)
        write_json(project / "metrics" / "run" / f"seed-{seed}.json", run_of(seed))
    evaluate_seeds(project, (1, 2, 3, 4))


BASE = {"google_analogy": (35.9, 36.4, 35.5, 36.0, 35.7, 36.2), "men": (0.594, 0.595, 0.593, 0.596, 0.594, 0.595)}
BETTER = {"google_analogy": (38.0, 38.3, 37.4, 38.4, 37.6, 38.1), "men": (0.595, 0.594, 0.596, 0.594, 0.593, 0.595)}
"""Scores of six seeds."""


def experiment(
    folder: Path, name: str, scores: dict[str, Sequence[float | None]], seeds: Sequence[int] = (), **changes: Any
) -> Experiment:
    """Write and open the results of seeds 1, 2, ... or of `seeds`."""
    seeds = seeds or range(1, 1 + len(next(iter(scores.values()))))
    by_seed = {seed: {score: values[n] for score, values in scores.items()} for n, seed in enumerate(seeds)}
    make_results(folder / name, by_seed, **changes)
    return open_experiment(name, folder)


def only(found: Comparison) -> PairComparison:
    """The one pair that was compared."""
    assert len(found.pairs) == 1
    return found.pairs[0]


def make_answers(folder: Path, right: dict[int, Sequence[int]]) -> None:
    """data/evaluate/seed-N with these answers to analogies, 1 for a right one."""
    for seed, answers in right.items():
        answered = folder / "data" / "evaluate" / f"seed-{seed}"
        answered.mkdir(parents=True)
        lines = [f"capitals\ta{n}\tb\tc\td\t1\tx\t{one}\tx\t{one}\n" for n, one in enumerate(answers)]
        header = "section\ta\tb\tc\texpected\tasked\tadd\tadd_correct\tmul\tmul_correct\n"
        (answered / "google-analogies.tsv").write_text(header + "".join(lines))
        write_manifest(answered, "evaluate", {"results": sha256_file(folder / "metrics" / f"seed-{seed}.json")})
