"""Tokenizer `kiwi`."""

from __future__ import annotations

import importlib.util
import sys
import unicodedata
from pathlib import Path

import pytest
from text_helpers import read_sentences, tokenize_config, tokenized, written

from wordlab import morphemes
from wordlab.artifacts import read_manifest
from wordlab.errors import ConfigError
from wordlab.phrases import no_phrases
from wordlab.sentence_tokens import SentenceTokenizer
from wordlab.tokenizing import tokenize_corpus

needs_kiwi = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in morphemes.PACKAGES),
    reason="kiwipiepy is not installed: pip install -c constraints.txt -e '.[korean]'",
)
TEXT = "나는 학교에 갔다. TV를 2002년에 봤다!\n\n예쁜 꽃이 피었다"
MORPHEMES = [
    ["나", "는", "학교", "에", "가", "었", "다"],
    ["tv", "를", "2002", "년", "에", "보", "었", "다"],
    ["예쁘", "ㄴ", "꽃", "이", "피", "었", "다"],
]


@needs_kiwi
def test_words_are_morphemes_without_signs(tmp_path: Path) -> None:
    folder = tokenized(tmp_path, TEXT, tokenizer="kiwi", sentences="punctuation")
    assert read_sentences(folder) == MORPHEMES
    manifest = read_manifest(folder, "tokenize")
    assert manifest["kiwi"] == morphemes.kiwi_versions() and set(manifest["kiwi"]) == set(morphemes.PACKAGES)


@needs_kiwi
def test_decomposed_text_has_the_same_morphemes(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", TEXT)
    assert read_sentences(tokenized(tmp_path, apart, tokenizer="kiwi", sentences="punctuation")) == MORPHEMES


@needs_kiwi
def test_case_is_kept_where_wished(tmp_path: Path) -> None:
    assert read_sentences(tokenized(tmp_path, "TV를", tokenizer="kiwi", lowercase=False)) == [["TV", "를"]]


@needs_kiwi
def test_any_number_of_workers_and_any_shards_give_the_same_sentences(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", f"{TEXT}\n" * 25)
    for name, workers in (("one", 1), ("two", 2)):
        config = tokenize_config(tokenizer="kiwi", sentences="punctuation", shard_bytes=1 << 10)
        tokenize_corpus([path], config, tmp_path / name, workers)
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and len(one) == 5  # two shards
    assert read_sentences(tmp_path / "one") == MORPHEMES * 25


@needs_kiwi
def test_long_sentences_are_cut_at_white_space_and_stay_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = morphemes.morphemes(["나는 학교에 갔다 " * 50], True)
    monkeypatch.setattr(morphemes, "ANALYZED_CHARACTERS", 24)
    (cut,) = morphemes.morphemes(["나는 학교에 갔다 " * 50], True)
    assert cut == whole and len(whole) == 350
    monkeypatch.setattr(morphemes, "ANALYZED_CHARACTERS", 4)
    assert "".join(morphemes._parts("가나다라마바사아 자차")) == "가나다라마바사아 자차"
    assert all(len(part) <= 4 for part in morphemes._parts("가나다라마바사아 자차"))


@needs_kiwi
def test_sentences_of_an_evaluation_set_are_cut_in_the_same_way() -> None:
    tokenizer = SentenceTokenizer("kiwi", True, Path("none"), no_phrases())
    assert tokenizer.words(["학교에 갔다. 집에", "", "!?"]) == [
        ["학교", "에", "가", "었", "다", "집", "에"],
        [],
        [],
    ]


@needs_kiwi
@pytest.mark.parametrize(
    "text", ["", "\n", "...", "\u200b", "🙂", "\u11ab", "a" * 10_000, "\U00020000", "ㅋㅋㅋㅋ", "\x07"]
)
def test_odd_texts_are_read(text: str) -> None:
    (words,) = morphemes.morphemes([text], True)
    assert all(word and not any(character.isspace() for character in word) for word in words)


def test_a_missing_package_is_told_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    morphemes.load_kiwi.cache_clear()
    monkeypatch.setitem(sys.modules, "kiwipiepy", None)
    with pytest.raises(ConfigError, match=r"the package kiwipiepy is not installed\. Install it: .*\[korean\]"):
        morphemes.load_kiwi()
    monkeypatch.setattr(morphemes, "PACKAGES", ("kiwipiepy-that-is-not",))
    with pytest.raises(ConfigError, match="the package kiwipiepy-that-is-not is not installed"):
        tokenized(tmp_path, TEXT, tokenizer="kiwi")
