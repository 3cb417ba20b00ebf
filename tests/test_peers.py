"""Other programs beside ours: trained on the same words, scored alike, compared with intervals; and what goes wrong."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tests.html_text import Page
from tests.toy_pipeline import make_pipeline
from wordlab import machine, preflight
from wordlab.artifacts import read_json, read_manifest
from wordlab.config import Params, load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, ConfigError, PeerError, ResourceError
from wordlab.evaluation_run import evaluate_model
from wordlab.limits import Bound
from wordlab.peers import fasttext_program, running, training_peer, worker
from wordlab.peers.job import Job
from wordlab.peers.programs import SEEDS, find_binary, require_able, version_of
from wordlab.peers.training_peer import train_peer
from wordlab.peers.versus import compare_with, speed_ratio, write_versus
from wordlab.preflight_peers import need_of_peer, program_bytes
from wordlab.sections.peers import PeerRates
from wordlab.stage import run_stage
from wordlab.training import TrainingData, save_model, train_model

ROOT = Path(__file__).parents[1]
CHANGES = {
    "programs: []": "programs: [gensim, fasttext, word2vec]",
    "seeds: [1, 2, 3]": "seeds: [1, 2]",
    "  epochs: 5": "  epochs: 1",
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded words, and our models of two seeds with their results."""
    folder = tmp_path_factory.mktemp("pipeline")
    params = make_pipeline(folder, CHANGES)
    data = TrainingData.open(folder / "data/vocab", folder / "data/encode")
    for seed in params.seeds:
        engine, _ = train_model(data, params.model, params.train, seed, 1, show_progress=False)
        save_model(folder / f"data/train/seed-{seed}", engine, data, params, seed)
        sets = params.download.evaluation_sets
        evaluate_model(seed, sets, params.evaluate, folder / "data", folder / "metrics")
        run = {"raw_words_per_cpu_second": 1000.0 * seed, "raw_words_per_second": 900, "cpu_seconds": 2.0}
        (folder / "metrics/run").mkdir(exist_ok=True)
        (folder / f"metrics/run/seed-{seed}.json").write_text(json.dumps(run))
    return folder


@pytest.fixture
def project(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, with programs that run in this process."""
    shutil.copytree(pipeline, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(training_peer, "run_job", lambda job: worker.train(Job.from_json(job.to_json())))
    return tmp_path / "project"


def changed(params: Params, **model: Any) -> Params:
    return dataclasses.replace(params, model=dataclasses.replace(params.model, **model))


# ---- a model of another program


def test_gensim_is_trained_kept_and_scored_as_ours(project: Path) -> None:
    params = load_params()
    for seed in (1, 1, 2):
        train_peer("gensim", seed, params, Path("data"))
    root = project / "data/peers/gensim"
    folder = root / "data/train/seed-1"
    ours, theirs = Embeddings.load("data/train/seed-1"), Embeddings.load(folder)
    assert theirs.words == ours.words and theirs.dim == ours.dim
    assert sorted(path.name for path in folder.iterdir()) == ["input_vectors.npy", "manifest.json", "words.arrow"]
    assert not np.array_equal(theirs.input_vectors, Embeddings.load(root / "data/train/seed-2").input_vectors)
    scored, own = read_json(root / "metrics/seed-1.json", ""), read_json(Path("metrics/seed-1.json"), "")
    assert scored["scores"].keys() == own["scores"].keys() and scored["evaluator"] == own["evaluator"]
    assert scored["fingerprints"]["sets"] == own["fingerprints"]["sets"]
    assert scored["config"]["train"] == {"epochs": 1, "lr": {"skipgram": 0.025}}
    run = read_json(root / "metrics/run/seed-1.json", "")
    assert run["engine"].startswith("gensim 4.") and run["raw_words_per_cpu_second"] > 0 and run["threads"] == 1


def test_a_program_runs_in_a_process_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_peer, "run_job", running.run_job)
    train_peer("gensim", 1, load_params(), Path("data"))
    assert len(Embeddings.load("data/peers/gensim/data/train/seed-1")) > 0


def test_a_training_of_fasttext_that_diverges_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fasttext_pybind", reason="fastText is not installed: pip install -e '.[peers]'")
    params = load_params()
    wild = dataclasses.replace(
        params, peers=dataclasses.replace(params.peers, lr=PeerRates(gensim=1, fasttext=9, word2vec=1))
    )
    monkeypatch.setattr(training_peer, "run_job", running.run_job)
    with pytest.raises(PeerError, match="fasttext, skipgram, seed 1: it ended with status 1"):
        train_peer("fasttext", 1, wild, Path("data"))
    assert "fastText, seed 1, failed: Encountered NaN" in capfd.readouterr().err


def test_fasttext_gives_the_same_vectors_whatever_memory_held(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fasttext_pybind", reason="fastText is not installed: pip install -e '.[peers]'")
    monkeypatch.setattr(training_peer, "run_job", running.run_job)

    def vectors() -> Any:
        train_peer("fasttext", 1, load_params(), Path("data"))
        return Embeddings.load("data/peers/fasttext/data/train/seed-1").input_vectors

    first = vectors()
    assert np.array_equal(vectors(), first)
    monkeypatch.setattr(running, "FRESH_MEMORY", {"MALLOC_PERTURB_": "192"})  # bytes of 63: numbers of about 0.75
    assert not np.allclose(vectors(), first)


def test_fasttext_keeps_the_rows_of_its_ngrams(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a word outside the vocabulary, n-grams never trained are zeros, not fastText's first, random rows."""
    binding = pytest.importorskip("fasttext_pybind", reason="fastText is not installed: pip install -e '.[peers]'")
    params = load_params()
    buckets = 50_000
    units = dataclasses.replace(params.model.subwords, units="characters", buckets=buckets)
    wanted = changed(params, subwords=units)
    kept: list[Path] = []

    def keep(job: Job) -> Any:
        assert job.native is not None
        measured = running.run_job(job)
        kept.append(project / "fasttext.bin")
        shutil.copy(job.native, kept[0])
        return measured

    monkeypatch.setattr(training_peer, "run_job", keep)
    train_peer("fasttext", 1, wanted, Path("data"))
    model = binding.fasttext()
    model.loadModel(str(kept[0]))
    found = Embeddings.load("data/peers/fasttext/data/train/seed-1")
    for word in (found.words[0], found.words[-1]):
        vector = binding.Vector(params.model.dim)
        model.getWordVector(vector, word)
        assert np.allclose(found.vector(word), np.array(vector), atol=1e-6)
    subwords, whole = found.subwords, Embeddings.load(kept[0]).subwords
    assert subwords is not None and whole is not None
    wanted_rows = subwords.ngrams.of_word("kingdoms")
    trained = np.isin(wanted_rows, subwords.buckets)
    assert 0 < trained.sum() < len(trained)
    rows = whole.rows[np.searchsorted(whole.buckets, wanted_rows[trained])]
    assert np.allclose(found.vector("kingdoms"), rows.sum(axis=0) / len(wanted_rows), atol=1e-6)
    scores = read_json(Path("data/peers/fasttext/metrics/seed-1.json"), "")["scores"]
    assert "composed" in scores["wordsim353"]


def test_the_real_word2vec_is_trained(project: Path) -> None:
    if not os.environ.get("WORDLAB_PEERS"):
        pytest.skip("WORDLAB_PEERS names no folder with the program word2vec")
    params = load_params()
    train_peer("word2vec", 1, params, Path("data"))
    first = Embeddings.load("data/peers/word2vec/data/train/seed-1").input_vectors
    train_peer("word2vec", 2, params, Path("data"))
    assert np.array_equal(first, Embeddings.load("data/peers/word2vec/data/train/seed-2").input_vectors)
    assert np.isfinite(first).all() and np.abs(first).max() > 0


def test_fasttext_is_told_what_the_others_are(project: Path) -> None:
    """Its own meaning of t=0 would leave nothing to train on."""
    params = load_params()
    names = {"skipgram": 1, "cbow": 2, "ns": 1, "hs": 2, "softmax": 3}
    binding = SimpleNamespace(
        args=SimpleNamespace, model_name=SimpleNamespace(**names), loss_name=SimpleNamespace(**names)
    )
    for given, told in ((1e-3, 1e-3), (0.0, 1.0)):
        sampling = dataclasses.replace(params.vocab, subsample_t=given)
        job = training_peer._job("fasttext", 5, dataclasses.replace(params, vocab=sampling), Path("data"), project)
        found = fasttext_program._arguments(binding, job, 1)
        assert (found.t, found.seed, found.thread, found.lr, found.maxn) == (told, 5, 1, 0.05, 0)
    assert not [word for word in Embeddings.load("data/train/seed-1").words if word.startswith(found.label)]


# ---- the C program and what goes wrong with it

FAKE = """#!{python}
import struct, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "-output" in options:
    dim = int(options["-size"])
    words = list(dict.fromkeys(open(options["-train"]).read().split()))
    {spoil}
    with open(options["-output"], "wb") as file:
        file.write(f"{{len(words) + 1}} {{dim}}\\n".encode())
        for number, word in enumerate(["</s>", *words]):
            file.write(word.encode() + b" " + struct.pack(f"<{{dim}}f", *[number + 1.0] * dim) + b"\\n")
    {after}
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a program that takes word2vec's options, and may spoil it."""

    def write(spoil: str = "pass", after: str = "pass") -> Path:
        path = tmp_path / "bin" / "word2vec"
        path.parent.mkdir(exist_ok=True)
        path.write_text(FAKE.format(python=sys.executable, spoil=spoil, after=after))
        path.chmod(0o755)
        monkeypatch.setenv("WORDLAB_PEERS", str(path.parent))
        return path

    return write


def test_vectors_come_in_the_order_of_our_words(project: Path, program: Callable[..., Path]) -> None:
    program()
    params = load_params()
    train_peer("word2vec", 1, params, Path("data"))
    found = Embeddings.load("data/peers/word2vec/data/train/seed-1")
    text = [line.split() for line in project.glob("data/download/corpus/toy").__next__().read_text().splitlines()]
    first_seen = list(dict.fromkeys(word for line in text for word in line if word != "."))
    for word in found.words[:5]:
        assert found.vector(word)[0] == first_seen.index(word) + 2
    assert read_manifest(Path("data/peers/word2vec/data/train/seed-1"), "train")["engine"] == {"name": "word2vec"}


@pytest.mark.parametrize(
    ("spoil", "after", "told"),
    [
        ("sys.exit('no memory')", "pass", "ended with status 1. It said last: no memory"),
        ("import os; os.kill(os.getpid(), 11)", "pass", "was ended by signal 11. It said last: nothing"),
        ("sys.exit(0)", "pass", "ended well and wrote no vectors. Is it word2vec?"),
        ("words = words[1:]", "pass", r"wrote no vectors for 1 of \d+ words, such as '"),
        ("dim = 3", "pass", "wrote vectors of 3 dimensions, not of 8"),
        ("pass", "open(options['-output'], 'wb').write(bytes(range(256)) * 9)", "wrote what is no model: "),
        ("pass", "open(options['-output'], 'r+b').truncate(100)", "wrote what is no model: "),
        ("pass", "open(options['-output'], 'wb')", "wrote what is no model: "),
    ],
)
def test_a_program_that_fails_is_told_and_leaves_nothing(
    project: Path, program: Callable[..., Path], spoil: str, after: str, told: str
) -> None:
    program(spoil, after)
    with pytest.raises(PeerError, match=told):
        train_peer("word2vec", 1, load_params(), Path("data"))
    assert not [path for path in Path("data/peers").rglob("*") if path.is_file()]


def test_vectors_that_are_no_numbers_are_refused(project: Path, program: Callable[..., Path]) -> None:
    path = program()
    path.write_text(path.read_text().replace("number + 1.0", "float('nan')"))
    with pytest.raises(PeerError, match=r"word2vec, seed 1, gave vectors of .* not finite. Lower peers.lr.word2vec"):
        train_peer("word2vec", 1, load_params(), Path("data"))


def test_a_crash_is_told_from_outside_too(
    project: Path, program: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    program("sys.exit('no memory')")
    params = load_params()
    job = training_peer._job("word2vec", 1, params, Path("data"), project)
    (project / training_peer.TEXT).write_text("the king\n")
    with pytest.raises(PeerError, match="word2vec, skipgram, seed 1: it ended with status 1; what it said is above"):
        running.run_job(job)
    assert "It said last: no memory" in capfd.readouterr().err


def test_a_binary_that_cannot_be_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDLAB_PEERS", raising=False)
    with pytest.raises(ConfigError, match=r"WORDLAB_PEERS names, which is not set. Build it \(docs/comparing.md\)"):
        find_binary("word2vec")
    monkeypatch.setenv("WORDLAB_PEERS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"word2vec is not there\. Build word2vec"):
        find_binary("word2vec")
    (tmp_path / "word2vec").write_bytes(b"\x7fELF nothing")
    with pytest.raises(ConfigError, match=r"may not be executed. Run: chmod \+x"):
        find_binary("word2vec")


def test_a_binary_of_another_machine_is_told(project: Path, program: Callable[..., Path]) -> None:
    program().write_bytes(b"\x7fELF nothing")
    with pytest.raises(PeerError, match=r"word2vec cannot be started: .*Build it on this machine"):
        train_peer("word2vec", 1, load_params(), Path("data"))


def test_an_absent_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(ConfigError, match=r"lists fasttext, which is not installed. Run: pip install -c constraints"):
        version_of("fasttext")


@pytest.mark.parametrize(
    ("program", "model", "told"),
    [
        ("gensim", {"objective": "softmax"}, "gensim, which cannot train with model.objective=softmax"),
        ("word2vec", {"window_edges": "drop"}, "word2vec, which cannot train with model.window_edges=drop"),
        ("gensim", {"units": "characters"}, "gensim, which cannot train with model.subwords.units=characters"),
        ("fasttext", {"units": "jamo"}, "fasttext, which cannot train with model.subwords.units=jamo"),
        ("fasttext", {"arch": "sent2vec"}, "fasttext, which cannot train with model.arch=sent2vec"),
    ],
)
def test_what_a_program_cannot_do_is_refused(program: str, model: dict[str, Any], told: str) -> None:
    params = load_params(ROOT / "params.yaml")
    if units := model.pop("units", ""):
        model["subwords"] = dataclasses.replace(params.model.subwords, units=units)
    with pytest.raises(ConfigError, match=told):
        require_able(program, changed(params, **model).model)
    for able in SEEDS:
        require_able(able, params.model)


# ---- ours against theirs


def test_differences_are_ours_less_theirs_with_intervals(project: Path) -> None:
    params, data, metrics = load_params(), Path("data"), Path("metrics")
    for seed in params.seeds:
        train_peer("gensim", seed, params, data)
    write_versus("gensim", params, data, metrics)
    told = read_json(metrics / "peers/gensim.json", "")
    values = {
        side: [read_json(folder / f"seed-{seed}.json", "")["scores"]["men"]["value"] for seed in params.seeds]
        for side, folder in (("ours", metrics), ("theirs", data / "peers/gensim/metrics"))
    }
    men = told["scores"]["men"]
    test = scipy.stats.ttest_rel(values["ours"], values["theirs"]).confidence_interval()
    assert men["ours"] == pytest.approx(statistics.fmean(values["ours"]), rel=1e-5)
    assert men["difference"] == pytest.approx(men["ours"] - men["theirs"], abs=2e-6)
    assert (men["low"], men["high"]) == (pytest.approx(test.low, rel=1e-4), pytest.approx(test.high, rel=1e-4))
    page = (data / "versus/gensim/index.md").read_text(encoding="utf-8")
    assert "train.lr.skipgram: 0.025 → 0.08" in page and "absent" not in page
    assert "paired by seed, 2 seeds" in page and "times as many words per CPU second" in page
    assert (data / "versus/gensim/differences.svg").stat().st_size > 0
    html = (data / "versus/gensim/index.html").read_text(encoding="utf-8")
    shown = Page(html)
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in shown.references)
    for text in ("times as many words per CPU second", "train.lr.skipgram 0.025", "gensim ran on 1 thread", "men"):
        assert text in shown.text or text in html, text
    speed = told["speed"]
    assert speed["ratio_low"] <= speed["ratio"] <= speed["ratio_high"]
    assert speed["ours"]["raw_words_per_cpu_second"] == 1500


def test_the_ratio_of_speeds_is_that_of_paired_logarithms() -> None:
    ours, theirs = [100.0, 120.0, 90.0], [10.0, 11.0, 12.0]
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    interval = scipy.stats.ttest_1samp(logs, 0).confidence_interval()
    found = speed_ratio(ours, theirs)
    assert found is not None and found.low is not None and found.high is not None
    assert found.ratio == pytest.approx(scipy.stats.gmean([10.0, 120 / 11, 7.5]))
    assert (found.low, found.high) == (pytest.approx(math.exp(interval.low)), pytest.approx(math.exp(interval.high)))
    one = speed_ratio([5.0], [2.0])
    assert one is not None and (one.ratio, one.low) == (pytest.approx(2.5), None)
    assert speed_ratio([], []) is None and speed_ratio([1.0], []) is None


def test_models_of_other_seeds_are_not_compared(project: Path) -> None:
    params, data = load_params(), Path("data")
    train_peer("gensim", 1, params, data)
    with pytest.raises(ArtifactError, match=r"peers/gensim/metrics has results of the seeds \[1\], not \[1, 2\]"):
        compare_with("gensim", params.seeds, data, Path("metrics"))


# ---- the stages


@pytest.mark.parametrize(
    ("stage", "arguments", "told"),
    [
        ("peers", ["--program", "gensim", "--seed", "-1"], "--seed is -1, but other programs take 0 to 2^31 - 1"),
        ("peers", ["--program", "gensim", "--seed", "1"], "peers.programs does not list gensim. Add it, then run: dvc"),
        (
            "versus",
            ["--program", "gensim"],
            "gensim has no results: there is no data/peers/gensim/metrics/seed-N.json.",
        ),
    ],
)
def test_stages_say_what_is_wrong_in_one_message(
    project: Path, stage: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (project / "params.yaml").read_text().replace("programs: [gensim, fasttext, word2vec]", "programs: []")
    (project / "params.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", [stage, *arguments])
        run_stage(importlib.import_module(f"stages.{stage}").main)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_program_that_needs_more_than_there_is_does_not_begin(
    project: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bound = Bound(1_000_000, "the made-up limit of this test", "Make it wider")
    monkeypatch.setattr(machine, f"{kind}_bounds", lambda place=None: [bound])
    monkeypatch.setattr(preflight, "held_bytes", lambda: 0)
    monkeypatch.setattr(running, "run_job", lambda job: pytest.fail("it has begun"))
    monkeypatch.setattr(sys, "argv", ["peers", "--program", "gensim", "--seed", "1"])
    with pytest.raises(ResourceError) as caught:
        importlib.import_module("stages.peers").main()
    said = str(caught.value)
    wanted = "the processes of stage peers (gensim, seed 1) need 2" if kind == "memory" else "data/peers/gensim"
    assert wanted in said and "MB" in said and "or fewer peers.programs" in said
    assert not Path("data/peers").exists() or not list(Path("data/peers").rglob("*.npy"))


def test_matrices_tables_and_buckets_count(project: Path) -> None:
    params, words, million = load_params(), 1_000_000, 10**6

    def need(program: str, **model: Any) -> int:
        return program_bytes(program, changed(params, **model).model, words, 9)

    matrices = {"gensim": 3, "fasttext": 3, "word2vec": 2}
    for program, count in matrices.items():
        assert need(program, dim=300) - need(program, dim=100) == count * 200 * 4 * words, program
    assert need("gensim", objective="hs") > need("gensim", objective="ns"), "its tree is made of objects"
    assert need("word2vec", objective="ns") > need("word2vec", objective="hs") + 300 * million, "its table is not there"
    parts = dataclasses.replace(params.model.subwords, units="characters", buckets=2_000_000)
    plain, more = (need("fasttext", dim=100, subwords=units) for units in (params.model.subwords, parts))
    assert more - plain > 4 * 100 * 2_000_000
    assert need_of_peer("fasttext", 1, changed(params, subwords=parts)).lower.startswith(
        "a smaller model.dim, fewer model"
    )


def test_other_vectors_than_input_are_refused(project: Path) -> None:
    params = load_params()
    sums = dataclasses.replace(params, evaluate=dataclasses.replace(params.evaluate, vectors="input+output"))
    with pytest.raises(ConfigError, match=r"evaluate.vectors is input.output, but other programs leave input"):
        train_peer("gensim", 1, sums, Path("data"))


# ---- in DVC


@pytest.mark.parametrize(("programs", "stages"), [("[]", 0), ("[gensim]", 3), ("[gensim, word2vec]", 6)])
def test_there_are_stages_for_the_programs_that_are_listed_and_no_others(
    tmp_path: Path, programs: str, stages: int
) -> None:
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    text = (ROOT / "params.yaml").read_text().replace("programs: []", f"programs: {programs}")
    (tmp_path / "params.yaml").write_text(text.replace("seeds: [1, 2, 3]", "seeds: [1, 2]"))
    for command in (["init", "--no-scm", "-q"], ["stage", "list", "--name-only"]):
        done = subprocess.run(["dvc", *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sum(name.startswith(("peers@", "versus@")) for name in done.stdout.split()) == stages
    assert "train@2" in done.stdout
