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
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from wordlab.shards import string_array, string_buffers

FIRST_SLOTS = 1 << 15
_SEED = np.uint64(0x2545F4914F6CDD1D)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)
_EMPTY = np.uint64(0)
_AHEAD = 12

# Kernels here allocate nothing, so numba need not count references to their arrays; counting halves their speed.
kernel = njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]


@intrinsic
def _load_eight(typing_context, array, index):
    """array[index : index + 8], bytes, as one little-endian uint64, wherever it lies. The caller checks the bounds.

    numba reads byte by byte otherwise; eight at a time halve the cost of a token.
    """

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(array, types.int64), generate


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask for the cache line of array[index], to be read soon."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), generate


@kernel
def _eight_or_fewer(text, start, stop):
    """The first eight bytes of text[start:stop] as one number; those it lacks are 0."""
    length = stop - start
    if start + 8 <= len(text):
        value: np.uint64 = _load_eight(text, start)  # type: ignore[call-arg]
        if length < 8:
            value &= (_ONE << np.uint64(8 * length)) - _ONE
        return value
    value = _EMPTY
    for i in range(min(length, 8)):
        value |= np.uint64(text[start + i]) << np.uint64(8 * i)
    return value


@kernel
def _hash_word(text, start, stop):
    """64 bits of hash of text[start:stop], UTF-8."""
    value = _SEED ^ np.uint64(stop - start)
    i = start
    while i < stop:
        value = (value ^ _eight_or_fewer(text, i, stop)) * _MIX
        value ^= value >> _HALF
        i += 8
    return value * _MIX


@kernel
def _find_slot(slots, value, text, start, stop, offsets, utf8):
    """Slot of the word text[start:stop] with hash `value`: where it is, or the empty one where it belongs."""
    mask = np.uint64(len(slots) - 1)
    position = (value >> _HALF) & mask
    tag = value & _LOW
    while True:
        entry = slots[position]
        if entry == _EMPTY:
            return position
        if entry >> _HALF == tag:
            word = np.int64(entry & _LOW) - 1
            if _equal(text, start, stop, utf8, offsets[word], offsets[word + 1]):
                return position
        position = (position + _ONE) & mask


@kernel
def _equal(text, start, stop, utf8, first, last):
    if last - first != stop - start:
        return False
    while start < stop:
        if _eight_or_fewer(text, start, stop) != _eight_or_fewer(utf8, first, last):
            return False
        start += 8
        first += 8
    return True


@kernel
def _slot_entry(value, word):
    """What a slot holds for word id `word` with hash `value`."""
    return ((value & _LOW) << _HALF) | np.uint64(word + 1)


@kernel
def _entry_word(entry):
    """Word id in a slot; -1 if it is empty."""
    return np.int64(entry & _LOW) - 1


def grown(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of twice the length; what is new is not set."""
    larger = np.empty(2 * len(array), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@kernel
def _rehash(slots, offsets, utf8, num_words):
    for word in range(num_words):
        value = _hash_word(utf8, offsets[word], offsets[word + 1])
        slots[_find_slot(slots, value, utf8, offsets[word], offsets[word + 1], offsets, utf8)] = _slot_entry(
            value, word
        )


def rehashed(num_slots: int, offsets: NDArray[np.int64], utf8: NDArray[np.uint8], num_words: int) -> NDArray[np.uint64]:
    """Slots of a table of these words."""
    slots = np.zeros(num_slots, dtype=np.uint64)
    _rehash(slots, offsets, utf8, num_words)
    return slots


@kernel
def _hash_words(text, starts, stops, values):
    for i in range(len(values)):
        values[i] = _hash_word(text, starts[i], stops[i])


@kernel
def _ask_for_slot(slots, values, i):
    """Prefetch the slot of the word some places after i: most of the time goes into waiting for memory."""
    if i + _AHEAD < len(values):
        _prefetch(slots, np.int64((values[i + _AHEAD] >> _HALF) & np.uint64(len(slots) - 1)))  # type: ignore[call-arg]


@kernel
def _add_words(slots, offsets, utf8, num_words, text, starts, stops, values, ids):
    """Add the words text[starts[i]:stops[i]] not yet there; the arrays must have room.

    Sets the ids of all and returns the new number of words.
    """
    for i in range(len(ids)):
        _ask_for_slot(slots, values, i)
        start, stop = starts[i], stops[i]
        slot = _find_slot(slots, values[i], text, start, stop, offsets, utf8)
        word = _entry_word(slots[slot])
        if word < 0:
            word = num_words
            slots[slot] = _slot_entry(values[i], word)
            for j in range(stop - start):
                utf8[offsets[word] + j] = text[start + j]
            offsets[word + 1] = offsets[word] + stop - start
            num_words += 1
        ids[i] = word
    return num_words


@kernel
def _find_words(slots, offsets, utf8, text, starts, stops, values, ids):
    for i in range(len(ids)):
        _ask_for_slot(slots, values, i)
        ids[i] = _entry_word(slots[_find_slot(slots, values[i], text, starts[i], stops[i], offsets, utf8)])


class WordTable:
    """Words with ids in the order they were first added. Grows as needed; holds at most 2^31 - 1 words."""

    def __init__(self) -> None:
        self.slots = np.zeros(FIRST_SLOTS, dtype=np.uint64)
        self.offsets = np.zeros(FIRST_SLOTS // 2 + 1, dtype=np.int64)
        self.utf8 = np.empty(8 * FIRST_SLOTS, dtype=np.uint8)
        self.num_words = 0

    def __len__(self) -> int:
        return self.num_words

    def reserve(self, num_words: int, num_bytes: int) -> None:
        """Make room for so many more words and bytes."""
        while 2 * (self.num_words + num_words) > len(self.slots):
            self.slots = rehashed(2 * len(self.slots), self.offsets, self.utf8, self.num_words)
        while self.num_words + num_words + 1 > len(self.offsets):
            self.offsets = grown(self.offsets)
        while self.offsets[self.num_words] + num_bytes > len(self.utf8):
            self.utf8 = grown(self.utf8)

    def add(self, words: pa.LargeStringArray) -> NDArray[np.int32]:
        """Ids of `words`, shape (len(words),); those not seen before get the next ids."""
        bounds, utf8 = string_buffers(words)
        ids = np.empty(len(words), dtype=np.int32)
        self.add_slices(utf8, bounds[:-1], bounds[1:], ids)
        return ids

    def add_slices(
        self, text: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64], ids: NDArray[np.int32]
    ) -> None:
        """The same for words text[starts[i]:stops[i]], in ascending order; sets `ids`."""
        if len(ids) == 0:
            return
        values = np.empty(len(ids), dtype=np.uint64)
        _hash_words(text, starts, stops, values)
        self.reserve(len(ids), int(stops[-1] - starts[0]))
        state = (self.slots, self.offsets, self.utf8, self.num_words)
        self.num_words = _add_words(*state, text, starts, stops, values, ids)
        assert self.num_words < 1 << 31

    def find(self, words: pa.LargeStringArray) -> NDArray[np.int32]:
        """Ids of `words`, shape (len(words),); -1 for those never added."""
        bounds, utf8 = string_buffers(words)
        ids, values = np.empty(len(words), dtype=np.int32), np.empty(len(words), dtype=np.uint64)
        _hash_words(utf8, bounds[:-1], bounds[1:], values)
        _find_words(self.slots, self.offsets, self.utf8, utf8, bounds[:-1], bounds[1:], values, ids)
        return ids

    def words(self) -> pa.LargeStringArray:
        """All words, by id. Views of the table: add nothing while they are in use."""
        return string_array(self.offsets[: self.num_words + 1], self.utf8[: self.offsets[self.num_words]])


def word_hashes(words: pa.LargeStringArray) -> NDArray[np.uint64]:
    """64 bits of hash of each word, shape (len(words),)."""
    bounds, utf8 = string_buffers(words)
    values = np.empty(len(words), dtype=np.uint64)
    _hash_words(utf8, bounds[:-1], bounds[1:], values)
    return values
