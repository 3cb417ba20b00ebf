"""Stage `evaluate`: equal models give equal bytes; whatever is wrong is one message, and nothing half-written stays."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages import evaluate
from tests.helpers import make_model_folder
from tests.project import SETS, WORDS, make_evaluation_sets, make_project, vectors_of
from wordlab.artifacts import read_manifest, sha256_file, write_manifest
from wordlab.embeddings import Embeddings
from wordlab.evaluation import evaluate as evaluate_all
from wordlab.evaluation import load_evaluation_sets
from wordlab.stage import run_stage


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path, seeds=(1, 2)))
    return tmp_path


def run(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--seed", str(seed)])
    run_stage(evaluate.main)


def fails(seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the stage, which must fail with status 1; returns its message."""
    with pytest.raises(SystemExit) as stop:
        run(seed, monkeypatch)
    assert stop.value.code == 1
    return capsys.readouterr().err.strip()


def test_results_and_answers_are_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(1, monkeypatch)
    results = json.loads((project / "metrics" / "seed-1.json").read_text())
    assert (results["seed"], results["arch"], results["objective"], results["num_words"]) == (1, "skipgram", "ns", 13)
    assert results["scores"]["google_analogy"]["value"] == 100.0
    assert results["absent"] == {"rg65": "no location of the file could be reached"}
    assert len(results["neighbors"]["France"]) == 3
    assert results["neighbors"]["strelsau"] is None
    assert results["config"]["evaluate"]["restrict_vocab"] == 30000
    manifest = read_manifest(project / "data" / "evaluate" / "seed-1", "evaluate", verify=True)
    assert manifest["results"] == sha256_file(project / "metrics" / "seed-1.json")
    assert set(manifest["files"]) == {"google-analogies.tsv", "wordsim353.tsv", "men.tsv", "rare-words.tsv"}


def test_equal_models_give_equal_bytes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else lies in the folder, whichever format the sets came in, however often it is run."""
    path = project / "metrics" / "seed-1.json"
    run(1, monkeypatch)
    before = path.read_bytes()
    (project / "metrics" / "run" / "seed-1.json").unlink()
    run(1, monkeypatch)
    assert path.read_bytes() == before
    run(2, monkeypatch)
    assert (project / "metrics" / "seed-2.json").read_bytes() != before


def test_the_terminal_tells_the_scores(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(1, monkeypatch)
    told = capsys.readouterr().err
    assert "seed 1: google_analogy 100.00 % ·" in told
    assert "rare_words - · rg65 absent" in told


def set_parameter(project: Path, key: str, value: str) -> None:
    text = (project / "params.yaml").read_text()
    changed = re.sub(rf"^  {key}: \S+", f"  {key}: {value}", text, flags=re.MULTILINE)
    assert changed != text
    (project / "params.yaml").write_text(changed)


def test_the_rules_are_printed_and_stored_with_the_scores(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_parameter(project, "rules", "gensim")
    set_parameter(project, "unknown", "wrong")
    run(1, monkeypatch)
    results = json.loads((project / "metrics" / "seed-1.json").read_text())
    assert results["scores"]["google_analogy"]["value"] == 80.0
    assert results["evaluator"]["rules"] == "gensim"
    assert results["evaluator"]["vectors"] == "input vectors"
    told = capsys.readouterr().err
    assert "scored by the rules of gensim:\n  vocabulary: analogies: the 30,000 most frequent words; pairs: the" in told
    assert "questions with an unknown word are answered wrongly" in told


def test_words_can_be_compared_by_sums_of_both_vectors(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """w + c: input and output vectors are added as they are, and brought to length 1 only then."""
    folder, rng = project / "data" / "train" / "seed-1", np.random.default_rng(0)
    inputs = np.load(folder / "input_vectors.npy")
    outputs = (3 * rng.normal(size=inputs.shape)).astype(np.float32)
    np.save(folder / "output_vectors.npy", outputs)
    content = read_manifest(folder, "train")
    (folder / "manifest.json").unlink()
    write_manifest(folder, "train", {key: content[key] for key in ("seed", "config", "vocabulary", "encode", "engine")})
    set_parameter(project, "vectors", "input+output")
    run(1, monkeypatch)
    results = json.loads((project / "metrics" / "seed-1.json").read_text())
    sets = load_evaluation_sets(
        project / "data" / "download", read_manifest(project / "data" / "download", "download")["evaluation"], [*SETS]
    )
    assert results["scores"] == evaluate_all(Embeddings(WORDS, inputs + outputs), sets, 30000).scores
    assert results["scores"] != evaluate_all(Embeddings(WORDS, inputs), sets, 30000).scores
    assert results["evaluator"]["vectors"] == "sums of input and output vectors"


SENTENCE_SETS = {
    "stsbenchmark-test": (
        "stsb_tsv",
        "g\tf\ty\t1\t5\tThe king eats.\tThe Queen eats!\ng\tf\ty\t2\t1\tParis runs\tking eat\n"
        "g\tf\ty\t3\t3\tThe woman runs\tThe man runs\ng\tf\ty\t4\t4\tStrelsau\tThe man runs\n",
    ),
    "msr-sentence-completion": (
        "completion_csv",
        "id,question,a),b),c),d),e)\n1,The _____ of France.,king,run,eat,Rome,Zenda\n"
        "2,A king _____.,runs,run,eat,rome,man\n",
    ),
    "msr-sentence-completion-answers": ("completion_answers_csv", "id,answer\n1,a\n2,b\n"),
}


def with_sentences(project: Path) -> None:
    """Sets of sentences in data/download, data/vocab as the models have it, and models that say how text was cut."""
    folder = project / "data" / "download"
    listed = read_manifest(folder, "download")["evaluation"]
    for row, (format, content) in SENTENCE_SETS.items():
        path = folder / "evaluation" / row
        path.write_text(content)
        listed[row] = {"path": str(path.relative_to(folder)), "format": format}
    (folder / "manifest.json").unlink()
    write_manifest(folder, "download", {"corpus": {"name": "toy", "files": []}, "evaluation": listed})
    for manifest in (project / "data" / "train").glob("*/manifest.json"):
        told = '"config": {"tokenize": {"tokenizer": "words", "lowercase": true},'
        manifest.write_text(manifest.read_text().replace('"config": {', told, 1))
    (project / "data" / "vocab").mkdir()
    shutil.copy(project / "data" / "train" / "seed-1" / "words.arrow", project / "data" / "vocab")
    params = project / "params.yaml"
    rows = "".join(f"    - {row}\n" for row in SENTENCE_SETS)
    params.write_text(params.read_text().replace("    - men\n", f"    - men\n{rows}"))


def test_sentences_are_scored_beside_words(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(1, monkeypatch)
    without = json.loads((project / "metrics" / "seed-1.json").read_text())
    with_sentences(project)
    run(1, monkeypatch)
    results = json.loads((project / "metrics" / "seed-1.json").read_text())
    added = {name: score for name, score in results["scores"].items() if name not in without["scores"]}
    assert {name: (score["unit"], score["answered"], score["asked"]) for name, score in added.items()} == {
        "stsbenchmark_test_average": ("rho", 3, 4),
        "stsbenchmark_test_average_pearson": ("r", 3, 4),
        "stsbenchmark_test_sif": ("rho", 3, 4),
        "stsbenchmark_test_sif_pearson": ("r", 3, 4),
        "msr_sentence_completion": ("percent", 1, 2),
    }
    assert added["msr_sentence_completion"]["value"] in (0.0, 50.0, 100.0)
    assert results["correlations"]["stsbenchmark_test_sif"]["unknown"] == 25.0
    assert set(results["scores"]) - set(added) == set(without["scores"])
    assert "sentence_completion" in results["sentence_evaluator"] and results["evaluator"] == without["evaluator"]
    folder = project / "data" / "evaluate" / "seed-1"
    assert len((folder / "stsbenchmark-test.tsv").read_text().splitlines()) == 5
    assert (folder / "msr-sentence-completion.tsv").read_text().startswith("id\texpected\tchosen\tcorrect\ta")
    assert not (folder / "msr-sentence-completion-answers.tsv").exists()
    assert "msr_sentence_completion" in capsys.readouterr().err


def test_a_model_without_output_vectors_completes_no_sentences(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs leave such models; pairs of sentences need none."""
    with_sentences(project)
    folder = project / "data" / "train" / "seed-1"
    content = read_manifest(folder, "train")
    (folder / "output_vectors.npy").unlink()
    (folder / "manifest.json").unlink()
    write_manifest(folder, "train", {key: content[key] for key in ("seed", "config", "vocabulary", "encode", "engine")})
    run(1, monkeypatch)
    results = json.loads((project / "metrics" / "seed-1.json").read_text())
    assert results["absent"]["msr-sentence-completion"].startswith("the model has no output vectors")
    assert "msr_sentence_completion" not in results["scores"]
    assert results["scores"]["stsbenchmark_test_sif"]["answered"] == 3


def test_sentences_need_the_vocabulary_of_the_model(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sentences(project)
    other = make_model_folder(project / "other")
    shutil.copy(other / "words.arrow", project / "data" / "vocab")
    assert "data/vocab/words.arrow holds vocabulary" in fails(1, monkeypatch, capsys)


@pytest.mark.parametrize("seed", [-1, 1 << 63])
def test_a_seed_out_of_range_is_one_clear_message(
    seed: int, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails(seed, monkeypatch, capsys).startswith(f"error: --seed is {seed}, but must be from 0 to 2^63 - 1.")


def other_seed(project: Path) -> None:
    folder = project / "data" / "train" / "seed-1"
    folder.rename(folder.with_name("seed-7"))
    make_model_folder(folder, WORDS, vectors_of(WORDS, 1), seed=7)


def diverged(project: Path) -> None:
    folder = project / "data" / "train" / "seed-1"
    folder.rename(folder.with_name("seed-7"))
    vectors = vectors_of(WORDS, 1)
    vectors[3, 2] = np.nan
    make_model_folder(folder, WORDS, vectors, seed=1)


def damaged_set(project: Path) -> None:
    make_evaluation_sets(project / "data" / "download")
    path = project / "data" / "download" / "evaluation" / "men" / "men.txt"
    content = path.read_text()
    path.write_text(content.replace("8.5", "abc"))


def missing_set(project: Path) -> None:
    (project / "data" / "download" / "evaluation" / "men" / "men.txt").unlink()


def no_model(project: Path) -> None:
    folder = project / "data" / "train" / "seed-1"
    folder.rename(folder.with_name("seed-7"))


def unlisted_set(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("    - men\n", "    - men\n    - mc30\n"))


def unwritable(project: Path) -> None:
    (project / "metrics" / "seed-1.json.tmp").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_model, "data/train/seed-1 does not exist. Run: dvc repro train"),
        (other_seed, "data/train/seed-1 holds the model of seed 7. Run: dvc repro"),
        (
            diverged,
            "data/train/seed-1 holds vectors that are not finite numbers: training diverged. Lower train.lr.skipgram",
        ),
        (missing_set, "evaluation/men/men.txt is missing, but manifest.json lists it. Run: dvc repro download"),
        (damaged_set, "men.txt, line 2, is 'man\\twoman\\tabc', but must be two words and a number. Fetch it anew"),
        (unlisted_set, "but params.yaml also names mc30. Run: dvc repro download"),
        (unwritable, "metrics/seed-1.json could not be written: Is a directory. Check that"),
    ],
)
def test_what_is_wrong_is_one_message_and_leaves_no_output(
    spoil: Callable[[Path], None],
    message: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(project)
    told = fails(1, monkeypatch, capsys)
    assert told.startswith("error: ")
    assert message in told
    assert not (project / "metrics" / "seed-1.json").exists()
    assert not list((project / "data").glob("evaluate/seed-1*"))
