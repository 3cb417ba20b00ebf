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
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wordlab.parallel import bounded_map
from wordlab.phrases import PairTable, pair_hash, pair_key
from wordlab.stage import available_cores
from wordlab.token_shards import joined_sentences, map_shard
from wordlab.wordtable import WordTable

FEWEST_SLOTS, MOST_SLOTS = 1 << 16, 1 << 26
"""Counters of a sketch, a byte each, as many as tokens within these bounds. Every thread has a sketch."""
TOKENS_PER_SLOT = 4
"""A sketch of the largest size serves so many tokens for each counter; more of them are counted in parts."""
MERGED_PAIRS = 1 << 20
"""Counts of shards are put together when there are so many of them, or as many as are put together already."""
_FULL = 255
"""A counter that has reached this bounds nothing."""
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
Result = TypeVar("Result")
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


def memory_bytes(num_tokens: int, largest_shard: int, workers: int) -> int:
    """Bytes that counting pairs takes: a sketch and a shard of so many tokens for each worker, and the pairs.

    A token of a shard takes its id, its share of the offsets, and a key where its pair may be a phrase. The pairs that
    are counted exactly are few; a byte for each token of the corpus is more than they take on Wikipedia.
    """
    return workers * (num_counters(num_tokens) + 16 * largest_shard) + num_tokens


class JoinedShards:
    """The token shards as a pass reads them: in ids of the table, joined by the passes before it."""

    def __init__(self, folder: Path, num_shards: int, table: WordTable, workers: int) -> None:
        """workers: threads, 0 for all cores."""
        self.folder, self.num_shards, self.table = folder, num_shards, table
        self.workers = max(1, min(workers or available_cores(), num_shards))
        self.passes: list[PairTable] = []
        self.bar: Any = None
        """Progress is shown there while pairs are counted or joined."""

    def map(self, work: Callable[[NDArray[np.int32], NDArray[np.int64]], Result]) -> Iterator[Result]:
        """work(ids, offsets) of each shard, in order, on several threads: kernels leave Python's lock to others.

        `work` may change both arrays.
        """

        def read_and_work(index: int) -> tuple[int, Result]:
            shard = map_shard(self.folder, index, self.table)
            return len(shard[0]), work(*joined_sentences(shard, self.table, self.passes))

        with ThreadPoolExecutor(self.workers) as executor:
            for num_tokens, result in bounded_map(executor, read_and_work, range(self.num_shards), self.workers + 1):
                self.bar.update(num_tokens)
                yield result


def pair_ids(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and second word of each pair."""
    return (keys >> _HALF).astype(np.int64), (keys & _LOW).astype(np.int64)


def count_pairs(shards: JoinedShards, counts: NDArray[np.int64], rule: Rule) -> Pairs:
    """All pairs whose score is above the threshold, with their counts."""
    by_word = np.zeros(len(shards.table) + 1)  # the last one for a word that no dictionary had
    by_word[: len(counts)] = counts
    num_slots = num_counters(int(rule.num_tokens))
    num_parts = int(-(-rule.num_tokens // (TOKENS_PER_SLOT * num_slots)))
    kept: list[Pairs] = []
    for part in range(num_parts):
        which = (by_word, *rule, part, num_parts)
        sketch = _sketch(shards, num_slots, which)
        keys, numbers = _counted(shards, sketch, which)
        first, second = pair_ids(keys)
        scores = score(numbers.astype(np.float64), by_word[first], by_word[second], rule.num_tokens, rule.delta)
        kept.append((keys[scores > rule.threshold], numbers[scores > rule.threshold]))
    return _together(kept)


def _sketch(shards: JoinedShards, num_slots: int, which: tuple[Any, ...]) -> NDArray[np.uint8]:
    """Counters by hash, shape (num_slots,): each at least the count of any pair that has it, or full.

    which: the last arguments of _add_to_sketch.
    """
    free = [np.zeros(num_slots, dtype=np.uint8) for _ in range(shards.workers)]

    def work(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        sketch = free.pop()  # never empty: as many as threads
        try:
            _add_to_sketch(ids, offsets, sketch, *which)
        finally:
            free.append(sketch)

    for _ in shards.map(work):
        pass
    return added_up(free)


def added_up(sketches: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The sum of sketches, in the first of them; counters stay full."""
    total, *others = sketches
    for other in others:
        total += np.minimum(other, _FULL - total)
    return total


def _counted(shards: JoinedShards, sketch: NDArray[np.uint8], which: tuple[Any, ...]) -> Pairs:
    """Exact counts of the pairs of a part that their counters could make phrases."""

    def work(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> Pairs:
        keys = np.empty(len(ids), dtype=np.uint64)
        num_keys = _keys_above_threshold(ids, offsets, sketch, *which, keys)  # type: ignore[call-arg]
        return np.unique(keys[:num_keys], return_counts=True)

    merged, waiting = _together([]), 0
    parts: list[Pairs] = []
    for part in shards.map(work):
        parts.append(part)
        waiting += len(part[0])
        if waiting > max(MERGED_PAIRS, len(merged[0])):
            merged, parts, waiting = _together([merged, *parts]), [], 0
    return _together([merged, *parts])


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
def _add_to_sketch(ids, offsets, sketch, by_word, num_tokens, delta, threshold, part, num_parts):
    """Count each pair of the part that may be a phrase in its counter.

    by_word: float64, tokens by word id.   part: of num_parts, by the low bits of the pairs' hash.
    """
    shift = _counter_shift(sketch)
    for sentence in range(len(offsets) - 1):
        for i in range(offsets[sentence] + 1, offsets[sentence + 1]):
            first_count, second_count = by_word[ids[i - 1]], by_word[ids[i]]
            most = min(first_count, second_count)
            if _possible(most, first_count, second_count, num_tokens, delta, threshold):
                value = pair_hash(pair_key(ids[i - 1], ids[i]))
                is_of_part = num_parts == 1 or np.int64(value & _LOW) % num_parts == part
                if is_of_part and sketch[value >> shift] < _FULL:
                    sketch[value >> shift] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _keys_above_threshold(ids, offsets, sketch, by_word, num_tokens, delta, threshold, part, num_parts, keys):
    """Set the first of `keys` to the pairs of the part that may be phrases by their counters; returns their number."""
    shift = _counter_shift(sketch)
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
def _counter_shift(sketch):
    """How far to shift a hash of 64 bits for the number of a counter."""
    bits = 0
    while 1 << bits < len(sketch):
        bits += 1
    return np.uint64(64 - bits)
