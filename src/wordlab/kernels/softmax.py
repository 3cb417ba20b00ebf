"""Full softmax: every hidden vector against the output rows of all words, for vocabularies that allow it.

A micro-batch of T tokens is worked off in phases, with a barrier after each: hidden vectors; scores, chunk by chunk of
the vocabulary, for the sums of the softmax; the same scores again, for residuals, the chunk's output rows and its part
of the hidden vectors' gradients; the sum of those parts; input rows. What a thread adds up, it adds up in the order of
tokens and chunks, so the bits are the same on any number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from wordlab.compiled import inner, kernel, njit
from wordlab.kernels.batches import keep_tokens
from wordlab.kernels.blocks import axpy, bag_rows, copy_word, dense_product, dot, fill, window_bounds
from wordlab.kernels.layout import DENSE, SKIPGRAM, Tokens
from wordlab.kernels.simd import LANES, exp_of_negative, fma, lane_sum, load, peek, poke, splat, store, where_at_least
from wordlab.kernels.threads import take_next, wait_for_all

CHUNK = 256
"""Words in a chunk of the vocabulary: with 512 tokens their scores fill half of a core's second-level cache."""


class Shared(NamedTuple):
    """Working memory of the team: addresses of float32 arrays. T: tokens of a micro-batch, a multiple of 16."""

    columns: int
    """T"""
    depth: int
    chunks: int
    hidden_TD: int
    hidden_DT: int
    norm: int
    """(T,) squared length of hidden."""
    pairs: int
    """(T,) number of words to be predicted."""
    most: int
    """(chunks, T) highest score"""
    total: int
    """(chunks, T) sum of e ** (score - most)"""
    highest: int
    """(T,) highest score of all words"""
    share: int
    """(T,) 1 / sum of e ** (score - highest) over all words; apart from `highest`, beside which it would be rounded"""
    gradient: int
    """(chunks, T, D) each chunk's part in the step of hidden"""
    curvature: int
    """(chunks, T)"""
    scores: int
    """(threads, CHUNK, T)"""
    steps: int
    """(threads, DENSE, D)"""
    bends: int
    """(threads, CHUNK) curvature of a chunk's output rows"""
    chunk_losses: Any
    """float64 (chunks,)"""
    low: Any
    high: Any
    """int32 (T,) first and last kept token of the window; without one, low is above high"""
    absent: Any
    """int32 (T,) padded places"""
    true_word: Any
    true_column: Any
    """int32 (2WT,) every prediction of the micro-batch"""
    true_count: Any
    """int64 (1,) number of predictions"""
    bent: Any
    """float32, (rows of the table,) curvature of the input rows; zero between micro-batches"""


@kernel
def train_softmax_segment(thread, team, segment, rule, draws, schedule, shared):
    """Train on one segment; called by every thread of the team at once. Returns the number of micro-batches."""
    n = keep_tokens(thread, team, segment, rule.keep_threshold, draws)
    tokens = Tokens(team.tokens.word_id[:n], team.tokens.sentence[:n], team.tokens.position[:n])
    size = rule.block_tokens * rule.batch_blocks
    batches = (n + size - 1) // size
    for batch in range(batches):
        done = schedule.tokens_before + segment.ids.shape[0] * (batch / batches)
        lr = np.float32(schedule.lr * max(1.0 - done / schedule.tokens_total, schedule.lr_floor))
        start, stop = batch * size, min(batch * size + size, n)
        for c in range(thread, shared.columns, team.threads):
            if start + c < stop:
                _hidden(tokens, start + c, c, rule, draws, shared)
            else:
                _clear_column(c, shared)
        wait_for_all(team.state, team.threads)
        if thread == 0:
            _list_predictions(tokens, start, stop, rule, shared)
        for c in range(LANES * thread, shared.columns, LANES * team.threads):
            _transpose(c, shared)
        wait_for_all(team.state, team.threads)
        while True:
            chunk = take_next(team.state)
            if chunk >= shared.chunks:
                break
            _sum_chunk(thread, chunk, rule, shared)
        wait_for_all(team.state, team.threads)
        for c in range(thread, stop - start, team.threads):
            _combine(c, shared)
        wait_for_all(team.state, team.threads)
        while True:
            chunk = take_next(team.state)
            if chunk >= shared.chunks:
                break
            shared.chunk_losses[chunk] = _move_chunk(thread, chunk, lr, rule, shared)
        wait_for_all(team.state, team.threads)
        for c in range(thread, stop - start, team.threads):
            _add_chunks(c, shared)
        wait_for_all(team.state, team.threads)
        if thread == 0:
            _move_inputs(tokens, start, stop, rule, shared)
            team.losses[batch, 0] = shared.chunk_losses[: shared.chunks].sum()
            team.losses[batch, 1] = shared.true_count[0]
        wait_for_all(team.state, team.threads)
    return batches


@inner
def _hidden(tokens, t, c, rule, draws, shared):
    """Window and hidden vector of kept token t, column c."""
    depth, table, word_id = shared.depth, rule.table, tokens.word_id
    row = shared.hidden_TD + 4 * depth * c
    low, high, absent = window_bounds(tokens, t, rule, draws)
    shared.low[c], shared.high[c], shared.absent[c] = low, high, absent
    contexts = high - low
    fill(0, row, depth)
    if rule.method == SKIPGRAM:
        poke(np.float32(max(contexts, 0)), shared.pairs, c)
        copy_word(word_id[t], row, rule, depth)
    else:
        poke(np.float32(contexts > 0), shared.pairs, c)
        if contexts > 0:
            share = np.float32(1) / _bag_size(tokens, t, low, high, absent, rule)
            for other in range(low, high + 1):
                if other != t:
                    _add_word(share, word_id[other], row, rule, depth)
            if absent > 0:
                axpy(share * np.float32(absent), table + 4 * depth * rule.vocab_size, row, depth)
    poke(dot(row, row, depth), shared.norm, c)


@njit(inline="always")
def _add_word(share, word, target, rule, depth):
    """target += share * row, for every input row of a word."""
    axpy(share, rule.table + 4 * depth * np.int64(word), target, depth)
    if rule.bag_words > 0:
        for b in range(rule.bag_start[word], rule.bag_start[word + 1]):
            axpy(share, rule.table + 4 * depth * np.int64(rule.bag_row[b]), target, depth)


@inner
def _bag_size(tokens, t, low, high, absent, rule):
    """CBOW: rows in the bag of token t, padding rows included."""
    size = np.float32(high - low + absent)
    if rule.bag_words > 0:
        size = np.float32(absent)
        for other in range(low, high + 1):
            if other != t:
                size += bag_rows(tokens.word_id[other], rule)
    return size


@inner
def _list_predictions(tokens, start, stop, rule, shared):
    """Write down which word each column shall predict, token after token."""
    count = 0
    for t in range(start, stop):
        c = t - start
        if rule.method != SKIPGRAM:
            if peek(shared.pairs, c) > 0:
                shared.true_word[count], shared.true_column[count] = tokens.word_id[t], c
                count += 1
            continue
        for other in range(shared.low[c], shared.high[c] + 1):
            if other != t:
                shared.true_word[count], shared.true_column[count] = tokens.word_id[other], c
                count += 1
    shared.true_count[0] = count


@inner
def _clear_column(c, shared):
    """A column after the last token predicts nothing; its scores are 0."""
    fill(0, shared.hidden_TD + 4 * shared.depth * c, shared.depth)
    for numbers in (shared.pairs, shared.norm, shared.highest, shared.share):
        poke(np.float32(0), numbers, c)


@inner
def _transpose(c, shared):
    """hidden_DT of sixteen columns."""
    for j in range(c, c + LANES):
        for k in range(shared.depth):
            poke(peek(shared.hidden_TD, shared.depth * j + k), shared.hidden_DT, shared.columns * k + j)


@inner
def _score_chunk(thread, chunk, rule, shared):
    """Scores of a chunk's words; returns (address of the scores, address of the first word's row, words)."""
    columns, depth = shared.columns, shared.depth
    scores = shared.scores + 4 * CHUNK * columns * thread
    rows = rule.table + 4 * depth * (rule.vocab_size + 1 + CHUNK * chunk)
    words = min(CHUNK, rule.vocab_size - CHUNK * chunk)
    for r in range(0, words, DENSE):
        dense_product(
            rows + 4 * depth * r, depth, 1, shared.hidden_DT, columns, rule.dim,
            scores + 4 * columns * r, columns, columns // LANES, False,
        )  # fmt: skip
    return scores, rows, words


@inner
def _sum_chunk(thread, chunk, rule, shared):
    """Highest score of each column in a chunk, and the sum of e ** (score - highest)."""
    scores, _, words = _score_chunk(thread, chunk, rule, shared)
    columns = shared.columns
    for c in range(0, columns, LANES):
        most = load(scores, c)
        for r in range(1, words):
            score = load(scores, columns * r + c)
            most = where_at_least(most, score, most, score)  # what is not a number stays
        total = splat(np.float32(0))
        for r in range(words):
            total = total + exp_of_negative(load(scores, columns * r + c) - most)
        store(most, shared.most, columns * chunk + c)
        store(total, shared.total, columns * chunk + c)


@inner
def _combine(c, shared):
    """The chunks' sums of one column -> highest and share."""
    most = peek(shared.most, c)
    for chunk in range(1, shared.chunks):
        most = max(most, peek(shared.most, shared.columns * chunk + c))
    total = 0.0
    for chunk in range(shared.chunks):
        place = shared.columns * chunk + c
        total += peek(shared.total, place) * np.exp(np.float64(peek(shared.most, place) - most))
    poke(most, shared.highest, c)
    poke(np.float32(1 / total), shared.share, c)


@inner
def _move_chunk(thread, chunk, lr, rule, shared):
    """Residuals of a chunk: its part of the hidden vectors' steps; moves its output rows; returns its loss."""
    scores, rows, words = _score_chunk(thread, chunk, rule, shared)
    columns, depth, first = shared.columns, shared.depth, CHUNK * chunk
    curvature, bends = shared.curvature + 4 * columns * chunk, shared.bends + 4 * CHUNK * thread
    loss = 0.0
    for p in range(shared.true_count[0]):
        r, c = shared.true_word[p] - first, shared.true_column[p]
        if 0 <= r < words:
            loss += np.float64(peek(shared.highest, c)) - np.float64(peek(scores, columns * r + c))
            loss -= np.log(np.float64(peek(shared.share, c)))
    fill(0, curvature, columns)
    zero, rate = splat(np.float32(0)), splat(lr)
    for r in range(words):
        row = rows + 4 * depth * r
        squared_length, total = splat(dot(row, row, depth)), zero
        for c in range(0, columns, LANES):
            chance = exp_of_negative(load(scores, columns * r + c) - load(shared.highest, c))
            probability = chance * load(shared.share, c)
            bend = rate * load(shared.pairs, c) * probability
            store(zero - bend, scores, columns * r + c)
            total = fma(bend, load(shared.norm, c), total)
            store(fma(bend, squared_length, load(curvature, c)), curvature, c)
        poke(lane_sum(total), bends, r)
    for p in range(shared.true_count[0]):
        r, c = shared.true_word[p] - first, shared.true_column[p]
        if 0 <= r < words:
            poke(peek(scores, columns * r + c) + lr, scores, columns * r + c)
    gradient = shared.gradient + 4 * columns * depth * chunk
    for c in range(0, columns, DENSE):
        dense_product(
            scores + 4 * c, 1, columns, rows, depth, words, gradient + 4 * depth * c, depth, depth // LANES, False
        )
    steps = shared.steps + 4 * DENSE * depth * thread
    for r in range(0, words, DENSE):
        dense_product(
            scores + 4 * columns * r, columns, 1, shared.hidden_TD, depth, columns, steps, depth, depth // LANES, False
        )
        for i in range(min(DENSE, words - r)):
            scale = np.float32(1) / (np.float32(1) + rule.output_damping * peek(bends, r + i))
            axpy(scale, steps + 4 * depth * i, rows + 4 * depth * (r + i), depth)
    return loss


@inner
def _add_chunks(c, shared):
    """Sum of the chunks' parts of one column's step and curvature, in the first chunk's place."""
    columns, depth = shared.columns, shared.depth
    place, bent = shared.gradient + 4 * depth * c, peek(shared.curvature, c)
    for chunk in range(1, shared.chunks):
        axpy(np.float32(1), place + 4 * columns * depth * chunk, place, depth)
        bent += peek(shared.curvature, columns * chunk + c)
    poke(bent, shared.curvature, c)


@inner
def _move_inputs(tokens, start, stop, rule, shared):
    """Steps of the hidden vectors -> input rows, every row's sum damped by its curvature: summed, used, cleared."""
    for stage in range(3):
        for t in range(start, stop):
            c = t - start
            if peek(shared.pairs, c) == 0:
                continue
            if rule.method == SKIPGRAM:
                word = tokens.word_id[t]
                share = np.float32(1)
                if rule.bag_words > 0 and rule.divided:
                    share /= bag_rows(word, rule)
                _move_word(stage, word, c, share, rule, shared)
                continue
            size = _bag_size(tokens, t, shared.low[c], shared.high[c], shared.absent[c], rule)
            share = np.float32(1) / size if rule.divided else np.float32(1)
            for other in range(shared.low[c], shared.high[c] + 1):
                if other != t:
                    _move_word(stage, tokens.word_id[other], c, share, rule, shared)
            if shared.absent[c] > 0:
                pad_share = share * np.float32(shared.absent[c])
                _move_input(stage, rule.vocab_size, rule.vocab_size, c, pad_share, rule, shared)


@njit(inline="always")
def _move_word(stage, word, c, share, rule, shared):
    _move_input(stage, word, word, c, share, rule, shared)
    if rule.bag_words > 0:
        for b in range(rule.bag_start[word], rule.bag_start[word + 1]):
            _move_input(stage, rule.bag_row[b], word, c, share, rule, shared)


@inner
def _move_input(stage, row, word, c, share, rule, shared):
    """word: the row's own, or that of the word whose n-gram it is of; see batches.py for how it is damped."""
    depth, bent = shared.depth, shared.bent
    if stage == 0:
        bent[row] += share * peek(shared.curvature, c)
    elif stage == 1:
        curved = bent[word]
        if row != word:
            curved += (bent[row] - bent[word]) * rule.bag_others[word]
        scale = share / (np.float32(1) + rule.damping * curved)
        axpy(scale, shared.gradient + 4 * depth * c, rule.table + 4 * depth * np.int64(row), depth)
    else:
        bent[row] = 0
