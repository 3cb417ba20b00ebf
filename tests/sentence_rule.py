"""How sent2vec works off a segment, in plain Python: pieces, blocks, micro-batches, and the bag of every target.

`tests.engine.run_reference` hands this to the reference engine. Written from docs/engine.md, not from the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordlab import sampling
from wordlab.kernels.reference import sentence_bag
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.word_ngrams import draw_dropped

LONGEST_SENTENCE = 64


class Piece(NamedTuple):
    """A sentence, or a part of a long one, in tokens of the segment."""

    start: int
    stop: int
    targets: list[int]


class Grouped(NamedTuple):
    """The targets of a segment that have bags, and micro-batches of blocks of them."""

    targets: list[int]
    bags: list[tuple[int, ...]]
    batches: list[list[tuple[int, int]]]


def pieces_of(sentences: Iterator[tuple[int, int]], is_kept: Sequence[bool], longest: int) -> Iterator[Piece]:
    """Pieces of two words and a target or more. sentences: first token and end of each."""
    for start, stop in sentences:
        for first in range(start, stop, longest):
            last = min(first + longest, stop)
            targets = [t for t in range(first, last) if is_kept[t]]
            if last - first > 1 and targets:
                yield Piece(first, last, targets)


def grouped(pieces: list[Piece], block_tokens: int, batch_tokens: int, longest: int) -> list[list[list[Piece]]]:
    """Micro-batches of blocks of pieces: each as many as there is room for, and one at least."""
    batches: list[list[list[Piece]]] = []
    for piece in pieces:
        held = [other for block in batches[-1] for other in block] if batches else []
        words = sum(other.stop - other.start for other in [*held, piece])
        if not held or words > max(batch_tokens, longest):
            batches.append([[piece]])
        elif sum(len(other.targets) for other in [*batches[-1][-1], piece]) > block_tokens:
            batches[-1].append([piece])
        else:
            batches[-1][-1].append(piece)
    return batches


def work_off(
    ids: NDArray[np.int32], ends: list[int], is_kept: Sequence[bool], model: ModelConfig, train: TrainConfig,
    vocab_size: int, dropout_key: Any, position: int,
) -> Grouped:  # fmt: skip
    """A segment of words `ids`, whose sentences end at `ends`. position: of its first token in the corpus."""
    longest = max(2, min(LONGEST_SENTENCE, train.batch_tokens))
    sentences = zip([0, *ends], ends, strict=False)
    batches = grouped(list(pieces_of(sentences, is_kept, longest)), train.block_tokens, train.batch_tokens, longest)
    found = Grouped([], [], [])
    for batch in batches:
        found.batches.append([])
        for block in batch:
            first = len(found.targets)
            for piece in block:
                words, dropped = ids[piece.start : piece.stop], np.zeros(longest, np.uint8)
                draw_dropped(dropout_key, position + piece.start, len(words), model.sent2vec.dropout, dropped)
                found.targets.extend(piece.targets)
                found.bags.extend(
                    sentence_bag(words, t - piece.start, dropped, model, vocab_size) for t in piece.targets
                )
            found.batches[-1].append((first, len(found.targets)))
    return found


def dropped_words(seed: int, epoch: int, position: int, length: int, count: int) -> list[int]:
    """Places of a sentence whose n-grams are left out."""
    dropped = np.zeros(length, np.uint8)
    draw_dropped(np.uint64(sampling.stream_key(seed, epoch, sampling.DROPOUT)), position, length, count, dropped)
    return np.flatnonzero(dropped).tolist()
