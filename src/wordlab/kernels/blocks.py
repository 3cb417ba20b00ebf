"""What the methods share in computing one block (docs/engine.md): draws, gathers, matrix products, residuals.

A target's `hidden` vector is what the paper calls the projection: the word's own input row for skip-gram (the word
predicts its context words), the mean of the context's input rows for CBOW (which predicts the word). With subwords a
word has several input rows, its bag, and means go over all of them. Scores are
    context_CL = context_CD . hidden_LD^T   (skip-gram; only pairs inside a window count)
    noise_NL   = noise_ND . hidden_LD^T
and become residuals in place: lr * (1 - sigma) for a true pair, -lr * weight * sigma for a noise word. A target's noise
weights add up to `negatives` for each of its true pairs, less the pairs whose true word the noise word is.

A block writes to its part of the update buffer: for every row that it moves, D numbers, the table row, and the
curvature lr * sum over pairs of weight * sigma (1 - sigma) |other|^2, by which its step is damped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wordlab.compiled import inner, njit
from wordlab.kernels.layout import BAND, DENSE, DROP, PAD, SKIPGRAM
from wordlab.kernels.simd import (
    AVX512,
    LANES,
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


def _wide_product(rows: int, widest: int) -> Any:
    """A numba function for `rows` rows of a matrix product, any number of vectors wide, in tiles up to `widest` wide.

    Arguments as for simd.product_tile, with the number of vectors before `add`.
    """
    tile_1, tile_2, tile_3, tile_widest = (product_tile(rows, vectors) for vectors in (1, 2, 3, widest))

    @inner
    def product(a, a_row, a_step, b, b_row, n, c, c_row, vectors, add):
        v = 0
        while v + widest <= vectors:
            tile_widest(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
            v += widest
        if vectors - v == 3:
            tile_3(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
        elif vectors - v == 2:
            tile_2(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)
        elif vectors - v == 1:
            tile_1(a, a_row, a_step, b + 64 * v, b_row, n, c + 64 * v, c_row, add)

    return product


band_product = _wide_product(BAND, 4 if AVX512 else 1)
dense_product = _wide_product(DENSE, 3 if AVX512 else 1)
"""24 of AVX-512's 32 registers hold sums; AVX has 16 of half the size."""


@njit(inline="always")
def copy_row(source, target, depth):
    """Copy D numbers from address to address; returns their squared length."""
    total = splat(np.float32(0))
    for k in range(0, depth, LANES):
        vector = load(source, k)
        total = fma(vector, vector, total)
        store(vector, target, k)
    return lane_sum(total)


@inner
def sum_bag(word, target, rule, depth):
    """Write the sum of a word's rows, its own and its n-grams', to an address; returns their number."""
    copy_row(rule.table + 4 * depth * np.int64(word), target, depth)
    for b in range(rule.bag_start[word], rule.bag_start[word + 1]):
        source = rule.table + 4 * depth * np.int64(rule.bag_row[b])
        for k in range(0, depth, LANES):
            store(load(target, k) + load(source, k), target, k)
    return bag_rows(word, rule)


@njit(inline="always")
def bag_rows(word, rule):
    """Number of a word's rows."""
    return np.float32(1 + rule.bag_start[word + 1] - rule.bag_start[word])


@njit(inline="always")
def copy_word(word, target, rule, depth):
    """Copy a word's input row, with subwords the mean of its rows, to an address; returns its squared length."""
    if rule.bag_words == 0:
        return copy_row(rule.table + 4 * depth * np.int64(word), target, depth)
    return mean_bag(word, target, rule, depth)


@inner
def mean_bag(word, target, rule, depth):
    """Write the mean of a word's rows to an address; returns its squared length."""
    scale, total = splat(np.float32(1) / sum_bag(word, target, rule, depth)), splat(np.float32(0))
    for k in range(0, depth, LANES):
        vector = scale * load(target, k)
        total = fma(vector, vector, total)
        store(vector, target, k)
    return lane_sum(total)


@inner
def divide_by_bags(tokens, start, targets, rule, update, curvature, depth):
    """Skip-gram: the mean's step to the step of each row of the bag, where the gradient is divided."""
    for j in range(targets):
        share, place = np.float32(1) / bag_rows(tokens.word_id[start + j], rule), update + 4 * depth * j
        curvature[j] *= share
        for k in range(0, depth, LANES):
            store(splat(share) * load(place, k), place, k)


@njit(inline="always")
def axpy(scale, source, target, depth):
    """target += scale * source, for rows given by their addresses."""
    factor = splat(np.float32(scale))
    for k in range(0, depth, LANES):
        store(fma(factor, load(source, k), load(target, k)), target, k)


@njit(inline="always")
def scale_row(scale, source, target, depth):
    """target = scale * source, for rows given by their addresses."""
    factor = splat(np.float32(scale))
    for k in range(0, depth, LANES):
        store(factor * load(source, k), target, k)


@njit(inline="always")
def fill(number, target, count):
    """Write a number to `count` places, a multiple of 16."""
    vector = splat(np.float32(number))
    for k in range(0, count, LANES):
        store(vector, target, k)


@njit(inline="always")
def dot(a, b, depth):
    """Product of two rows given by their addresses."""
    total = splat(np.float32(0))
    for k in range(0, depth, LANES):
        total = fma(load(a, k), load(b, k), total)
    return lane_sum(total)


@inner
def prefetch_block(tokens, start, stop, rule, draws, depth):
    """Ask for the rows that the block start..stop will read: most of a table lies outside the caches.

    Of a tree the words' paths are asked for, and not the rows of their nodes: those many rows are found as fast by the
    processor itself, as soon as it knows which they are.
    """
    if start >= stop:
        return
    own = 0 if rule.method == SKIPGRAM else rule.vocab_size + 1
    others = rule.vocab_size + 1 - own
    word_id = tokens.word_id
    position = draws.first_position + tokens.position[start]
    for n in range(rule.block_negatives):
        noise_id = noise_word(draws.noise_key, position, n, rule.accept, rule.alias)
        prefetch_row(rule.table, rule.vocab_size + 1 + noise_id, depth)
    begin, end = max(start - rule.window, 0), min(stop + rule.window, word_id.shape[0])
    if rule.hierarchical:
        for t in range(begin, end):
            first = rule.path_start[word_id[t]]
            prefetch(rule.path_step.ctypes.data, first)
            prefetch(rule.path_step.ctypes.data, first + LANES)
    for t in range(begin, end):
        if not (rule.hierarchical and rule.method == SKIPGRAM):
            prefetch_row(rule.table, others + word_id[t], depth)
        if rule.bag_words > 0 and (rule.method != SKIPGRAM or start <= t < stop):
            for b in range(rule.bag_start[word_id[t]], rule.bag_start[word_id[t] + 1]):
                prefetch_row(rule.table, rule.bag_row[b], depth)
    for t in range(start, stop):
        if rule.method == SKIPGRAM or not rule.hierarchical:
            prefetch_row(rule.table, own + word_id[t], depth)


@njit(inline="always")
def prefetch_row(table, row, depth):
    """Ask for a row of the table whose address is given."""
    address = table + 4 * depth * np.int64(row)
    for k in range(0, depth, LANES):
        prefetch(address, k)


@njit(inline="always")
def window_bounds(tokens, t, rule, draws):
    """(first, last, absent): kept tokens in the window of token t, itself included, and the places that are empty.

    A target that is left out has last < first.
    """
    sentence = tokens.sentence
    width = window_width(draws.window_key, draws.first_position + tokens.position[t], rule.window)
    low, high = max(t - width, 0), min(t + width, sentence.shape[0] - 1)
    while sentence[low] != sentence[t]:
        low += 1
    while sentence[high] != sentence[t]:
        high -= 1
    absent = 2 * width - (high - low)
    if (absent > 0 and rule.window_edges == DROP) or high == low:
        low, high = t + 1, t
    return low, high, absent if rule.window_edges == PAD else 0


@inner
def draw_windows(tokens, start, stop, rule, draws, scratch):
    """Windows of the targets start..stop; returns (true pairs, padded pairs)."""
    window, first, last = rule.window, scratch.first, scratch.last
    pairs, missing = 0, 0
    fill(1, first, scratch.columns)
    fill(0, last, scratch.columns)
    fill(0, scratch.pairs, scratch.columns)
    fill(0, scratch.missing, scratch.columns)
    for j in range(stop - start):
        c = j + 2 * window
        low, high, absent = window_bounds(tokens, start + j, rule, draws)
        if high < low:
            continue
        poke(np.float32(low - start + window), first, c)
        poke(np.float32(high - start + window), last, c)
        poke(np.float32(high - low), scratch.pairs, c)
        pairs += high - low
        poke(np.float32(absent), scratch.missing, c)
        missing += absent
    return pairs, missing


@inner
def draw_noise(tokens, start, targets, rule, draws, scratch, pairs):
    """Noise words, their rows, and their weights for `pairs` (address, (L,)) without regard to coincidences."""
    position = draws.first_position + tokens.position[start]
    share = splat(np.float32(rule.negatives / rule.block_negatives))
    noise_id, columns, depth = scratch.noise_id, scratch.columns, scratch.depth
    for n in range(rule.block_negatives):
        word_id = noise_word(draws.noise_key, position, n, rule.accept, rule.alias)
        noise_id[n] = word_id
        source = rule.table + 4 * depth * (rule.vocab_size + 1 + np.int64(word_id))
        poke(copy_row(source, scratch.noise_ND + 4 * depth * n, depth), scratch.noise_norm, n)
    left = 2 * rule.window
    for c in range(left, left + targets, LANES):
        weight = share * load(pairs, c)
        for n in range(rule.block_negatives):
            store(weight, scratch.noise_weight_NL + 4 * columns * n, c)


@njit(inline="always")
def wrong(s, weight, lr):
    """How wrong the scores of noise words are, or the negated scores of true words, sixteen at a time.

    Returns (lr * weight * sigma, lr * weight * sigma (1 - sigma), weight * ln(1 + e ** s)).
    """
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    positive = where_at_least(zero, s, zero, s)  # keeps what is not a number
    e = exp_of_negative(s - positive - positive)
    larger = one / (one + e)
    smaller = e * larger
    step = lr * weight
    sigma = where_at_least(s, zero, larger, smaller)
    return step * sigma, step * (larger * smaller), weight * (positive + log_of_one_plus(e))


@njit(inline="always")
def decided(s, true_weight, false_weight, lr):
    """Scores of decisions that some want true and some false -> (residual, curvature, loss), as for `wrong`."""
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    positive = where_at_least(zero, s, zero, s)
    e = exp_of_negative(s - positive - positive)
    larger = one / (one + e)
    smaller = e * larger
    sigma = where_at_least(s, zero, larger, smaller)
    rest = where_at_least(s, zero, smaller, larger)
    weight = true_weight + false_weight
    loss = weight * (positive + log_of_one_plus(e)) - true_weight * s
    return lr * (true_weight * rest - false_weight * sigma), lr * weight * (larger * smaller), loss


@inner
def noise_residuals(rule, lr, scratch, targets, curvature):
    """Scores of the noise words -> residuals in place; curvature of their rows and of hidden; returns the loss."""
    left, depth, columns = 2 * rule.window, scratch.depth, scratch.columns
    scores, weights = scratch.noise_NL + 4 * left, scratch.noise_weight_NL + 4 * left
    norm, bends = scratch.norm + 4 * left, scratch.curvature + 4 * left
    vectors = (targets + LANES - 1) // LANES
    for n in range(0, rule.block_negatives, DENSE):
        dense_product(
            scratch.noise_ND + 4 * depth * n, depth, 1, scratch.hidden_DL + 4 * left, columns, rule.dim,
            scores + 4 * columns * n, columns, vectors, False,
        )  # fmt: skip
    zero, rate = splat(np.float32(0)), splat(lr)
    loss = zero
    for n in range(rule.block_negatives):
        squared_length, total = splat(peek(scratch.noise_norm, n)), zero
        for v in range(vectors):
            c, here = LANES * v, columns * n + LANES * v
            residual, bend, part = wrong(load(scores, here), load(weights, here), rate)
            store(zero - residual, scores, here)
            loss = loss + part
            total = fma(bend, load(norm, c), total)
            store(fma(bend, squared_length, load(bends, c)), bends, c)
        curvature[n] = lane_sum(total)
    return lane_sum(loss)


@inner
def transpose_hidden(scratch, left, targets):
    """hidden_DL = transpose of hidden_LD, for the columns of the targets."""
    depth, columns = scratch.depth, scratch.columns
    for c in range(left, left + targets, LANES):
        for k in range(0, depth, LANES):
            transpose_tile(
                scratch.hidden_LD + 4 * (depth * c + k), depth, scratch.hidden_DL + 4 * (columns * k + c), columns
            )


@inner
def noise_updates(rule, scratch, targets, update, row):
    """Updates of the noise words' rows: residuals times hidden. update, row: where the noise words' part begins."""
    depth, columns, left = scratch.depth, scratch.columns, 2 * rule.window
    for n in range(0, rule.block_negatives, DENSE):
        dense_product(
            scratch.noise_NL + 4 * (columns * n + left), columns, 1, scratch.hidden_LD + 4 * depth * left, depth,
            targets, update + 4 * depth * n, depth, depth // LANES, False,
        )  # fmt: skip
    for n in range(rule.block_negatives):
        row[n] = rule.vocab_size + 1 + scratch.noise_id[n]


@njit(inline="always")
def one_residual(score, weight, lr):
    """A single true pair: (residual, curvature, loss), by the same formulas as `residuals`."""
    e = np.exp(-abs(np.float64(score)))
    larger, smaller = 1.0 / (1.0 + e), e / (1.0 + e)
    rest = smaller if score >= 0 else larger
    loss = np.log1p(e) + max(-np.float64(score), 0.0)
    return np.float32(lr * weight * rest), np.float32(lr * weight * larger * smaller), weight * loss


@njit(inline="always")
def inside_window(scratch, row, c):
    """1 in the lanes of columns c.. whose target has the context row (a float32, splat) in its window, else 0."""
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    inside = where_at_least(row, load(scratch.first, c), one, zero)
    inside = where_at_least(load(scratch.last, c), row, inside, zero)
    return where_equal(load(scratch.own, c), row, zero, inside)
