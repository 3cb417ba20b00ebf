"""One pass over text: tokens found, hashed and numbered, sentences ended. The kernel behind all tokenizers.

It reads UTF-8 bytes and a table of character classes (`tokenizers`), and holds no more than the distinct words beside
its output. 16 MiB of English take about 0.12 s on one core.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from wordlab import tokenizers
from wordlab.shards import string_array
from wordlab.wordtable import HASH_SEED, entry_word, find_slot, grown, hash_step, rehashed, slot_entry

# int64, because numba mixes unsigned and signed integers into floats.
TOKEN, SINGLE, JOINER, SPACE, LINE = (
    int(c) for c in (tokenizers.TOKEN, tokenizers.SINGLE, tokenizers.JOINER, tokenizers.SPACE, tokenizers.LINE)
)
TERMINATOR, WIDE, CLOSER, CONTROL = (
    int(c) for c in (tokenizers.TERMINATOR, tokenizers.WIDE, tokenizers.CLOSER, tokenizers.CONTROL)
)
FULL_STOP = ord(".")
_TITLES = "mr mrs ms dr prof st rev hon gen col maj lt sgt capt cmdr adm gov sen rep pres supt mt ft"
_OTHERS = "vs etc approx ca cf al ed eds vol fig pp inc ltd co corp jr sr dept est"
_MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec"
ABBREVIATIONS = f"{_TITLES} {_OTHERS} {_MONTHS}".split()


def _packed(word: str) -> int:
    """Up to 8 ASCII letters as one number, the last letter in the lowest byte."""
    return int.from_bytes(word.encode("ascii"), "big")


_ABBREVIATION_KEYS = np.array(sorted(_packed(word) for word in ABBREVIATIONS), dtype=np.int64)
_FIRST_SLOTS = 1 << 15
_LONGEST_ABBREVIATION = max(len(word) for word in ABBREVIATIONS)


class TokenCount(NamedTuple):
    """What one text holds. Word i of `words` has local id i, in the order of first appearance."""

    ids: NDArray[np.int32]
    """Shape (num_tokens,)."""
    offsets: NDArray[np.int64]
    """Sentence i is ids[offsets[i] : offsets[i + 1]], never empty; shape (num_sentences + 1,)."""
    words: pa.LargeStringArray
    num_control: int
    """Control characters found between tokens."""


def count_tokens(text: bytes, classes: NDArray[np.uint16], lowercase_ascii: bool) -> TokenCount:
    """Split valid UTF-8 into sentences of tokens and number the distinct ones, ASCII letters lower-cased if wished."""
    raw = np.frombuffer(text, dtype=np.uint8)
    folded = np.frombuffer(text.lower(), dtype=np.uint8) if lowercase_ascii else raw
    ids = np.empty(max(1024, len(raw) // 5), dtype=np.int32)
    sentences = np.zeros(max(1024, len(raw) // 64), dtype=np.int64)
    slots = np.zeros(_FIRST_SLOTS, dtype=np.uint64)
    offsets = np.zeros(_FIRST_SLOTS // 2 + 1, dtype=np.int64)
    utf8 = np.empty(8 * _FIRST_SLOTS, dtype=np.uint8)
    state = np.zeros(5, dtype=np.int64)
    while not _scan(raw, folded, classes, ids, sentences, slots, offsets, utf8, state):
        _, num_tokens, num_sentences, num_words, _ = state.tolist()
        if num_tokens == len(ids):
            ids = grown(ids)
        elif num_sentences + 2 >= len(sentences):
            sentences = grown(sentences)
        elif num_words + 2 > len(offsets):
            offsets = grown(offsets)
        elif 2 * num_words + 2 > len(slots):
            slots = rehashed(2 * len(slots), offsets, utf8, num_words)
        else:
            utf8 = grown(utf8)
    num_tokens, num_sentences, num_words, num_control = state.tolist()[1:]
    words = string_array(offsets[: num_words + 1], utf8[: offsets[num_words]])
    return TokenCount(ids[:num_tokens], sentences[: num_sentences + 1], words, num_control)


def split_sentences(text: bytes, classes: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Start and end of each sentence of valid UTF-8 text in bytes, white space left out: shape (num_sentences, 2)."""
    return _split_sentences(np.frombuffer(text, dtype=np.uint8), classes)


@njit(cache=True, nogil=True, inline="always")
def _code_point(text, i):
    """Code point and width in bytes of the character that starts at i, in valid UTF-8."""
    lead = np.int64(text[i])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (text[i + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | np.int64(text[i + 1] & 0x3F) << 6 | (text[i + 2] & 0x3F), 3
    high = (lead & 0x07) << 18 | np.int64(text[i + 1] & 0x3F) << 12
    return high | np.int64(text[i + 2] & 0x3F) << 6 | (text[i + 3] & 0x3F), 4


@njit(cache=True, nogil=True)
def _is_abbreviation(text, stop):
    """Whether text[:stop], before a full stop, ends in a single ASCII letter (J. Smith, e.g.) or an abbreviation."""
    key, length = np.int64(0), 0
    i = stop - 1
    while i >= 0 and length <= _LONGEST_ABBREVIATION:
        letter = np.int64(text[i]) | 0x20
        if text[i] >= 0x80:
            return False
        if letter < 97 or letter > 122:
            break
        key |= letter << (8 * length)
        length += 1
        i -= 1
    if length == 1:
        return i < 0 or text[i] < 48 or text[i] > 57  # 5m. is no initial
    if length == 0 or length > _LONGEST_ABBREVIATION:
        return False
    slot = np.searchsorted(_ABBREVIATION_KEYS, key)
    return slot < len(_ABBREVIATION_KEYS) and _ABBREVIATION_KEYS[slot] == key


@njit(cache=True, nogil=True)
def _ends_sentence(text, i, width, classes):
    """Whether the terminator at i, `width` bytes long, ends its sentence: white space follows, closers aside."""
    j = i + width
    while j < len(text):
        code_point, next_width = _code_point(text, j)
        if not classes[code_point] & CLOSER:
            if not classes[code_point] & (SPACE | LINE):
                return False
            break
        j += next_width
    return not (text[i] == FULL_STOP and _is_abbreviation(text, i))


@njit(cache=True, nogil=True)
def _token_ends_sentence(text, start, stop, classes):
    """The same for a token text[start:stop] that may hold its terminator (tokenizer `whitespace`)."""
    terminator, wide = -1, False
    i = start
    while i < stop:
        code_point, width = _code_point(text, i)
        character = classes[code_point]
        if character & (TERMINATOR | WIDE):
            terminator, wide = i, (character & WIDE) != 0
        elif not character & CLOSER:
            terminator = -1
        i += width
    if terminator < 0:
        return False
    return wide or not (text[terminator] == FULL_STOP and _is_abbreviation(text, terminator))


@njit(cache=True, nogil=True)
def _scan(text, folded, classes, ids, sentences, slots, offsets, utf8, state):
    """Walk on from state[0] to the end of the text (returns True) or until an array is full (False).

    state: byte position, tokens, sentences, words, control characters. The arrays are arguments that are never bound
    anew: numba counts references to those that are, in every turn of the loop (measured: 7 times slower).
    """
    n = len(text)
    i, num_tokens, num_sentences, num_words, num_control = state[0], state[1], state[2], state[3], state[4]
    done = True
    while i < n:
        if num_tokens == len(ids) or num_sentences + 2 >= len(sentences):
            done = False
            break
        code_point, width = _code_point(text, i)
        character = np.int64(classes[code_point])
        sentence_ends = False
        if character & (TOKEN | SINGLE):
            start = i
            value = HASH_SEED
            last = character
            while True:
                for j in range(i, i + width):
                    value = hash_step(value, folded[j])
                i += width
                if i >= n or last & SINGLE:
                    break
                code_point, width = _code_point(text, i)
                character = np.int64(classes[code_point])
                if not character & TOKEN:
                    if not character & JOINER or i + width >= n:
                        break
                    after, _ = _code_point(text, i + width)
                    if not classes[after] & TOKEN:
                        break
                last = character
            slot = find_slot(slots, value, folded, start, i, offsets, utf8)
            word = entry_word(slots[slot])
            if word < 0:
                word = num_words
                first, end = offsets[word], offsets[word] + i - start
                if end > len(utf8) or word + 2 > len(offsets) or 2 * word + 2 > len(slots):
                    i = start
                    done = False
                    break
                slots[slot] = slot_entry(value, word)
                for j in range(i - start):
                    utf8[first + j] = folded[start + j]
                offsets[word + 1] = end
                num_words += 1
            ids[num_tokens] = word
            num_tokens += 1
            if last & (TERMINATOR | WIDE | CLOSER):
                sentence_ends = _token_ends_sentence(text, start, i, classes)
        else:
            if character & LINE:
                sentence_ends = True
            elif character & (TERMINATOR | WIDE):
                sentence_ends = (character & WIDE) != 0 or _ends_sentence(text, i, width, classes)
            elif character & CONTROL:
                num_control += 1
            i += width
        if sentence_ends and num_tokens > sentences[num_sentences]:
            num_sentences += 1
            sentences[num_sentences] = num_tokens
    if done and num_tokens > sentences[num_sentences]:
        num_sentences += 1
        sentences[num_sentences] = num_tokens
    state[0], state[1], state[2], state[3], state[4] = i, num_tokens, num_sentences, num_words, num_control
    return done


@njit(cache=True, nogil=True)
def _split_sentences(text, classes):
    spans = np.empty((1024, 2), dtype=np.int64)
    num_sentences = 0
    start, stop = -1, -1
    i = 0
    while i < len(text):
        code_point, width = _code_point(text, i)
        character = np.int64(classes[code_point])
        if not character & (SPACE | LINE | CONTROL):
            start = i if start < 0 else start
            stop = i + width
        ends = (character & (LINE | WIDE)) != 0
        if character & TERMINATOR:
            ends = _ends_sentence(text, i, width, classes)
        i += width
        if start >= 0 and (ends or i >= len(text)):
            if num_sentences == len(spans):
                larger = np.empty((2 * num_sentences, 2), dtype=np.int64)
                larger[:num_sentences] = spans
                spans = larger
            spans[num_sentences, 0], spans[num_sentences, 1] = start, stop
            num_sentences += 1
            start = -1
    return spans[:num_sentences]
