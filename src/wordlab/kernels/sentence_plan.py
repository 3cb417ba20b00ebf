"""sent2vec, how a segment is worked off: its sentences in pieces, blocks and micro-batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from wordlab.compiled import inner
from wordlab.kernels.layout import DENSE

LONGEST_SENTENCE = 64
"""Words of a sentence that are looked at together; a longer one is cut into pieces of that many.

Targets of a piece have nearly one hidden vector: of 96 words and more, some seeds diverge (docs/LOG.md)."""


class Bags(NamedTuple):
    """What a sentence's bags are made of."""

    word_ngrams: int
    buckets: int
    dropout: int
    first_row: int
    """Row of bucket 0."""
    longest: int
    """Words of the longest piece of a sentence."""
    most_words: int
    """Words of a micro-batch, targets or not; no piece has more."""


class Plan(NamedTuple):
    """How a segment is worked off, written by one thread for all; int32 arrays with room for a segment's tokens.

    A piece is a sentence, or a part of one that is too long, with two words and a target or more. A block is as many
    pieces as have rule.block_tokens targets together, one at least; a micro-batch as many as have most_words words.
    """

    piece_start: Any
    piece_stop: Any
    """Words of the segment."""
    piece_target: Any
    """First target; one entry more than pieces."""
    block_piece: Any
    """First piece; one entry more than blocks."""
    block_at: Any
    """Where the block's part of the update buffer begins."""
    batch_block: Any
    """First block; one entry more than micro-batches."""
    batch_rows: Any
    """Rows of the update buffer that the micro-batch uses."""
    counts: Any
    """int64 (2,): blocks and micro-batches"""


class Pieces(NamedTuple):
    """One thread's notes on the words of a block, int32 arrays. Word k of the block stands at place k."""

    row_at: Any
    """Where its rows begin in the block's part of the update buffer: its own, then its n-grams'. One entry more."""
    target: Any
    """Its number among the block's targets, or -1."""
    dropped: Any
    """uint8 (longest,): whether the n-grams of a word of a piece are left out"""


@inner
def plan_segment(kept, tokens, segment, rule, bags, plan):
    """Cut the segment into pieces, blocks and micro-batches, and take out the kept tokens that are in none."""
    ends, size = segment.ends, segment.ids.shape[0]
    word_id, _, position = tokens
    s = np.searchsorted(ends, segment.start, side="right")
    begin, read, targets, pieces = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while begin < size:
        end = min(ends[s] - segment.start, size)
        s += 1
        while begin < end:
            stop, first = min(begin + bags.longest, end), targets
            while read < kept and position[read] < stop:
                if stop - begin > 1:
                    word_id[targets], position[targets] = word_id[read], position[read]
                    targets += 1
                read += 1
            if targets > first:
                plan.piece_start[pieces], plan.piece_stop[pieces], plan.piece_target[pieces] = begin, stop, first
                pieces += 1
            begin = stop
    plan.piece_target[pieces] = targets
    _group_pieces(pieces, rule, bags, plan)


@inner
def _group_pieces(pieces, rule, bags, plan):
    """Pieces -> blocks -> micro-batches."""
    noise_rows = (rule.block_negatives + DENSE - 1) // DENSE * DENSE
    blocks, batches, words, in_block, at = 0, 0, 0, 0, 0
    for piece in range(pieces):
        new_targets = plan.piece_target[piece + 1] - plan.piece_target[piece]
        new_words = plan.piece_stop[piece] - plan.piece_start[piece]
        if piece == 0 or words + new_words > bags.most_words:
            if piece > 0:
                plan.batch_rows[batches - 1] = at
            plan.batch_block[batches] = blocks
            batches += 1
            words, at = 0, 0
        if words == 0 or in_block + new_targets > rule.block_tokens:
            plan.block_piece[blocks], plan.block_at[blocks] = piece, at
            blocks += 1
            in_block = 0
            at += noise_rows
        words, in_block = words + new_words, in_block + new_targets
        at += new_targets + bags.word_ngrams * new_words
    if pieces > 0:
        plan.batch_rows[batches - 1] = at
    plan.block_piece[blocks], plan.batch_block[batches] = pieces, blocks
    plan.counts[0], plan.counts[1] = blocks, batches
