"""Every benchmark, end to end, on a corpus of some thousand made-up sentences. What is measured there means nothing."""

from __future__ import annotations

import bz2
import dataclasses
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    bench,
    evaluating,
    formats,
    formats_run,
    jobs,
    methods,
    models,
    preprocessing,
    quality,
    readme,
    serving,
    speed,
    throughput,
    wikipedia,
)
from benchmarks.corpus import BenchCorpus
from benchmarks.jobs import BenchmarkError, Job, Measured, make_job
from benchmarks.targets import Median
from benchmarks.worker import PROGRAMS, work_of
from tests.toy_pipeline import make_pipeline
from wordlab.artifacts import read_json
from wordlab.config import Params, load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, ConfigError, WordlabError


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with params.yaml and what download, tokenize, vocab and encode leave in data/."""
    folder = tmp_path_factory.mktemp("pipeline")
    make_pipeline(folder)
    return folder


@pytest.fixture
def project(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder whose data is the pipeline's, and programs that run in this process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((pipeline / "params.yaml").read_bytes())
    (tmp_path / "data").symlink_to(pipeline / "data")
    for module in (speed, models, methods):
        monkeypatch.setattr(module, "run_together", run_in_this_process)
    monkeypatch.setattr(
        preprocessing, "run_worker", lambda kind, spec: work_of(kind)(json.loads(json.dumps(spec, default=str)))
    )
    monkeypatch.setattr(preprocessing, "WORKERS", 1)
    return tmp_path


def run_in_this_process(wanted: Sequence[Job]) -> list[Measured]:
    """What jobs.run_together does, one after the other and without processes."""
    found = []
    for job in wanted:
        job = Job.from_json(job.to_json())
        measured, vectors = importlib.import_module(PROGRAMS[job.program]).prepare(job)()
        if job.save:
            np.save(job.save, vectors)
        found.append(measured)
    return found


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run benchmarks.bench; the message of the error it ends with, if any: toys miss most targets."""
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    try:
        bench.main()
    except WordlabError as error:
        return str(error)
    return ""


def load(pipeline: Path) -> tuple[BenchCorpus, Params]:
    params = load_params(pipeline / "params.yaml")
    return BenchCorpus.open(pipeline / "data/vocab", pipeline / "data/encode", params.vocab), params


def test_speed_measures_every_program_and_tells_what_was_missed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "available_cores", lambda: 2)
    error = run(monkeypatch, "speed", "--rounds", "2")
    result = read_json(project / "benchmarks/results/speed.json", "")
    assert set(result["programs"]) == {program.name for program in speed.PROGRAMS}
    assert set(result["ratios"]) == {ratio.name for ratio in speed.RATIOS}
    assert len(result["rounds"]) == 2
    tokens = result["corpus"]["num_tokens"]
    for program in speed.PROGRAMS:
        for measured in result["rounds"][0][program.name]:
            # gensim's threads read whole batches of 10,000 words, a little beyond their parts of the file
            too_many = program.program == "gensim" and program.threads * 10_000
            assert 0 <= measured["raw_words"] - program.epochs * tokens <= too_many, program.name
            assert 0 < measured["trained_words"] < measured["raw_words"], program.name
            assert measured["peak_memory_bytes"] > 0
    assert len(result["rounds"][0]["ours skipgram, 2 processes of 1 thread"]) == 2
    missed = [target["name"] for target in result["targets"] if not target["met"]]
    assert error == ("missed: " + "; ".join(missed) if missed else "")
    assert len(result["targets"]) == len(speed.RATIOS) + 1
    assert all(readme.table(table, Path()) for table in result["tables"])
    assert "ours skipgram, 2 threads" in capsys.readouterr().out


def test_serving_measures_ours_and_gensim_and_leaves_no_model(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORDS", 2000), ("DIM", 8), ("AT_ONCE", 40), ("PROCESSES", 2), ("INDEX_QUESTIONS", 30)):
        monkeypatch.setattr(serving, name, value)
    monkeypatch.setattr("wordlab.versions.YOUNG_SECONDS", -1.0)
    monkeypatch.setattr(
        serving, "run_worker", lambda kind, spec: work_of(kind)(json.loads(json.dumps(spec, default=str)))
    )
    error = run(monkeypatch, "serving", "--rounds", "2")
    result = read_json(project / "benchmarks/results/serving.json", "")
    ours, gensim = result["milliseconds"]["ours"], result["milliseconds"]["gensim"]
    assert set(gensim) < set(ours) and len(ours["question"][0]["rounds"]) == 2
    assert all(wall["median"] > 0 for wall, _ in [*ours.values(), *gensim.values()])
    shared = result["share"]
    assert shared["file"] == 2000 * 8 * 4 + 128 and shared["resident"] >= 2 * shared["file"]
    assert shared["shared"] < 1.5 * shared["resident"] / 2 and len(shared["own"]) == 2
    missed = [target["name"] for target in result["targets"] if not target["met"]]
    assert error == ("missed: " + "; ".join(missed) if missed else "")
    assert all(readme.table(table, Path()) for table in result["tables"])
    if result["index"]:
        assert 0.5 < result["index"]["made here"]["probes"]["128"]["recall"] <= 1
    assert not list((project / "bench-out").iterdir())


def test_quality_compares_with_the_better_rate_and_trains_nothing_twice(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("quality", "--seeds", "2", "--processes", "1")
    assert run(monkeypatch, *options, "--programs", "gensim") == ""
    assert not (project / "benchmarks").exists()
    trained = sorted(path.name.rpartition("-")[0] for path in (project / "bench-out/models").iterdir())
    assert len(trained) == 8 and trained[0] == "gensim-cbow-lr0.025-seed1"
    run(monkeypatch, *options)
    result = read_json(project / "benchmarks/results/quality.json", "")
    for arch in ("skipgram", "cbow"):
        found = result["architectures"][arch]
        assert [len(program["seeds"]) for program in found["programs"].values()] == [2, 2, 2]
        assert found["differences"]["wordsim353"]["low"] < found["differences"]["wordsim353"]["high"]
    assert [target["found"] for target in result["targets"] if "SimLex" in target["name"]] == [
        "not measured: the set is absent"
    ] * 2
    assert all(readme.table(table, Path()) for table in result["tables"])

    def refuse(wanted: Sequence[Job]) -> list[Measured]:
        raise AssertionError(f"{wanted} was trained before")

    monkeypatch.setattr(models, "run_together", refuse)
    run(monkeypatch, *options)
    again = read_json(project / "benchmarks/results/quality.json", "")
    assert again["architectures"] == result["architectures"]


def test_methods_compares_with_fasttext_and_gensims_tree(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gensim in the place of fastText where that is not installed: what is measured means nothing here anyway."""
    if importlib.util.find_spec("fasttext_pybind") is None:
        monkeypatch.setitem(PROGRAMS, "fasttext", "wordlab.peers.gensim_program")
        monkeypatch.setattr(models.importlib.metadata, "version", lambda name: "1")
    error = run(monkeypatch, "methods", "--rounds", "2", "--seeds", "2", "--processes", "1")
    result = read_json(project / "benchmarks/results/methods.json", "")
    assert set(result["rounds"][0]) == {method.name for method in methods.SPEED} and len(result["rounds"]) == 2
    assert {name: len(values["wordsim353"]) for name, values in result["scores"].items()} == {
        method.name: 2 for method in (methods.PLAIN, methods.OURS, methods.FASTTEXT)
    }
    found = {target["name"]: target["found"] for target in result["targets"]}
    assert found["Rare Words: ours − fastText"] == "not measured: the set is absent"
    assert error == "missed: " + "; ".join(target["name"] for target in result["targets"] if not target["met"])
    assert all(readme.table(table, Path()) for table in result["tables"])


def test_without_fasttext_methods_ends_and_says_how_to_get_it(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, params = load(pipeline)
    monkeypatch.setitem(sys.modules, "fasttext_pybind", None)
    job = make_job("fasttext", "skipgram", params, corpus, Path("no-text"), threads=1, seed=1)
    with pytest.raises(ConfigError, match=r"fastText is not installed.*pip install -c constraints.txt -e"):
        importlib.import_module(PROGRAMS["fasttext"]).prepare(job)


def test_fasttext_trains_on_the_same_words(pipeline: Path, tmp_path: Path) -> None:
    pytest.importorskip("fasttext_pybind", reason="fastText is not installed: pip install -e '.[peers]'")
    corpus, params = load(pipeline)
    text, vocab = corpus.write_text(tmp_path), corpus.data.vocab
    vectors = []
    for seed in (1, 1, 2):
        job = make_job("fasttext", "skipgram", params, corpus, text, threads=1, seed=seed, epochs=1, **methods.SUBWORDS)
        measured, found = importlib.import_module(PROGRAMS["fasttext"]).prepare(job)()
        assert measured.raw_words == vocab.counts.sum() and measured.cpu_seconds > 0
        assert found.shape == (len(vocab), params.model.dim) and np.abs(found).max() > 0
        vectors.append(found)
    assert np.array_equal(vectors[0], vectors[1]) and not np.array_equal(vectors[0], vectors[2])


def test_preprocessing_measures_ours_and_gensims_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = run(monkeypatch, "preprocessing", "--rounds", "1")
    result = read_json(project / "benchmarks/results/preprocessing.json", "")
    (found,) = result["rounds"]
    raw, plain, gensim = (found[name] for name in (preprocessing.RAW, preprocessing.PLAIN, preprocessing.GENSIM))
    assert raw["tokens"] == plain["tokens"] and plain["words"] == raw["words"] == gensim["words"]
    assert plain["tokens_read"] == gensim["tokens_read"] == raw["tokens_read"]
    assert error == "" or error.startswith("missed: ")
    assert not list((project / "bench-out").glob("encoded-*"))
    assert all(readme.table(table, Path()) for table in result["tables"])


def test_throughput_holds_each_part_against_something(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_worker(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        return work_of(kind)(json.loads(json.dumps({**spec, "workers": 1}, default=str)))

    monkeypatch.setattr(throughput, "run_worker", run_worker)
    monkeypatch.setattr(throughput, "PIECES", {"model_type": "unigram", "vocab_size": 60})
    monkeypatch.setattr(throughput, "COPIES", 1)
    monkeypatch.setattr(throughput, "available_cores", lambda: 2)
    error = run(monkeypatch, "throughput", "--rounds", "2")
    assert error == "" or error.startswith("missed: ")
    result = read_json(project / "benchmarks/results/throughput.json", "")
    assert len(result["targets"]) == 5 and len(result["rounds"]) == 2
    for found in result["rounds"]:
        rates = [rate for part in found.values() for rate in part.values()]
        assert len(rates) == 10 and min(rates) > 0
    model, repeated, text = sorted((project / "bench-out").iterdir())
    assert (model.name, text.name) == ("pieces.model", "running-text.txt")
    assert (
        read_json(repeated / "tokenize/manifest.json", "")["num_tokens"]
        == throughput.TOKEN_COPIES * (read_json(project / "data/tokenize/manifest.json", "")["num_tokens"])
    )
    assert all(readme.table(table, Path()) for table in result["tables"])
    monkeypatch.setattr(throughput, "available_cores", lambda: 1)
    run(monkeypatch, "throughput", "--rounds", "1")
    assert len(read_json(project / "benchmarks/results/throughput.json", "")["targets"]) == 4


def test_wikipedia_compares_texts_and_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WikiExtractor is played: it keeps a word that we drop, leaves a list out, and writes a placeholder."""
    texts = {"A &amp; B": "One {{t}} ''two''.\n* three [[four]]", "C": "five &lt;math&gt;x&lt;/math&gt; {{six}} | s"}
    page = "<page><title>%s</title><ns>0</ns><text>%s</text></page>\n"
    pages = "".join(page % item for item in texts.items())
    stored = project / "pages.bz2"
    stored.write_bytes(bz2.compress(f"<mediawiki>\n{pages}</mediawiki>\n".encode()))
    theirs = [
        {"title": "A & B", "text": "One two."},
        {"title": "C", "text": "five formula_1 six &lt;"},
        {"title": "D", "text": " "},
    ]
    sizes = []

    def run_worker(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        if kind == "strip_ours":
            sizes.append(Path(spec["xml"]).stat().st_size)
            return work_of(kind)(json.loads(json.dumps(spec, default=str)))
        folder = Path(spec["out"]) / "AA"
        folder.mkdir(parents=True)
        (folder / "wiki_00").write_text("".join(json.dumps(row) + "\n" for row in theirs))
        return {"wall_seconds": 100.0, "cpu_seconds": 100.0}

    monkeypatch.setattr(wikipedia, "run_worker", run_worker)
    monkeypatch.setattr(wikipedia, "_page_file", lambda: stored)
    monkeypatch.setattr(wikipedia.importlib.metadata, "version", lambda name: "0")
    run(monkeypatch, "wikipedia", "--rounds", "2")
    result = read_json(project / "benchmarks/results/wikipedia.json", "")
    assert sizes == [len("<mediawiki>\n</mediawiki>\n") + wikipedia.COPIES * len(pages)] * 2
    kept = result["kept"]
    assert kept["articles"] == {"ours": 2, "WikiExtractor": 2, "both": 2}
    assert kept["words"] == {"both": 3, "ours": 3, "WikiExtractor": 1} and kept["words_theirs_alone"] == [["six", 1]]
    assert sum(kept["junk"]["ours"].values()) == kept["junk"]["ours"]["bars"] == 1
    assert kept["junk"]["WikiExtractor"]["placeholders"] == kept["junk"]["WikiExtractor"]["entities"] == 1
    assert result["ratio"]["median"] > 10 and not (project / "bench-out/wikipedia").exists()
    assert all(readme.table(table, Path()) for table in result["tables"])


def test_wikipedia_asks_for_its_packages(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikipedia.importlib.util, "find_spec", lambda name: None)
    assert "WikiExtractor is not installed" in run(monkeypatch, "wikipedia") and not Path("bench-out").exists()


def test_formats_measures_every_reader_and_writer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same sizes for both programs; what is written is there whole, and afterwards nothing is left."""
    sizes = {}

    def run_worker(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        found = formats_run.WORK[kind](json.loads(json.dumps(spec, default=str)))
        sizes[spec["form"], spec["action"], spec["program"]] = found["size_bytes"]
        assert len(Embeddings.load(spec["path"])) == 300
        return found

    monkeypatch.setattr(formats, "run_worker", run_worker)
    monkeypatch.setattr(formats, "NUM_WORDS", 300)
    monkeypatch.setattr(formats, "DIM", 5)
    error = run(monkeypatch, "formats", "--rounds", "2")
    assert error == "" or error.startswith("missed: ")
    result = read_json(project / "benchmarks/results/formats.json", "")
    (table,) = result["tables"]
    assert [row[0] for row in table["rows"]] == [task.name for task in formats.TASKS] and len(result["rounds"]) == 2
    assert len(result["targets"]) == 9 and readme.table(table, Path())
    assert sizes["text", "load", "ours"] == sizes["text", "load", "gensim"] == sizes["text", "save", "ours"]
    assert not (project / "bench-out/formats").exists()


def test_evaluation_counts_the_right_answers_of_both_programs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NUM_WORDS", 300), ("DIM", 3), ("NUM_QUESTIONS", 400), ("QUESTION_WORDS", 20)):
        monkeypatch.setattr(evaluating, name, value)
    assert run(monkeypatch, "evaluation", "--rounds", "2") == ""
    result = read_json(project / "benchmarks/results/evaluation.json", "")
    assert len(result["rounds"]) == 2 and readme.table(result["tables"][0], Path())
    assert [row[0] for row in result["tables"][0]["rows"]] == [
        evaluating.OURS,
        evaluating.OURS_GENSIM,
        evaluating.GENSIM,
    ]
    assert result["rounds"][0][evaluating.GENSIM]["correct"] > 0
    assert not (project / "bench-out/questions.txt").exists()


def test_slow_or_other_answers_are_missed() -> None:
    def one(seconds: float, correct: int) -> dict[str, float]:
        return {"wall_seconds": seconds, "cpu_seconds": seconds, "correct": correct}

    fast = {evaluating.OURS: one(2, 7), evaluating.OURS_GENSIM: one(2, 7), evaluating.GENSIM: one(30, 7)}
    slow = fast | {evaluating.OURS: one(6, 7), evaluating.OURS_GENSIM: one(2, 8)}
    assert [target["met"] for target in evaluating.summarize([fast, fast])["targets"]] == [True, True]
    assert [target["met"] for target in evaluating.summarize([fast, slow])["targets"]] == [False, False]


def test_a_format_faster_than_gensim_but_slow_is_missed() -> None:
    def one(task: formats.Task) -> dict[str, Any]:
        seconds = 1.0 if task.program == "ours" else 4.0
        return {"wall_seconds": seconds, "cpu_seconds": seconds, "size_bytes": 100_000_000}

    found = formats.summarize([{task.name: one(task) for task in formats.TASKS}] * 3)
    missed = [target["name"] for target in found["targets"] if not target["met"]]
    assert missed == ["word2vec binary, load", "word2vec binary, save"]
    assert {row[6] for row in found["tables"][0]["rows"]} == {None, 4.0}


def test_processes_start_together_and_save_their_vectors(pipeline: Path, tmp_path: Path) -> None:
    corpus, params = load(pipeline)
    text = corpus.write_text(tmp_path)
    one, other = (
        jobs.make_job("ours", "cbow", params, corpus, text, threads=1, seed=1, epochs=1, save=tmp_path / name)
        for name in ("one.npy", "other.npy")
    )
    found = jobs.run_together([one, other])
    assert [measured.raw_words for measured in found] == [corpus.data.corpus.num_tokens] * 2
    assert np.load(tmp_path / "one.npy").shape == (len(corpus.data.vocab), 8)
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "other.npy").read_bytes()


def test_a_program_that_fails_is_told(pipeline: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    corpus, params = load(pipeline)
    job = jobs.make_job("racing", "cbow", params, corpus, corpus.write_text(tmp_path), threads=1, seed=1)
    with pytest.raises(BenchmarkError, match="A measured program ended with status 1 before it had reported"):
        jobs.run_together([job])
    assert "the racing prototype trains skipgram alone, not cbow" in capfd.readouterr().err


def test_a_job_survives_json(pipeline: Path, tmp_path: Path) -> None:
    corpus, params = load(pipeline)
    job = jobs.make_job("gensim", "skipgram", params, corpus, tmp_path, threads=2, seed=3, lr=0.5, save=tmp_path / "a")
    assert Job.from_json(job.to_json()) == job
    assert job.lr == 0.5 and job.train.lr.cbow == params.train.lr.cbow


def test_the_text_holds_the_encoded_tokens(pipeline: Path, tmp_path: Path) -> None:
    corpus, _ = load(pipeline)
    lines = corpus.write_text(tmp_path).read_text(encoding="utf-8").splitlines()
    (shard,) = corpus.data.corpus.shards
    assert len(lines) == shard.num_sentences
    words = [corpus.data.vocab.words[number] for number in shard.ids]
    assert " ".join(lines).split() == words
    assert lines[1].split() == words[shard.offsets[1] : shard.offsets[2]]


def test_gensim_refuses_another_corpus(pipeline: Path, tmp_path: Path) -> None:
    from wordlab.peers.gensim_program import prepare

    corpus, params = load(pipeline)
    text = corpus.write_text(tmp_path)
    text.write_text(text.read_text() + "the king\n")
    job = jobs.make_job("gensim", "cbow", params, corpus, text, threads=1, seed=1)
    with pytest.raises(ArtifactError, match="has other tokens than the encoded corpus: remove it"):
        prepare(job)


def test_a_model_is_known_by_all_that_makes_it(pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gensim's models outlive changes of our code and of our parameters; ours do not."""
    corpus, params = load(pipeline)

    def key(program: Any, **changed: Any) -> dict[str, Any]:
        wanted = dataclasses.replace(params, train=dataclasses.replace(params.train, **changed))
        job = jobs.make_job(program, "cbow", wanted, corpus, tmp_path, threads=1, seed=1)
        return models.model_key(job, corpus.fingerprint)

    ours, gensim = key("ours"), key("gensim")
    assert key("ours", batch_tokens=64) != ours and key("gensim", batch_tokens=64) == gensim
    assert key("ours", epochs=9) != ours and key("gensim", epochs=9) != gensim
    lr = dataclasses.replace(params.train.lr, skipgram=9.0)
    assert key("ours", lr=lr) == ours
    monkeypatch.setattr(models, "sources", lambda names: "edited")
    assert key("ours") != ours and key("gensim") == gensim


def test_code_edited_meanwhile_is_noticed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter(["before", "after"])
    monkeypatch.setattr(bench, "sources", lambda names: next(digests))
    error = run(monkeypatch, "preprocessing", "--rounds", "1")
    assert error == "src/wordlab was edited while preprocessing ran: it measured two programs. Run it again."
    assert not (project / "benchmarks").exists()


def test_missing_data_names_the_command(tmp_path: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((pipeline / "params.yaml").read_bytes())
    assert "data/vocab does not exist, and benchmarks need an encoded corpus. Run: make run" in run(
        monkeypatch, "speed"
    )
    assert "Run: dvc repro download" in run(monkeypatch, "preprocessing")


def test_other_sampling_parameters_are_refused(pipeline: Path) -> None:
    params = load_params(pipeline / "params.yaml")
    other = dataclasses.replace(params.vocab, subsample_t=1e-5)
    with pytest.raises(ArtifactError, match="was made with another subsample_t or noise_power than params"):
        BenchCorpus.open(pipeline / "data/vocab", pipeline / "data/encode", other)


@pytest.mark.parametrize(("values", "median"), [([3, 1, 2], 2), ([4, 1, 3, 2], 2.5), ([7], 7)])
def test_a_median_keeps_its_rounds(values: list[float], median: float) -> None:
    assert Median.of(values) == Median(median, min(values), max(values), tuple(values))


@pytest.mark.parametrize(("scores", "better"), [((32.0, 34.0), 0.05), ((34.0, 32.0), 0.025), ((None, None), 0.025)])
def test_gensims_better_rate_is_that_of_the_analogies(scores: tuple[float | None, ...], better: float) -> None:
    runs = {
        lr: {1: {"scores": {"google_analogy": score}}} for lr, score in zip(quality.GENSIM_RATES, scores, strict=True)
    }
    assert quality.better_rate(runs, [1]) == better


def test_processor_flags_decide_on_kernels(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name : any\nflags\t\t: fpu avx2 avx512f avx512bw\n")
    assert jobs.cpu_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "avx512f", "avx512bw"}
    assert jobs.cpu_flags(tmp_path / "none") == set()
