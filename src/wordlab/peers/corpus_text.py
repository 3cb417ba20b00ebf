"""The encoded corpus as plain text, one sentence a line: what other programs read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ArtifactError
from wordlab.machine import require_disk
from wordlab.shards import EncodedCorpus
from wordlab.vocab import Vocab

Sentences = tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64]]
"""Words by id, as Python strings; ids, shape (num_tokens,); offsets of the sentences, shape (num_sentences + 1,)."""
SENTENCES_AT_ONCE = 100_000
"""Sentences turned into text at a time: some tens of megabytes."""
GENSIM_MAX_SENTENCE = 10_000
"""gensim cuts longer lines, silently."""


def write_corpus_text(vocab: Vocab, corpus: EncodedCorpus, path: Path) -> None:
    """Write the words of the vocabulary as they stand in the encoded corpus; the others are in neither.

    Raises ArtifactError for a word with white space in it, or a sentence that gensim would cut; ResourceError where the
    disk is too small.
    """
    _require_one_line_a_sentence(vocab, corpus)
    require_disk(text_bytes(vocab), path.parent, "a smaller corpus or tokenize.max_bytes")
    words = np.array(vocab.words, dtype=object)
    write_lines(path, ((words, shard.ids, shard.offsets) for shard in corpus.shards))


def text_bytes(vocab: Vocab) -> int:
    """Bytes of the text."""
    lengths = np.array([len(word.encode()) + 1 for word in vocab.words], np.int64)
    return int((lengths * vocab.counts).sum())


def _require_one_line_a_sentence(vocab: Vocab, corpus: EncodedCorpus) -> None:
    spaced = next((word for word in vocab.words if word.split() != [word]), None)
    if spaced is not None:
        raise ArtifactError(
            f"The vocabulary has the word {spaced!r}, with white space in it, which other programs would split. "
            "Use another tokenize.tokenizer, then run: dvc repro encode"
        )
    longest = max(int(np.diff(shard.offsets).max(initial=0)) for shard in corpus.shards)
    if longest > GENSIM_MAX_SENTENCE:
        raise ArtifactError(
            f"The encoded corpus has a sentence of {longest:,} tokens; gensim cuts at {GENSIM_MAX_SENTENCE:,}, "
            "so the programs would not read the same text. Set tokenize.sentences to punctuation and run: dvc repro"
        )


def write_lines(path: Path, parts: Iterable[Sentences]) -> None:
    """Write sentences as text, one a line, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".tmp")
    with building.open("w", encoding="utf-8", newline="\n") as file:
        for words, ids, offsets in parts:
            for start in range(0, len(offsets) - 1, SENTENCES_AT_ONCE):
                ends = offsets[start : start + SENTENCES_AT_ONCE + 1]
                text = words[ids[ends[0] : ends[-1]]].tolist()
                bounds = (ends - ends[0]).tolist()
                file.writelines(" ".join(text[a:b]) + "\n" for a, b in pairwise(bounds))
    building.replace(path)
