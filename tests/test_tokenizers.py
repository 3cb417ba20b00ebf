"""Tokens and sentences, against plain Python."""

import re
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wordlab import wordtable
from wordlab.tokencount import count_tokens, split_sentences
from wordlab.tokenizers import APOSTROPHES, LINE_ENDS, character_classes, fold_words
from wordlab.wordtable import WordTable

AWKWARD = st.text(
    st.one_of(
        st.sampled_from(
            " \n\r\t\u00a0\u2028'’.!?。\"”)-_aAzZ09éÉßİΣσς가나다\u1100\u1161\u0301\u200d\ufeff\x01\x1c\u0085🙂𝔸"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=80,
)


def sentences_of(text, tokenizer, sentences="lines", lowercase=False):
    count = count_tokens(text.encode(), character_classes(tokenizer, sentences), lowercase)
    words = count.words.words().to_pylist()
    tokens = [words[i] for i in count.ids.tolist()]
    bounds = count.offsets.tolist()
    return [tokens[start:stop] for start, stop in pairwise(bounds)]


def lines(text):
    return re.split(f"[{LINE_ENDS}]", text)


def without_controls(text):
    return "".join(" " if (unicodedata.category(c) == "Cc" and not c.isspace()) or c == "\ufeff" else c for c in text)


def plain_words(line):
    """The words rule, letter by letter."""
    is_word = [unicodedata.category(c)[0] in "LNM" for c in line]
    kept = list(is_word)
    for i in range(1, len(line) - 1):
        if line[i] in APOSTROPHES and is_word[i - 1] and is_word[i + 1]:
            kept[i] = True
    return "".join(c if keep else " " for c, keep in zip(line, kept, strict=True)).split(" ")


@given(text=AWKWARD)
@settings(max_examples=200, deadline=None)
def test_whitespace_splits_as_python_does(text):
    expected = [tokens for line in lines(without_controls(text)) if (tokens := line.split())]
    assert sentences_of(text, "whitespace") == expected


@given(text=AWKWARD)
@example("don't o’neill 'tis rock'n'roll x'' 'y")
@example("a\u200db नमस्ते cafe\u0301")
@settings(max_examples=200, deadline=None)
def test_words_are_letters_digits_and_marks(text):
    expected = [tokens for line in lines(text) if (tokens := [word for word in plain_words(line) if word])]
    assert sentences_of(text, "words") == expected


@given(text=AWKWARD)
@settings(max_examples=100, deadline=None)
def test_ascii_keeps_letters_and_single_digits(text):
    expected = [tokens for line in lines(text) if (tokens := re.findall("[a-zA-Z]+|[0-9]", line))]
    assert sentences_of(text, "ascii") == expected


@pytest.mark.parametrize("tokenizer", ["words", "whitespace"])
def test_ids_are_in_order_of_first_appearance(tokenizer):
    count = count_tokens(b"b a b\nc a", character_classes(tokenizer, "lines"), False)
    assert count.ids.tolist() == [0, 1, 0, 2, 1] and count.offsets.tolist() == [0, 3, 5]
    assert count.words.words().to_pylist() == ["b", "a", "c"]


def test_more_words_than_the_first_table_holds():
    text = " ".join(f"w{i * i % 100_003}" for i in range(200_000))
    count = count_tokens(text.encode(), character_classes("whitespace", "lines"), False)
    counted = dict(zip(count.words.words().to_pylist(), np.bincount(count.ids).tolist(), strict=True))
    assert counted == Counter(text.split())


@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 300_000])
def test_words_of_any_length_stay_apart(length):
    """The table compares eight bytes at a time: differ at each end, with the end of the text right behind."""
    words = ["a" * length, "b" + "a" * (length - 1), "a" * (length - 1) + "b", "a" * (length + 1)]
    text = " ".join(words * 2)
    assert sentences_of(text, "whitespace") == [words * 2]


def test_words_that_share_a_hash_stay_apart(monkeypatch):
    """Also those that begin alike or are no longer than what a slot holds."""

    def hash_alike(text, starts, stops, values):
        values[:] = 12345

    monkeypatch.setattr(wordtable, "_hash_words", hash_alike)
    words = [f"{beginning}{i}" for beginning in ("", "12345678", "1234567890123456") for i in range(30)]
    table = WordTable()
    assert table.add(pa.array(words, pa.large_string())).tolist() == list(range(90))
    assert table.find(pa.array([*reversed(words), "x", "12345678x"], pa.large_string())).tolist() == [
        *reversed(range(90)), -1, -1
    ]  # fmt: skip
    assert table.words().to_pylist() == words


def test_a_word_table_finds_what_was_added():
    table = WordTable()
    first, second = [f"x{i}" for i in range(50_000)], [f"x{i * 3}" for i in range(50_000)]
    assert table.add(pa.array(first, pa.large_string())).tolist() == list(range(50_000))
    index = {word: i for i, word in enumerate(first)}
    expected = [index.setdefault(word, len(index)) for word in second]
    assert table.add(pa.array(second, pa.large_string())).tolist() == expected
    assert table.words().to_pylist() == list(index)
    sought = pa.array(["x9", "", "y", "x149997"], pa.large_string())
    assert table.find(sought).tolist() == [9, -1, -1, index["x149997"]]
    assert table.add(pa.array([], pa.large_string())).tolist() == []


SENTENCES = [
    ("One two. Three four", ["One two", "Three four"]),
    ("What? No! Yes", ["What", "No", "Yes"]),
    ('He said "stop." Then he left.', ["He said stop", "Then he left"]),
    ("Mr. Smith and Dr. Who met J. R. Ewing.", ["Mr Smith and Dr Who met J R Ewing"]),
    ("It is e.g. this, i.e. that etc. and so on. Next", ["It is e g this i e that etc and so on", "Next"]),
    ("Version 3.14 of example.com. End", ["Version 3 14 of example com", "End"]),
    ("Wait... what?! Oh", ["Wait", "what", "Oh"]),
    ("안녕하세요. 반갑습니다.", ["안녕하세요", "반갑습니다"]),
    ("今日は。元気？はい", ["今日は", "元気", "はい"]),
    ("a line\nanother\r\nthird\u2028fourth", ["a line", "another", "third", "fourth"]),
    ("...", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_sentences_end_at_punctuation(text, expected):
    assert [" ".join(tokens) for tokens in sentences_of(text, "words", "punctuation")] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three", ["One two.", "Three"]),
        ('"Stop." He (did not!) go', ['"Stop."', "He (did not!)", "go"]),
        ("Mr. Smith . Next . 3.14", ["Mr. Smith .", "Next .", "3.14"]),
        ("今日は。元気 はい。 x", ["今日は。元気 はい。", "x"]),
    ],
)
def test_whitespace_ends_sentences_at_tokens_that_end_in_punctuation(text, expected):
    assert [" ".join(tokens) for tokens in sentences_of(text, "whitespace", "punctuation")] == expected


@given(text=AWKWARD)
@settings(max_examples=100, deadline=None)
def test_split_sentences_loses_only_white_space(text):
    data = text.encode()
    spans = split_sentences(data, character_classes("sentencepiece", "punctuation")).tolist()
    kept = [data[start:stop].decode() for start, stop in spans]
    assert all(sentence == sentence.strip() and sentence for sentence in map(without_controls, kept))
    assert "".join(without_controls("".join(kept)).split()) == "".join(without_controls(text).split())


def test_control_characters_separate_and_are_counted():
    count = count_tokens("a\x01b\x7fc\ufeffd".encode(), character_classes("whitespace", "lines"), False)
    assert count.words.words().to_pylist() == ["a", "b", "c", "d"] and count.num_control == 3


def test_folding_lower_cases_composes_and_spells_out():
    decomposed = unicodedata.normalize("NFD", "É가")
    assert fold_words(["ΣΑΣ", "İ", decomposed, "don’t"], "words", True) == ["σας", "i̇", "é가", "don't"]
    assert fold_words(["É", "x’"], "whitespace", False) == ["É", "x’"]
    assert fold_words(["0", "9", "ab"], "ascii", True) == ["zero", "nine", "ab"]
