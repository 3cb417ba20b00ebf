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


def map_shard(folder: Path, index: int, table: WordTable) -> LocalSentences:
    """A shard's local ids and offsets, mapped, and the table's ids by local id, -1 for words it does not have.

    Changes nothing in the table, so that several threads can share it. Raises ArtifactError if a file is missing or
    damaged; local ids are checked, since compiled code would read beyond the dictionary.
    """
    shard = map_unchecked(folder, index, table)
    require_known(folder, index, shard)
    return shard


def map_unchecked(folder: Path, index: int, table: WordTable) -> LocalSentences:
    """The same for who checks the local ids while it uses them."""
    dictionary = map_batch(folder / f"dictionary-{index:05d}.arrow", DICTIONARY_SCHEMA, "tokenize")
    return *map_sentences(_tokens_path(folder, index), "tokenize"), table.find(dictionary.column(0))


def require_known(folder: Path, index: int, shard: LocalSentences) -> None:
    """Raises ArtifactError if local ids go beyond the shard's dictionary."""
    ids, _, word_ids = shard
    if len(ids) and ids.view(np.uint32).max() >= len(word_ids):  # one below 0 is a large one
        raise ArtifactError(
            f"{_tokens_path(folder, index)} is damaged: it holds word numbers from {ids.min()} to {ids.max()}, "
            f"but its dictionary has {len(word_ids)} words. Run: dvc repro tokenize"
        )


def _tokens_path(folder: Path, index: int) -> Path:
    return folder / f"tokens-{index:05d}.arrow"


def joined_sentences(
    shard: LocalSentences, table: WordTable, passes: Sequence[PairTable]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """A shard's sentences in ids of the table, phrases joined, in arrays of their own; other words are len(table)."""
    local_ids, offsets, word_ids = shard
    ends = offsets.copy()
    return join_phrases(passes, np.where(word_ids < 0, len(table), word_ids)[local_ids], ends), ends
