"""Which n-gram rows the words of a vocabulary have, and what training and saving make of them."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from gensim.models.fasttext import load_facebook_model

from tests.engine import topic_sentences, train_config, write_data
from tests.helpers import make_model_folder
from wordlab import cli
from wordlab.artifacts import read_json, write_manifest
from wordlab.config import load_params
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, UnknownWordError
from wordlab.ngrams import Ngrams
from wordlab.sampling import initial_ngram_vectors
from wordlab.sections.model import SubwordsConfig
from wordlab.subwords import Subwords, mean_vectors, ngrams_of
from wordlab.training import save_model, train_model

CONFIG = SubwordsConfig(units="characters", min_n=3, max_n=4, buckets=100)
WORDS = pa.array(["king", "kings", "a", "nananana"], pa.large_string())


def test_every_word_has_the_rows_of_its_ngrams_buckets():
    subwords = Subwords.of_vocabulary(WORDS, np.ones(4), CONFIG)
    assert np.all(np.diff(subwords.buckets) > 0)
    for number, word in enumerate(WORDS.to_pylist()):
        rows = subwords.row[subwords.start[number] : subwords.start[number + 1]]
        assert subwords.buckets[rows].tolist() == Ngrams(3, 4, 100).of_word(word).tolist()
    assert set(subwords.row) == set(range(len(subwords.buckets))), "buckets that no word needs have no row"
    assert subwords.longest == len(Ngrams(3, 4, 100).of_word("nananana"))


def test_rows_that_many_words_move_count_by_how_many_of_a_word_are_such():
    frequency = np.array([5.0, 2, 7, 1])
    subwords = Subwords.of_vocabulary(WORDS, frequency, CONFIG)
    bags = [[("word", w), *subwords.row[subwords.start[w] : subwords.start[w + 1]]] for w in range(4)]
    often = Counter()
    for bag, times in zip(bags, frequency, strict=True):
        for row in bag:
            often[row] += times
    for bag, share in zip(bags, subwords.others, strict=True):
        assert share == pytest.approx(sum(often[row] for row in bag) / len(bag) / max(often[row] for row in bag))
        assert 1 / len(bag) <= share <= 1
    chance = frequency / frequency.sum()
    right = sum(
        p * sum(often[row] / frequency.sum() for row in bag) / len(bag) for p, bag in zip(chance, bags, strict=True)
    )
    assert subwords.overlap == pytest.approx(right)


def test_words_that_share_most_of_their_rows_train_in_small_micro_batches(tmp_path):
    """As few words would, that meet themselves: otherwise the steps of all of them overshoot together."""
    words = [f"antidis{number}ation" for number in range(300)]
    rng = np.random.default_rng(3)
    data = write_data(tmp_path, rng.integers(0, 300, (1500, 20)).tolist(), words=words)
    params = load_params()
    model = dataclasses.replace(params.model, dim=16, subwords=dataclasses.replace(CONFIG, buckets=5000))
    engine, trained = train_model(data, model, params.train, 1, 1, show_progress=False)
    assert engine.train.batch_tokens < 10 < params.train.batch_tokens
    assert trained.curve[-1].loss < np.log(2) and np.abs(engine.input_vectors).max() < 10


def test_units_none_switches_subwords_off():
    assert Subwords.of_vocabulary(WORDS, np.ones(4), dataclasses.replace(CONFIG, units="none")) is None


def test_jamo_are_units_of_their_own():
    config = dataclasses.replace(CONFIG, units="jamo")
    words = pa.array(["한국"], pa.large_string())
    assert ngrams_of(config).of_word("한국").tolist() == ngrams_of(CONFIG).of_word("ㅎㅏㄴㄱㅜㄱ").tolist()
    assert Subwords.of_vocabulary(words, np.ones(1), config).longest == len(ngrams_of(CONFIG).of_word("ㅎㅏㄴㄱㅜㄱ"))


def test_words_too_short_for_an_ngram_are_only_themselves():
    words = pa.array(["", "x"], pa.large_string())
    subwords = Subwords.of_vocabulary(words, np.ones(2), dataclasses.replace(CONFIG, min_n=4))
    assert subwords.longest == 0 and len(subwords.buckets) == 0


def test_a_vector_is_the_mean_of_a_words_rows():
    subwords = Subwords.of_vocabulary(WORDS, np.ones(4), CONFIG)
    rng = np.random.default_rng(1)
    own = rng.normal(size=(4, 5)).astype(np.float32)
    ngrams = rng.normal(size=(len(subwords.buckets), 5)).astype(np.float32)
    found = mean_vectors(subwords.start, subwords.row, own, ngrams)
    for word in range(4):
        rows = [own[word], *ngrams[subwords.row[subwords.start[word] : subwords.start[word + 1]]]]
        assert found[word] == pytest.approx(np.mean(rows, axis=0), rel=1e-5)


def test_a_bucket_starts_alike_whatever_other_buckets_are_used():
    some, more = np.array([3, 70], np.int32), np.array([3, 5, 70], np.int32)
    few, many = np.empty((2, 4), np.float32), np.empty((3, 4), np.float32)
    initial_ngram_vectors(1, some, few)
    initial_ngram_vectors(1, more, many)
    assert np.array_equal(few, many[[0, 2]])
    assert np.abs(many).max() <= 1 / 8 and len(np.unique(many)) == 12
    initial_ngram_vectors(2, some, few)
    assert not np.any(few == many[[0, 2]])


@pytest.fixture
def trained(tmp_path):
    """A model of made-up words with n-grams, trained, and its folder."""
    words = [chr(ord("a") + number) * 3 + "ing" for number in range(20)]
    data = write_data(tmp_path, topic_sentences(500), words=words)
    params = load_params()
    subwords = dataclasses.replace(CONFIG, buckets=50)
    model = dataclasses.replace(params.model, dim=8, subwords=subwords)
    params = dataclasses.replace(params, model=model)
    engine, _ = train_model(data, model, train_config(), 1, 1, show_progress=False)
    save_model(tmp_path / "model", engine, data, params, 1)
    return engine, tmp_path / "model"


def test_a_model_folder_holds_vectors_and_the_rows_of_which_they_are_means(trained):
    engine, folder = trained
    vectors, own, ngrams, buckets = (
        np.load(folder / f"{name}.npy") for name in ("input_vectors", "word_rows", "ngram_rows", "ngram_buckets")
    )
    subwords = engine.subwords
    assert np.array_equal(buckets, subwords.buckets) and buckets.dtype == np.int32
    assert np.array_equal(vectors, mean_vectors(subwords.start, subwords.row, own, ngrams))
    assert vectors.dtype == own.dtype == ngrams.dtype == np.float32
    assert np.array_equal(own, engine.word_vectors) and not np.allclose(own, vectors)


def test_rows_of_ngrams_move_and_no_other_does(trained):
    engine, _ = trained
    start = np.empty_like(engine.ngram_vectors)
    initial_ngram_vectors(1, engine.subwords.buckets, start)
    assert np.all(np.abs(engine.ngram_vectors - start).max(axis=1) > 0)


@pytest.mark.parametrize("mmap", [False, True])
def test_an_opened_model_answers_words_it_has_never_seen(trained, mmap):
    engine, folder = trained
    vectors = Embeddings.load(folder, mmap=mmap)
    known, unknown = "aaaing", "aaaings"
    assert known in vectors and unknown not in vectors
    assert np.array_equal(vectors.vector(known), engine.input_vectors[vectors.index.find(known)])
    wanted = engine.subwords.buckets[:, None] == Ngrams(3, 4, 50).of_word(unknown)[None, :]
    mean = engine.ngram_vectors.T @ wanted.sum(axis=1) / wanted.shape[1]
    assert vectors.vector(unknown) == pytest.approx(mean, rel=1e-5)
    assert len(vectors.nearest(unknown, 20)) == 20, "it is no answer to itself, since it is no word of the model"
    with pytest.raises(UnknownWordError):
        vectors.vector("")


def test_a_model_without_subwords_knows_only_its_words(tmp_path):
    vectors = Embeddings.load(make_model_folder(tmp_path / "model"))
    assert vectors.subwords is None
    with pytest.raises(UnknownWordError):
        vectors.vector("kingdoms")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("ngram_buckets", np.array([1, 1], np.int32)),
        ("ngram_buckets", np.array([1, 50], np.int32)),
        ("ngram_buckets", np.array([-1, 3], np.int32)),
        ("ngram_buckets", np.array([1.0, 2.0])),
        ("ngram_buckets", np.array([[1, 2]], np.int32)),
        ("ngram_rows", np.zeros((2, 7), np.float32)),
        ("ngram_rows", np.zeros((3, 8), np.float32)),
        ("word_rows", np.zeros((19, 8), np.float32)),
        ("word_rows", np.zeros((20, 9), np.float32)),
    ],
)
def test_rows_that_do_not_fit_are_refused(trained, name, array):
    _, folder = trained
    np.save(folder / "ngram_buckets.npy", np.array([1, 2], np.int32))
    np.save(folder / "ngram_rows.npy", np.zeros((2, 8), np.float32))
    np.save(folder / f"{name}.npy", array)
    rewrite_manifest(folder)
    with pytest.raises(ArtifactError, match=r"Run: dvc repro train"):
        Embeddings.load(folder)


@pytest.mark.parametrize(
    "section", [None, 3, {"units": "characters"}, {"units": "x", "min_n": 3, "max_n": 4, "buckets": 1}]
)
def test_a_manifest_with_other_subwords_than_there_are_is_refused(trained, section):
    _, folder = trained
    rewrite_manifest(folder, section)
    with pytest.raises(ArtifactError, match=r"manifest.json does not say how the model was trained .* dvc repro train"):
        Embeddings.load(folder)


def rewrite_manifest(folder, *section):
    """The manifest for the files as they are now; with another section model.subwords, if one is given."""
    content = read_json(folder / "manifest.json", "")
    if section:
        content["config"]["model"]["subwords"] = section[0]
    (folder / "manifest.json").unlink()
    write_manifest(folder, "train", {name: content[name] for name in content.keys() - {"files", "format", "stage"}})


def test_a_trained_model_goes_to_fasttexts_format_as_it_is(trained, tmp_path):
    """By the command; gensim gives every word the same vector, and could train on."""
    engine, folder = trained
    cli.main(["export", "--model", str(folder), "--format", "fasttext", "-o", str(tmp_path / "x.bin")])
    ours, theirs = Embeddings.load(folder), load_facebook_model(str(tmp_path / "x.bin"))
    assert theirs.wv.index_to_key == ours.words
    for word in (*ours.words, "aaaings", "unseen"):
        assert theirs.wv.get_vector(word) == pytest.approx(ours.vector(word), rel=1e-5, abs=1e-6)
    assert np.array_equal(theirs.syn1neg, engine.output_vectors)
    assert (theirs.window, theirs.negative) == (ours.config["model"]["window"], ours.config["model"]["negatives"])
