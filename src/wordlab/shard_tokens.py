"""One shard of the corpus: its text -> local word ids and a dictionary, in files of its own."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.morphemes import count_morphemes
from wordlab.pieces import MODEL, count_pieces
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.shard_text import shard_text
from wordlab.shards import DICTIONARY_SCHEMA, write_batch, write_sentences
from wordlab.spans import ShardTask
from wordlab.tokencount import TokenCount, count_tokens, renumber, word_counts
from wordlab.tokenizers import CUT_IN_PARTS, character_classes, fold_words, words_name

_FOLDED_AT_ONCE = 1 << 15
"""Words that are strings of Python's at a time; in a text of another script than Latin all words become such."""
LocalSentences = tuple[NDArray[np.int32], NDArray[np.int64], pa.LargeStringArray]
"""Local ids, offsets of the sentences, words by local id in the order of first appearance."""


@dataclass(frozen=True)
class ShardReport:
    """What a worker gives back, its files written."""

    raw_bytes: int
    num_tokens: int
    num_sentences: int
    num_words: int
    dropped: dict[str, int]


def tokenize_shard(task: ShardTask, config: TokenizeConfig, folder: Path, before: Path) -> ShardReport:
    """Normalise, filter, split and count one shard; write tokens-NNNNN.arrow and dictionary-NNNNN.arrow.

    before: a folder with what passes before this one have found, sentencepiece's model or verdicts over lines.
    """
    text, dropped = shard_text(task, config, before)
    if config.tokenizer == "sentencepiece":
        ids, offsets, words = count_pieces(text, config, before / MODEL, dropped)
    elif config.tokenizer == "kiwi":
        ids, offsets, words = count_morphemes(text, config)
    else:
        ids, offsets, words = _count_folded(text, config, dropped)
    write_sentences(folder / f"tokens-{task.index:05d}.arrow", ids, offsets)
    batch = pa.record_batch([words, pa.array(word_counts(ids, len(words)))], schema=DICTIONARY_SCHEMA)
    write_batch(folder / f"dictionary-{task.index:05d}.arrow", batch)
    if config.count_words and config.tokenizer in CUT_IN_PARTS:
        write_batch(folder / words_name(task.index), _counted_words(text, config))
    return ShardReport(task.raw_bytes, len(ids), len(offsets) - 1, len(words), dict(+dropped))


def _counted_words(text: bytes, config: TokenizeConfig) -> pa.RecordBatch:
    """The text's words, as tokenizer `words` finds them, with their counts."""
    ids, _, words = _count_folded(text, dataclasses.replace(config, tokenizer="words"), Counter())
    return pa.record_batch([words, pa.array(word_counts(ids, len(words)))], schema=DICTIONARY_SCHEMA)


def _count_folded(text: bytes, config: TokenizeConfig, dropped: Counter[str]) -> LocalSentences:
    """Tokens of text in the form in which words are counted; what folding makes equal has become one word."""
    lowercase = config.lowercase or config.tokenizer == "ascii"
    count = count_tokens(text, character_classes(config.tokenizer, config.sentences), lowercase)
    dropped["control_characters"] += count.num_control
    words = count.words.words()
    candidates = (
        pc.equal(pc.utf8_length(words), 1) if config.tokenizer == "ascii" else pc.invert(pc.string_is_ascii(words))
    )
    places = np.flatnonzero(candidates.to_numpy(zero_copy_only=False))
    changed: list[int] = []
    new_words: list[str] = []
    for start in range(0, len(places), _FOLDED_AT_ONCE):
        old_ids = places[start : start + _FOLDED_AT_ONCE]
        originals = words.take(pa.array(old_ids)).to_pylist()
        folded = fold_words(originals, config.tokenizer, lowercase)
        for old_id, original, word in zip(old_ids.tolist(), originals, folded, strict=True):
            if original != word:
                changed.append(old_id)
                new_words.append(word)
    if not changed:
        return count.ids, count.offsets, words
    return merge_words(count, np.array(changed, dtype=np.int64), new_words)


def merge_words(count: TokenCount, old_ids: NDArray[np.int64], new_words: list[str]) -> LocalSentences:
    """Replace some words by others, which may be there already. Ids stay in the order of first appearance.

    Changes `count`.
    """
    old = np.arange(len(count.words), dtype=np.int32)
    target = old.copy()
    target[old_ids] = count.words.add(pa.array(new_words, pa.large_string()))
    first = np.empty(len(count.words), dtype=np.int32)
    first[target[::-1]] = old[::-1]  # of several old ids with one target, the smallest is written last
    is_first = first[target] == old
    new_ids = np.cumsum(is_first, dtype=np.int32) - 1
    renumber(count.ids, new_ids[first[target]])
    return count.ids, count.offsets, count.words.words().take(pa.array(target[is_first]))
