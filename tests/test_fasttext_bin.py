"""fastText's .bin and its n-grams: ours read by fastText and gensim, theirs by us, the same vectors for any word."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import FastText, KeyedVectors
from gensim.models.fasttext import (
    FastTextKeyedVectors,
    load_facebook_model,
    load_facebook_vectors,
    save_facebook_model,
)

from tests.helpers import refused
from wordlab.embeddings import Embeddings
from wordlab.errors import QueryError, ResourceError
from wordlab.formats import fasttext_parts
from wordlab.ngrams import Ngrams
from wordlab.subword_vectors import SubwordVectors
from wordlab.subwords import mean_vectors

WORDS = ["the", "naïve", "한국어", "don't", "a", "\U0001f600", "internationalization"]
UNKNOWN = ["there", "naively", "한국", "nations", "qqqq", "x", "\U0001f600\U0001f600"]
OWN = {"model": {"arch": "cbow", "objective": "hs", "window": 7, "negatives": 9}, "train": {"epochs": 3}}


def model_with_ngrams(ngrams: Ngrams, words: list[str] | None = None, dim: int = 5, **more: Any) -> Embeddings:
    """A model whose words are means of their own rows and the rows of their n-grams' buckets."""
    words, rng = words or WORDS, np.random.default_rng(dim)
    bags = [ngrams.of_word(word) for word in words]
    buckets = np.unique(np.concatenate(bags)).astype(np.int32)
    own = rng.normal(size=(len(words), dim)).astype(np.float32)
    rows = rng.normal(size=(len(buckets), dim)).astype(np.float32)
    start = np.cumsum([0, *map(len, bags)])
    row = np.searchsorted(buckets, np.concatenate(bags)).astype(np.int32)
    subwords = SubwordVectors(ngrams=ngrams, word_rows=own, buckets=buckets, rows=rows)
    return Embeddings(words, mean_vectors(start, row, own, rows), subwords=subwords, **more)


def unknown_vector(model: Embeddings, word: str) -> Any:
    assert model.subwords is not None
    vector = model.subwords.vector(word)
    return np.zeros(model.dim, np.float32) if vector is None else vector


def assert_same_vectors(model: Embeddings, theirs: Any) -> None:
    """theirs: a function from a word to its vector."""
    for word in model.words:
        np.testing.assert_allclose(theirs(word), model.vector(word), atol=1e-6)
    for word in UNKNOWN if model.subwords else ():
        np.testing.assert_allclose(theirs(word), unknown_vector(model, word), atol=1e-6)


def assert_same_models(found: Embeddings, model: Embeddings) -> None:
    assert found.words == model.words
    assert_same_vectors(model, lambda word: found.vector(word) if word in model else unknown_vector(found, word))


NGRAMS = pytest.mark.parametrize("ngrams", [Ngrams(3, 6, 1000), Ngrams(1, 2, 7), Ngrams(4, 4, 100_000)], ids=str)


@pytest.fixture(scope="module")
def program() -> Any:
    """fastText itself."""
    return pytest.importorskip("fasttext", reason="fastText is not installed: pip install fasttext==0.9.3")


# ---- ours, read by others


@NGRAMS
def test_gensim_gives_the_same_vectors_for_any_word(tmp_path: Path, ngrams: Ngrams) -> None:
    output = np.arange(35, dtype=np.float32).reshape(7, 5)
    model = model_with_ngrams(ngrams, output_vectors=output, counts=np.array([9, 8, 7, 6, 5, 4, 3]), config=OWN)
    model.save(tmp_path / "x.bin", "fasttext")
    theirs = load_facebook_vectors(str(tmp_path / "x.bin"))
    assert theirs.index_to_key == WORDS
    assert_same_vectors(model, theirs.get_vector)
    whole = load_facebook_model(str(tmp_path / "x.bin"))
    assert (whole.window, whole.epochs, whole.negative, whole.hs, whole.sg) == (7, 3, 9, 1, 0)
    assert np.array_equal(whole.syn1, output) and whole.wv.get_vecattr("naïve", "count") == 8
    assert_same_vectors(model, whole.wv.get_vector)


@NGRAMS
def test_fasttext_gives_the_same_vectors_for_any_word(tmp_path: Path, program: Any, ngrams: Ngrams) -> None:
    model = model_with_ngrams(ngrams, words=[*WORDS, "</s>", "__label__x"])
    model.save(tmp_path / "x.bin", "fasttext")
    theirs = program.load_model(str(tmp_path / "x.bin"))
    assert theirs.get_words() == model.words
    assert_same_vectors(model, theirs.get_word_vector)
    near = {word: score for score, word in theirs.get_nearest_neighbors("there", k=3)}
    mine = dict(model.nearest(unknown_vector(model, "there"), 3))
    assert near.keys() == mine.keys() and all(abs(near[word] - mine[word]) < 1e-5 for word in near)


def test_models_without_ngrams_are_read_by_both(tmp_path: Path, program: Any) -> None:
    model = Embeddings(WORDS, np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32))
    model.save(tmp_path / "x.bin", "fasttext")
    theirs = program.load_model(str(tmp_path / "x.bin"))
    assert_same_vectors(model, theirs.get_word_vector)
    assert_same_vectors(model, load_facebook_vectors(str(tmp_path / "x.bin")).get_vector)
    assert not theirs.get_word_vector("unknown").any()
    assert load_facebook_model(str(tmp_path / "x.bin")).syn1neg.tolist() == np.zeros((7, 5)).tolist()


def test_fasttext_starts_from_our_text(tmp_path: Path, program: Any) -> None:
    """Its -pretrainedVectors: a .vec file is word2vec's text."""
    model = Embeddings([f"w{i}" for i in range(50)], np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32))
    model.save(tmp_path / "x.vec", "text")
    (tmp_path / "text").write_text(corpus())
    theirs = program.train_unsupervised(
        str(tmp_path / "text"), dim=5, pretrainedVectors=str(tmp_path / "x.vec"), lr=0, minCount=1, maxn=0, verbose=0
    )
    for word in model.words:
        assert np.array_equal(theirs.get_word_vector(word), model.vector(word))


def test_a_file_has_holes_where_no_bucket_is_used(tmp_path: Path) -> None:
    """Two million buckets of 16 dimensions are 128 MB, of which a dozen rows are used."""
    model = model_with_ngrams(Ngrams(6, 6, 2_000_000), dim=16)
    tracemalloc.start()
    model.save(tmp_path / "x.bin", "fasttext")
    found = Embeddings.load(tmp_path / "x.bin")
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    status = (tmp_path / "x.bin").stat()
    assert status.st_size > 128_000_000 > 2 * 512 * status.st_blocks
    assert most_bytes < 30_000_000
    assert_same_models(found, model)


# ---- others', read by us


def corpus() -> str:
    rng = random.Random(1)
    words = [*(f"w{i}" for i in range(50)), "한국어", "naïve"]
    return "\n".join(" ".join(rng.choice(words) for _ in range(10)) for _ in range(300)) + "\n"


@pytest.mark.parametrize("arch", ["skipgram", "cbow"])
@pytest.mark.parametrize("longest", [6, 2, 0])
def test_fasttexts_own_models_give_the_same_vectors_here(tmp_path: Path, program: Any, arch: str, longest: int) -> None:
    (tmp_path / "text").write_text(corpus())
    theirs = program.train_unsupervised(
        str(tmp_path / "text"),
        **{
            "model": arch,
            "dim": 5,
            "bucket": 1000,
            "epoch": 2,
            "minCount": 1,
            "minn": min(3, longest),
            "maxn": longest,
        },
        thread=12,  # with fewer than 10 it leaves rows without first values
        verbose=0,
    )
    theirs.save_model(str(tmp_path / "x.bin"))
    model = Embeddings.load(tmp_path / "x.bin")
    assert model.words == theirs.get_words() and model.words[0] == "</s>"
    assert (model.subwords is not None) == (longest > 0)
    assert model.counts is not None and model.counts.tolist() == theirs.get_words(include_freq=True)[1].tolist()
    assert model.output_vectors is not None and np.array_equal(model.output_vectors, theirs.get_output_matrix())
    assert model.config is not None and model.config["model"]["arch"] == arch
    assert_same_vectors(model, theirs.get_word_vector)
    model.save(tmp_path / "y.bin", "fasttext")
    again, whole = (tmp_path / "y.bin").read_bytes(), (tmp_path / "x.bin").read_bytes()
    assert len(again) == len(whole) and (longest == 0 or again == whole)


def test_gensims_models_give_the_same_vectors_here(tmp_path: Path) -> None:
    sentences = [line.split() for line in corpus().splitlines()]
    theirs = FastText(sentences, vector_size=5, bucket=500, min_count=1, epochs=1, workers=1)
    save_facebook_model(theirs, str(tmp_path / "x.bin"))
    model = Embeddings.load(tmp_path / "x.bin")
    assert model.words == theirs.wv.index_to_key
    assert_same_vectors(model, theirs.wv.get_vector)


def test_a_model_of_a_classifier_or_a_quantised_one_is_refused(tmp_path: Path, program: Any) -> None:
    lines = corpus().splitlines()
    (tmp_path / "text").write_text("".join(f"__label__{i % 2} {line}\n" for i, line in enumerate(lines)))
    theirs = program.train_supervised(
        str(tmp_path / "text"), dim=4, epoch=1, wordNgrams=2, bucket=300, thread=12, verbose=0
    )
    theirs.save_model(str(tmp_path / "x.bin"))
    assert "is a supervised model, a classifier of texts" in refused(tmp_path / "x.bin")
    theirs.quantize()
    theirs.save_model(str(tmp_path / "x.ftz"))
    assert "is a supervised model, a classifier of texts" in refused(tmp_path / "x.ftz")


# ---- gensim's objects


@NGRAMS
def test_models_go_to_gensim_and_back_with_their_ngrams(ngrams: Ngrams) -> None:
    model = model_with_ngrams(ngrams, counts=np.arange(7, 0, -1))
    theirs = model.to_keyed_vectors()
    assert isinstance(theirs, FastTextKeyedVectors) and theirs.get_vecattr("naïve", "count") == 6
    assert_same_vectors(model, theirs.get_vector)
    theirs.recalc_char_ngram_buckets()
    theirs.adjust_vectors()  # gensim's own mean of rows
    assert_same_vectors(model, theirs.get_vector)
    back = Embeddings.from_keyed_vectors(theirs)
    assert_same_models(back, model)
    assert back.counts is not None and back.counts.tolist() == list(range(7, 0, -1))


def test_gensims_vectors_survive_its_own_file(tmp_path: Path) -> None:
    model = model_with_ngrams(Ngrams(3, 6, 1000))
    model.to_keyed_vectors().save(str(tmp_path / "x.kv"))
    assert_same_vectors(model, KeyedVectors.load(str(tmp_path / "x.kv")).get_vector)


def test_rows_for_all_buckets_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from wordlab import machine

    model = model_with_ngrams(Ngrams(3, 6, 2_000_000))
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 10_000_000)
    with pytest.raises(ResourceError, match="gensim's vectors, with a row for every bucket, need 40"):
        model.to_keyed_vectors()


@pytest.mark.parametrize("form", ["safetensors", "numpy", "fasttext"])
@NGRAMS
def test_ngrams_are_kept_by_formats_that_have_a_place_for_them(tmp_path: Path, form: str, ngrams: Ngrams) -> None:
    model = model_with_ngrams(ngrams)
    model.save(tmp_path / "x", form)
    assert_same_models(Embeddings.load(tmp_path / "x"), model)
    if form != "fasttext":
        mapped = Embeddings.load(tmp_path / "x", mmap=True)
        assert mapped.subwords is not None and mapped.subwords.ngrams == ngrams
        assert_same_models(mapped, model)


def test_hangul_by_letters_is_kept_or_refused(tmp_path: Path) -> None:
    model = model_with_ngrams(Ngrams(2, 4, 1000, "jamo"))
    for form in ("safetensors", "numpy"):
        model.save(tmp_path / form, form)
        assert_same_models(Embeddings.load(tmp_path / form), model)
    with pytest.raises(QueryError, match="knows n-grams of characters alone, and this model's are of jamo"):
        model.save(tmp_path / "x.bin", "fasttext")
    with pytest.raises(QueryError, match="gensim knows n-grams of characters alone, and this model's are of jamo"):
        model.to_keyed_vectors()
    assert not (tmp_path / "x.bin").exists()


# ---- what cannot be


@pytest.mark.parametrize(("words", "message"), [(["a", "b\0c"], "word 1 is 'b.x00c'"), (["a", ""], "word 1 is ''")])
def test_words_that_a_dictionary_cannot_hold_are_refused(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Embeddings(words, np.ones((2, 2), np.float32)).save(tmp_path / "x.bin", "fasttext")


def test_repeated_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="1 words are listed more than once"):
        Embeddings(["a", "a"], np.ones((2, 2), np.float32)).save(tmp_path / "x.bin", "fasttext")


def test_a_parameter_that_no_file_can_hold_becomes_fasttexts_default(tmp_path: Path) -> None:
    odd = {"model": {"window": 2**40, "negatives": "five"}, "train": None, "vocab": {"subsample_t": 0.5}}
    Embeddings(["a"], np.ones((1, 2), np.float32), config=odd).save(tmp_path / "x.bin", "fasttext")
    found = Embeddings.load(tmp_path / "x.bin").config
    assert found is not None and found["vocab"] == {"min_count": 1, "subsample_t": 0.5}
    assert (found["model"]["window"], found["model"]["negatives"], found["train"]) == (5, 5, {"epochs": 5})


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    model_with_ngrams(Ngrams(3, 6, 50), words=["one", "two"], dim=2).save(path, "fasttext")
    whole = path.read_bytes()
    input_at = whole.index(b"two\0") + 4 + 9

    def changed(at: int, value: int, form: str = "<i") -> str:
        data = bytearray(whole)
        struct.pack_into(form, data, at, value)
        return refused(path, bytes(data))

    assert "has version 13; known here are 11 and 12" in changed(4, 13)
    assert "promises 2 words of 999999 dimensions" in changed(8, 999_999)
    assert "promises 2 words of 2 dimensions and 2147483647 buckets, which take" in changed(40, 2**31 - 1)
    assert "has n-grams of up to 1000 characters; 64 are the most" in changed(48, 1000)
    assert "is a supervised model" in changed(36, 3)
    assert "is of model 7 and has 2 entries, of which 2 are words" in changed(36, 7)
    assert "is pruned" in changed(84, 5, "<q")
    assert "entry 2 has type 1" in changed(input_at - 1, 1, "<b")
    assert "input matrix is quantised (.ftz)" in changed(input_at, 1, "<b")
    assert "input matrix has 53 rows of 2, not 52 of 2" in changed(input_at + 1, 53, "<q")
    assert "1 bytes follow its output matrix" in refused(path, whole + b"x")
    assert "not UTF-8" in refused(path, whole.replace(b"two\0", b"\xff\xfe\xfd\0"))
    assert "lists 1 words more than once" in refused(path, whole.replace(b"two\0", b"one\0"))
    for length in range(4, len(whole), 3):
        refused(path, whole[:length])


def test_the_defaults_are_fasttexts() -> None:
    """src/args.cc of fastText 0.9.2, but for minCount: which words there are is settled."""
    wanted = {"ws": 5, "epoch": 5, "neg": 5, "word_ngrams": 1, "loss": 2, "lr_update_rate": 100, "t": 1e-4}
    assert {name: getattr(fasttext_parts.Args(dim=3), name) for name in wanted} == wanted
