"""Character n-grams of words and the buckets they are hashed into, as fastText does it (Bojanowski et al. 2017).

A word is put between < and >, and every run of `min_n` to `max_n` of its characters is an n-gram, but for a lone < or
>. Many n-grams share a bucket, so that a table of fixed size holds any number of them.

Hangul can be taken apart first (Park et al. 2018): a syllable block becomes its letters, initial, vowel and final, with
`e` where it has no final, so that 먹 and 먹다 share more than whole syllables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.compiled import njit
from wordlab.shards import string_buffers

CHARACTERS, JAMO = "characters", "jamo"
FIRST_SYLLABLE, LAST_SYLLABLE = 0xAC00, 0xD7A3
INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = "eㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
"""The 19, 21 and 28 letters of a syllable, in Unicode's order (Unicode 3.12); no final is the letter e."""
FNV_START, FNV_FACTOR = np.uint32(2166136261), np.uint32(16777619)


class Bags(NamedTuple):
    """The n-grams of many words: word w has bucket[start[w] : start[w + 1]]."""

    start: NDArray[np.int64]
    """Shape (V + 1,)."""
    bucket: NDArray[np.int32]
    """In the order of fastText; an n-gram that a word has twice, or two n-grams in one bucket, stand there twice."""


@dataclass(frozen=True)
class Ngrams:
    """Which n-grams a word has, and their buckets."""

    min_n: int
    max_n: int
    """Shortest and longest n-gram, in characters (letters with units `jamo`), < and > counted."""
    buckets: int
    units: str = CHARACTERS
    """`characters`, or `jamo`: the letters of Hangul, other characters as they are."""

    def of_word(self, word: str) -> NDArray[np.int32]:
        """Buckets of one word's n-grams, int32, as `Bags.bucket`. Any word, whether in a vocabulary or not."""
        return self.of_words(pa.array([word], pa.large_string())).bucket

    def of_words(self, words: pa.LargeStringArray) -> Bags:
        """Buckets of the n-grams of every word."""
        if self.units == JAMO:
            words = pa.array([to_jamo(word) for word in words.to_pylist()], pa.large_string())
        offsets, utf8 = string_buffers(words)
        start = np.zeros(len(words) + 1, np.int64)
        np.cumsum(_count_all(offsets, utf8, self.min_n, self.max_n), out=start[1:])
        bucket = np.empty(start[-1], np.int32)
        _hash_all(offsets, utf8, self.min_n, self.max_n, self.buckets, start, bucket)
        return Bags(start, bucket)


def to_jamo(word: str) -> str:
    """A word with its Hangul syllables taken apart into three letters each: 강아지 -> ㄱㅏㅇㅇㅏeㅈㅣe."""
    letters = []
    for character in word:
        number = ord(character) - FIRST_SYLLABLE
        if 0 <= number <= LAST_SYLLABLE - FIRST_SYLLABLE:
            initial, rest = divmod(number, len(VOWELS) * len(FINALS))
            vowel, final = divmod(rest, len(FINALS))
            letters += [INITIALS[initial], VOWELS[vowel], FINALS[final]]
        else:
            letters.append(character)
    return "".join(letters)


def fasttext_hash(text: bytes) -> int:
    """FNV-1a, 32 bits, but for one quirk that every fastText model has in it: bytes are signed.

    fastText (dictionary.cc, Dictionary::hash) XORs with uint32_t(int8_t(byte)), so a byte of 128 or more sets the upper
    24 bits too. Returns 0..2^32 - 1.
    """
    return int(_hash(np.frombuffer(text, np.uint8)))


@njit(cache=True)
def _hash(text: Any) -> Any:
    value = FNV_START
    for k in range(text.shape[0]):
        value = _add_byte(value, text[k])
    return value


@njit(inline="always")
def _add_byte(value: Any, byte: Any) -> Any:
    """One step of the hash."""
    return np.uint32((value ^ np.uint32(np.int8(byte))) * FNV_FACTOR)


@njit(inline="always")
def _byte(utf8: Any, begin: Any, end: Any, k: Any) -> Any:
    """Byte k of < word >."""
    if k == 0:
        return np.uint8(60)
    return utf8[begin + k - 1] if begin + k - 1 < end else np.uint8(62)


@njit(inline="always")
def _continues(byte: Any) -> Any:
    """Whether a byte belongs to the character before it."""
    return (byte & 0xC0) == 0x80


@njit(cache=True)
def _count_all(offsets: Any, utf8: Any, min_n: Any, max_n: Any) -> Any:
    """Number of n-grams of each word."""
    counts = np.zeros(offsets.shape[0] - 1, np.int64)
    for w in range(counts.shape[0]):
        characters = 2
        for k in range(offsets[w], offsets[w + 1]):
            characters += not _continues(utf8[k])
        for n in range(min_n, max_n + 1):
            counts[w] += max(characters - n + 1, 0) - (2 if n == 1 else 0)
    return counts


@njit(cache=True)
def _hash_all(offsets: Any, utf8: Any, min_n: Any, max_n: Any, buckets: Any, start: Any, bucket: Any) -> None:
    """fastText's Dictionary::computeSubwords for every word."""
    for w in range(offsets.shape[0] - 1):
        begin, end, count = offsets[w], offsets[w + 1], start[w]
        size = end - begin + 2
        for i in range(size):
            if _continues(_byte(utf8, begin, end, i)):
                continue
            value, j, n = FNV_START, i, 1
            while j < size and n <= max_n:
                value = _add_byte(value, _byte(utf8, begin, end, j))
                j += 1
                while j < size and _continues(_byte(utf8, begin, end, j)):
                    value = _add_byte(value, _byte(utf8, begin, end, j))
                    j += 1
                if n >= min_n and not (n == 1 and (i == 0 or j == size)):
                    bucket[count] = np.int32(value % np.uint32(buckets))
                    count += 1
                n += 1
