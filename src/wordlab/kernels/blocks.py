"""One block: the updates of B consecutive kept tokens as matrix products (DESIGN 4.1), skip-gram and CBOW.

Shapes, in the names of the arrays below:
    B   targets of a block, each a kept token          W   window          N   noise words, shared by the block
    C   context positions: B + 2W, from W tokens before the block to W after it
    L   columns: target j is column 2W + j, so that column c and context row i are a possible pair when c-2W <= i <= c
    D   vector length, a multiple of 16

A target's `hidden` vector is what the paper calls the projection: the word's own input row for skip-gram (the word
predicts its context words), the mean of the context's input rows for CBOW (which predicts the word). Scores are
    context_CL = context_CD . hidden_LD^T   (skip-gram; only pairs inside a window count)
    noise_NL   = noise_ND . hidden_LD^T
and become residuals in place: lr * (1 - sigma) for a true pair, -lr * weight * sigma for a noise word. A target's noise
weights add up to `negatives` for each of its true pairs, less the pairs whose true word the noise word is.

A block writes to its part of the update buffer: for every row that it moves, D numbers, the table row, and the curvature
lr * sum over pairs of weight * sigma (1 - sigma) |other|^2 (DESIGN 4.2).

Arrays are handed around as addresses: numba counts references to an array at every call, with an atomic instruction
that costs more than the call, and that threads would fight for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from wordlab.compiled import inner, njit
from wordlab.kernels.simd import (
    LANES,
    WIDE,
    exp_of_negative,
    fma,
    lane_sum,
    load,
    log_of_one_plus,
    peek,
    poke,
    prefetch,
    product_tile,
    splat,
    store,
    transpose_tile,
    where_at_least,
    where_equal,
)
from wordlab.sampling import noise_word, window_width

BAND, DENSE = 6, 4
"""Rows of a tile: 6 targets and a window of 5 need just 16 columns; noise words come in multiples of 4."""
CUT, DROP, PAD = 0, 1, 2
SKIPGRAM, CBOW_EXACT, CBOW_WORD2VEC = 0, 1, 2


class Tokens(NamedTuple):
    """Kept tokens of one segment, arrays of shape (n,)."""

    word_id: Any
    sentence: Any
    """int32; equal for tokens of one sentence, rising."""
    position: Any
    """int32; place in the segment before subsampling."""


class Rule(NamedTuple):
    """What is computed; the same for all blocks of a run."""

    method: int
    window_edges: int
    window: int
    negatives: float
    block_tokens: int
    block_negatives: int
    dim: int
    """Length of a vector without padding."""
    vocab_size: int
    """Table rows 0..V-1 are input rows, V the padding row as input; V+1..2V are output rows, 2V+1 padding as output."""
    table: int
    """Address of the table, float32 (2V+2, D)."""
    accept: Any
    alias: Any
    """Noise distribution, see sampling.alias_table."""


class Draws(NamedTuple):
    """Keys of the random choices in one epoch and where the segment starts in the corpus, in tokens."""

    window_key: Any
    noise_key: Any
    first_position: Any


class Scratch(NamedTuple):
    """Working memory of one thread: addresses of float32 arrays, zero at the start. `columns` is L, `depth` is D."""

    columns: int
    depth: int
    context_rows: int
    hidden_LD: int
    hidden_DL: int
    hidden_gradient_LD: int
    context_CD: int
    noise_ND: int
    target_BD: int
    context_CL: int
    bag_CL: int
    noise_NL: int
    noise_weight_NL: int
    first: int
    """(L,) first context row of a target's window; for a target that is left out, above `last`."""
    last: int
    """(L,) last context row of a target's window."""
    own: int
    """(L,) a target's own context row, which is no pair."""
    pairs: int
    """(L,) number of true pairs."""
    missing: int
    """(L,) number of padded pairs (window_edges: pad)."""
    norm: int
    """(L,) squared length of hidden."""
    curvature: int
    """(L,) curvature of hidden."""
    gradient: int
    """(L,) CBOW: residual of the true pair."""
    context_norm: int
    """(C,) squared lengths of context rows."""
    noise_norm: int
    """(N,) squared lengths of noise rows."""
    context_id: Any
    """int32 array (C,); -1 outside the segment."""
    noise_id: Any
    """int32 array (N,)."""


class Updates(NamedTuple):
    """Update buffer of a micro-batch: one part for each of its blocks."""

    vector: Any
    """float32, (blocks, R, D)"""
    row: Any
    """int32, (blocks, R): the table row that a vector is for; -1: none"""
    curvature: Any
    """float32, (blocks, R)"""


class Sizes(NamedTuple):
    """Array sizes that follow from a rule, with room for whole tiles at every end."""

    targets: int
    context: int
    noise: int
    columns: int
    depth: int

    @property
    def update_rows(self) -> int:
        """Rows of a block's part of the update buffer: targets, context, noise words, the padding row."""
        return self.targets + self.context + self.noise + 1


def round_up(value: int, step: int) -> int:
    """The smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def sizes(window: int, block_tokens: int, block_negatives: int, dim: int) -> Sizes:
    """Sizes of Scratch and of the update buffer."""
    targets = round_up(block_tokens, BAND)
    context = round_up(targets + 2 * window, BAND)
    band = round_up(BAND + 2 * window, LANES)
    columns = round_up(max(context + band, 2 * window + round_up(block_tokens, LANES)) + BAND, LANES)
    return Sizes(targets, context, round_up(block_negatives, DENSE), columns, round_up(dim, LANES))


_band_1, _band_2, _band_3, _band_4 = (product_tile(BAND, vectors) for vectors in (1, 2, 3, 4))
_dense_1, _dense_2, _dense_3, _dense_4 = (product_tile(DENSE, vectors) for vectors in (1, 2, 3, 4))


def _wide_product(tile_1: Any, tile_2: Any, tile_3: Any, tile_4: Any) -> Any:
    """A numba function for a few rows of a matrix product, any number of vectors wide; see simd.product_tile."""

    @inner
    def product(a, a_row, a_step, b, b_row, n, c, c_row, vectors, add):  # type: ignore[no-untyped-def]
        v = 0
        if WIDE == 4:
            while v + 4 <= vectors:
                tile_4(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
                v += 4
            if vectors - v == 3:
                tile_3(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
            elif vectors - v == 2:
                tile_2(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
            elif vectors - v == 1:
                tile_1(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
        else:
            while v < vectors:
                tile_1(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
                v += 1

    return product


_band_product = _wide_product(_band_1, _band_2, _band_3, _band_4)
_dense_product = _wide_product(_dense_1, _dense_2, _dense_3, _dense_4)


@njit(inline="always")
def _copy_row(source, target, depth):  # type: ignore[no-untyped-def]
    """Copy D numbers from address to address; returns their squared length."""
    total = splat(np.float32(0))
    for k in range(0, depth, LANES):
        vector = load(source, k)
        total = fma(vector, vector, total)
        store(vector, target, k)
    return lane_sum(total)


@njit(inline="always")
def _axpy(scale, source, target, depth):  # type: ignore[no-untyped-def]
    """target += scale * source, for rows given by their addresses."""
    factor = splat(np.float32(scale))
    for k in range(0, depth, LANES):
        store(fma(factor, load(source, k), load(target, k)), target, k)


@njit(inline="always")
def _fill(number, target, count):  # type: ignore[no-untyped-def]
    """Write a number to `count` places, a multiple of 16."""
    vector = splat(np.float32(number))
    for k in range(0, count, LANES):
        store(vector, target, k)


@njit(inline="always")
def _dot(a, b, depth):  # type: ignore[no-untyped-def]
    """Product of two rows given by their addresses."""
    total = splat(np.float32(0))
    for k in range(0, depth, LANES):
        total = fma(load(a, k), load(b, k), total)
    return lane_sum(total)


@inner
def prefetch_block(tokens, start, stop, rule, draws, depth):  # type: ignore[no-untyped-def]
    """Ask for the rows that the block start..stop will read: most of a table lies outside the caches."""
    if start >= stop:
        return
    own = 0 if rule.method == SKIPGRAM else rule.vocab_size + 1
    others = rule.vocab_size + 1 - own
    word_id = tokens.word_id
    position = draws.first_position + tokens.position[start]
    for n in range(rule.block_negatives):
        noise_id = noise_word(draws.noise_key, position, n, rule.accept, rule.alias)
        _prefetch_row(rule.table, rule.vocab_size + 1 + noise_id, depth)
    for t in range(max(start - rule.window, 0), min(stop + rule.window, word_id.shape[0])):
        _prefetch_row(rule.table, others + word_id[t], depth)
    for t in range(start, stop):
        _prefetch_row(rule.table, own + word_id[t], depth)


@njit(inline="always")
def _prefetch_row(table, row, depth):  # type: ignore[no-untyped-def]
    address = table + 4 * depth * np.int64(row)
    for k in range(0, depth, LANES):
        prefetch(address, k)


@inner
def _draw_windows(tokens, start, stop, rule, draws, scratch):  # type: ignore[no-untyped-def]
    """Windows of the targets start..stop; returns (true pairs, padded pairs)."""
    window, first, last, sentence = rule.window, scratch.first, scratch.last, tokens.sentence
    position = tokens.position
    n = sentence.shape[0]
    pairs, missing = 0, 0
    _fill(1, first, scratch.columns)
    _fill(0, last, scratch.columns)
    _fill(0, scratch.pairs, scratch.columns)
    _fill(0, scratch.missing, scratch.columns)
    for j in range(stop - start):
        t = start + j
        c = j + 2 * window
        width = window_width(draws.window_key, draws.first_position + position[t], window)
        low, high = max(t - width, 0), min(t + width, n - 1)
        while sentence[low] != sentence[t]:
            low += 1
        while sentence[high] != sentence[t]:
            high -= 1
        absent = 2 * width - (high - low)
        if (absent > 0 and rule.window_edges == DROP) or high == low:
            continue
        poke(np.float32(low - start + window), first, c)
        poke(np.float32(high - start + window), last, c)
        poke(np.float32(high - low), scratch.pairs, c)
        pairs += high - low
        if rule.window_edges == PAD:
            poke(np.float32(absent), scratch.missing, c)
            missing += absent
    return pairs, missing


@inner
def _draw_noise(tokens, start, rule, draws, scratch, pairs):  # type: ignore[no-untyped-def]
    """Noise words, their rows, and their weights for `pairs` (address, (L,)) without regard to coincidences."""
    position = draws.first_position + tokens.position[start]
    share = splat(np.float32(rule.negatives / rule.block_negatives))
    noise_id, columns, depth = scratch.noise_id, scratch.columns, scratch.depth
    for n in range(rule.block_negatives):
        word_id = noise_word(draws.noise_key, position, n, rule.accept, rule.alias)
        noise_id[n] = word_id
        source = rule.table + 4 * depth * (rule.vocab_size + 1 + np.int64(word_id))
        poke(_copy_row(source, scratch.noise_ND + 4 * depth * n, depth), scratch.noise_norm, n)
    for c in range(0, columns, LANES):
        weight = share * load(pairs, c)
        for n in range(rule.block_negatives):
            store(weight, scratch.noise_weight_NL + 4 * columns * n, c)


@njit(inline="always")
def _residuals(s, true_weight, noise_weight, lr):  # type: ignore[no-untyped-def]
    """Scores -> (residual, lr * weight * sigma (1 - sigma), weighted logistic loss), sixteen at a time."""
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    size = where_at_least(s, zero, s, zero - s)
    e = exp_of_negative(zero - size)
    larger = one / (one + e)
    smaller = e * larger
    sigma = where_at_least(s, zero, larger, smaller)
    rest = where_at_least(s, zero, smaller, larger)
    residual = lr * (true_weight * rest - noise_weight * sigma)
    curvature = lr * (true_weight + noise_weight) * (larger * smaller)
    log_part = log_of_one_plus(e)
    loss = true_weight * (where_at_least(s, zero, zero, size) + log_part)
    loss = fma(noise_weight, where_at_least(s, zero, size, zero) + log_part, loss)
    return residual, curvature, loss


@inner
def _noise_residuals(rule, lr, scratch, targets, curvature):  # type: ignore[no-untyped-def]
    """Scores of the noise words -> residuals in place; curvature of their rows and of hidden; returns the loss."""
    left, depth, columns = 2 * rule.window, scratch.depth, scratch.columns
    scores, weights = scratch.noise_NL + 4 * left, scratch.noise_weight_NL + 4 * left
    norm, bends = scratch.norm + 4 * left, scratch.curvature + 4 * left
    vectors = (targets + LANES - 1) // LANES
    for n in range(0, rule.block_negatives, DENSE):
        _dense_product(
            scratch.noise_ND + 4 * depth * n, depth, 1, scratch.hidden_DL + 4 * left, columns, rule.dim,
            scores + 4 * columns * n, columns, vectors, False,
        )  # fmt: skip
    zero, rate = splat(np.float32(0)), splat(lr)
    loss = zero
    for n in range(rule.block_negatives):
        squared_length, total = splat(peek(scratch.noise_norm, n)), zero
        for v in range(vectors):
            c, here = LANES * v, columns * n + LANES * v
            residual, bend, part = _residuals(load(scores, here), zero, load(weights, here), rate)
            store(residual, scores, here)
            loss = loss + part
            total = fma(bend, load(norm, c), total)
            store(fma(bend, squared_length, load(bends, c)), bends, c)
        curvature[n] = lane_sum(total)
    return lane_sum(loss)


@inner
def _context_residuals(rule, lr, scratch, targets, curvature):  # type: ignore[no-untyped-def]
    """Scores of the context words -> residuals in place, zero outside windows; curvatures; returns the loss."""
    window, depth, columns = rule.window, scratch.depth, scratch.columns
    vectors = (BAND + 2 * window + LANES - 1) // LANES
    rows = targets + 2 * window
    for tile in range(0, rows, BAND):
        _band_product(
            scratch.context_CD + 4 * depth * tile, depth, 1, scratch.hidden_DL + 4 * tile, columns, rule.dim,
            scratch.context_CL + 4 * (columns * tile + tile), columns, vectors, False,
        )  # fmt: skip
    zero, one, rate = splat(np.float32(0)), splat(np.float32(1)), splat(lr)
    loss = zero
    for i in range((rows + BAND - 1) // BAND * BAND):
        place, squared_length, total = splat(np.float32(i)), splat(peek(scratch.context_norm, i)), zero
        for v in range(vectors):
            c = i // BAND * BAND + LANES * v
            here = columns * i + c
            inside = where_at_least(place, load(scratch.first, c), one, zero)
            inside = where_at_least(load(scratch.last, c), place, inside, zero)
            inside = where_equal(load(scratch.own, c), place, zero, inside)
            residual, bend, part = _residuals(load(scratch.context_CL, here), inside, zero, rate)
            store(residual, scratch.context_CL, here)
            loss = loss + part
            total = fma(bend, load(scratch.norm, c), total)
            store(fma(bend, squared_length, load(scratch.curvature, c)), scratch.curvature, c)
        curvature[i] = lane_sum(total)
    return lane_sum(loss)


@inner
def _transpose_hidden(scratch, left, targets):  # type: ignore[no-untyped-def]
    """hidden_DL = transpose of hidden_LD, for the columns of the targets."""
    depth, columns = scratch.depth, scratch.columns
    for c in range(left, left + targets, LANES):
        for k in range(0, depth, LANES):
            transpose_tile(
                scratch.hidden_LD + 4 * (depth * c + k), depth, scratch.hidden_DL + 4 * (columns * k + c), columns
            )


@inner
def _noise_updates(rule, scratch, targets, update, row):  # type: ignore[no-untyped-def]
    """Updates of the noise words' rows: residuals times hidden. update, row: where the noise words' part begins."""
    depth, columns, left = scratch.depth, scratch.columns, 2 * rule.window
    for n in range(0, rule.block_negatives, DENSE):
        _dense_product(
            scratch.noise_NL + 4 * (columns * n + left), columns, 1, scratch.hidden_LD + 4 * depth * left, depth, targets,
            update + 4 * depth * n, depth, depth // LANES, False,
        )  # fmt: skip
    for n in range(rule.block_negatives):
        row[n] = rule.vocab_size + 1 + scratch.noise_id[n]


@inner
def _exclude_coincidences(rule, scratch, targets):  # type: ignore[no-untyped-def]
    """A noise word gets no weight from pairs whose true word it is. Returns the weight taken away."""
    share = np.float32(rule.negatives / rule.block_negatives)
    window, columns, taken = rule.window, scratch.columns, 0.0
    context_id, noise_id, count = scratch.context_id, scratch.noise_id, rule.block_negatives
    for i in range(targets + 2 * window):
        hits = 0
        for n in range(count):
            hits += np.int32(noise_id[n] == context_id[i])
        if hits == 0:
            continue
        for n in range(count):
            if context_id[i] == noise_id[n]:
                for c in range(max(i, 2 * window), min(i + 2 * window, 2 * window + targets - 1) + 1):
                    if peek(scratch.first, c) <= i <= peek(scratch.last, c) and i != c - window:
                        weight = scratch.noise_weight_NL + 4 * columns * n
                        poke(peek(weight, c) - share, weight, c)
                        taken += share
    return taken


@inner
def skipgram_block(tokens, start, stop, rule, draws, lr, scratch, update, row, curvature):  # type: ignore[no-untyped-def]
    """Updates of one block of skip-gram: each word's input row against its context's output rows and the noise words.

    update: address of this block's part of the buffer, (R, D); row, curvature: arrays (R,). Rows of the part: the
    targets' input rows, the context's output rows, the noise words' output rows, the padding row.
    Returns (sum of weighted losses, sum of weights).
    """
    window, depth, columns = rule.window, scratch.depth, scratch.columns
    targets, left, outputs = stop - start, 2 * window, rule.vocab_size + 1
    context_at = (rule.block_tokens + BAND - 1) // BAND * BAND
    noise_at, pad_at = context_at + scratch.context_rows, row.shape[0] - 1
    word_id, context_id = tokens.word_id, scratch.context_id
    row[:] = -1

    pairs, missing = _draw_windows(tokens, start, stop, rule, draws, scratch)
    for c in range(0, columns, LANES):
        store(load(scratch.pairs, c) + load(scratch.missing, c), scratch.pairs, c)
    _fill(0, scratch.curvature, columns)
    _draw_noise(tokens, start, rule, draws, scratch, scratch.pairs)
    for j in range(targets):
        c = left + j
        row[j] = word_id[start + j]
        source = rule.table + 4 * depth * np.int64(row[j])
        poke(_copy_row(source, scratch.hidden_LD + 4 * depth * c, depth), scratch.norm, c)
    for i in range(targets + 2 * window):
        t = start - window + i
        context_id[i] = -1
        if 0 <= t < word_id.shape[0]:
            context_id[i] = word_id[t]
            row[context_at + i] = outputs + word_id[t]
            source = rule.table + 4 * depth * np.int64(row[context_at + i])
            poke(_copy_row(source, scratch.context_CD + 4 * depth * i, depth), scratch.context_norm, i)
    excluded = _exclude_coincidences(rule, scratch, targets)
    _transpose_hidden(scratch, left, targets)

    loss = np.float64(_noise_residuals(rule, lr, scratch, targets, curvature[noise_at:]))
    loss += _context_residuals(rule, lr, scratch, targets, curvature[context_at:])

    for j in range(0, targets, BAND):
        _band_product(
            scratch.context_CL + 4 * (columns * j + left + j), 1, columns, scratch.context_CD + 4 * depth * j, depth,
            BAND + 2 * window, update + 4 * depth * j, depth, depth // LANES, False,
        )  # fmt: skip
        _band_product(
            scratch.noise_NL + 4 * (left + j), 1, columns, scratch.noise_ND, depth,
            rule.block_negatives, update + 4 * depth * j, depth, depth // LANES, True,
        )  # fmt: skip
    for i in range(0, targets + 2 * window, BAND):
        _band_product(
            scratch.context_CL + 4 * (columns * i + i), columns, 1, scratch.hidden_LD + 4 * depth * i, depth,
            BAND + 2 * window, update + 4 * depth * (context_at + i), depth, depth // LANES, False,
        )  # fmt: skip
    _noise_updates(rule, scratch, targets, update + 4 * depth * noise_at, row[noise_at:])
    for j in range(targets):
        curvature[j] = peek(scratch.curvature, left + j)
    if missing > 0:
        loss += _pad_skipgram(rule, lr, scratch, targets, update, row, curvature, pad_at)
    return loss, (rule.negatives + 1.0) * (pairs + missing) - excluded


@njit(inline="always")
def _one_residual(score, weight, lr):  # type: ignore[no-untyped-def]
    """A single true pair: (residual, curvature, loss), by the same formulas as `_residuals`."""
    e = np.exp(-abs(np.float64(score)))
    larger, smaller = 1.0 / (1.0 + e), e / (1.0 + e)
    rest = smaller if score >= 0 else larger
    loss = np.log1p(e) + max(-np.float64(score), 0.0)
    return np.float32(lr * weight * rest), np.float32(lr * weight * larger * smaller), weight * loss


@inner
def _pad_skipgram(rule, lr, scratch, targets, update, row, curvature, pad_at):  # type: ignore[no-untyped-def]
    """window_edges: pad. Targets with a ragged window predict the padding row once for each missing word."""
    left, depth, pad_row = 2 * rule.window, scratch.depth, 2 * rule.vocab_size + 1
    pad, place = rule.table + 4 * depth * pad_row, update + 4 * depth * pad_at
    squared_length, loss = _dot(pad, pad, depth), 0.0
    _fill(0, place, depth)
    row[pad_at], curvature[pad_at] = pad_row, 0
    for j in range(targets):
        missing = peek(scratch.missing, left + j)
        if missing > 0:
            hidden = scratch.hidden_LD + 4 * depth * (left + j)
            residual, bend, part = _one_residual(_dot(hidden, pad, depth), missing, lr)
            _axpy(residual, pad, update + 4 * depth * j, depth)
            _axpy(residual, hidden, place, depth)
            curvature[j] += bend * squared_length
            curvature[pad_at] += bend * peek(scratch.norm, left + j)
            loss += part
    return loss


@inner
def cbow_block(tokens, start, stop, rule, draws, lr, scratch, update, row, curvature):  # type: ignore[no-untyped-def]
    """Updates of one block of CBOW: the mean of the context's input rows against the word's output row and noise words.

    Arguments and result as for `skipgram_block`; rows of the part: the targets' output rows, the context's input rows,
    the noise words' output rows, the padding row.
    """
    window, depth, columns = rule.window, scratch.depth, scratch.columns
    targets, left = stop - start, 2 * window
    context_at = (rule.block_tokens + BAND - 1) // BAND * BAND
    noise_at, pad_at = context_at + scratch.context_rows, row.shape[0] - 1
    word_id = tokens.word_id
    row[:] = -1

    _, missing = _draw_windows(tokens, start, stop, rule, draws, scratch)
    for i in range(targets + 2 * window):
        t = start - window + i
        if 0 <= t < word_id.shape[0]:
            row[context_at + i] = word_id[t]
            _copy_row(rule.table + 4 * depth * np.int64(word_id[t]), scratch.context_CD + 4 * depth * i, depth)
    _fill_bags(rule, scratch, targets, False)
    for j in range(0, targets, BAND):
        _band_product(
            scratch.bag_CL + 4 * (columns * j + left + j), 1, columns, scratch.context_CD + 4 * depth * j, depth,
            BAND + 2 * window, scratch.hidden_LD + 4 * depth * (left + j), depth, depth // LANES, False,
        )  # fmt: skip
    if missing > 0:
        _pad_bags(rule, scratch, targets)

    loss, predictions = _true_pairs(tokens, start, targets, rule, lr, scratch, row, curvature)
    _draw_noise(tokens, start, rule, draws, scratch, scratch.pairs)
    predictions -= _exclude_targets(tokens, start, targets, rule, scratch)
    _transpose_hidden(scratch, left, targets)
    loss += _noise_residuals(rule, lr, scratch, targets, curvature[noise_at:])
    _noise_updates(rule, scratch, targets, update + 4 * depth * noise_at, row[noise_at:])

    for j in range(0, targets, BAND):
        _band_product(
            scratch.noise_NL + 4 * (left + j), 1, columns, scratch.noise_ND, depth, rule.block_negatives,
            scratch.hidden_gradient_LD + 4 * depth * (left + j), depth, depth // LANES, False,
        )  # fmt: skip
    for j in range(targets):
        gradient, place = peek(scratch.gradient, left + j), update + 4 * depth * j
        hidden, target = scratch.hidden_LD + 4 * depth * (left + j), scratch.target_BD + 4 * depth * j
        _axpy(gradient, target, scratch.hidden_gradient_LD + 4 * depth * (left + j), depth)
        for k in range(0, depth, LANES):
            store(splat(gradient) * load(hidden, k), place, k)
    if rule.method == CBOW_WORD2VEC:
        _fill_bags(rule, scratch, targets, True)
    for i in range(0, targets + 2 * window, BAND):
        _band_product(
            scratch.bag_CL + 4 * (columns * i + i), columns, 1, scratch.hidden_gradient_LD + 4 * depth * i, depth,
            BAND + 2 * window, update + 4 * depth * (context_at + i), depth, depth // LANES, False,
        )  # fmt: skip
    for i in range(targets + 2 * window):
        total = np.float32(0)
        for c in range(i, i + 2 * window + 1):
            total += peek(scratch.bag_CL, columns * i + c) * peek(scratch.curvature, c)
        curvature[context_at + i] = total
    if missing > 0:
        _pad_bag_updates(rule, scratch, targets, update, row, curvature, pad_at)
    return loss, predictions


@inner
def _true_pairs(tokens, start, targets, rule, lr, scratch, row, curvature):  # type: ignore[no-untyped-def]
    """CBOW: score every hidden vector against its word. `pairs` becomes 1 for targets that have a bag, else 0."""
    left, depth = 2 * rule.window, scratch.depth
    loss, predictions = 0.0, 0.0
    _fill(0, scratch.gradient, scratch.columns)
    _fill(0, scratch.curvature, scratch.columns)
    for j in range(targets):
        c = left + j
        if peek(scratch.pairs, c) == 0:
            continue
        poke(np.float32(1), scratch.pairs, c)
        row[j] = rule.vocab_size + 1 + tokens.word_id[start + j]
        target, hidden = scratch.target_BD + 4 * depth * j, scratch.hidden_LD + 4 * depth * c
        squared_length = _copy_row(rule.table + 4 * depth * np.int64(row[j]), target, depth)
        poke(_dot(hidden, hidden, depth), scratch.norm, c)
        residual, bend, part = _one_residual(_dot(hidden, target, depth), 1.0, lr)
        poke(residual, scratch.gradient, c)
        poke(bend * squared_length, scratch.curvature, c)
        curvature[j] = bend * peek(scratch.norm, c)
        loss += part
        predictions += rule.negatives + 1
    return loss, predictions


@inner
def _exclude_targets(tokens, start, targets, rule, scratch):  # type: ignore[no-untyped-def]
    """CBOW: a noise word gets no weight where it is the true word. Returns the weight taken away."""
    left, taken, noise_id = 2 * rule.window, 0.0, scratch.noise_id
    for j in range(targets):
        word_id = tokens.word_id[start + j]
        for n in range(rule.block_negatives):
            if noise_id[n] == word_id:
                weight = scratch.noise_weight_NL + 4 * scratch.columns * n
                taken += peek(weight, left + j)
                poke(np.float32(0), weight, left + j)
    return taken


@njit(inline="always")
def _bag_size(scratch, c):  # type: ignore[no-untyped-def]
    """Rows in the bag of column c, padding rows included."""
    return peek(scratch.last, c) - peek(scratch.first, c) + peek(scratch.missing, c)


@inner
def _fill_bags(rule, scratch, targets, undivided):  # type: ignore[no-untyped-def]
    """bag_CL[i, c] = 1 / size of the bag for context rows in the window of target c, else 0 (1 instead if undivided)."""
    window, columns = rule.window, scratch.columns
    one, zero, weight = splat(np.float32(1)), splat(np.float32(0)), scratch.gradient
    vectors = (BAND + 2 * window + LANES - 1) // LANES
    for c in range(columns):
        poke(np.float32(1) if undivided else np.float32(1) / max(_bag_size(scratch, c), np.float32(1)), weight, c)
    for i in range((targets + 2 * window + BAND - 1) // BAND * BAND):
        place = splat(np.float32(i))
        for v in range(vectors):
            c = i // BAND * BAND + LANES * v
            inside = where_at_least(place, load(scratch.first, c), one, zero)
            inside = where_at_least(load(scratch.last, c), place, inside, zero)
            inside = where_equal(load(scratch.own, c), place, zero, inside)
            store(inside * load(weight, c), scratch.bag_CL, columns * i + c)


@inner
def _pad_bags(rule, scratch, targets):  # type: ignore[no-untyped-def]
    """window_edges: pad. The padding row enters the bag once for each missing word."""
    depth = scratch.depth
    pad = rule.table + 4 * depth * rule.vocab_size
    for c in range(2 * rule.window, 2 * rule.window + targets):
        missing = peek(scratch.missing, c)
        if missing > 0:
            _axpy(missing / _bag_size(scratch, c), pad, scratch.hidden_LD + 4 * depth * c, depth)


@inner
def _pad_bag_updates(rule, scratch, targets, update, row, curvature, pad_at):  # type: ignore[no-untyped-def]
    """Update of the padding row from every bag that holds it."""
    depth, place = scratch.depth, update + 4 * scratch.depth * pad_at
    _fill(0, place, depth)
    row[pad_at], curvature[pad_at] = rule.vocab_size, 0
    for c in range(2 * rule.window, 2 * rule.window + targets):
        missing = peek(scratch.missing, c)
        if missing > 0:
            share = missing if rule.method == CBOW_WORD2VEC else missing / _bag_size(scratch, c)
            _axpy(share, scratch.hidden_gradient_LD + 4 * depth * c, place, depth)
            curvature[pad_at] += share * peek(scratch.curvature, c)
