"""The console command, as a user meets it: output, file names, and errors in one message."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from tests.helpers import CONFIG, error_of, make_model_folder
from wordlab import cli
from wordlab.artifacts import write_atomic, write_manifest
from wordlab.errors import ArtifactError
from wordlab.formats.names import FORMATS

ROOT = Path(cli.__file__).parents[2]
VECTORS = np.array([[1, 0, 0.2], [1, 1, 0.2], [1, 0, 2], [1, 1, 2], [-1, 0.5, -1]], np.float32)
WORDS = ("man", "woman", "king", "queen", "tree")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with params.yaml and one model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    make_model_folder(tmp_path / "data/train/seed-1", WORDS, VECTORS, config={**CONFIG, "corpus": "enwik8"})
    return tmp_path


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (caught.value.code, capsys.readouterr().out) == (0, f"wordlab {declared}\n")


# ---- check


def test_check_says_that_params_are_fine(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check"])
    assert capsys.readouterr().out == "params.yaml is fine\n"


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("  threads: 0", "  treads: 0", "unknown key run.treads. Did you mean run.threads?"),
        ("run:", "stray: 1\nrun:", "unknown key stray. "),
        ("  epochs: 5", "  epochs: five", "train.epochs is 'five', but must be a whole number."),
        ("corpus: enwik8", "corpus: enwik9", "corpus is 'enwik9', which is neither a row of the catalog nor a file"),
        ("corpus: enwik8", "corpus: men", "corpus is 'men', which the catalog has as evaluation, not as corpus."),
        (
            "    - men",
            "    - menn",
            "download.evaluation_sets.5 is 'menn', which is no row of the catalog. Did",
        ),
        (
            "  arch: skipgram",
            "  arch: Skip-gram",
            "model.arch is 'Skip-gram', but must be one of skipgram, cbow, sent2vec",
        ),
        ("  device: auto", "  device: gpu", "run.device is 'gpu', but must be one of auto, cpu, cuda.\n"),
        ("seeds: [1, 2, 3]", "seeds: 3", "seeds is 3, but must be a list, in square brackets."),
    ],
)
def test_check_names_what_no_stage_may_notice(
    project: Path, capsys: pytest.CaptureFixture[str], good: str, bad: str, message: str
) -> None:
    params = project / "params.yaml"
    changed = params.read_text().replace(f"\n{good}", f"\n{bad}")
    assert changed != params.read_text()
    params.write_text(changed)
    assert error_of(capsys, "check").startswith(f"\nerror: params.yaml: {message}")


def test_make_run_checks_the_parameters_first() -> None:
    _, _, recipe = (ROOT / "Makefile").read_text().partition("\nrun: setup\n")
    assert recipe.split()[:4] == ["@wordlab", "check", "dvc", "repro"]


# ---- neighbors and analogy


def test_neighbors_lists_words_with_their_cosines(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["neighbors", "king", "man", "--count", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "king" and lines[3] == "man" and len(lines) == 6
    assert lines[1] == "   0.913  queen"


def test_analogy_says_the_question_and_the_answers(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for method in ("add", "mul"):
        cli.main(["analogy", "man", "king", "woman", "--count", "1", "--method", method])
        question, answer = capsys.readouterr().out.splitlines()
        assert question == "man : king = woman : ?" and answer.split()[1] == "queen"


def test_an_unknown_word_is_told_with_suggestions_before_anything_is_printed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(capsys, "neighbors", "king", "womn")
    assert error == ("\nerror: the word 'womn' is not among the 5 words of the vocabulary. Did you mean woman?\n")
    assert "'kong' is not among" in error_of(capsys, "analogy", "king", "kong", "man")


def test_the_default_model_is_the_first_seed_that_has_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "data/train/seed-1").rename(project / "data/train/seed-2")
    cli.main(["neighbors", "king"])
    assert "queen" in capsys.readouterr().out


def test_without_a_model_or_params_the_way_out_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "data/train/seed-1").rename(project / "elsewhere")
    assert "data/train/seed-1 does not exist. Train a model with: dvc repro" in error_of(capsys, "neighbors", "king")
    cli.main(["neighbors", "king", "--model", "elsewhere"])
    capsys.readouterr()
    (project / "params.yaml").unlink()
    assert "params.yaml was not found in" in error_of(capsys, "neighbors", "king")


def test_a_word2vec_file_serves_as_a_model(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["export", "-o", "x.vec"])
    cli.main(["neighbors", "king", "--model", "x.vec"])
    assert "queen" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_a_count_that_is_none_is_refused(project: Path, capsys: pytest.CaptureFixture[str], count: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["neighbors", "king", f"--count={count}"])
    assert caught.value.code == 2
    assert f"argument --count: invalid count value: '{count}'" in capsys.readouterr().err


# ---- export


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("place", "told"),
    [("/", "/ is a folder"), (".", ". is a folder"), ("data/train", "data/train is a folder"), ("pipe", "pipe is a")],
)
def test_what_is_no_file_is_not_written_over(
    project: Path, capsys: pytest.CaptureFixture[str], form: str, place: str, told: str
) -> None:
    os.mkfifo("pipe")
    assert error_of(capsys, "export", "--format", form, "-o", place).startswith(f"\nerror: {told}")
    with pytest.raises(ArtifactError, match=told):
        write_atomic(Path(place), b"")
    assert not list(project.rglob("*.tmp")) and Path("pipe").is_fifo() and (project / "data/train/seed-1").is_dir()


@pytest.mark.parametrize("form", ["text", "binary"])
def test_export_names_the_file_after_the_configuration(
    project: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    cli.main(["export", "--format", form])
    name = "enwik8-skipgram-ns-d4-w5-seed1" + (".vec" if form == "text" else ".bin")
    assert capsys.readouterr().out.startswith(f"{name}: 5 words, 3 dimensions, ")
    theirs = KeyedVectors.load_word2vec_format(name, binary=form == "binary")
    assert theirs.index_to_key == list(WORDS) and np.array_equal(theirs.vectors, VECTORS)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [("path/to/my text.txt.gz", "my_text"), ("news/", "news"), ("말뭉치.txt", "말뭉치"), ("...", "corpus")],
)
def test_an_own_corpus_gives_its_files_name(project: Path, corpus: str, name: str) -> None:
    folder = make_model_folder(project / "other", seed=7, config={**CONFIG, "corpus": corpus})
    assert cli.export_name(folder) == f"{name}-skipgram-ns-d4-w5-seed7.vec"


def test_subwords_are_in_the_name(project: Path) -> None:
    subwords = {"units": "jamo", "min_n": 3, "max_n": 5, "buckets": 9}
    config = {**CONFIG, "model": {**CONFIG["model"], "subwords": {**subwords, "units": "none"}}}
    without = make_model_folder(project / "without", config=config)
    assert cli.export_name(without) == "corpus-skipgram-ns-d4-w5-seed1.vec"
    config["model"]["subwords"] = subwords
    assert cli.export_name(make_model_folder(project / "with", config=config)) == (
        "corpus-skipgram-ns-jamo3to5-d4-w5-seed1.vec"
    )


def test_a_model_that_names_no_corpus_takes_the_downloaded_one(project: Path) -> None:
    folder = make_model_folder(project / "other")
    assert cli.export_name(folder) == "corpus-skipgram-ns-d4-w5-seed1.vec"
    (project / "data/download").mkdir()
    write_manifest(project / "data/download", "download", {"corpus": {"name": "text8"}})
    assert cli.export_name(folder) == "text8-skipgram-ns-d4-w5-seed1.vec"


def test_a_model_of_unknown_configuration_wants_a_name(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model_folder(project / "other", config={"model": {}})
    assert "does not say how the model was trained: 'arch' is missing" in error_of(capsys, "export", "--model", "other")
    cli.main(["export", "--model", "other", "-o", "named.vec"])
    assert (project / "named.vec").exists()


# ---- info


def test_info_tells_what_a_model_holds(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["info", "data/train/seed-1"])
    out = capsys.readouterr().out
    for line in ("output of stage train", "words: 5", "dimensions: 3", "seed: 1", "config.model.arch: skipgram"):
        assert line in out
    assert "input_vectors.npy: 188 B, sha256 " in out


def test_info_tells_what_other_stages_left(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "data/encode"
    folder.mkdir()
    (folder / "ids-00000.arrow").write_bytes(b"x" * 1500)
    shards = [{"num_tokens": 1}, {"num_tokens": 2}]
    content = {"vocabulary": "ab" * 32, "num_tokens": 1234567, "dropped": {"empty_sentences": 3}, "shards": shards}
    write_manifest(folder, "encode", content)
    cli.main(["info"])
    out = capsys.readouterr().out
    assert "data/encode: output of stage encode\n  vocabulary: abababababab\n  num_tokens: 1,234,567\n" in out
    assert "  dropped.empty_sentences: 3\n  shards: 2\n  ids-00000.arrow: 1.5 kB, sha256 " in out
    assert "data/train/seed-1: output of stage train" in out


@pytest.mark.parametrize("form", ["text", "binary"])
def test_info_tells_what_a_word2vec_file_holds(project: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    cli.main(["export", "--format", form, "-o", "x"])
    capsys.readouterr()
    cli.main(["info", "x"])
    assert capsys.readouterr().out == f"x: word2vec's {form} format\n  words: 5\n  dimensions: 3\n"


def test_info_on_nothing_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "Run: dvc repro" in error_of(capsys, "info")
    assert "nowhere cannot be read: No such file" in error_of(capsys, "info", "nowhere")
    (tmp_path / "folder").mkdir()
    assert "manifest.json is missing. Name a folder that a stage wrote" in error_of(capsys, "info", "folder")
    (tmp_path / "folder/manifest.json").write_text("[]")
    assert "names no stage" in error_of(capsys, "info", "folder")


# ---- results


def test_results_prints_the_table(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wordlab.reporting.results_table", lambda: "the table")
    cli.main(["results"])
    assert capsys.readouterr().out == "the table\n"


def test_results_without_any_says_what_to_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "metrics/seed-1.json is missing. Run: dvc repro" in error_of(capsys, "results")


# ---- as a program


def run_program(project: Path, shell: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "WORDLAB": f"{sys.executable} -m wordlab.cli"}
    command = ["bash", "-c", f"set -o pipefail; {shell}"]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def test_a_reader_that_leaves_early_is_no_error(project: Path) -> None:
    words = " ".join(WORDS * 3000)  # more than a pipe holds
    done = run_program(project, f"$WORDLAB neighbors {words} | head -1")
    assert done.stdout == "man\n" and done.stderr == "" and done.returncode == cli.EXIT_BROKEN_PIPE


def test_starting_imports_nothing_heavy(project: Path) -> None:
    """torch alone takes more than a second, gensim and numba half of one."""
    code = (
        "import sys; from wordlab import cli; cli.main(['neighbors', 'king']); "
        "heavy = {'torch', 'numba', 'gensim', 'sklearn', 'scipy', 'matplotlib', 'dvc'} & sys.modules.keys(); "
        "assert not heavy, heavy"
    )
    done = run_program(project, f'{sys.executable} -c "{code}"')
    assert done.returncode == 0, done.stderr


def test_errors_show_no_traceback_and_exit_with_1(project: Path) -> None:
    done = run_program(project, "$WORDLAB neighbors wman")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "Did you mean" in done.stderr
