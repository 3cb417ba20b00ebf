"""Sentences in local ids -> shards of sentences in ids of the vocabulary, each of about as many tokens.

One shard is in memory at a time, in arrays that serve for all: what is gathered is written from where it is gathered
to, and memory does not grow with the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wordlab.wordtable import grown, kernel

_ROOM = 1 << 24
"""Tokens that arrays are made for at once, if so many are to come. What is not used takes no memory."""
_SENTENCE_ROOM = 1 << 20
"""Beyond the end of a full shard: the sentence that does not fit in any more is gathered there first."""
_DONE, _FULL, _NO_ROOM, _UNKNOWN = 0, 1, 2, 3


@dataclass
class TokenPart:
    """Sentences that are being packed, and how far they are."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    """Sentence i is ids[offsets[i] : offsets[i + 1]]."""
    word_ids: NDArray[np.int32]
    """By id that of the vocabulary, -1 where the token is left out."""
    num_written: int = 0
    """Of the sentences that are kept, those at the beginning that were packed before."""
    next_sentence: int = 0
    num_kept: int = 0
    """Sentences so far that have a token left, with those packed before."""


class UnknownIdError(ValueError):
    """An id of a part that has no place in its `word_ids`."""


class Packer:
    """Packs sentences into shards of at most `shard_tokens` tokens; a longer sentence is a shard of its own.

    Depends on the sentences alone, not on how the parts divide them.
    """

    def __init__(self, shard_tokens: int, num_tokens: int, num_sentences: int) -> None:
        """num_tokens, num_sentences: to come, as far as is known."""
        self.shard_tokens = shard_tokens
        self._ids = np.empty(max(0, min(shard_tokens, num_tokens, _ROOM)) + _SENTENCE_ROOM, dtype=np.int32)
        self._offsets = np.zeros(max(0, min(shard_tokens, num_sentences, _ROOM)) + 2, dtype=np.int64)
        self.num_sentences = 0
        """In the shard so far."""

    def fill(self, part: TokenPart) -> bool:
        """Take the part's sentences, those left empty aside; whether all that are left found their place.

        Where not, the shard is full: then it is to be written, and cleared. Raises
        UnknownIdError; what is there then is worthless.
        """
        while True:
            state, part.next_sentence, part.num_kept, self.num_sentences = _gather(
                part.ids,
                part.offsets,
                part.word_ids,
                part.next_sentence,
                part.num_written,
                part.num_kept,
                self._ids,
                self._offsets,
                self.num_sentences,
                self.shard_tokens,
            )
            if state == _UNKNOWN:
                raise UnknownIdError
            if state != _NO_ROOM:
                return bool(state == _DONE)
            next_length = int(np.diff(part.offsets[part.next_sentence : part.next_sentence + 2])[0])
            self._ids = grown(self._ids, int(self._offsets[self.num_sentences]) + next_length)
            self._offsets = grown(self._offsets, self.num_sentences + 2)

    def content(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids and offsets of the shard: views, good until it is cleared."""
        offsets = self._offsets[: self.num_sentences + 1]
        return self._ids[: offsets[-1]], offsets

    def clear(self) -> None:
        """Begin the next shard."""
        self.num_sentences = 0


@kernel
def _gather(
    ids, offsets, word_ids, sentence, num_written, num_kept, kept_ids, kept_offsets, num_sentences, shard_tokens
):
    """Append sentences, from number `sentence` on, to the shard in kept_ids and kept_offsets, which has num_sentences.

    Returns why it ended, the number of the sentence it ended before, and the new num_kept and num_sentences.
    """
    num_words = np.uint32(len(word_ids))
    num_tokens = kept_offsets[num_sentences]
    while sentence < len(offsets) - 1:
        start, stop = offsets[sentence], offsets[sentence + 1]
        if num_tokens + stop - start > len(kept_ids) or num_sentences + 1 >= len(kept_offsets):
            return _NO_ROOM, sentence, num_kept, num_sentences
        end = np.uint64(num_tokens)  # numba looks whether a signed index is negative, which takes a third of the time
        for i in range(np.uint64(start), np.uint64(stop)):
            local_id = np.uint32(ids[i])  # one below 0 is a large one
            if local_id >= num_words:
                return _UNKNOWN, sentence, num_kept, num_sentences
            word = word_ids[local_id]
            kept_ids[end] = word  # the next one overwrites it if the word is left out
            end += np.uint64(word >= 0)
        kept_until = np.int64(end)
        if kept_until > num_tokens:
            if num_kept >= num_written:
                if kept_until > shard_tokens and num_sentences > 0:
                    return _FULL, sentence, num_kept, num_sentences
                num_sentences += 1
                kept_offsets[num_sentences] = kept_until
                num_tokens = kept_until
            num_kept += 1
        sentence += 1
    return _DONE, sentence, num_kept, num_sentences
