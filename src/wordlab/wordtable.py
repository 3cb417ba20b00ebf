"""A hash table from words to ids, as plain arrays that kernels share.

Tens of millions of tokens a second rule out a Python object per word. A word is a slice of UTF-8 bytes; the table gives
each new one the next id. It is open addressing with linear probing. A slot is 0 when empty, else 28 bits of the hash
and 4 of the length, above 32 bits of id + 1; beside it stand the first eight bytes of the word. So a word of up to
eight bytes, as most tokens are, is compared without a look elsewhere, which is what costs time: the slot is asked for
ahead, and one line of the cache has all. Of longer words all bytes are compared in the end: words that share a hash
stay apart.

    slots    uint64 (num_slots, 2)  a power of two, at least one and a half times the number of words
    offsets  int64  (capacity,)     word i is utf8[offsets[i] : offsets[i + 1]]
    utf8     uint8  (capacity,)     all words, one after the other
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from wordlab.shards import string_buffers

FIRST_SLOTS = 1 << 15
_SEED = np.uint64(0x2545F4914F6CDD1D)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_TAG = np.uint64(0xFFFFFFF)
_LENGTH_BITS = np.uint64(4)
_LONGER = 9
"""Stands for all lengths above eight."""
_ONE = np.uint64(1)
_EMPTY = np.uint64(0)
_AHEAD = 12
_PUT_AT_ONCE = 1 << 13

# Kernels here allocate nothing, so numba need not count references to their arrays; counting halves their speed.
kernel = njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]
# For functions in the innermost loops: a call passes seven numbers for each array.
inlined = njit(_nrt=False, inline="always")  # type: ignore[call-overload]


@intrinsic
def load_eight(typing_context, array, index):
    """array[index : index + 8], bytes, as one little-endian uint64, wherever it lies. The caller checks the bounds.

    numba reads byte by byte otherwise; eight at a time halve the cost of a token.
    """

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(array, types.int64), generate


@intrinsic
def trailing_zeros(typing_context, value):
    """How many of the lowest bits of a uint64, which must not be 0, are 0."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def _prefetch(typing_context, array, index):
    """Ask for the cache line of the array's value number `index`, in the order of memory, to be read soon."""

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
        value: np.uint64 = load_eight(text, start)  # type: ignore[call-arg]
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


@inlined
def _find_slot(slots, value, text, start, stop, offsets, utf8):
    """Slot of the word text[start:stop] with hash `value`: where it is, or the empty one where it belongs."""
    mask = np.uint64(len(slots) - 1)
    position = (value >> _HALF) & mask
    mark, key = _mark(value, stop - start), _eight_or_fewer(text, start, stop)
    while True:
        entry = slots[position, 0]
        if entry == _EMPTY:
            return position
        if entry >> _HALF == mark and slots[position, 1] == key:
            if stop - start <= 8:
                return position
            word = _entry_word(entry)
            if _equal(text, start + 8, stop, utf8, offsets[word] + 8, offsets[word + 1]):
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


@inlined
def _mark(value, length):
    """32 bits that a slot holds of a word beside its id: of its hash, and its length."""
    return ((value & _TAG) << _LENGTH_BITS) | np.uint64(min(length, _LONGER))


@inlined
def _fill_slot(slots, slot, value, text, start, stop, word):
    """Put the word text[start:stop] with hash `value` and id `word` into an empty slot."""
    slots[slot, 0] = (_mark(value, stop - start) << _HALF) | np.uint64(word + 1)
    slots[slot, 1] = _eight_or_fewer(text, start, stop)


@inlined
def _entry_word(entry):
    """Word id in a slot; -1 if it is empty."""
    return np.int64(entry & _LOW) - 1


def grown(array: NDArray[Any], length: int) -> NDArray[Any]:
    """The array, or where it is shorter than `length` a copy of twice its length or more; what is new is not set."""
    if len(array) >= length:
        return array
    larger = np.empty(max(length, 2 * len(array)), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@kernel
def _hash_words(text, starts, stops, values):
    for i in range(len(values)):
        values[i] = _hash_word(text, starts[i], stops[i])


@inlined
def _ask_for_slot(slots, values, i):
    """Prefetch the slot of the word some places after i: most of the time goes into waiting for memory."""
    if i + _AHEAD < len(values):
        _prefetch(slots, np.int64(2 * ((values[i + _AHEAD] >> _HALF) & np.uint64(len(slots) - 1))))  # type: ignore[call-arg]


@kernel
def _put_words(slots, offsets, utf8, first, values):
    """Put len(values) words from number `first` on, none of which is there, into the slots of a larger table."""
    mask = np.uint64(len(slots) - 1)
    for i in range(len(values)):
        _ask_for_slot(slots, values, i)
        slot = (values[i] >> _HALF) & mask
        while slots[slot, 0] != _EMPTY:
            slot = (slot + _ONE) & mask
        word = first + i
        _fill_slot(slots, slot, values[i], utf8, offsets[word], offsets[word + 1], word)


def rehashed(num_slots: int, offsets: NDArray[np.int64], utf8: NDArray[np.uint8], num_words: int) -> NDArray[np.uint64]:
    """Slots of a table of these words, which are distinct."""
    slots = np.zeros((num_slots, 2), dtype=np.uint64)
    values = np.empty(_PUT_AT_ONCE, dtype=np.uint64)
    for first in range(0, num_words, _PUT_AT_ONCE):
        part = values[: min(_PUT_AT_ONCE, num_words - first)]
        starts = offsets[first : first + len(part)]
        _hash_words(utf8, starts, offsets[first + 1 :], part)
        _put_words(slots, offsets, utf8, first, part)
    return slots


@kernel
def _add_words(slots, offsets, utf8, num_words, text, starts, stops, values, ids):
    """Add the words text[starts[i]:stops[i]] not yet there; the arrays must have room.

    Sets the ids of all and returns the new number of words.
    """
    for i in range(len(ids)):
        _ask_for_slot(slots, values, i)
        start, stop = starts[i], stops[i]
        slot = _find_slot(slots, values[i], text, start, stop, offsets, utf8)
        word = _entry_word(slots[slot, 0])
        if word < 0:
            word = num_words
            _fill_slot(slots, slot, values[i], text, start, stop, word)
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
        slot = _find_slot(slots, values[i], text, starts[i], stops[i], offsets, utf8)
        ids[i] = _entry_word(slots[slot, 0])


class WordTable:
    """Words with ids in the order they were first added. Grows as needed; holds at most 2^31 - 1 words."""

    def __init__(self, room: int = 0) -> None:
        """room: words that are expected; more of them take time to move, fewer only room."""
        self.slots = np.zeros((FIRST_SLOTS, 2), dtype=np.uint64)
        self.offsets = np.zeros(FIRST_SLOTS // 2 + 1, dtype=np.int64)
        self.utf8 = np.empty(8 * FIRST_SLOTS, dtype=np.uint8)
        self.num_words = 0
        self.reserve(room, 8 * room)

    def __len__(self) -> int:
        return self.num_words

    def reserve(self, num_words: int, num_bytes: int) -> None:
        """Make room for so many more words and bytes."""
        num_slots = len(self.slots)
        while 3 * (self.num_words + num_words) > 2 * num_slots:
            num_slots *= 2
        if num_slots > len(self.slots):
            self.slots = rehashed(num_slots, self.offsets, self.utf8, self.num_words)
        self.offsets = grown(self.offsets, self.num_words + num_words + 1)
        self.utf8 = grown(self.utf8, int(self.offsets[self.num_words]) + num_bytes)

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
        offsets, utf8 = self.offsets[: self.num_words + 1], self.utf8[: self.offsets[self.num_words]]
        return pa.LargeStringArray.from_buffers(self.num_words, pa.py_buffer(offsets), pa.py_buffer(utf8))


def word_hashes(words: pa.LargeStringArray) -> NDArray[np.uint64]:
    """64 bits of hash of each word, shape (len(words),)."""
    bounds, utf8 = string_buffers(words)
    values = np.empty(len(words), dtype=np.uint64)
    _hash_words(utf8, bounds[:-1], bounds[1:], values)
    return values
