"""benchmarks/gpu.sh as far as a machine without a GPU can try it: its bundle, its scores, and all of it in small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu import working
from benchmarks.gpu_bundle import LARGEST_BYTES, copy_sets, make_bundle, zipf_counts
from benchmarks.gpu_check import case, configuration, reference_step, start_rows
from benchmarks.gpu_data import Bundle, zipf_ids
from benchmarks.gpu_groups import check_in_groups, ended
from benchmarks.gpu_scores import scores, spearman
from benchmarks.gpu_tables import mean_and_spread
from benchmarks.readme import table
from tests.engine import topic_sentences, write_data
from wordlab.artifacts import write_json, write_manifest
from wordlab.config import load_params
from wordlab.embeddings import Embeddings
from wordlab.evaluation import EvaluationSets, evaluate
from wordlab.evaluation_sets import read_evaluation_set
from wordlab.similarity import spearman as scipys

ROOT = Path(__file__).parents[1]
SET_FORMATS = {"google-analogies": "questions", "wordsim353": "pairs_tsv"}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of generated text, with the vocabulary of one-billion-word proportions cut short."""
    words = [f"{kind}{number}" for kind in ("king", "queen") for number in range(10)]
    write_data(tmp_path, topic_sentences(400), words=words)
    sets = tmp_path / "data/download"
    sets.mkdir()
    (sets / "q").write_text(": one\n" + "".join(f"king{i} queen{i} king{i + 1} queen{i + 1}\n" for i in range(9)))
    (sets / "p").write_text("".join(f"king{i}\tQueen{(3 * i) % 10}\t{i % 4}\n" for i in range(10)) + "king1\tnone\t1\n")
    listed = {row: {"path": name, "format": SET_FORMATS[row]} for row, name in zip(SET_FORMATS, "qp", strict=True)}
    write_manifest(sets, "download", {"evaluation": {**listed, "men": {"absent": "no location worked"}}})
    write_json(tmp_path / "metrics/seed-1.json", {"scores": {"google_analogy": {"value": 30.0}}})
    (tmp_path / "ptb.txt").write_text(
        "".join(" ".join(f"w{(7 * i + j * j) % 400}" for j in range(10)) + "\n" for i in range(1200))
    )
    monkeypatch.setattr("benchmarks.gpu_bundle.ZIPF_WORDS", 600)
    out = tmp_path / "bundle"
    make_bundle(out, tmp_path / "data", tmp_path / "metrics", tmp_path / "ptb.txt", load_params(ROOT / "params.yaml"))
    return out


def test_a_bundle_holds_the_corpus_and_its_tables(bundle: Path, tmp_path: Path) -> None:
    opened = Bundle.open(bundle)
    corpus, sentences = opened.corpus(), topic_sentences(400)
    assert corpus.ids.dtype == np.int32 and corpus.ids.tolist() == [word for sentence in sentences for word in sentence]
    assert corpus.ends.tolist() == np.cumsum([len(sentence) for sentence in sentences]).tolist()
    assert len(opened.words()) == 20 == len(corpus.tables.keep_probability) == len(corpus.tables.noise_probability)
    assert opened.content["cpu_scores"] == {"google_analogy": [30.0]}
    assert opened.content["sets"].keys() == set(SET_FORMATS), "an absent set is left out"
    params = load_params(ROOT / "params.yaml")
    assert opened.model() == params.model and opened.train() == params.train
    assert opened.train(lr=0.5, batch_tokens=64).lr.cbow == 0.5
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < LARGEST_BYTES


def test_generated_words_have_their_shares() -> None:
    counts = zipf_counts(100, 10**6)
    assert counts.sum() == pytest.approx(10**6, rel=1e-3) and counts[0] == pytest.approx(100 * counts[99], rel=1e-2)
    found = np.bincount(zipf_ids(200_000, 100, "cpu").numpy(), minlength=100)
    expected = counts / counts.sum() * 200_000
    assert np.all(np.abs(found - expected) < 6 * np.sqrt(expected))


def test_scores_are_those_of_the_evaluator(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    words = opened.words()
    vectors = np.random.default_rng(4).normal(size=(20, 5)).astype(np.float32)
    vectors[10:] += vectors[:10]
    listed = opened.content["sets"]
    sets = {row: read_evaluation_set(bundle / entry["path"], entry["format"]) for row, entry in listed.items()}
    for restrict in (0, 15):
        right = evaluate(Embeddings(words, vectors), EvaluationSets(sets, {}), restrict).scores
        found = scores(words, torch.from_numpy(vectors), bundle, listed, restrict)
        assert found["google_analogy"] == pytest.approx(right["google_analogy"]["value"], rel=1e-5)
        assert found["wordsim353"] == pytest.approx(right["wordsim353"]["value"], rel=1e-5)
        assert 0 < found["google_analogy"] < 100


def test_rank_correlation_counts_ties_as_scipy_does() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 8, 200).astype(float), rng.normal(size=200)
    assert spearman(x, y) == pytest.approx(scipys(x, y), rel=1e-12)


WITHOUT_NUMBA = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else find(name, *rest)
for name in ("numba", "pyarrow", "dvc", "scipy"):
    sys.modules[name] = None
import benchmarks.gpu
import numpy as np
from benchmarks.gpu_check import configuration, reference_step, start_rows
model, train = configuration("ns", "none", sys.argv[1], "exact", "pad", 6)
start = start_rows(model)
table, loss, weight = reference_step(model, train, start)
print(repr(float(np.abs(table - start).sum())), repr(float(loss)), repr(float(weight)))
"""


@pytest.mark.parametrize("arch", ["cbow", "sent2vec"])
def test_the_reference_runs_without_numba_and_gives_the_same_numbers(arch: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = ["python", "-c", WITHOUT_NUMBA, arch]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    model, train = configuration("ns", "none", arch, "exact", "pad", 6)
    start = start_rows(model)
    table, loss, weight = reference_step(model, train, start)
    assert [float(x) for x in done.stdout.split()] == pytest.approx([np.abs(table - start).sum(), loss, weight])
    assert len(case()[0]) > 500


@pytest.mark.slow
def test_the_whole_program_runs_in_small(bundle: Path, tmp_path: Path) -> None:
    """On a CPU, the last table included; a second call adds its part to the file of the first."""
    result = tmp_path / "out/gpu.json"
    command = [ROOT / "benchmarks/gpu.sh", "--device", "cpu", "--tiny", "--bundle", bundle, "--result", result]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for parts in (["check", "speed", "quality"], ["determinism", "disk", "textbook", "study"]):
        done = subprocess.run([*command, *parts], capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "==== results" in done.stdout and "FAILED" not in done.stdout, done.stdout
    found = json.loads(result.read_text())
    assert "failed" not in found and "left_out" not in found
    assert all(entry["fine"] for entry in found["check"]) and len(found["check"]) == 40
    assert found["speed"][0]["raw_words_per_second"] > 0 and found["quality"][0]["scores"]["google_analogy"] >= 0
    assert all(entry["same"] and entry["resumed"] for entry in found["determinism"])
    assert {"cold, resident", "warm, resident", "warm, streamed"} <= found["disk"].keys()
    assert found["textbook"]["ratio"] > 0 and found["study"][0]["loss"] > 0
    shown = "\n".join(table(one, result) for one in found["tables"])
    assert len(found["tables"]) == 3 and "| skipgram | torch | float32 | fast |" in shown
    assert "40 of 40" in shown and "same bits twice, torch, deterministic | yes" in shown
    assert "warm, streamed" in shown and "Measured on a CPU, torch " in shown and "failed" not in shown
    assert found["machine"]["commit"] and found["machine"]["torch"] == torch.__version__
    assert not list(tmp_path.rglob("*.i32")), "the ids were left on the disk"


def test_a_process_that_fails_or_hangs_is_told() -> None:
    def process(code: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code])

    assert ended(process("pass"), time.monotonic() + 60) == ""
    assert ended(process("raise SystemExit(3)"), time.monotonic() + 60) == "ended with status 3"
    assert ended(process("import time; time.sleep(60)"), time.monotonic()) == "stopped at its time limit"


def test_findings_of_all_processes_come_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes every second method. One that dies leaves what it had found; a line cut off is left out."""
    script = (
        "import sys, pathlib; number, out = int(sys.argv[1]), pathlib.Path(sys.argv[-1]);"
        "lines = ['{\"case\": %d}\\n' % case for case in range(number, 5, 2)];"
        "out.write_text(''.join(lines) + ('{\"ca' if number else '')); sys.exit(number)"
    )
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, env: start([sys.executable, "-c", script, *command[3:]], env=env)
    )
    found, wrong = check_in_groups(("torch",), "cpu", True, tmp_path, time.monotonic() + 60, groups=2)
    assert [entry["case"] for entry in found] == [0, 1, 2, 3, 4]
    assert wrong == ["check, process 1 of 2: ended with status 1"]


def test_kernels_that_were_found_wrong_are_measured_no_further() -> None:
    fine = {"objective": "ns", "units": "none", "edges": "cut", "deterministic": True, "products": "float32"}
    found = [{**fine, "kernels": "torch", "fine": True}, {**fine, "kernels": "triton", "fine": True}]
    both = ("triton", "torch")
    assert working(both, {}) == working(both, {"check": found}) == both
    assert working(both, {"check": [*found, {**found[1], "edges": "pad", "fine": False}]}) == both
    assert working(both, {"check": [*found, {**found[1], "fine": False}]}) == ("torch",)


def test_scores_are_shown_with_their_spread_and_never_in_part() -> None:
    assert mean_and_spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000" and mean_and_spread([1.5]) == "1.500"
    assert mean_and_spread([1.0, None]) is None and mean_and_spread([]) is None


def test_without_a_gpu_or_a_bundle_the_next_step_is_told(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    (tmp_path / "made").mkdir()
    (tmp_path / "made/bundle.json").write_text("{}")
    for options, message in ((["made"], "no GPU to measure"), (["none", "--device", "cpu"], "benchmarks.gpu_bundle")):
        command = [ROOT / "benchmarks/gpu.sh", "check", "--bundle", tmp_path / options[0], *options[1:]]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_sets_are_copied_as_they_were_fetched(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfx\ty\t1\r\n")
    write_manifest(tmp_path, "download", {"evaluation": {"men": {"path": "a", "format": "pairs_tsv"}}})
    assert copy_sets(tmp_path, tmp_path / "out") == {"men": {"path": "sets/men", "format": "pairs_tsv"}}
    assert (tmp_path / "out/men").read_bytes() == b"\xef\xbb\xbfx\ty\t1\r\n"
