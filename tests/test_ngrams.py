"""Character n-grams and their buckets: fastText's, to the number."""

import numpy as np
import pyarrow as pa
import pytest
from gensim.models.fasttext_inner import compute_ngrams, ft_hash_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from wordlab.ngrams import Ngrams, fasttext_hash, to_jamo

words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def test_the_hash_is_fnv_1a():
    """Golden numbers: the test vectors of the algorithm's authors for 32 bits (empty, a, foobar)."""
    assert [fasttext_hash(text) for text in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


def test_a_bucket_is_that_of_fasttext():
    """Golden number: `en>` is in bucket 619228 of 2,000,000 (finalfusion-python, tests/test_subwords.py)."""
    assert fasttext_hash(b"en>") % 2_000_000 == 619228


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_the_hash_has_the_quirk_of_signed_bytes(text):
    assert fasttext_hash(text) == ft_hash_bytes(text)


@settings(deadline=None)
@given(words, st.integers(1, 4), st.integers(0, 4))
def test_ngrams_are_those_of_gensim_but_for_lone_brackets(word, min_n, more):
    """gensim goes through lengths first, fastText through places; and gensim keeps lone < and > where min_n is 1."""
    ngrams = Ngrams(min_n, min_n + more, 1000)
    theirs = [n for n in compute_ngrams(word, min_n, min_n + more) if len(n) > 1 or n not in "<>"]
    if min_n == 1:
        theirs += [c for c in word if c in "<>"]
    assert sorted(ngrams.of_word(word)) == sorted(fasttext_hash(n.encode()) % 1000 for n in theirs)


def test_ngrams_come_in_the_order_of_fasttext():
    text = ["<a", "<ab", "ab", "ab>", "b>"]
    assert Ngrams(2, 3, 10**6).of_word("ab").tolist() == [fasttext_hash(n.encode()) % 10**6 for n in text]


def test_single_characters_are_ngrams_and_lone_brackets_are_none():
    assert Ngrams(1, 1, 10**6).of_word("a<").tolist() == [fasttext_hash(n) % 10**6 for n in (b"a", b"<")]


def test_words_are_taken_together_as_one_by_one():
    some = ["the", "", "한국어", "naïve", "x" * 50]
    bags = Ngrams(3, 6, 5000).of_words(pa.array(some, pa.large_string()))
    assert bags.start[-1] == len(bags.bucket)
    for w, word in enumerate(some):
        found = bags.bucket[bags.start[w] : bags.start[w + 1]]
        assert np.array_equal(found, Ngrams(3, 6, 5000).of_word(word))
    assert bags.start[2] - bags.start[1] == 0, "an empty word is <>, shorter than three"


def test_part_of_a_larger_array_of_words_has_their_ngrams():
    some = pa.array(["one", "two", "three"], pa.large_string())
    assert np.array_equal(Ngrams(3, 3, 99).of_words(some.slice(1, 1)).bucket, Ngrams(3, 3, 99).of_word("two"))


@pytest.mark.parametrize(
    ("word", "letters"),
    [("강아지", "ㄱㅏㅇㅇㅏeㅈㅣe"), ("힣가", "ㅎㅣㅎㄱㅏe"), ("값abc1", "ㄱㅏㅄabc1"), ("ㅋㅋ", "ㅋㅋ"), ("", "")],
)
def test_hangul_is_taken_apart_with_a_mark_for_no_final(word, letters):
    assert to_jamo(word) == letters


def test_every_syllable_has_letters_of_its_own():
    every = [chr(number) for number in range(0xAC00, 0xD7A4)]
    assert len({to_jamo(syllable) for syllable in every}) == 19 * 21 * 28 == len(every)


def test_with_jamo_ngrams_are_runs_of_letters():
    """Park et al. (2018): 먹다 shares letters with 먹는, of which it shares one syllable only."""
    characters, jamo = (Ngrams(3, 5, 10**6, units) for units in ("characters", "jamo"))
    assert np.array_equal(jamo.of_word("먹다"), characters.of_word("ㅁㅓㄱㄷㅏe"))
    assert not set(characters.of_word("먹다")) & set(characters.of_word("먹는"))
    assert set(jamo.of_word("먹다")) & set(jamo.of_word("먹는"))
