"""A hash table from words to ids, as plain arrays that kernels share.

Tens of millions of tokens a second rule out a Python object per word. A word is a slice of UTF-8 bytes; the table gives
each new one the next id. It is open addressing with linear probing: a slot is 0 when empty, else 32 bits of the hash
(the tag, which spares most comparisons of bytes) above 32 bits of id + 1. Bytes are always compared in the end, so
words that share a hash stay apart.

    slots    uint64 (num_slots,)  a power of two, at least twice the number of words
    offsets  int64  (capacity,)   word i is utf8[offsets[i] : offsets[i + 1]]
    utf8     uint8  (capacity,)   all words, one after the other
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from wordlab.shards import string_array, string_buffers

HASH_SEED = np.uint64(0xCBF29CE484222325)
HASH_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
_EMPTY = np.uint64(0)
_FIRST_SLOTS = 1 << 14


@njit(cache=True, nogil=True)
def hash_step(value: np.uint64, byte: np.uint8) -> np.uint64:
    """FNV-1a: start with HASH_SEED, one step for each byte."""
    return (value ^ np.uint64(byte)) * HASH_PRIME


@njit(cache=True, nogil=True)
def find_slot(slots, value, text, start, stop, offsets, utf8):
    """Slot of the word text[start:stop] with FNV hash `value`: where it is, or the empty one where it belongs."""
    mask = np.uint64(len(slots) - 1)
    # FNV leaves its high bits poor on short words; a multiplication and the high half mend that.
    mixed = value * _MIX
    position = (mixed >> _HALF) & mask
    tag = mixed & _LOW
    length = stop - start
    while True:
        entry = slots[position]
        if entry == _EMPTY:
            return position
        if entry >> _HALF == tag:
            word = np.int64(entry & _LOW) - 1
            first = offsets[word]
            if offsets[word + 1] - first == length:
                same = 0
                while same < length and utf8[first + same] == text[start + same]:
                    same += 1
                if same == length:
                    return position
        position = (position + _ONE) & mask


@njit(cache=True, nogil=True)
def slot_entry(value, word):
    """What a slot holds for word id `word` with FNV hash `value`."""
    return (((value * _MIX) & _LOW) << _HALF) | np.uint64(word + 1)


@njit(cache=True, nogil=True)
def entry_word(entry):
    """Word id in a slot; -1 if it is empty."""
    return np.int64(entry & _LOW) - 1


def grown(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of twice the length; what is new is not set."""
    larger = np.empty(2 * len(array), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True, nogil=True)
def rehashed(num_slots, offsets, utf8, num_words):
    """Slots of a larger table of the same words."""
    slots = np.zeros(num_slots, dtype=np.uint64)
    for word in range(num_words):
        value = HASH_SEED
        for i in range(offsets[word], offsets[word + 1]):
            value = hash_step(value, utf8[i])
        slots[find_slot(slots, value, utf8, offsets[word], offsets[word + 1], offsets, utf8)] = slot_entry(value, word)
    return slots


@njit(cache=True, nogil=True)
def _add_words(slots, offsets, utf8, num_words, new_offsets, new_utf8):
    """Add all new words; the arrays must have room for them. Returns their ids and the new number of words."""
    ids = np.empty(len(new_offsets) - 1, dtype=np.int32)
    for i in range(len(ids)):
        start, stop = new_offsets[i], new_offsets[i + 1]
        value = HASH_SEED
        for j in range(start, stop):
            value = hash_step(value, new_utf8[j])
        slot = find_slot(slots, value, new_utf8, start, stop, offsets, utf8)
        word = entry_word(slots[slot])
        if word < 0:
            word = num_words
            slots[slot] = slot_entry(value, word)
            for j in range(stop - start):
                utf8[offsets[word] + j] = new_utf8[start + j]
            offsets[word + 1] = offsets[word] + stop - start
            num_words += 1
        ids[i] = word
    return ids, num_words


@njit(cache=True, nogil=True)
def _find_words(slots, offsets, utf8, new_offsets, new_utf8):
    ids = np.empty(len(new_offsets) - 1, dtype=np.int32)
    for i in range(len(ids)):
        start, stop = new_offsets[i], new_offsets[i + 1]
        value = HASH_SEED
        for j in range(start, stop):
            value = hash_step(value, new_utf8[j])
        ids[i] = entry_word(slots[find_slot(slots, value, new_utf8, start, stop, offsets, utf8)])
    return ids


class WordTable:
    """Words with ids in the order they were first added. Grows as needed; holds at most 2^31 - 1 words."""

    def __init__(self) -> None:
        self._slots = np.zeros(_FIRST_SLOTS, dtype=np.uint64)
        self._offsets = np.zeros(1024, dtype=np.int64)
        self._utf8 = np.empty(1 << 14, dtype=np.uint8)
        self._num_words = 0

    def __len__(self) -> int:
        return self._num_words

    def add(self, words: pa.LargeStringArray) -> NDArray[np.int32]:
        """Ids of `words`, shape (len(words),); those not seen before get the next ids."""
        offsets, utf8 = string_buffers(words)
        while 2 * (self._num_words + len(words)) > len(self._slots):
            self._slots = rehashed(2 * len(self._slots), self._offsets, self._utf8, self._num_words)
        while self._num_words + len(words) + 1 > len(self._offsets):
            self._offsets = grown(self._offsets)
        while self._offsets[self._num_words] + offsets[-1] - offsets[0] > len(self._utf8):
            self._utf8 = grown(self._utf8)
        ids, self._num_words = _add_words(self._slots, self._offsets, self._utf8, self._num_words, offsets, utf8)
        assert self._num_words < 1 << 31
        return ids

    def find(self, words: pa.LargeStringArray) -> NDArray[np.int32]:
        """Ids of `words`, shape (len(words),); -1 for those never added."""
        return _find_words(self._slots, self._offsets, self._utf8, *string_buffers(words))

    def words(self) -> pa.LargeStringArray:
        """All words, by id. Views of the table: add nothing while they are in use."""
        return string_array(self._offsets[: self._num_words + 1], self._utf8[: self._offsets[self._num_words]])
