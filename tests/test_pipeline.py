"""The whole pipeline under DVC, on a small text: what re-runs, experiments, kills, bad input.

One project for the module, since the first `dvc repro` compiles the kernels; each test gets it as that left it.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline_project import PARTS, Project, environment, shrink, write_corpus
from wordlab.artifacts import sha256_file

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


GOES_ON = "going on from the checkpoint at "
EARLIER = ("cbow", "temporary", "three", "four", "resumed-temp", "resumed-queue")
"""Experiments of other tests."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after its first `dvc repro`, committed."""
    base = tmp_path_factory.mktemp("pipeline")
    root = base / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("needs a git checkout, to know which files belong to the repository")
    for name in listed.stdout.splitlines():
        if name.startswith(PARTS) and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    project = Project(root, environment(base))
    write_corpus(root / "own.txt", seed=1)
    shrink(project)
    project.run("git", "init", "--quiet")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "-m", "start")
    project.dvc("repro")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "-m", "base")
    project.run("git", "tag", "base")
    return project


@pytest.fixture
def refusing(built: Project) -> Iterator[Project]:
    """The project as its first run left it, for tests after which its data must be the same still."""
    before = built.bytes_of_results()
    yield built
    assert built.bytes_of_results() == before
    built.run("git", "reset", "--quiet", "--hard", "base")


@pytest.fixture
def project(built: Project) -> Iterator[Project]:
    """The project as its first run left it."""
    yield built
    built.run("git", "reset", "--quiet", "--hard", "base")
    write_corpus(built.root / "own.txt", seed=1)
    built.dvc("checkout", "--quiet", "--force")


def summary(root: Path) -> dict[str, Any]:
    return json.loads((root / "metrics/summary.json").read_text())


def test_the_first_run_leaves_models_scores_and_a_report(project: Project) -> None:
    for path in ("data/train/seed-2/input_vectors.npy", "data/report/index.html", "metrics/curves/seed-1.tsv"):
        assert (project.root / path).is_file()
    scores = summary(project.root)
    assert scores["wordsim353"]["seeds"] == 2 and scores["wordsim353"]["sd"] > 0
    assert "men" not in scores
    assert "none of its" in json.loads((project.root / "metrics/seed-1.json").read_text())["absent"]["men"]
    assert project.run("git", "status", "--porcelain") == ""


def test_a_second_run_does_nothing_and_changes_no_file_in_git(project: Project) -> None:
    started = time.monotonic()
    assert "Data and pipelines are up to date." in project.dvc("repro")
    assert time.monotonic() - started < 15  # about 1.5 s on a quiet machine
    assert project.run("git", "status", "--porcelain") == ""


def test_another_learning_rate_runs_nothing_before_train(project: Project) -> None:
    project.set("train.lr.skipgram", 0.04)
    assert project.repro("train") == ["train@1", "train@2"]


def test_a_seed_more_trains_only_that_seed(project: Project) -> None:
    project.set("seeds", [1, 2, 3])
    assert project.repro() == ["train@3", "evaluate@3", "report"]
    assert summary(project.root)["wordsim353"]["seeds"] == 3


def test_subsampling_trains_again_but_encodes_nothing_anew(project: Project) -> None:
    project.set("vocab.subsample_t", 0.002)
    assert project.repro("train") == ["vocab", "train@1", "train@2"]


def test_another_min_count_tokenizes_nothing_anew(project: Project) -> None:
    project.set("vocab.min_count", 100)
    assert project.repro("encode") == ["vocab", "encode"]


def test_phrases_are_found_and_joined_without_tokenizing_anew(project: Project) -> None:
    project.set("vocab.phrases.thresholds", [1e9])
    assert project.repro("encode") == ["vocab"]  # none is found, so the words are as before
    project.set("vocab.phrases.thresholds", [1.05, 1.05])
    assert project.repro("encode") == ["vocab", "encode"]
    assert "_" in (project.root / "data/vocab/vocab.tsv").read_text()
    assert json.loads((project.root / "data/encode/manifest.json").read_text())["joined_tokens"] > 0


def test_an_edited_corpus_is_tokenized_again(project: Project) -> None:
    with (project.root / "own.txt").open("a") as file:
        file.write("tiger tiger burning bright.\n")
    assert project.repro("vocab") == ["download", "tokenize", "vocab"]
    assert "burning" in (project.root / "data/vocab/vocab.tsv").read_text()


def test_a_damaged_output_is_noticed_and_made_good(project: Project) -> None:
    shard = project.root / "data/encode/ids-00000.arrow"
    before = shard.read_bytes()
    shard.unlink()  # a new file: the old one is linked with the cache
    shard.write_bytes(before[:-100])
    assert project.repro("encode") == ["encode"]
    assert shard.read_bytes() == before


def test_threads_and_workers_change_no_byte(project: Project) -> None:
    before = project.bytes_of_results()
    project.set("run.threads", 2)
    project.set("run.workers", 2)
    assert "up to date" in project.dvc("repro")
    assert project.repro("--force", "--single-item", "tokenize", "train@1") == ["tokenize", "train@1"]
    assert project.bytes_of_results() == before
    assert json.loads((project.root / "metrics/run/seed-1.json").read_text())["threads"] == 2


@pytest.mark.parametrize(("shell", "epochs"), [("/bin/sh", 12000), ("/bin/bash", 12001)])
def test_a_killed_training_goes_on_to_the_bytes_it_would_have_had(project: Project, shell: str, epochs: int) -> None:
    """With either shell between DVC and the stage; DVC takes the one that SHELL names, or /bin/sh.

    DVC gets the SIGKILL; its stage then gets a SIGTERM, leaves a checkpoint and ends without an output.
    """
    if not Path(shell).exists():
        pytest.skip(f"needs {shell}")
    project.set("train.epochs", epochs)  # some seconds
    model, curve = project.root / "data/train/seed-1", project.root / "metrics/curves/seed-1.tsv"
    log = project.root.parent / "killed.txt"
    environment = project.environment | {"SHELL": shell}
    with log.open("w") as output:
        running = subprocess.Popen(
            ["dvc", "repro", "train@1"], cwd=project.root, env=environment, stdout=output, stderr=output
        )
        begun = "train seed 1: "
        wait_for("the training has begun", lambda: begun in log.read_text() or running.poll() is not None)
        time.sleep(0.3)
        assert running.poll() is None, log.read_text()
        running.kill()
        running.wait()
    said = "stopped by SIGTERM at "
    wait_for("the stage has ended with DVC", lambda: said in log.read_text() and not processes_in(project.root))
    assert not model.exists()
    assert GOES_ON in project.dvc("repro", "train@1")
    after_kill = [sha256_file(file) for file in [*sorted(model.iterdir()), curve]]
    assert list((project.root / ".wordlab/checkpoints").iterdir()) == []
    text = project.dvc("repro", "--force", "--single-item", "train@1")
    assert GOES_ON not in text
    assert [sha256_file(file) for file in [*sorted(model.iterdir()), curve]] == after_kill


def wait_for(what: str, done: Callable[[], bool], pause_seconds: float = 0.1) -> None:
    limit_seconds = 480.0
    until = time.monotonic() + limit_seconds
    while not done():
        assert time.monotonic() < until, f"waited {limit_seconds} s until {what}"
        time.sleep(pause_seconds)


def processes_in(folder: Path) -> list[int]:
    """Stages that run in this folder or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder) and b"stages." in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_stages_import_the_code_beside_them(project: Project) -> None:
    """Also where another wordlab is installed: experiments run in copies of the project."""
    where = project.run("python", "-c", "import stages, wordlab; print(wordlab.__file__)").strip()
    assert Path(where) == project.root / "src/wordlab/__init__.py"


def test_an_experiment_is_compared_with_the_last_commit(project: Project) -> None:
    project.dvc("exp", "run", "--name", "cbow", "-S", "model.arch=cbow")
    params = project.dvc("params", "diff")
    assert "model.arch" in params and "skipgram" in params and "cbow" in params
    metrics = json.loads(project.dvc("metrics", "diff", "--json", "--targets", "metrics/summary.json"))
    assert metrics["metrics/summary.json"]["wordsim353.mean"]["diff"] != 0
    for command, revisions in ((["show"], ["workspace"]), (["diff", "base"], ["workspace", "base"])):
        told = project.dvc("plots", *command)
        page = (project.root / "dvc_plots/index.html").read_text(encoding="utf-8")
        assert "training loss, seed 1" in page and "training loss, seed 2" in page, told
        assert all(f'"{revision}"' in page for revision in revisions), command
        shutil.rmtree(project.root / "dvc_plots")
    rows = shown_experiments(project)
    assert rows["cbow"]["model.arch"] == "cbow" and rows["cbow"]["wordsim353.mean"]


def shown_experiments(project: Project) -> dict[str, dict[str, str]]:
    """`dvc exp show`: name of an experiment -> its row."""
    rows = csv.DictReader(project.dvc("exp", "show", "--csv").splitlines())
    return {row["Experiment"]: row for row in rows if row["Experiment"]}


def test_an_experiment_in_a_temporary_copy_leaves_the_workspace_alone(project: Project) -> None:
    before = project.bytes_of_results()
    experiment = ("--name", "temporary", "-S", "model.arch=cbow", "-S", "report.map_words=11")
    assert "Running stage 'report'" in project.dvc("exp", "run", "--temp", *experiment)
    assert project.run("git", "status", "--porcelain") == ""
    assert project.bytes_of_results() == before
    metrics = project.dvc("metrics", "diff", "base", "temporary", "--targets", "metrics/summary.json")
    assert "wordsim353.mean" in metrics
    source = f"PYTHONPATH={project.root / 'src'}"
    found = project.run("env", source, "python", "-m", "wordlab.cli", "compare", "base", "temporary", "--json")
    pair = json.loads(found)["pairs"][0]
    assert pair["changed"] == [{"parameter": "model.arch", "base": "skipgram", "other": "cbow"}]
    assert pair["scores"] and all(one["no_questions"] == "" for one in pair["scores"]), "DVC's cache has the answers"
    assert project.run("git", "status", "--porcelain") == ""


QUEUED = (("skipgram", "2"), ("cbow", "2"), ("cbow", "1"))
"""model.arch and model.window. Three, since a worker reserves a second experiment while it runs one."""


def test_a_queue_with_two_workers_gives_each_experiment_what_it_gets_alone(project: Project) -> None:
    for arch, window in QUEUED:
        changes = ("-S", "seeds=[1]", "-S", f"model.arch={arch}", "-S", f"model.window={window}")
        project.dvc("exp", "run", "--queue", *changes)
    project.dvc("queue", "start", "--jobs", "2")
    at_work: list[int] = []
    looked = itertools.count()

    def is_done() -> bool:
        at_work.append(len(copies_at_work(project.root / ".dvc/tmp/exps")))
        if next(looked) % 20:  # asking DVC takes a second of a core
            return False
        return not re.search(r"\b(Queued|Running)\b", project.dvc("queue", "status"))

    wait_for("the queue is done", is_done)
    assert max(at_work) == 2, "the two workers never worked at once"
    assert project.dvc("queue", "status").count("Success") == len(QUEUED)
    rows = {name: row for name, row in shown_experiments(project).items() if name not in EARLIER}
    found = {(row["model.arch"], row["model.window"]): name for name, row in rows.items()}
    assert found.keys() == set(QUEUED)
    project.dvc("queue", "stop", "--kill")
    project.set("seeds", [1])
    for arch, window in QUEUED:
        project.set("model.arch", arch)
        project.set("model.window", int(window))
        project.repro()
        same_scores_as_here(found[arch, window], project, (1,))


def copies_at_work(folder: Path) -> set[Path]:
    """Copies of the project below this folder in which a stage runs."""
    found = set()
    for process in processes_in(folder):
        with contextlib.suppress(OSError):  # it has ended
            found.add((Path("/proc") / str(process) / "cwd").resolve())
    return found


def same_scores_as_here(experiment: str, project: Project, seeds: tuple[int, ...] = (1, 2)) -> None:
    """An experiment's scores, of each seed and of all, must be to the byte those that lie in the workspace."""
    for file in (*(f"metrics/seed-{seed}.json" for seed in seeds), "metrics/summary.json"):
        found = project.run("git", "show", f"{revision_of(experiment, project)}:{file}")
        assert found == (project.root / file).read_text(), file


def test_two_experiments_at_once_get_what_each_gets_alone(project: Project) -> None:
    wanted = {"three": 3, "four": 4}
    running = []
    for name, window in wanted.items():
        command = ["dvc", "exp", "run", "--temp", "--name", name, "-S", f"model.window={window}"]
        with (project.root.parent / f"{name}.txt").open("w") as log:
            running.append(subprocess.Popen(command, cwd=project.root, env=project.environment, stdout=log, stderr=log))
    assert [process.wait(240) for process in running] == [0, 0]
    rows = shown_experiments(project)
    for name, window in wanted.items():
        assert rows[name]["model.window"] == str(window)
        project.set("model.window", window)
        project.repro()
        same_scores_as_here(name, project)


def revision_of(experiment: str, project: Project) -> str:
    """The commit that DVC keeps for an experiment, in a name space of its own."""
    listed = project.run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").splitlines()
    return next(line.split()[1] for line in listed if line.split()[0].endswith(f"/{experiment}"))


@pytest.mark.parametrize("how", ["temp", "queue"])
def test_an_experiment_killed_in_its_copy_goes_on_in_another_copy(project: Project, how: str) -> None:
    """DVC throws the first copy away; the checkpoints lie in the main checkout. The bytes are as if uninterrupted."""
    often = dataclasses.replace(project, environment=project.environment | {"WORDLAB_CHECKPOINT_SECONDS": "0.1"})
    changes = ("-S", f"train.epochs={9000 + len(how)}", "-S", "seeds=[1]")
    checkpoints, name = project.root / ".wordlab/checkpoints", f"resumed-{how}"
    with (project.root.parent / "killed.txt").open("w") as output:
        command = ["dvc", "exp", "run", "--temp", *changes]
        running = subprocess.Popen(command, cwd=project.root, env=often.environment, stdout=output, stderr=output)
        wait_for("a checkpoint is there", lambda: bool(list(checkpoints.glob("*/*.ckpt"))), 0.01)
        for process in processes_in(project.root / ".dvc/tmp/exps"):
            os.kill(process, signal.SIGKILL)
        assert running.wait(60) != 0
    assert list(checkpoints.glob("*/*.ckpt"))
    if how == "temp":
        text = project.dvc("exp", "run", "--temp", "--name", name, *changes)
    else:
        project.dvc("exp", "run", "--queue", "--name", name, *changes)
        project.dvc("queue", "start")
        wait_for("the queue is done", lambda: not re.search("Queued|Running", project.dvc("queue", "status")), 2)
        text = project.dvc("queue", "logs", name)
        project.dvc("queue", "stop", "--kill")
        project.dvc("queue", "remove", "--all")
    assert GOES_ON in text
    assert list(checkpoints.iterdir()) == []
    project.dvc("exp", "apply", name)
    files = [*sorted((project.root / "data/train/seed-1").iterdir()), project.root / "metrics/curves/seed-1.tsv"]
    resumed = [sha256_file(file) for file in files]
    assert GOES_ON not in project.dvc("repro", "--force", "--single-item", "train@1")
    assert [sha256_file(file) for file in files] == resumed


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.windw", 3, "params.yaml: unknown key model.windw. Did you mean model.window?"),
        (
            "model.arch",
            "skipgramm",
            "model.arch is 'skipgramm', but must be one of skipgram, cbow, sent2vec. Did you mean skipgram?",
        ),
        ("model.negatives", 0, "model.negatives is 0, but must be from 1 to 1000000: without noise words"),
        ("train.lr", 0.05, "train.lr is 0.05, but must be a section with the keys skipgram, cbow, sent2vec."),
        ("vocab.min_count", "five", "vocab.min_count is 'five', but must be a whole number."),
        ("corpus", "enwik9", "corpus is 'enwik9', which is neither a row of the catalog nor a file or folder"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    refusing: Project, key: str, value: object, message: str
) -> None:
    refusing.set(key, value)
    script = "download" if key == "corpus" else "vocab"
    text = refusing.run("python", "-m", f"stages.{script}", status=1)
    assert message in text and "Traceback" not in text


def test_a_wrong_parameter_stops_dvc_too(project: Project) -> None:
    project.set("model.negatives", 0)
    text = project.dvc("repro", status=1)
    assert "error: params.yaml: model.negatives is 0" in text and "Traceback" not in text
    assert not (project.root / "data/train/seed-1").exists()
    assert list((project.root / "data").rglob("*.tmp")) == []
    assert "model.windw" in project.dvc("exp", "run", "-S", "model.windw=3", status=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "The corpus holds no words: 0 bytes in 1 files"),
        (b"king king king\n", "Training needs two different words or more"),
        (b"king qu\xffeen\n" * 20, "UTF-8"),
        (b"king que\0en\n" * 20, "NUL"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_told_of_and_leaves_nothing_behind(
    project: Project, text: bytes, message: str
) -> None:
    (project.root / "own.txt").write_bytes(text)
    shown = project.dvc("repro", status=1)
    assert message in shown and "error: " in shown and "Traceback" not in shown
    assert list((project.root / "data").rglob("*.tmp")) == []


def test_a_missing_evaluation_file_is_told_of(project: Project) -> None:
    (evaluation_file,) = (project.root / "data/download/evaluation/wordsim353").iterdir()
    evaluation_file.unlink()
    text = project.run("python", "-m", "stages.evaluate", "--seed", "1", status=1)
    assert "wordsim353" in text and "is missing" in text and "dvc repro" in text and "Traceback" not in text
    assert project.repro("download") == ["download"]
    assert evaluation_file.is_file()


@pytest.mark.parametrize("stage", ["tokenize", "vocab", "encode", "train --seed 1", "evaluate --seed 1", "report"])
def test_an_unwritable_output_is_told_of(refusing: Project, stage: str) -> None:
    """A file stands where the output, or the folder it lies in, should be; permissions would not stop root."""
    name, *arguments = stage.split()
    folder = refusing.root / "data" / name
    beside = f"{name}.parts" if name in ("tokenize", "encode") else f"{name}.tmp"
    output, blocked = (folder / "seed-1", folder) if arguments else (folder, folder.with_name(beside))
    folder.rename(folder.with_name("aside"))
    blocked.write_text("in the way")
    try:
        text = refusing.run("python", "-m", f"stages.{name}", *arguments, status=1)
        assert not output.exists()
    finally:
        blocked.unlink(missing_ok=True)
        folder.with_name("aside").rename(folder)
    assert f"error: {output.relative_to(refusing.root)} could not be written: " in text and "Traceback" not in text


STUDY = """question: Which window?
base: window5
seeds: [1, 2]
scores: [wordsim353]
x: model.window
params: {}
arms: {}
grid: {model.window: [5, 3]}
"""


def test_a_study_that_is_stopped_goes_on_and_what_is_done_is_not_repeated(project: Project, tmp_path: Path) -> None:
    """From its file to its page. The first arm is what the project has run already, so it comes from DVC's cache."""
    file, log = project.root / "studies/toy.yaml", tmp_path / "log.txt"
    file.parent.mkdir()
    file.write_text(STUDY)
    own = dataclasses.replace(project, environment=project.environment | {"PYTHONPATH": str(project.root / "src")})
    study = ("python", "-m", "wordlab.cli", "study", "run", "studies/toy.yaml")
    with log.open("w") as output:
        running = subprocess.Popen(study, cwd=project.root, env=own.environment, stdout=output, stderr=output)
        wait_for("the second arm has begun", lambda: "toy, arm 2 of 2" in log.read_text(), 0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 128 + signal.SIGTERM
    assert "Running stage 'train@1'" not in log.read_text() and "The same command goes on" in log.read_text()
    assert [line.split()[0] for line in own.run(*study, "--dry-run").splitlines()] == ["done", "missing"]

    said = own.run(*study)
    assert "arm 1 of 2: window5 is there" in said and said.count("Ran experiment") == 1
    files = [
        project.root / name for name in ("studies/results/toy.json", "docs/studies/toy.md", "docs/studies/toy.svg")
    ]
    content = [path.read_bytes() for path in files]
    tree = json.loads(content[0])
    assert [arm["settings"]["model.window"] for arm in tree["arms"]] == [5, 3] and tree["remarks"] == []
    assert tree["pairs"][0]["scores"][0]["questions"], "answers to single questions are found in DVC's cache"
    assert all(arm["models"]["curves"]["loss"] and not arm["models"]["absent"] for arm in tree["arms"])
    assert len(tree["map"]["words"]) == len(tree["map"]["places"]) > 2, "vectors are found there, too"
    assert project.run("git", "status", "--porcelain", "--untracked-files=no") == ""
    own.run("python", "-m", "wordlab.cli", "study", "fill", "studies/toy.yaml")
    assert files[0].read_bytes() == content[0], "there is nothing to fill"

    said = own.run(*study)
    assert "Ran experiment" not in said and [path.read_bytes() for path in files] == content
    project.set("model.dim", 9)
    assert "params.yaml differs from what is committed" in own.run(*study, status=1)
    for folder in ("studies", "docs"):
        shutil.rmtree(project.root / folder)


def check_that_nothing_runs(clone: Project, project: Project) -> None:
    """In a clone that has pulled all but data/source, which leads to the corpus and is no data of a remote's."""
    assert clone.bytes_of_results() == {
        name: digest for name, digest in project.bytes_of_results().items() if name != "data/source"
    }
    assert clone.repro("--allow-missing") == []


def test_a_clone_pulls_from_a_folder_and_runs_nothing(project: Project, tmp_path: Path) -> None:
    from tests.remote_runs import push_clone_pull

    clone = push_clone_pull(project, tmp_path, str(tmp_path / "store"))
    check_that_nothing_runs(clone, project)
    assert clone.repro() == ["download"]


def test_a_clone_pulls_from_an_object_store_and_runs_nothing(project: Project, tmp_path: Path) -> None:
    from tests.remote_runs import MISSING, push_clone_pull, s3_server, with_environment

    if MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: pip install -c constraints.txt -e '.[s3-test]'")
    with s3_server(tmp_path) as (address, environment):
        client = with_environment(project, environment)
        clone = push_clone_pull(client, tmp_path, "s3://models/project", endpointurl=address)
        check_that_nothing_runs(clone, project)
