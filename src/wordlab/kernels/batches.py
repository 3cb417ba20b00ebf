"""Micro-batches: kept tokens -> blocks -> updates -> table, by a team of threads, the same bits for any number of them.

The blocks of a micro-batch compute their updates from the same table; then every thread adds all updates, in block
order, to the rows that it owns. So a row's additions happen in one order whatever the number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from wordlab.compiled import inner, kernel, njit
from wordlab.kernels.blocks import prefetch_block
from wordlab.kernels.cbow import cbow_block
from wordlab.kernels.layout import SKIPGRAM, Tokens, Updates
from wordlab.kernels.simd import LANES, fma, load, prefetch, splat, store
from wordlab.kernels.skipgram import skipgram_block
from wordlab.kernels.threads import take_next, wait_for_all
from wordlab.kernels.tree import skipgram_tree_block
from wordlab.sampling import is_kept

PREFETCH_AHEAD = 12
"""Rows asked for before they are moved."""
UPDATE_BITS, UPDATE_MASK = 31, (1 << 31) - 1
"""A move of a row is its number, and in the lower bits which vector of the update buffer it is moved by."""


class Segment(NamedTuple):
    """A stretch of the corpus that is trained on in one call, at most SEGMENT_TOKENS tokens of one shard."""

    ids: Any
    """int32 (n,): the stretch's word ids"""
    ends: Any
    """int64: where the shard's sentences end, in tokens of the shard"""
    start: Any
    """Where the stretch begins, in tokens of the shard."""


class Schedule(NamedTuple):
    """Learning rate by progress: linear in tokens read, before subsampling, over all epochs."""

    lr: float
    lr_floor: float
    """Fraction of lr at the end."""
    tokens_before: Any
    """Tokens read before this segment, earlier epochs included."""
    tokens_total: Any
    """Tokens of the corpus times epochs."""


class Team(NamedTuple):
    """What the threads of a run share."""

    threads: int
    state: int
    """Address of the shared state, see threads.py."""
    rough: Tokens
    """Kept tokens of each thread's part of a segment, at the place of that part."""
    kept: Any
    """int64 (threads,): how many those are"""
    tokens: Tokens
    """Kept tokens of the whole segment."""
    updates: Updates
    bent: Any
    """Sum of curvatures of each row moved in a micro-batch; zero between micro-batches."""
    losses: Any
    """float64 (blocks of a segment, 2): written: each block's weighted losses and weights"""


@inner
def keep_tokens(thread, team, segment, threshold, draws):
    """Subsample the segment into team.tokens; returns the number of kept tokens.

    Every thread subsamples a part of the segment to the place where that part lies, and when all know how many tokens
    the parts before theirs kept, moves its tokens there.
    """
    ids, ends, size = segment.ids, segment.ends, segment.ids.shape[0]
    begin, stop = size * thread // team.threads, size * (thread + 1) // team.threads
    word_id, sentence, position = team.rough
    first_sentence = np.searchsorted(ends, segment.start, side="right")
    s = np.searchsorted(ends, segment.start + begin, side="right")
    count = begin
    for t in range(begin, stop):
        while ends[s] <= segment.start + t:
            s += 1
        word_id[count], sentence[count], position[count] = ids[t], s - first_sentence, t
        count += np.int64(is_kept(draws.keep_key, draws.first_position + t, threshold[ids[t]]))
    kept = team.kept
    kept[thread] = count - begin
    wait_for_all(team.state, team.threads)
    place = np.int64(0)
    for other in range(thread):
        place += kept[other]
    all_word_id, all_sentence, all_position = team.tokens
    for t in range(count - begin):
        all_word_id[place + t] = word_id[begin + t]
        all_sentence[place + t] = sentence[begin + t]
        all_position[place + t] = position[begin + t]
    wait_for_all(team.state, team.threads)
    return kept.sum()


@kernel
def train_segment(thread, team, segment, rule, draws, schedule, scratch, mine):
    """Train on one segment; called by every thread of the team at once. Returns the number of blocks.

    scratch, mine: this thread's own; mine: int64, one entry for each move of a row that a micro-batch can bring and one
    more.
    """
    n = keep_tokens(thread, team, segment, rule.keep_threshold, draws)
    tokens = Tokens(team.tokens.word_id[:n], team.tokens.sentence[:n], team.tokens.position[:n])
    size, losses = rule.block_tokens, team.losses
    blocks = (n + size - 1) // size
    batches = (blocks + rule.batch_blocks - 1) // rule.batch_blocks
    vector, rows, curvatures = team.updates.vector.ctypes.data, team.updates.row, team.updates.curvature
    part = 4 * rows.shape[1] * scratch.depth
    for batch in range(batches):
        done = schedule.tokens_before + segment.ids.shape[0] * (batch / batches)
        lr = np.float32(schedule.lr * max(1.0 - done / schedule.tokens_total, schedule.lr_floor))
        first = batch * rule.batch_blocks
        count = min(rule.batch_blocks, blocks - first)
        while True:
            b = take_next(team.state)
            if b >= count:
                break
            start = (first + b) * size
            ahead = start + team.threads * size
            prefetch_block(tokens, ahead, min(ahead + size, n), rule, draws, scratch.depth)
            stop, update = min(start + size, n), vector + part * b
            if rule.method == SKIPGRAM and rule.hierarchical:
                total = skipgram_tree_block(
                    tokens, start, stop, rule, draws, lr, scratch, update, rows[b], curvatures[b]
                )
            elif rule.method == SKIPGRAM:
                total = skipgram_block(tokens, start, stop, rule, draws, lr, scratch, update, rows[b], curvatures[b])
            else:
                total = cbow_block(tokens, start, stop, rule, draws, lr, scratch, team.updates, b)
            losses[first + b, 0], losses[first + b, 1] = total
        wait_for_all(team.state, team.threads)
        apply_updates(thread, team, rule, count, scratch.depth, mine)
        wait_for_all(team.state, team.threads)
    return blocks


@inner
def apply_updates(thread, team, rule, blocks, depth, mine):
    """Add this thread's share of a micro-batch's updates to the table, every row's step damped by its curvature.

    A word's step is, with subwords, the step of each of its rows, damped by the word's own curvature and by a share of
    what other words add to the row's (subwords.Subwords.others). Rows are owned in groups of 16 far-apart rows, whose
    entries of team.bent share a cache line.
    """
    vector, bent, size = team.updates.vector.ctypes.data, team.bent, team.updates.row.size
    rows, curvature = team.updates.row.reshape(size), team.updates.curvature.reshape(size)
    factors, sources = team.updates.factor, team.updates.source
    borrowed = rule.hierarchical and rule.method != SKIPGRAM
    mask = bent.shape[0] // 16 - 1
    shift = np.int64(0)
    while (1 << shift) <= mask:
        shift += 1
    count = 0
    for k in range(blocks * team.updates.row.shape[1]):
        row = np.int64(rows[k])
        if row < 0:
            continue
        mine[count] = row << UPDATE_BITS | k
        count += np.int64(_owner(row, mask, team.threads) == thread)
        if row < rule.bag_words:
            for b in range(rule.bag_start[row], rule.bag_start[row + 1]):
                bag_row = np.int64(rule.bag_row[b])
                mine[count] = bag_row << UPDATE_BITS | k
                count += np.int64(_owner(bag_row, mask, team.threads) == thread)
    for m in range(count):
        row = mine[m] >> UPDATE_BITS
        bent[16 * (row & mask) + (row >> shift)] += curvature[mine[m] & UPDATE_MASK]
    if rule.bag_words > 0:  # of a word whose own row is another thread's, the curvature is needed too
        wait_for_all(team.state, team.threads)
    one, row_bytes = np.float32(1), 4 * depth
    for m in range(count):
        ahead = rule.table + row_bytes * (mine[min(m + PREFETCH_AHEAD, count - 1)] >> UPDATE_BITS)
        for k in range(0, depth, LANES):
            prefetch(ahead, k)
        row = mine[m] >> UPDATE_BITS
        curved, word = bent[16 * (row & mask) + (row >> shift)], np.int64(rows[mine[m] & UPDATE_MASK])
        if word < rule.bag_words:
            own = bent[16 * (word & mask) + (word >> shift)]
            curved = own + (curved - own) * rule.bag_others[word]
        damping = rule.output_damping if rule.vocab_size < row <= 2 * rule.vocab_size + 1 else rule.damping
        scale = splat(one / (one + damping * curved))
        at, place = mine[m] & UPDATE_MASK, rule.table + row_bytes * row
        if borrowed:
            source, factor = vector + row_bytes * np.int64(sources[at]), splat(factors[at])
            for k in range(0, depth, LANES):
                store(fma(scale, factor * load(source, k), load(place, k)), place, k)
            continue
        source = vector + row_bytes * at
        for k in range(0, depth, LANES):
            store(fma(scale, load(source, k), load(place, k)), place, k)
    if rule.bag_words > 0:
        wait_for_all(team.state, team.threads)
    for m in range(count):
        row = mine[m] >> UPDATE_BITS
        bent[16 * (row & mask) + (row >> shift)] = 0


@njit(inline="always")
def _owner(row, mask, threads):
    """The thread that moves a row."""
    group = np.uint64(row & mask)
    return np.int64((((group * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)) * np.uint64(threads)) >> np.uint64(32))
