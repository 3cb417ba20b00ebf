"""Experiments wherever they are: DVC experiments, git revisions, folders. One repository for the module."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments import evaluate_seeds, make_repository, make_results, result_of
from tests.helpers import CONFIG
from tests.project import make_project
from tests.test_stage_evaluate import with_sentences
from wordlab import cli
from wordlab.artifacts import write_json
from wordlab.comparability import answers_for, comparable, questions_of, rules_of
from wordlab.errors import ArtifactError, ConfigError
from wordlab.experiments import open_experiment
from wordlab.question_answers import reproduces
from wordlab.revisions import experiments
from wordlab.tidy_results import all_experiments


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("repository")
    environment = make_repository(folder)
    return folder / "project", environment


@pytest.fixture
def project(built: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The repository, entered; git status is the same afterwards."""
    root, environment = built
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(root)
    before = git("status", "--porcelain")
    yield root
    assert git("status", "--porcelain") == before


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def message(name: str) -> str:
    with pytest.raises((ArtifactError, ConfigError)) as error:
        open_experiment(name)
    return str(error.value)


def test_a_revision_an_experiment_and_the_workspace_are_read(project: Path) -> None:
    base, noisy, here = (open_experiment(name) for name in ("base", "noisy", "workspace"))
    assert (base.seeds, noisy.seeds, here.seeds) == ((1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4))
    assert noisy.fingerprints == here.fingerprints and noisy.fingerprints != base.fingerprints
    assert base.revision and base.revision.commit == git("rev-parse", "base").strip()
    assert noisy.revision and noisy.revision.base == base.revision.commit and here.revision is None
    assert here.values("men") == json_values(project, "men") == noisy.values("men")
    assert base.runs[3]["seconds"] == 13.0 and base.params["seeds"] == [1, 2, 3] and base.corpus == "enwik8"


def json_values(project: Path, score: str) -> dict[int, float]:
    paths = [project / "metrics" / f"seed-{seed}.json" for seed in (1, 2, 3, 4)]
    return {seed + 1: json.loads(path.read_text())["scores"][score]["value"] for seed, path in enumerate(paths)}


@pytest.mark.parametrize("name", ["base", "noisy", "workspace", "./metrics"])
def test_answers_give_the_scores_they_belong_to(project: Path, name: str) -> None:
    """From DVC's cache or from disk: graded anew, they come to what the results say."""
    experiment = open_experiment(name)
    for score, entry in experiment.first["scores"].items():
        file = answers_for(experiment, score, 1)
        graded = file and file.graded(score, rules_of(experiment))
        assert graded is not None
        if entry["value"] is not None:
            assert reproduces(graded, entry["value"]) and not reproduces(graded, entry["value"] * 1.01 + 0.01)
        else:
            assert graded.score() is None
    assert questions_of(experiment, "men") != questions_of(experiment, "rare_words")


def test_reading_an_experiment_checks_nothing_out(project: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in project.rglob("*") if ".dvc" not in path.parts}
    experiment = open_experiment("base")
    experiment.answers(1, "men")
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_answers_that_dvc_no_longer_has_are_named(project: Path) -> None:
    cache = project / ".dvc" / "cache"
    cache.rename(project / ".dvc" / "gone")
    try:
        with pytest.raises(ArtifactError, match=r"^base:data/evaluate/seed-2 is in neither DVC's cache nor a remote$"):
            open_experiment("base").answer_rows(2)
        assert open_experiment("base").values("men")
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (project / ".dvc" / "gone").rename(cache)


def test_answers_of_other_results_are_not_taken(project: Path) -> None:
    path = project / "metrics" / "seed-1.json"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept + b"\n")
        with pytest.raises(ArtifactError, match="data/evaluate/seed-1 belongs to other results"):
            open_experiment("workspace").answer_rows(1)
    finally:
        path.write_bytes(kept)


def test_a_changed_answer_file_is_not_taken(project: Path) -> None:
    path = project / "data" / "evaluate" / "seed-1" / "men.tsv"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept.replace(b"king", b"kong"))
        with pytest.raises(ArtifactError, match=r"men\.tsv has changed since it was written"):
            open_experiment(".").answers(1, "men")
    finally:
        path.write_bytes(kept)


def test_a_hash_and_a_branch_are_revisions(project: Path) -> None:
    commit = git("rev-parse", "base").strip()
    assert open_experiment(commit[:8]).fingerprints == open_experiment("base").fingerprints
    assert open_experiment("HEAD").fingerprints == open_experiment("base").fingerprints


def test_a_name_of_nothing_is_told_with_the_nearest_experiment(project: Path) -> None:
    assert message("nosy") == (
        "nosy is no DVC experiment, no git revision and no folder of results. Did you mean noisy? "
        "Experiments are listed by: dvc exp list --all-commits; revisions by: git log"
    )
    assert "is no DVC experiment" in message("--version")
    assert "is no DVC experiment" in message("a\0b")


def test_a_name_of_two_things_is_refused(project: Path) -> None:
    make_results(project / "data" / "x" / "noisy", {1: {"men": 0.5}})
    (project / "data" / "x" / "noisy").rename(project / "noisy")
    try:
        assert message("noisy").endswith("For the folder, write ./noisy")
        assert open_experiment("./noisy").seeds == (1,)
    finally:
        shutil.rmtree(project / "noisy")


def test_of_experiments_with_one_name_that_of_this_commit_counts(project: Path) -> None:
    noisy, base = experiments(project)[0], git("rev-parse", "base").strip()
    other = "refs/exps/" + "ab/" + "1" * 38 + "/noisy"
    git("update-ref", other, base)
    try:
        assert open_experiment("noisy").revision == noisy
        git("update-ref", f"refs/exps/{'cd'}/{'2' * 38}/noisy", noisy.commit)
        git("update-ref", "-d", f"refs/exps/{base[:2]}/{base[2:]}/noisy")
        assert message("noisy") == (
            f"there are 2 experiments named noisy: {base[:7]} (from ab11111), {noisy.commit[:7]} (from cd22222). "
            "Name one by its hash."
        )
    finally:
        git("update-ref", "-d", other)
        git("update-ref", "-d", f"refs/exps/{'cd'}/{'2' * 38}/noisy")
        git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/noisy", noisy.commit)


def test_equal_questions_are_seen_where_the_sets_differ(project: Path) -> None:
    """A set more in one of two experiments is no reason to compare none."""
    base, noisy = open_experiment("base"), open_experiment("noisy")
    base.first["fingerprints"]["evaluation_sets"] = "others"
    assert comparable(base, noisy).scores == tuple(noisy.first["scores"])
    noisy.first["fingerprints"]["sets"]["men"] = "another"
    assert comparable(base, noisy).left_out == {"men": "the set's questions differ"}
    for one in (base, noisy):  # results of earlier versions, whose answers must tell
        del one.first["fingerprints"]["sets"]
    assert comparable(base, noisy).left_out == {}
    noisy.answers(1, "men").columns["word1"][0] = "kong"
    object.__setattr__(noisy.answers(1, "men"), "questions", (("other", "question", "1"),))
    assert comparable(base, noisy).left_out == {"men": "the set's questions differ"}


def test_all_experiments_make_a_table_of_a_line_for_each_model(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["results", "--csv", "-"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = [*(("HEAD", n) for n in "123"), *(("noisy", n) for n in "1234")]
    assert [(row["experiment"], row["seed"]) for row in rows] == expected
    result = json.loads(Path("metrics/seed-2.json").read_text())
    for row in rows[4:5]:
        assert float(row["scores.men"]) == result["scores"]["men"]["value"] and row["scores.rare_words"] == ""
        assert row["coverage.men"] == "83.3333" and row["run.seconds"] == "12.0" and row["run.device"] == "cpu"
        assert row["params.train.epochs"] == "7" and row["params.run.threads"] == "0"
        assert row["fingerprints.model"] == result["fingerprints"]["model"]
        assert json.loads(row["params.seeds"]) == [1, 2, 3, 4]
    assert rows[0]["params.train.epochs"] == "1" and len(rows[0]["revision"]) == 40
    git("stash", "-q")
    try:
        assert [one.label for one in all_experiments()] == ["HEAD", "noisy"], "the workspace is what HEAD is"
    finally:
        git("stash", "pop", "-q")


def test_a_project_may_be_a_folder_of_a_repository(built: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """`dvc init --subdir`: git's paths begin at the repository, DVC's at the project."""
    project, environment = built
    inner = tmp_path / "inner"
    shutil.copytree(project, inner, ignore=shutil.ignore_patterns(".git", ".dvc"))
    commands = ("git init -q ..", "dvc init -q --subdir", "dvc commit -fq", "git add .", "git commit -qm base")
    for command in commands:
        subprocess.run(command.split(), cwd=inner, env=environment, check=True, capture_output=True)
    found = open_experiment("HEAD", inner)
    assert found.seeds == (1, 2, 3, 4) and found.answers(4, "men").questions[0] == ("king", "queen", "9")


@pytest.mark.parametrize(("rules", "unknown"), [("gensim", "wrong"), ("wordlab", "wrong"), ("word2vec", "skip")])
def test_answers_by_other_rules_give_their_scores(tmp_path: Path, rules: str, unknown: str) -> None:
    make_project(tmp_path, seeds=(1,))
    params = tmp_path / "params.yaml"
    text = params.read_text().replace("  rules: wordlab", f"  rules: {rules}")
    params.write_text(text.replace("  unknown: skip", f"  unknown: {unknown}"))
    evaluate_seeds(tmp_path, (1,))
    found = open_experiment(".", tmp_path)
    assert (rules_of(found).name, rules_of(found).unknown) == (rules, unknown)
    for score, value in ((score, found.values(score).get(1)) for score in found.first["scores"]):
        file = answers_for(found, score, 1)
        graded = file and file.graded(score, rules_of(found))
        assert graded is not None and (reproduces(graded, value) if value is not None else graded.score() is None), (
            score
        )


def test_answers_to_sentences_give_their_scores_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_project(tmp_path, seeds=(1,)))
    with_sentences(tmp_path)
    evaluate_seeds(tmp_path, (1,))
    found = open_experiment(".")
    sentences = [score for score in found.first["scores"] if score.startswith(("stsbenchmark", "msr"))]
    assert len(sentences) == 5
    for score in sentences:
        file = answers_for(found, score, 1)
        graded = file and file.graded(score)
        assert graded is not None and reproduces(graded, found.values(score)[1])


# ---- folders


def test_folders_of_results_need_no_project(tmp_path: Path) -> None:
    make_results(tmp_path / "ours", {3: {"men": 0.5}, 1: {"men": 0.6}})
    for name in ("ours", "ours/metrics"):
        found = open_experiment(name, tmp_path)
        assert found.seeds == (1, 3) and found.params == {} and found.runs == {} and found.corpus == "toy"
    with pytest.raises(ArtifactError, match="seed-1 does not exist"):
        found.answer_rows(1)
    (tmp_path / "ours" / "metrics").rename(tmp_path / "old")
    (tmp_path / "old" / "seed-1.json").write_text("{")
    with pytest.raises(ArtifactError, match=rf"^{re.escape(str(tmp_path / 'old' / 'seed-1.json'))} is damaged"):
        open_experiment("old", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"empty holds no results: neither metrics/ nor seed-N\.json"):
        open_experiment("empty", tmp_path)
    (tmp_path / "empty" / "metrics").mkdir()
    with pytest.raises(ArtifactError, match=r"empty has no results: there is no .*metrics/seed-N"):
        open_experiment("empty", tmp_path)


def test_listed_seeds_without_results_are_named(tmp_path: Path) -> None:
    make_results(tmp_path, {1: {"men": 0.5}, 2: {"men": 0.6}, 9: {"men": 0.1}})
    (tmp_path / "params.yaml").write_text("seeds: [2, 1, 5]\n")
    found = open_experiment("workspace", tmp_path)
    assert (found.seeds, found.missing) == ((2, 1), (5,))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "seed-1.json is damaged: Expecting property name"),
        ("[1]", "seed-1.json is damaged: it is no result of stage evaluate."),
        (json.dumps(result_of(2, {"men": 0.1})), "seed-1.json holds the results of seed 2."),
        (json.dumps(result_of(1, {})), "seed-1.json has no scores: no evaluation set was there."),
        (json.dumps(result_of(1, {"men": 0.1}, config={})), "is no result of stage evaluate."),
        (json.dumps(result_of(1, {"men": 0.1}, scores={"men": 0.1})), "score 'men' has no value and unit."),
        (json.dumps(result_of(1, {"men": 0.1}, config={**CONFIG, "evaluate": 1})), "is no result of stage evaluate."),
        (json.dumps(result_of(1, {"men": 0.1}, arch="\ud800")), "seed-1.json is damaged: it holds what is no text."),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "seed-1.json").write_text(content)
    with pytest.raises(ArtifactError) as error:
        open_experiment(".", tmp_path)
    assert told in str(error.value)


def test_a_value_that_is_no_number_is_none(tmp_path: Path) -> None:
    result = result_of(1, {"men": 0.1, "rg65": None})
    (tmp_path / "metrics").mkdir()
    for value in ("NaN", "1e999", "-Infinity", "true", '"1"', "9" * 400, "null"):
        text = json.dumps(result).replace('"value": 0.1', f'"value": {value}')
        (tmp_path / "metrics" / "seed-1.json").write_text(text)
        found = open_experiment(".", tmp_path)
        assert found.values("men") == found.values("rg65") == found.values("nothing") == {}


def test_seeds_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    make_results(tmp_path, {1: {"men": 0.5}, 2: {"men": 0.6}})
    write_json(tmp_path / "metrics/seed-2.json", result_of(2, {"men": 0.6}, arch="cbow"))
    with pytest.raises(ArtifactError, match="cannot be averaged: they differ in arch"):
        open_experiment(".", tmp_path)
    write_json(tmp_path / "metrics/seed-2.json", result_of(2, {"rg65": 0.6}))
    with pytest.raises(ArtifactError, match="do not have the same scores"):
        open_experiment(".", tmp_path)


@pytest.mark.parametrize("text", ["[1, 2]", "seeds: [1\n", "1: 2\n", 'a: "\\ud800"\n'])
def test_parameters_that_are_none_are_told(tmp_path: Path, text: str) -> None:
    make_results(tmp_path, {1: {"men": 0.5}})
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        open_experiment(".", tmp_path)
