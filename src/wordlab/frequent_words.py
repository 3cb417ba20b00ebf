"""Which words are frequent enough for the vocabulary: words come with whole counts, rare ones go and are counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.errors import CorpusError
from wordlab.phrases import JOINER
from wordlab.sections.vocab import VocabConfig
from wordlab.shards import DICTIONARY_SCHEMA
from wordlab.vocab import Vocab

_ORDER = [("count", "descending"), ("word", "ascending")]
"""Of the vocabulary; words are compared by their UTF-8 bytes."""


class FrequentWords:
    """Keeps the words that occur often enough, as many as there may be, and of the others what messages need.

    What it holds grows with the words that it keeps, and with max_size is at most twice so many and one addition.
    """

    def __init__(self, min_count: int, max_size: int = 0, keep_joined: bool = False) -> None:
        """max_size: words, the most frequent ones; 0 keeps all.   keep_joined: keep rare words too that may be the name
        of a phrase, whose tokens are added to theirs."""
        self.min_count, self.max_size, self.keep_joined = min_count, max_size, keep_joined
        self.num_words = self.num_tokens = 0
        """Of the frequent words, with those beyond max_size."""
        self.rare_words = self.rare_tokens = 0
        self._parts = [DICTIONARY_SCHEMA.empty_table()]
        self._rare_top = DICTIONARY_SCHEMA.empty_table()
        """The two most frequent of the rare words."""

    def add(self, words: pa.LargeStringArray, counts: NDArray[np.int64]) -> None:
        """More words, with all tokens that the corpus has of them; none has come before."""
        frequent = counts >= self.min_count
        if self.keep_joined:
            frequent |= pc.match_substring(words, JOINER).to_numpy(zero_copy_only=False)
        self.num_words += int(frequent.sum())
        self.num_tokens += int(counts[frequent].sum())
        self.rare_words += int((~frequent).sum())
        self.rare_tokens += int(counts[~frequent].sum())
        table = pa.table([words, pa.array(counts)], schema=DICTIONARY_SCHEMA)
        rare = table.filter(pa.array(~frequent))
        self._rare_top = _first(pa.concat_tables([self._rare_top, _first(rare, 2)]), 2)
        self._parts.append(table.filter(pa.array(frequent)))
        if self.max_size and sum(part.num_rows for part in self._parts) > 2 * self.max_size:
            self._parts = [self._kept()]

    def after_phrases(
        self, words: pa.LargeStringArray, counts: NDArray[np.int64], config: VocabConfig
    ) -> FrequentWords:
        """The same by the counts that the words have once phrases are joined; rare words stand in none."""
        found = FrequentWords(config.min_count, config.max_size)
        found.rare_words, found.rare_tokens, found._rare_top = self.rare_words, self.rare_tokens, self._rare_top
        found.add(words, counts)
        return found

    def unordered(self) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
        """The words that are kept, and their counts."""
        return _columns(pa.concat_tables(self._parts))

    def _kept(self) -> pa.Table:
        kept = pa.concat_tables(self._parts)
        return _first(kept, self.max_size or kept.num_rows)

    def select(self, config: VocabConfig) -> tuple[Vocab, dict[str, int]]:
        """The vocabulary, ordered by count, falling, then by UTF-8 bytes, and what was dropped for it.

        Raises CorpusError if fewer than two words are left.
        """
        if self.num_words + self.rare_words == 0:
            raise CorpusError("The corpus holds no words. Check corpus in params.yaml, then run: dvc repro")
        kept = self._kept()
        if kept.num_rows < 2:
            raise CorpusError(self._too_few_words_message(config))
        self._parts = [kept]
        vocab = Vocab.from_arrow(*_columns(kept))
        dropped = {
            "words_below_min_count": self.rare_words,
            "tokens_below_min_count": self.rare_tokens,
            "words_beyond_max_size": self.num_words - len(vocab),
            "tokens_beyond_max_size": self.num_tokens - int(vocab.counts.sum()),
        }
        return vocab, dropped

    def _too_few_words_message(self, config: VocabConfig) -> str:
        top: list[dict[str, Any]] = _first(pa.concat_tables([*self._parts, self._rare_top]), 2).to_pylist()
        num_words = self.num_words + self.rare_words
        corpus = (
            f"The corpus has {self.num_tokens + self.rare_tokens} tokens of {num_words} words; the most frequent, "
            f"{top[0]['word']!r}, occurs {top[0]['count']} times"
        )
        if self.num_words >= 2:
            return (
                f"vocab.max_size={config.max_size} leaves one word, but training needs two or more. "
                "Raise vocab.max_size."
            )
        if num_words < 2:
            return f"{corpus}. Training needs two different words or more. Use a larger corpus: corpus in params.yaml"
        found = "No word" if self.num_words == 0 else "Only one word"
        return (
            f"{found} reaches vocab.min_count={config.min_count}. {corpus}. Training needs two words or more. "
            f"Use a larger corpus, or lower the limit: dvc exp run -S vocab.min_count={top[1]['count']}"
        )


def _first(table: pa.Table, number: int) -> pa.Table:
    """The first rows in the order of the vocabulary."""
    if number < table.num_rows // 4:  # no two rows are equal, so this is as sure as sorting
        return pc.take(table, pc.select_k_unstable(table, number, _ORDER))
    table = table.combine_chunks()
    return table.take(pc.sort_indices(table, sort_keys=_ORDER)).slice(0, number)


def _columns(table: pa.Table) -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
    words = table.column("word").combine_chunks()
    return (pa.concat_arrays(words.chunks) if isinstance(words, pa.ChunkedArray) else words), table.column(
        "count"
    ).to_numpy()
