"""Phrases: pairs of words that are one word from then on, joined by an underscore (Mikolov et al. 2013b, section 4).

Stage `vocab` finds them (wordlab.phrase_counting), writes the list and counts what is left; stage `encode` joins them
while it gives tokens their ids. The token shards stay as they are. Several passes make longer phrases: each sees the
tokens that the one before has joined, so that new_york and times become new_york_times.

A phrase is its string. What joins to the same string is the same word: new_york and city, new and york_city, and a
token new_york_city that stood in the text as such (the tokenizer `whitespace` keeps underscores). So in word2phrase.c,
which also counts such a token among the occurrences of the pair; here pairs are counted as pairs of words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.shards import map_batch, string_buffers, write_batch
from wordlab.wordtable import WordTable

JOINER = "_"
"""Between the words of a phrase, as in word2phrase.c and in its analogy questions."""
PHRASES_SCHEMA = pa.schema(
    [
        pa.field("pass", pa.int32()),
        pa.field("first", pa.large_string()),
        pa.field("second", pa.large_string()),
        pa.field("count", pa.int64()),
        pa.field("joined", pa.int64()),
        pa.field("score", pa.float64()),
    ]
)
"""A row for each phrase: the pass that joins it, from 1, never falling; its two parts, which earlier passes may have
joined; how often the second followed the first in what the pass read; how often they were joined, which is less where
phrases overlap (in a b c, a_b leaves no b for b_c); the score (wordlab.phrase_counting.score)."""

_NO_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Marks an empty slot; no pair has this key, since ids are below 2^31."""
_HALF = np.uint64(32)
_ONE = np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Phrases:
    """The list of phrases: phrases.arrow. It has no row where none were looked for or found."""

    batch: pa.RecordBatch
    """Of PHRASES_SCHEMA; within a pass by score, falling, then by the parts' UTF-8 bytes."""

    @classmethod
    def load(cls, path: Path, wanted: str) -> Phrases:
        """Read phrases.arrow. wanted: the fingerprint that words.arrow names.

        Raises ArtifactError if it is missing or damaged, or has another fingerprint.
        """
        phrases = cls(map_batch(Path(path), PHRASES_SCHEMA, "vocab"))
        if phrases.fingerprint != wanted:
            raise ArtifactError(
                f"{path} holds phrases {phrases.fingerprint[:12] or 'none'}, but the words beside it were counted with "
                f"phrases {wanted[:12] or 'none'}. Run: dvc repro vocab"
            )
        numbers = phrases.batch.column("pass").to_numpy()
        if len(numbers) and (numbers[0] < 1 or (numbers[1:] < numbers[:-1]).any()):
            raise ArtifactError(f"{path} is damaged: its passes do not rise from 1. Run: dvc repro vocab")
        return phrases

    def save(self, path: Path) -> None:
        write_batch(Path(path), self.batch)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what is joined: passes and parts, numbers as little-endian int64. Empty without a phrase."""
        if not len(self):
            return ""
        digest = hashlib.sha256(self.batch.column("pass").to_numpy().astype("<i8").tobytes())
        for name in ("first", "second"):
            offsets, utf8 = string_buffers(self.batch.column(name))
            digest.update((offsets[1:] - offsets[0]).astype("<i8").tobytes())
            digest.update(utf8[offsets[0] : offsets[-1]].tobytes())
        return digest.hexdigest()

    def passes(self) -> Iterator[pa.RecordBatch]:
        """The rows of each pass, one after the other."""
        numbers = self.batch.column("pass").to_numpy()
        bounds = np.flatnonzero(np.diff(numbers, prepend=0, append=0)).tolist()
        for start, stop in pairwise(bounds):
            yield self.batch.slice(start, stop - start)

    def __len__(self) -> int:
        return int(self.batch.num_rows)


def no_phrases() -> Phrases:
    return Phrases(pa.record_batch([pa.array([], kind) for kind in PHRASES_SCHEMA.types], schema=PHRASES_SCHEMA))


def joined_words(first: pa.LargeStringArray, second: pa.LargeStringArray) -> pa.LargeStringArray:
    """first_second, row by row."""
    return pc.binary_join_element_wise(first, second, pa.scalar(JOINER, pa.large_string()))


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs of word ids of one pass, in a hash table that a kernel looks them up in. At most half of it is used."""

    keys: NDArray[np.uint64]
    """Shape (num_slots,), a power of two: the first id above the second, 32 bits each; or _NO_PAIR."""
    places: NDArray[np.int32]
    """Shape (num_slots,): the pair's place in what it was built of."""
    opens: NDArray[np.bool_]
    """By word id, up to the highest that does: whether some pair begins with it. Spares most tokens the table."""
    first: NDArray[np.int32]
    """Ids by place, shape (num_pairs,), as of the two that follow."""
    second: NDArray[np.int32]
    joined: NDArray[np.int32]

    @classmethod
    def of_words(cls, first: pa.LargeStringArray, second: pa.LargeStringArray, table: WordTable) -> PairTable:
        """The pairs of these words, by place, in ids of `table`, to which they are added; of equal pairs the first."""
        ids = table.add(first), table.add(second), table.add(joined_words(first, second))
        num_slots = 1 << max(4, (2 * len(first)).bit_length())
        keys, places = np.full(num_slots, _NO_PAIR), np.zeros(num_slots, dtype=np.int32)
        opens = np.zeros(int(ids[0].max(initial=0)) + 1, dtype=np.bool_)
        opens[ids[0]] = True
        _insert(keys, places, ids[0], ids[1])
        return cls(keys, places, opens, *ids)

    def join(self, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
        """Join the pairs in sentences of word ids, from left to right; a joined word joins no further in this pass.

        Changes `ids` (shape (num_tokens,)) and `offsets` (shape (num_sentences + 1,)) in place. Returns the number of
        tokens left, which are the first ones of `ids`, and by place how often each pair was joined.
        """
        times = np.zeros(len(self.joined), dtype=np.int64)
        return _join(ids, offsets, self.keys, self.places, self.opens, self.joined, times), times


def pair_tables(phrases: Phrases, table: WordTable) -> list[PairTable]:
    """One for each pass; all their words are added to `table`."""
    return [PairTable.of_words(rows.column("first"), rows.column("second"), table) for rows in phrases.passes()]


def join_phrases(passes: Sequence[PairTable], ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Join pass after pass, in place (PairTable.join). Returns the tokens left, the first ones of `ids`."""
    for pairs in passes:
        num_tokens, _ = pairs.join(ids, offsets)
        ids = ids[:num_tokens]
    return ids


@njit(cache=True, nogil=True)
def pair_key(first, second):
    return (np.uint64(first) << _HALF) | np.uint64(second)


@njit(cache=True, nogil=True)
def pair_hash(key):
    """64 bits, of which the high ones depend on all of the key."""
    value = key * _MIX
    return (value ^ (value >> _HALF)) * _MIX


@njit(cache=True, nogil=True)
def _slot(keys, key):
    """Where a key is, or the empty slot where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = (pair_hash(key) >> _HALF) & mask
    while keys[slot] != key and keys[slot] != _NO_PAIR:
        slot = (slot + _ONE) & mask
    return slot


@njit(cache=True, nogil=True)
def _insert(keys, places, first, second):
    for place in range(len(first)):
        key = pair_key(first[place], second[place])
        slot = _slot(keys, key)
        if keys[slot] == _NO_PAIR:
            keys[slot] = key
            places[slot] = place


@njit(cache=True, nogil=True)
def _join(ids, offsets, keys, places, opens, joined, times):
    """See PairTable.join. Writing never overtakes reading: a token less for every pair that is joined."""
    num_tokens = 0
    start = offsets[0]
    for sentence in range(len(offsets) - 1):
        stop = offsets[sentence + 1]
        i = start
        while i < stop:
            word = ids[i]
            i += 1
            if i < stop and word < len(opens) and opens[word]:
                key = pair_key(word, ids[i])
                slot = _slot(keys, key)
                if keys[slot] == key:
                    word = joined[places[slot]]
                    times[places[slot]] += 1
                    i += 1
            ids[num_tokens] = word
            num_tokens += 1
        start = stop
        offsets[sentence + 1] = num_tokens
    return num_tokens
