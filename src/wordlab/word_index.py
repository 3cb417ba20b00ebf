"""Words by row and rows by word, without a Python object for every word until somebody asks for it.

The words stay in Arrow memory, which is the mapped file itself for a model on disk, shared by all processes. A single
word is found by a scan at first (3 ms among a million) and, once a program has asked for several, by bisection in the
sorted order, which costs 4 bytes a word; a dict would cost 140. Many words at once are one vectorised call.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.errors import QueryError, UnknownWordError

SCANS_BEFORE_SORTING = 16
SUGGESTION_WORDS = 200_000
"""Suggestions come from this many of the most frequent words."""
SUGGESTION_CANDIDATES = 5_000


class WordIndex:
    """An ordered list of words; where a word is listed twice, it means its first row."""

    def __init__(self, words: Sequence[str] | pa.LargeStringArray) -> None:
        self.array: pa.LargeStringArray = (
            words if isinstance(words, pa.LargeStringArray) else pa.array(words, pa.large_string())
        )
        self._scans = 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, word_id: int) -> str:
        return self.array[word_id].as_py()

    @cached_property
    def words(self) -> list[str]:
        """All words as Python strings, made when first asked for (about 90 bytes a word)."""
        return self.array.to_pylist()

    def find(self, word: str) -> int:
        """Row of a word, or -1 where it is unknown."""
        if _encodable(word) != word:
            return -1
        if "_order" not in self.__dict__:
            self._scans += 1
            if self._scans <= SCANS_BEFORE_SORTING:
                return pc.index(self.array, _scalar(word)).as_py()
        place = bisect_left(self._order, word, key=self.__getitem__)
        if place == len(self._order):
            return -1
        word_id = int(self._order[place])
        return word_id if self[word_id] == word else -1

    def row(self, word: str) -> int:
        """Row of a word. Raises UnknownWordError, a KeyError, with words that are close to it."""
        word_id = self.find(word)
        if word_id < 0:
            raise UnknownWordError(word, len(self), self.suggest)
        return word_id

    def rows(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Rows of many words, -1 where unknown, shape (len(words),)."""
        encodable = [word if word == _encodable(word) else None for word in words]
        found = pc.index_in(pa.array(encodable, pa.large_string()), value_set=self.array, skip_nulls=True)
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def suggest(self, word: str, count: int = 3) -> list[str]:
        """Words much like an unknown one, the likeliest first; the same word in another case comes before all."""
        word = _encodable(word)
        others = dict.fromkeys(form for form in (word.lower(), word.capitalize(), word.upper()) if form != word)
        same = [form for form in others if self.find(form) >= 0]
        frequent = self.array.slice(0, SUGGESTION_WORDS)
        lengths = pc.utf8_length(frequent)
        alike = pc.and_(
            pc.starts_with(frequent, word[:1].lower(), ignore_case=True),
            pc.and_(pc.greater_equal(lengths, len(word) - 2), pc.less_equal(lengths, len(word) + 2)),
        )
        candidates = frequent.filter(alike).slice(0, SUGGESTION_CANDIDATES).to_pylist()
        close = difflib.get_close_matches(word, candidates, n=count, cutoff=0.7)
        return list(dict.fromkeys([*same, *close]))[:count]

    @cached_property
    def _order(self) -> NDArray[np.uint32]:
        """Rows in the order of their words' UTF-8 bytes, which is the order of Python's strings; equal words by row."""
        return np.from_dlpack(pc.array_sort_indices(self.array)).astype(np.uint32)


def _scalar(word: str) -> pa.LargeStringScalar:
    """The word for Arrow; `pa.scalar` would import pandas where it is installed, 30 MB in a tenth of a second."""
    utf8 = word.encode()
    bounds = np.array([0, len(utf8)])
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(bounds), pa.py_buffer(utf8))[0]


def _encodable(word: str) -> str:
    """The word without halves of surrogate pairs, as which broken bytes on a command line arrive; Arrow takes none.

    Raises QueryError for what is no text, a word's row for one.
    """
    if not isinstance(word, str):
        kind = type(word).__name__
        raise QueryError(
            f"{word!r} is no word but of type {kind}. Words are text; that of a row is vectors.words[row]."
        )
    return word.encode(errors="replace").decode()
