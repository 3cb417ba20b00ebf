"""Dictionaries of many shards merged into one, in memory that does not grow with the number of distinct words.

A word's hash puts it into one of BINS bins. The dictionaries of a group of shards are merged and written in the order
of the bins. Afterwards a few bins at a time, as many as make up MERGED_BYTES, are merged over all groups: a word is in
one bin everywhere, so its count is whole then, and it can be kept or dropped at once. Counts are exact, whatever bins
are merged together, and every byte is read once by each of the two merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.shards import DICTIONARY_SCHEMA, map_batch, string_buffers, write_batch
from wordlab.wordtable import WordTable, word_hashes

Dictionary = tuple[pa.LargeStringArray, NDArray[np.int64]]
"""Distinct words and the tokens of each."""
BINS = 256
"""A corpus whose groups have more than BINS * MERGED_BYTES in their dictionaries, that is 16 GiB or some 700 million
rows, is merged a bin at a time, in memory that grows from there on."""
MERGED_BYTES = 1 << 26
"""Bytes of dictionaries that are merged at a time, equal words counted as often as they are there. The merge holds four
to six times as much."""
SHARDS_TOGETHER = 16
"""Shards of a group, at most. More of them: a shorter merge of all, and a longer one again after a kill."""
ROW_BYTES = 16
"""Of a word in a dictionary's file beside its text: where it ends and its count."""
_AT_ONCE = 1 << 15
"""Words that are looked up together."""
_MIX = np.uint64(0xD6E8FEB86659FD93)
_BIN_SHIFT = np.uint64(64 - BINS.bit_length() + 1)


def map_dictionary(path: Path) -> Dictionary:
    """A dictionary that is mapped from its file. Raises ArtifactError if that is missing or damaged."""
    batch = map_batch(path, DICTIONARY_SCHEMA, "tokenize")
    return batch.column(0), batch.column(1).to_numpy()


def merged(dictionaries: Iterable[Dictionary]) -> Dictionary:
    """Words of all, in the order of first appearance, and the sums of their counts. Holds one of them at a time."""
    table = WordTable()
    counts = np.zeros(1024, dtype=np.int64)
    for words, numbers in dictionaries:
        for start in range(0, len(words), _AT_ONCE):  # the table makes room as if none were there yet
            ids = table.add(words.slice(start, _AT_ONCE))
            if len(table) > len(counts):
                counts = np.concatenate([counts, np.zeros(max(len(table), len(counts)), dtype=np.int64)])
            counts[ids] += numbers[start : start + _AT_ONCE]  # a dictionary names each word once
    return table.words(), counts[: len(table)]


def write_binned(path: Path, dictionary: Dictionary) -> list[int]:
    """Write a dictionary in the order of its bins; the rows at which they begin, and the number of rows."""
    words, counts = dictionary
    bins = _bins(words)
    order = np.argsort(bins, kind="stable")
    batch = pa.record_batch([words.take(pa.array(order)), pa.array(counts[order])], schema=DICTIONARY_SCHEMA)
    write_batch(path, batch)
    return [0, *np.cumsum(np.bincount(bins, minlength=BINS)).tolist()]


def _bins(words: pa.LargeStringArray) -> NDArray[np.uint8]:
    """The bin of each word. Mixed anew: the table places words by the same hash, and those of a bin must stay apart."""
    bins = np.empty(len(words), dtype=np.uint8)
    for start in range(0, len(words), _AT_ONCE):
        hashes = word_hashes(words.slice(start, _AT_ONCE))
        bins[start : start + _AT_ONCE] = (hashes ^ (hashes >> np.uint64(32))) * _MIX >> _BIN_SHIFT
    return bins


def merged_by_bins(
    dictionaries: Sequence[Dictionary], bounds: Sequence[Sequence[int]], at_once_bytes: int
) -> Iterator[tuple[range, Dictionary]]:
    """All words and their whole counts, some bins at a time; which bins these are.

    bounds: of each dictionary, as `write_binned` gives them.
    at_once_bytes: of dictionaries; at least a bin is merged.
    """
    for bins in _bins_together(dictionaries, bounds, at_once_bytes):
        pairs = zip(dictionaries, bounds, strict=True)
        yield bins, merged(_rows(dictionary, rows[bins.start], rows[bins.stop]) for dictionary, rows in pairs)


def _rows(dictionary: Dictionary, start: int, stop: int) -> Dictionary:
    words, counts = dictionary
    return words.slice(start, stop - start), counts[start:stop]


def _bins_together(
    dictionaries: Sequence[Dictionary], bounds: Sequence[Sequence[int]], at_once_bytes: int
) -> Iterator[range]:
    """Bins one after the other, as many as hold so many bytes, but one at least."""
    ends = np.zeros(BINS + 1, dtype=np.int64)
    for (words, _), rows in zip(dictionaries, bounds, strict=True):
        ends += string_buffers(words)[0][rows] + ROW_BYTES * np.array(rows)
    first = 0
    while first < BINS:
        last = int(np.searchsorted(ends, ends[first] + at_once_bytes, side="right")) - 1
        yield range(first, last := min(max(last, first + 1), BINS))
        first = last
