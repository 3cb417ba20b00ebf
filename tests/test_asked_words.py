"""Models of pieces are asked about the words that a model of words has, made of their pieces."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.helpers import CONFIG, make_model_folder
from tests.project import make_evaluation_sets
from tests.text_helpers import sentencepiece_config, tokenize_config, vocab_config, written
from wordlab.artifacts import read_manifest, write_manifest
from wordlab.asked_words import asked_words
from wordlab.config import load_params
from wordlab.counting import build_vocab
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, ConfigError
from wordlab.evaluation_run import evaluate_folder
from wordlab.parallel import Workers
from wordlab.phrases import no_phrases
from wordlab.pieces import MODEL
from wordlab.sections.evaluate import EvaluateConfig
from wordlab.sentence_tokens import SentenceTokenizer
from wordlab.tokenizing import tokenize_corpus
from wordlab.vocab import Vocab

ROOT = Path(__file__).parents[1]
WORDS = ["France", "Paris", "Italy", "Rome", "king", "queen", "man", "woman", "car", "automobile", "tiger", "나라"]
VOCAB = vocab_config(min_count=3, max_size=11)


def corpus(folder: Path) -> Path:
    """Sentences, in which the first words are the more frequent ones, and some occur too rarely."""
    rng = Random(1)
    lines = [" ".join(rng.choices(WORDS, weights=range(40, 4, -3), k=6)) for _ in range(150)]
    return written(folder / "corpus.txt", "\n".join([*lines, "once", "twice twice"]))


def pipeline(folder: Path, text: Path, tokenizer: str, **changes: Any) -> tuple[Path, Path]:
    """data/ as stages tokenize and vocab leave it, and the folder of a model with vectors by chance."""
    pieces = sentencepiece_config(vocab_size=36)
    config = tokenize_config(tokenizer=tokenizer, sentencepiece=pieces, shard_bytes=1 << 10, **changes)
    tokenize_corpus([text], config, folder / "tokenize", 1)
    build_vocab(folder / "tokenize", VOCAB, folder / "vocab")
    vocab = Vocab.load(folder / "vocab" / "words.arrow")
    vectors = np.random.default_rng(3).normal(size=(len(vocab), 8)).astype(np.float32)
    told = {"tokenizer": tokenizer, "lowercase": True}
    about = {**CONFIG, "tokenize": told, "vocab": dataclasses.asdict(VOCAB)}
    model = make_model_folder(folder / "train" / "seed-1", vocab.words, vectors, config=about)
    vocab.save(model / "words.arrow")
    manifest = read_manifest(model, "train")
    content = {key: manifest[key] for key in ("seed", "config", "encode", "engine")}
    write_manifest(model, "train", content | {"vocabulary": vocab.fingerprint})
    return folder, model


def test_the_words_are_those_of_a_model_of_words_and_their_vectors_means_of_pieces(tmp_path: Path) -> None:
    text = corpus(tmp_path)
    _, words_model = pipeline(tmp_path / "words", text, "words")
    data, model = pipeline(tmp_path / "pieces", text, "sentencepiece", count_words=True)
    pieces = Embeddings.load(model)
    asked, report = asked_words(data, model, pieces)
    expected = Embeddings.load(words_model)
    assert asked.words == expected.words and "twice" not in asked.words and asked.words != pieces.words
    assert np.array_equal(asked.counts, Vocab.load(words_model / "words.arrow").counts)  # type: ignore[arg-type]
    cut = SentenceTokenizer("sentencepiece", True, data / "tokenize" / MODEL, no_phrases()).words(asked.words)
    assert max(map(len, cut)) > 1
    for word, tokens in zip(asked.words, cut, strict=True):
        known = [pieces.vector(token) for token in tokens if token in pieces] or [np.zeros(8)]
        assert np.allclose(asked.vector(word), np.mean(known, axis=0), atol=1e-6)
    assert report["words"] == len(asked) == 11 and 0 <= report["without_a_known_token"] < 11
    same, nothing = asked_words(tmp_path / "words", words_model, expected)
    assert same is expected and nothing == {}


def evaluated(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    make_evaluation_sets(folder / "download")
    config: EvaluateConfig = dataclasses.replace(load_params(ROOT / "params.yaml").evaluate, **changes)
    sets = ["google-analogies", "wordsim353", "men"]
    evaluate_folder(1, sets, config, folder, model, folder / "answers", folder / "seed-1.json")
    found: dict[str, Any] = json.loads((folder / "seed-1.json").read_text())
    return found


def test_models_of_words_and_of_pieces_are_asked_the_same(tmp_path: Path) -> None:
    text = corpus(tmp_path)
    found = {}
    for tokenizer in ("words", "sentencepiece"):
        data, model = pipeline(tmp_path / tokenizer, text, tokenizer, count_words=True)
        found[tokenizer] = evaluated(data, model, words="corpus", neighbors=("France",))
    words, pieces = found["words"], found["sentencepiece"]
    assert words["scores"].keys() == pieces["scores"].keys() and words["evaluator"] == pieces["evaluator"]
    asked = [{name: score["answered"] for name, score in one["scores"].items()} for one in (words, pieces)]
    assert asked[0] == asked[1] and asked[0]["google_analogy"] > 0
    assert [one["config"]["evaluate"]["words"] for one in (words, pieces)] == ["corpus", "corpus"]
    assert pieces["asked_words"]["words"] == words["num_words"] == 11 and "asked_words" not in words
    vocabulary = Vocab.load(tmp_path / "words/vocab/words.arrow").words
    assert {name for name, _ in pieces["neighbors"]["France"]} < set(vocabulary)
    answers = (tmp_path / "sentencepiece/answers/google-analogies.tsv").read_text()
    assert "▁" not in answers and len(answers.splitlines()) > 2


def test_results_that_ask_for_the_vocabulary_are_as_before(tmp_path: Path) -> None:
    data, model = pipeline(tmp_path / "pieces", corpus(tmp_path), "sentencepiece", count_words=True)
    found = evaluated(data, model, words="vocabulary")
    assert "words" not in found["config"]["evaluate"] and "words" not in found["evaluator"]
    assert "asked_words" not in found


def test_words_that_were_not_counted_or_of_other_tokens_are_refused(tmp_path: Path) -> None:
    text = corpus(tmp_path)
    data, model = pipeline(tmp_path / "pieces", text, "sentencepiece")
    with pytest.raises(ConfigError, match=r"has not counted the words .* Set tokenize\.count_words to true"):
        asked_words(data, model, Embeddings.load(model))
    config = tokenize_config(tokenizer="sentencepiece", count_words=True, sentencepiece=sentencepiece_config())
    tokenize_corpus([text], config, data / "tokenize", 1)
    with pytest.raises(ArtifactError, match="was made of other tokens than those in"):
        asked_words(data, model, Embeddings.load(model))


def test_counting_words_changes_no_other_file(tmp_path: Path) -> None:
    text, pieces = corpus(tmp_path), sentencepiece_config(vocab_size=40)
    for name, count_words, workers in (("without", False, 1), ("with", True, 1), ("two", True, 2)):
        config = tokenize_config(
            tokenizer="sentencepiece", sentencepiece=pieces, shard_bytes=1 << 10, count_words=count_words
        )
        tokenize_corpus([text], config, tmp_path / name, Workers(workers, "threads"))
    files = {name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("with", "two")}
    assert files["with"] == files["two"]
    for path in (tmp_path / "without").iterdir():
        assert path.name == "manifest.json" or path.read_bytes() == files["with"][path.name]
    new = files["with"].keys() - {path.name for path in (tmp_path / "without").iterdir()}
    assert new == {name.replace("tokens", "words") for name in files["with"] if name.startswith("tokens")} and new
