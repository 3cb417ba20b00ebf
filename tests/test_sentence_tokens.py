"""Sentences are cut into the words that the pipeline cuts the same text into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import CONFIG, make_model_folder
from tests.text_helpers import (
    phrases_config,
    read_sentences,
    sentencepiece_config,
    tokenized,
    vocab_config,
)
from wordlab.counting import build_vocab
from wordlab.encoding import encode_corpus
from wordlab.errors import ArtifactError
from wordlab.phrases import no_phrases
from wordlab.pieces import MODEL
from wordlab.sections.encode import EncodeConfig
from wordlab.sentence_tokens import SentenceTokenizer
from wordlab.shards import map_sentences
from wordlab.vocab import Vocab

TEXTS = [
    "The Café’s owner saw 12 men in New York. He left, didn't he?",
    "ÉTÉ in new york",
    "3 o'clock - new york again",
    "한국어 문장입니다.",
]
TOLD = {**CONFIG, "tokenize": {"tokenizer": "words", "lowercase": True}}


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("tokenizer", ["words", "ascii", "whitespace"])
def test_texts_have_the_words_of_stage_tokenize(tmp_path: Path, tokenizer: str, lowercase: bool) -> None:
    texts = [text for text in TEXTS if tokenizer != "ascii" or text.isascii()]
    folder = tokenized(tmp_path, "\n".join(texts), tokenizer=tokenizer, lowercase=lowercase)
    found = SentenceTokenizer(tokenizer, lowercase, folder / MODEL, no_phrases())  # type: ignore[arg-type]
    assert found.words(texts) == read_sentences(folder)


@pytest.mark.parametrize("tokenizer", ["words", "whitespace", "sentencepiece"])
def test_korean_texts_lose_hanja_and_empty_brackets_as_the_corpus_did(tmp_path: Path, tokenizer: str) -> None:
    """Particles stay with their words: without the normalizer 나라(國家)는 would be three words."""
    texts = ["나라(國家)는 크다", "그 섬(, )은 작다", "물(水)과 불(火)이 있다"]
    changes = {"tokenizer": tokenizer, "normalizer": "korean", "sentencepiece": sentencepiece_config(vocab_size=19)}
    folder = tokenized(tmp_path, "\n".join(texts * 20), **changes)
    rule = tokenizer, True, folder / MODEL, no_phrases()
    assert SentenceTokenizer(*rule, "korean").words(texts) == read_sentences(folder)[:3]  # type: ignore[arg-type]
    assert SentenceTokenizer(*rule).words(texts) != read_sentences(folder)[:3]  # type: ignore[arg-type]


def test_texts_have_the_pieces_of_stage_tokenize(tmp_path: Path) -> None:
    pieces = sentencepiece_config(vocab_size=36)
    changes = {"tokenizer": "sentencepiece", "lowercase": True, "sentencepiece": pieces}
    folder = tokenized(tmp_path, "\n".join(TEXTS[:3] * 20), **changes)
    tokenizer = SentenceTokenizer("sentencepiece", True, folder / MODEL, no_phrases())
    assert tokenizer.words(TEXTS[:3]) == read_sentences(folder)[:3]
    assert "<unk>" not in tokenizer.words(["the \u2603 owner"])[0], "a character outside the model is dropped"


def test_every_text_is_one_sentence_whatever_is_in_it() -> None:
    tokenizer = SentenceTokenizer("words", True, Path("none"), no_phrases())
    texts = ["", "One. Two!\nThree\u2028four", "  ", "...", "\ud800 x\0y"]
    assert tokenizer.words(texts) == [[], ["one", "two", "three", "four"], [], [], ["x", "y"]]
    assert tokenizer.words([]) == []


def pipeline(folder: Path) -> Path:
    """data/ as the stages up to `encode` leave it, of a text with phrases. Returns the folder of a model of it."""
    text = "\n".join(["he saw new york city", "a new idea in york"] * 2 + ["new york city is a city"] * 8)
    tokens = tokenized(folder, text)
    build_vocab(tokens, vocab_config(phrases=phrases_config(0.3, 0.3, delta=1), min_count=1), folder / "vocab")
    encode_corpus(tokens, folder / "vocab" / "words.arrow", EncodeConfig(shard_tokens=1000), folder / "encode")
    vocab = Vocab.load(folder / "vocab" / "words.arrow")
    words = vocab.arrow_words().to_pylist()
    model = make_model_folder(folder / "train" / "seed-1", words, np.zeros((len(words), 2), np.float32), config=TOLD)
    vocab.save(model / "words.arrow")
    manifest = model / "manifest.json"
    found = Vocab.load(model / "words.arrow").fingerprint
    manifest.write_text(
        manifest.read_text().replace(Vocab.build(words, np.arange(len(words), 0, -1)).fingerprint, found)
    )
    return model


def test_phrases_are_joined_as_stage_encode_joins_them(tmp_path: Path) -> None:
    model = pipeline(tmp_path)
    tokenizer = SentenceTokenizer.of_pipeline(tmp_path, model)
    vocab = Vocab.load(tmp_path / "vocab" / "words.arrow").arrow_words().to_pylist()
    ids, offsets = map_sentences(tmp_path / "encode" / "ids-00000.arrow", "encode")
    first = [vocab[i] for i in ids[: offsets[1]]]
    assert tokenizer.words(["He saw New York City"]) == [first]
    assert any("_" in word for word in first)
    assert tokenizer.words(["new xyz york", "York City, new york"])[0] == ["new", "xyz", "york"]


def test_another_vocabulary_than_the_models_is_refused(tmp_path: Path) -> None:
    model = pipeline(tmp_path)
    other = make_model_folder(tmp_path / "train" / "seed-2", config=TOLD)
    SentenceTokenizer.of_pipeline(tmp_path, model)
    silent = make_model_folder(tmp_path / "train" / "seed-3")
    with pytest.raises(ArtifactError, match=r"seed-3 does not say how its text was cut into words\. Run: dvc repro"):
        SentenceTokenizer.of_pipeline(tmp_path, silent)
    with pytest.raises(
        ArtifactError, match=r"words\.arrow holds vocabulary \w{6}, but .*seed-2 was trained with \w{6}"
    ):
        SentenceTokenizer.of_pipeline(tmp_path, other)


@pytest.mark.parametrize("normalizer", ["korean", ""])
def test_the_normalizer_is_the_one_that_the_models_manifest_names(tmp_path: Path, normalizer: str) -> None:
    """Manifests of other normalizers, and of models that are older, have none."""
    model = pipeline(tmp_path)
    path = model / "manifest.json"
    if normalizer:
        path.write_text(path.read_text().replace('"lowercase"', '"normalizer": "korean",\n"lowercase"'))
    tokenizer = SentenceTokenizer.of_pipeline(tmp_path, model)
    assert tokenizer.normalizer == normalizer
    assert tokenizer.words(["new york(國) is"]) == [["new_york", "is"] if normalizer else ["new_york", "國", "is"]]
