"""Sentence vectors: text tokenized as the corpus was, n-grams as in training, from a folder, by stages and commands."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import evaluate, report, train
from tests.engine import WORDS_PER_TOPIC, model_config, topic_sentences, write_data
from tests.helpers import CONFIG, make_model_folder
from tests.project import WORDS as PROJECT_WORDS
from tests.project import make_project
from wordlab.artifacts import write_manifest
from wordlab.claims import release
from wordlab.cli import export_name, main
from wordlab.config import load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, ConfigError, QueryError
from wordlab.preflight import need_of
from wordlab.word_ngrams import ngram_bucket

WORDS = ("the", "cat", "sat", "don't", "éclair", "x", "zero")
BUCKETS = 50


def model(tokenizer: str = "words", lowercase: bool = True, word_ngrams: int = 2) -> Embeddings:
    """A sent2vec model of random rows."""
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(len(WORDS), 3)).astype(np.float32)
    rows = rng.normal(size=(BUCKETS, 3)).astype(np.float32) if word_ngrams > 1 else None
    config = {
        "tokenize": {"tokenizer": tokenizer, "lowercase": lowercase},
        "model": {"arch": "sent2vec", "sent2vec": {"word_ngrams": word_ngrams, "dropout": 0, "buckets": BUCKETS}},
    }
    return Embeddings(WORDS, vectors, config=config, word_ngram_rows=rows)


def expected(vectors: Embeddings, *words: str) -> Any:
    """Mean of the words' rows and of those of all pairs of neighbours."""
    ids = [WORDS.index(word) for word in words]
    rows = [vectors.input_vectors[i] for i in ids]
    if vectors.word_ngram_rows is not None:
        rows += [vectors.word_ngram_rows[ngram_bucket(np.array(pair), BUCKETS)] for pair in itertools.pairwise(ids)]
    return pytest.approx(np.mean(rows, axis=0), rel=1e-5, abs=1e-6)


def test_a_text_is_tokenized_as_the_corpus_was() -> None:
    """Lower-cased, composed, ’ as ', punctuation and line ends between words, unknown words passed over."""
    vectors = model()
    assert vectors.sentence_vector("The CAT\nsat.") == expected(vectors, "the", "cat", "sat")
    assert vectors.sentence_vector("the unheard-of cat") == expected(vectors, "the", "cat")
    assert vectors.sentence_vector("DON’T! E\u0301CLAIR") == expected(vectors, "don't", "éclair")
    assert model("ascii").sentence_vector("the 0 éclair") == expected(vectors, "the", "zero")
    assert model("whitespace", lowercase=False).sentence_vector("The cat sat.") == expected(vectors, "cat")


def test_many_sentences_are_those_of_each_by_itself() -> None:
    """Empty ones, ones without a known word, and the word that marks texts inside among them."""
    vectors = model()
    texts = ["the cat", "", "  \r\n", "nothing known here", "x", "x x", "cat", "\ud800 sat", *["sat the"] * 5000]
    found = vectors.sentence_vectors(texts)
    assert found.dtype == np.float32 and found.shape == (len(texts), 3)
    for i in (*range(8), 4500, 5007):
        assert np.array_equal(found[i], vectors.sentence_vector(texts[i])), texts[i]
    assert not found[1:4].any()
    assert found[4] == expected(vectors, "x") and found[5] == expected(vectors, "x", "x")
    assert vectors.sentence_vectors([]).shape == (0, 3)


def test_lists_are_taken_as_words() -> None:
    vectors = model()
    assert vectors.sentence_vector(["the", "cat", "The"]) == expected(vectors, "the", "cat")
    assert np.array_equal(vectors.sentence_vectors([["sat"], []])[1], np.zeros(3))
    many = [[word, f"unknown{i}"] for i, word in enumerate(WORDS * 100)]  # looked up together
    assert np.array_equal(vectors.sentence_vectors(many)[:7], vectors.sentence_vectors([[word] for word in WORDS]))
    with pytest.raises(QueryError, match="all of them in one way"):
        vectors.sentence_vectors(["the cat", ["the", "cat"]])  # type: ignore[list-item]


def test_models_of_words_alone_give_the_mean_of_their_vectors() -> None:
    vectors = model(word_ngrams=1)
    assert vectors.sentence_vector("the cat sat") == expected(vectors, "the", "cat", "sat")
    plain = Embeddings(WORDS, vectors.input_vectors)
    assert plain.sentence_vector(["the", "cat"]) == expected(vectors, "the", "cat")


def test_a_text_is_normalised_as_the_corpus_was() -> None:
    """Hanja in brackets goes, and the particle is the word's again."""
    words = ["나라는", "크다", "나라", "는"]
    config = {"tokenize": {"tokenizer": "words", "lowercase": True}, "model": {"arch": "skipgram"}}
    vectors = np.eye(4, dtype=np.float32)
    plain = Embeddings(words, vectors, config=config).sentence_vector("나라(國家)는 크다")
    assert plain.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    korean = config | {"tokenize": config["tokenize"] | {"normalizer": "korean"}}
    found = Embeddings(words, vectors, config=korean).sentence_vector("나라(國家)는 크다")
    assert found.tolist() == pytest.approx([0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    "tokenizer, why", [("sentencepiece", "of word pieces"), ("kiwi", "of morphemes"), (None, "does not say how")]
)
def test_a_text_that_cannot_be_tokenized_is_refused(tokenizer: str | None, why: str) -> None:
    with pytest.raises(QueryError, match=rf"{why}.*give lists of words"):
        model(tokenizer).sentence_vector("the cat")  # type: ignore[arg-type]


def folder_of(path: Path, rows: np.ndarray[Any, Any] | None, **changes: Any) -> Path:
    """A model folder as stage train writes it for sent2vec."""
    own = {"word_ngrams": 2, "dropout": 0, "buckets": BUCKETS} | changes
    config = CONFIG | {
        "tokenize": {"tokenizer": "words", "lowercase": True},
        "model": CONFIG["model"] | {"arch": "sent2vec", "sent2vec": own},
    }
    make_model_folder(path, WORDS, model().input_vectors, config=config)
    manifest = json.loads((path / "manifest.json").read_bytes())
    if rows is not None:
        np.save(path / "word_ngram_rows.npy", rows)
    content = {key: value for key, value in manifest.items() if key not in ("files", "format", "stage")}
    write_manifest(path, "train", content)
    return path


def test_a_model_folder_gives_the_same(tmp_path: Path) -> None:
    vectors = model()
    for mmap in (False, True):
        name = tmp_path / f"mmap-{mmap}"
        opened = Embeddings.load(folder_of(name, vectors.word_ngram_rows), mmap=mmap)
        assert np.array_equal(opened.sentence_vector("The cat sat"), vectors.sentence_vector("The cat sat"))
        assert isinstance(opened.word_ngram_rows, np.memmap), "a sentence needs a few rows, not all"
    assert Embeddings.load(folder_of(tmp_path / "none", None, word_ngrams=1)).word_ngram_rows is None


def test_rows_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    for number, rows in enumerate(
        (np.zeros((BUCKETS + 1, 3), "f4"), np.zeros((BUCKETS, 2), "f4"), np.zeros((BUCKETS, 3)))
    ):
        with pytest.raises(ArtifactError, match=r"word_ngram_rows\.npy holds .* Run: dvc repro train"):
            Embeddings.load(folder_of(tmp_path / str(number), rows))
    with pytest.raises(ArtifactError, match="word_ngram_rows"):
        Embeddings.load(folder_of(tmp_path / "missing", None))
    with pytest.raises(ArtifactError, match=r"does not say how the model was trained.*word_ngrams"):
        Embeddings.load(folder_of(tmp_path / "wrong", None, word_ngrams=99))


def test_the_command_prints_nearest_lines_or_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "model", model().word_ngram_rows)
    lines = tmp_path / "lines.txt"
    lines.write_text("éclair x\n\n  Cat, the!\nthe cat\n", encoding="utf-8")
    main(["sentence", "The cat", "--among", str(lines), "--model", str(folder), "--count", "2"])
    first, best, _ = capsys.readouterr().out.splitlines()
    assert first == "The cat" and best.split() == ["1.000", "the", "cat"]
    main(["sentence", "cat", "--model", str(folder), "--count", "1"])
    assert capsys.readouterr().out.split() == ["cat", "1.000", "cat"]


def test_the_command_tells_of_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "model", model().word_ngram_rows)
    for arguments, message in (
        (["nothing"], "no word of 'nothing' is in the vocabulary"),
        (
            ["cat", "--among", str(tmp_path / "missing.txt")],
            "missing.txt cannot be read: No such file or",
        ),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["sentence", *arguments, "--model", str(folder)])
        assert ended.value.code == 1 and message in capsys.readouterr().err


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a model of arch sent2vec, trained, evaluated and reported by the stages."""
    words = [*PROJECT_WORDS, *(f"w{number}" for number in range(2 * WORDS_PER_TOPIC - len(PROJECT_WORDS)))]
    make_project(tmp_path, seeds=(1,), neighbors=("king",))
    shutil.rmtree(tmp_path / "data" / "train")
    write_data(tmp_path, topic_sentences(300), words=words)
    settings = {"arch": "sent2vec", "dim": 8, "epochs": 2, "device": "cpu", "threads": 1}
    text = (tmp_path / "params.yaml").read_text()
    for name, value in settings.items():
        text = re.sub(rf"^( +{name}:) [^\s#]+", rf"\1 {value}", text, flags=re.MULTILINE)
    (tmp_path / "params.yaml").write_text(
        text.replace("buckets: 2000000", "buckets: 100").replace("sent2vec: 0.2", "sent2vec: 4")
    )
    monkeypatch.chdir(tmp_path)
    for stage, arguments in ((train, ["--seed", "1"]), (evaluate, ["--seed", "1"]), (report, [])):
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        stage.main()
    yield tmp_path
    release()


def test_the_stages_train_evaluate_and_report_such_a_model(trained: Path) -> None:
    results = json.loads((trained / "metrics" / "seed-1.json").read_bytes())
    assert results["arch"] == "sent2vec" and -1 <= results["scores"]["wordsim353"]["value"] <= 1
    page = (trained / "data" / "report" / "index.html").read_text()
    title = "sent2vec on enwik8, ns, 8 dimensions, words of the sentence and n-grams up to 2, 2 epochs, seed 1"
    assert title in re.sub(r"\s+", " ", page)
    model = Embeddings.load(trained / "data" / "train" / "seed-1")
    assert model.word_ngram_rows is not None and model.word_ngram_rows.shape == (100, 8)
    assert np.isfinite(model.sentence_vector("The king, and France.")).all()
    assert export_name(trained / "data" / "train" / "seed-1") == "enwik8-sent2vec-ns-d8-n2-seed1.vec"


def test_a_larger_model_is_foreseen(trained: Path) -> None:
    """Each bucket is a row of the table and one of the file."""
    params = load_params()
    own = dataclasses.replace(params.model.sent2vec, buckets=10_000_100)
    more = dataclasses.replace(params, model=dataclasses.replace(params.model, sent2vec=own))
    small, large = need_of("train", params, 1), need_of("train", more, 1)
    assert large.disk_bytes - small.disk_bytes == 10_000_000 * 8 * 4
    assert large.memory_bytes - small.memory_bytes >= 10_000_000 * 16 * 4, "rows are vectors of sixteen"
    assert "fewer model.sent2vec.buckets" in large.lower


def test_what_sent2vec_cannot_do_is_refused() -> None:
    for changes, key in (({"objective": "hs"}, "model.objective"), ({"units": "jamo"}, "model.subwords.units")):
        with pytest.raises(ConfigError, match=rf"{key} is .* with arch sent2vec"):
            model_config("sent2vec", **changes)
