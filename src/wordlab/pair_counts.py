"""Pairs of neighbouring words: the rule that makes one a phrase, and counts, exact in memory of bounded size.

    score(a, b) = (count(a b) - delta) * tokens / (count(a) * count(b)),     a phrase where it is above the threshold

This is word2phrase.c's rule; Mikolov et al. (2013b, eq. 6) print it without the number of tokens, which only sets the
scale of the threshold. In the program delta is -min-count, 5, and -threshold 100 (demo-phrases.sh: 200, then 100); its
test that both words reach min-count follows from the score. gensim's `Phrases` multiplies by the number of distinct
words and pairs instead of tokens, and has the threshold 10. We follow the program, but for this: scores are float64
(there float32); pairs do not reach over the end of a sentence (there they are counted, but not joined); words have any
length (there the first 59 bytes); pairs are counted apart from words that hold an underscore (wordlab.phrases).

Long corpora have more distinct pairs than fit in memory. Both programs throw rare pairs away when their table is full.
Here no count is lost. Most pairs cannot reach the threshold whatever their count, which is at most that of the rarer
word. The others go into a sketch, an array of small counters that pairs share by their hash (Park, Chen and Yu 1995).
A counter is at least the count of each of its pairs, so only those are counted one by one, in a second reading, that
their counter would make a phrase. What is too long for one sketch is counted in parts, by the pairs' hash.

Whatever is counted is a sum over the shards, which is kept on disk while it grows (wordlab.shard_sums).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordlab.joined_shards import JoinedShards
from wordlab.phrases import pair_hash, pair_key
from wordlab.shard_sums import KEPT_BYTES, Arrays, KeptSum

FEWEST_SLOTS, MOST_SLOTS = 1 << 16, 1 << 26
"""Counters of a sketch, a byte each, as many as tokens within these bounds."""
TOKENS_PER_SLOT = 4
"""A sketch of the largest size serves so many tokens for each counter; more of them are counted in parts."""
MERGED_PAIRS = 1 << 20
"""Counts of shards are put together when there are so many of them, or as many as are put together already."""
_FULL = 255
"""A counter that has reached this bounds nothing."""
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
Pairs = tuple[NDArray[np.uint64], NDArray[np.int64]]
"""Keys (phrases.pair_key), rising, and the count of each."""


class Rule(NamedTuple):
    """What makes a pair a phrase in one pass; float64, as kernels take it."""

    num_tokens: float
    delta: float
    threshold: float


def score(count: Any, first_count: Any, second_count: Any, num_tokens: float, delta: float) -> Any:
    """(count - delta) * tokens / (first_count * second_count), of float64, numbers or arrays.

    No step of it falls, rounded as it is, where `count` rises: the greatest count that a pair may have gives the
    greatest score it may have, to the last bit.
    """
    return (count - delta) * num_tokens / (first_count * second_count)


_score = njit(cache=True, nogil=True, error_model="numpy")(score)


def num_counters(num_tokens: int) -> int:
    """Counters of a sketch for so many tokens: a power of two."""
    return min(max(FEWEST_SLOTS, 1 << num_tokens.bit_length()), MOST_SLOTS)


def num_parts(num_tokens: int) -> int:
    """Parts, by their hash, in which the pairs of so many tokens are counted."""
    return -(-num_tokens // (TOKENS_PER_SLOT * num_counters(num_tokens)))


def memory_bytes(num_tokens: int, largest_shard: int, workers: int) -> int:
    """Bytes that counting pairs takes: a sketch, a shard of so many tokens for each worker, and the pairs.

    A token of a shard takes its id, its share of the offsets, and a key where its pair may be a phrase; what a shard
    adds is read again, a key a token at most. The pairs that are counted exactly are few; a byte for each token of the
    corpus is more than they take on Wikipedia.
    """
    return num_counters(num_tokens) + (16 * workers + 8) * largest_shard + num_tokens


def disk_bytes(num_tokens: int) -> int:
    """Bytes that are kept on disk meanwhile: the sketch twice, what shards add to it, and three times the pairs."""
    return (
        2 * num_counters(num_tokens) + min(4 * num_tokens, max(KEPT_BYTES, num_counters(num_tokens))) + 3 * num_tokens
    )


def pair_ids(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and second word of each pair."""
    return (keys >> _HALF).astype(np.int64), (keys & _LOW).astype(np.int64)


def count_pairs(shards: JoinedShards, counts: NDArray[np.int64], rule: Rule, kept: Callable[[str], KeptSum]) -> Pairs:
    """All pairs whose score is above the threshold, with their counts. kept: where a sum of this name is kept."""
    by_word = np.zeros(len(shards.table) + 1)  # the last one for a word that no dictionary had
    by_word[: len(counts)] = counts
    number = num_parts(int(rule.num_tokens))
    frequent: list[Pairs] = []
    for part in range(number):
        found = PairSum()
        kept_sketch, kept_pairs = kept(f"sketch-{part}"), kept(f"pairs-{part}")
        which = (by_word, *rule, part, number)
        if kept_pairs.is_whole():
            shards.pass_over()
            counters = np.zeros(0, dtype=np.uint8)
        else:
            sketch = Sketch(num_counters(int(rule.num_tokens)))
            shards.add_up(sketch, kept_sketch, functools.partial(_slots, len(sketch.counters), which))
            counters = sketch.counters
        shards.add_up(found, kept_pairs, functools.partial(_counted, counters, which))
        kept_sketch.remove()
        keys, numbers = found.state()
        first, second = pair_ids(keys)
        scores = score(numbers.astype(np.float64), by_word[first], by_word[second], rule.num_tokens, rule.delta)
        frequent.append((keys[scores > rule.threshold], numbers[scores > rule.threshold]))
    return _together(frequent)


class Sketch:
    """Counters by hash, each at least the count of any pair that has it, or full."""

    def __init__(self, num_slots: int) -> None:
        self.counters = np.zeros(num_slots, dtype=np.uint8)

    def add(self, addend: Arrays) -> None:
        """Count slots, uint32, each as often as it is there."""
        (slots,) = addend
        _count_slots(self.counters, slots)

    def state(self) -> Arrays:
        return (self.counters,)

    def restore(self, state: Arrays) -> None:
        (self.counters,) = state


class PairSum:
    """Exact counts of pairs."""

    def __init__(self) -> None:
        self._merged = _together([])
        self._parts: list[Pairs] = []
        self._waiting = 0

    def add(self, addend: Arrays) -> None:
        """More pairs, each once, and their numbers."""
        keys, numbers = addend
        self._parts.append((keys, numbers))
        self._waiting += len(keys)
        if self._waiting > max(MERGED_PAIRS, len(self._merged[0])):
            self.state()

    def state(self) -> Pairs:
        if self._parts:
            self._merged, self._parts, self._waiting = _together([self._merged, *self._parts]), [], 0
        return self._merged

    def restore(self, state: Arrays) -> None:
        keys, numbers = state
        self._merged = keys, numbers


def _slots(
    num_slots: int, which: tuple[Any, ...], ids: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint32]]:
    """The counters of all pairs of a part that may be phrases. which: as _slots_of_pairs takes it."""
    slots = np.empty(len(ids), dtype=np.uint32)
    return (slots[: _slots_of_pairs(ids, offsets, num_slots, *which, slots)],)  # type: ignore[call-arg]


def _counted(
    counters: NDArray[np.uint8], which: tuple[Any, ...], ids: NDArray[np.int32], offsets: NDArray[np.int64]
) -> Pairs:
    """Exact counts of the pairs of a part that their counters could make phrases."""
    keys = np.empty(len(ids), dtype=np.uint64)
    num_keys = _keys_above_threshold(ids, offsets, counters, *which, keys)  # type: ignore[call-arg]
    return np.unique(keys[:num_keys], return_counts=True)


def _together(parts: list[Pairs]) -> Pairs:
    """One list of pairs, with the sums of their counts."""
    keys = np.concatenate([np.zeros(0, dtype=np.uint64), *(keys for keys, _ in parts)])
    numbers = np.concatenate([np.zeros(0, dtype=np.int64), *(numbers for _, numbers in parts)])
    if not len(keys):
        return keys, numbers
    order = np.argsort(keys, kind="stable")
    keys, numbers = keys[order], numbers[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(numbers, starts)


@njit(cache=True, nogil=True, error_model="numpy")
def _possible(most, first_count, second_count, num_tokens, delta, threshold):
    """Whether a pair of words with these counts may be a phrase if it occurs at most `most` times."""
    return most > delta and _score(most, first_count, second_count, num_tokens, delta) > threshold


@njit(cache=True, nogil=True, error_model="numpy")
def _slots_of_pairs(ids, offsets, num_slots, by_word, num_tokens, delta, threshold, part, num_parts, slots):
    """Set the first of `slots` to the counters of the pairs of the part that may be phrases; returns their number.

    by_word: float64, tokens by word id.   part: of num_parts, by the low bits of the pairs' hash.
    """
    shift = _counter_shift(num_slots)
    num_found = 0
    for sentence in range(len(offsets) - 1):
        for i in range(offsets[sentence] + 1, offsets[sentence + 1]):
            first_count, second_count = by_word[ids[i - 1]], by_word[ids[i]]
            most = min(first_count, second_count)
            if _possible(most, first_count, second_count, num_tokens, delta, threshold):
                value = pair_hash(pair_key(ids[i - 1], ids[i]))
                if num_parts == 1 or np.int64(value & _LOW) % num_parts == part:
                    slots[num_found] = value >> shift
                    num_found += 1
    return num_found


@njit(cache=True, nogil=True)
def _count_slots(counters, slots):
    """Add 1 to the counter of each slot, unless it is full."""
    for slot in slots:
        if counters[slot] < _FULL:
            counters[slot] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _keys_above_threshold(ids, offsets, sketch, by_word, num_tokens, delta, threshold, part, num_parts, keys):
    """Set the first of `keys` to the pairs of the part that may be phrases by their counters; returns their number."""
    shift = _counter_shift(len(sketch))
    num_keys = 0
    for sentence in range(len(offsets) - 1):
        for i in range(offsets[sentence] + 1, offsets[sentence + 1]):
            first_count, second_count = by_word[ids[i - 1]], by_word[ids[i]]
            most = min(first_count, second_count)
            if _possible(most, first_count, second_count, num_tokens, delta, threshold):
                key = pair_key(ids[i - 1], ids[i])
                value = pair_hash(key)
                if num_parts == 1 or np.int64(value & _LOW) % num_parts == part:
                    counted = sketch[value >> shift]
                    if counted < _FULL:
                        most = min(most, np.float64(counted))
                    if _possible(most, first_count, second_count, num_tokens, delta, threshold):
                        keys[num_keys] = key
                        num_keys += 1
    return num_keys


@njit(cache=True, nogil=True)
def _counter_shift(num_slots):
    """How far to shift a hash of 64 bits for the number of a counter."""
    bits = 0
    while 1 << bits < num_slots:
        bits += 1
    return np.uint64(64 - bits)
