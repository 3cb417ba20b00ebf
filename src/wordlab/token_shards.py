"""Token shards in ids of one table of words: how stages after `tokenize` read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.phrases import PairTable, join_phrases
from wordlab.shards import DICTIONARY_SCHEMA, map_batch, map_sentences
from wordlab.wordtable import WordTable

LocalSentences = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]


def tokens_path(folder: Path, index: int) -> Path:
    """The file of a shard's tokens."""
    return folder / f"tokens-{index:05d}.arrow"


def map_shard(folder: Path, index: int, table: WordTable, check_ids: bool = True) -> LocalSentences:
    """A shard's local ids and offsets, mapped, and the table's ids by local id, -1 for words it does not have.

    Changes nothing in the table, so that several threads can share it. Raises ArtifactError if a file is missing or
    damaged.
    check_ids: look at all local ids, since compiled code would read beyond the dictionary. Who does so anyway while
    reading them need not have it done here.
    """
    dictionary = map_batch(folder / f"dictionary-{index:05d}.arrow", DICTIONARY_SCHEMA, "tokenize")
    word_ids = table.find(dictionary.column(0))
    path = tokens_path(folder, index)
    ids, offsets = map_sentences(path, "tokenize")
    if check_ids and len(ids) and ids.view(np.uint32).max() >= len(word_ids):  # one below 0 is a large one
        raise foreign_ids(path, ids, len(word_ids))
    return ids, offsets, word_ids


def foreign_ids(path: Path, ids: NDArray[np.int32], num_words: int) -> ArtifactError:
    """The error for a shard with ids that its dictionary does not have."""
    return ArtifactError(
        f"{path} is damaged: it holds word numbers from {ids.min()} to {ids.max()}, but its dictionary has "
        f"{num_words} words. Run: dvc repro tokenize"
    )


def joined_sentences(
    shard: LocalSentences, table: WordTable, passes: Sequence[PairTable]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """A shard's sentences in ids of the table, phrases joined, in arrays of their own; other words are len(table)."""
    local_ids, offsets, word_ids = shard
    ends = offsets.copy()
    return join_phrases(passes, np.where(word_ids < 0, len(table), word_ids)[local_ids], ends), ends
