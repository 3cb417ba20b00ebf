"""CBOW, one block: the mean of the context's input rows against the output rows of the word and of the noise words."""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner
from wordlab.kernels.blocks import (
    axpy,
    bag_rows,
    band_product,
    copy_row,
    dot,
    draw_noise,
    draw_windows,
    fill,
    inside_window,
    noise_residuals,
    noise_updates,
    scale_row,
    sum_bag,
    transpose_hidden,
    wrong,
)
from wordlab.kernels.cbow_tree import cbow_tree_pairs
from wordlab.kernels.layout import BAND
from wordlab.kernels.simd import LANES, fma, lane_sum, load, peek, poke, splat, store, where_at_least


@inner
def cbow_block(tokens, start, stop, rule, draws, lr, scratch, updates, block):
    """Updates of one block of CBOW: the mean of the context's input rows against the word's output row and noise words.

    updates, block: the buffer, and which part of it is written. The rest and the result as for `skipgram_block`; rows
    of the part: the targets' output rows, the context's input rows, the noise words' output rows, the padding row. In
    hierarchical softmax nodes stand in place of noise words, and the bags themselves in place of the targets' rows.
    """
    window, depth, columns = rule.window, scratch.depth, scratch.columns
    row, curvature = updates.row[block], updates.curvature[block]
    update = updates.vector.ctypes.data + 4 * depth * row.shape[0] * block
    targets, left = stop - start, 2 * window
    context_at = (rule.block_tokens + BAND - 1) // BAND * BAND
    noise_at, pad_at = context_at + scratch.context_rows, row.shape[0] - 1
    word_id = tokens.word_id
    row[:] = -1

    _, missing = draw_windows(tokens, start, stop, rule, draws, scratch)
    for i in range(targets + 2 * window):
        t = start - window + i
        if 0 <= t < word_id.shape[0]:
            row[context_at + i] = word_id[t]
            if rule.bag_words > 0:
                sum_bag(word_id[t], scratch.context_CD + 4 * depth * i, rule, depth)
            else:
                copy_row(rule.table + 4 * depth * np.int64(word_id[t]), scratch.context_CD + 4 * depth * i, depth)
    _count_bags(tokens, start, targets, rule, scratch)
    _fill_bags(rule, scratch, targets, False)
    for j in range(0, targets, BAND):
        band_product(
            scratch.bag_CL + 4 * (columns * j + left + j), 1, columns, scratch.context_CD + 4 * depth * j, depth,
            BAND + 2 * window, scratch.hidden_LD + 4 * depth * (left + j), depth, depth // LANES, False,
        )  # fmt: skip
    if missing > 0:
        _pad_bags(rule, scratch, targets)

    noise_update, noise_row, noise_curvature = update + 4 * depth * noise_at, row[noise_at:], curvature[noise_at:]
    if rule.hierarchical:
        loss, predictions = cbow_tree_pairs(
            tokens, start, targets, rule, lr, scratch,
            updates, block * row.shape[0], noise_at, noise_row, noise_curvature,
        )  # fmt: skip
    else:
        loss, predictions = true_pairs(tokens, start, targets, rule, lr, scratch, row, curvature)
        draw_noise(tokens, start, targets, rule, draws, scratch, scratch.pairs)
        predictions -= exclude_targets(tokens, start, targets, rule, scratch)
        transpose_hidden(scratch, left, targets)
        loss += noise_residuals(rule, lr, scratch, targets, noise_curvature)
        noise_updates(rule, scratch, targets, noise_update, noise_row)
        hidden_gradients(rule, scratch, targets, update)
    if not rule.divided:
        _fill_bags(rule, scratch, targets, True)
    for i in range(0, targets + 2 * window, BAND):
        band_product(
            scratch.bag_CL + 4 * (columns * i + i), columns, 1, scratch.hidden_gradient_LD + 4 * depth * i, depth,
            BAND + 2 * window, update + 4 * depth * (context_at + i), depth, depth // LANES, False,
        )  # fmt: skip
    vectors = (BAND + 2 * window + LANES - 1) // LANES
    for i in range(targets + 2 * window):
        total = splat(np.float32(0))
        for v in range(vectors):
            c = i // BAND * BAND + LANES * v
            total = fma(load(scratch.bag_CL, columns * i + c), load(scratch.curvature, c), total)
        curvature[context_at + i] = lane_sum(total)
    if missing > 0:
        _pad_bag_updates(rule, scratch, targets, update, row, curvature, pad_at)
    return loss, predictions


@inner
def hidden_gradients(rule, scratch, targets, update):
    """Residuals -> hidden_gradient_LD, and the updates of the targets' output rows."""
    left, depth, columns = 2 * rule.window, scratch.depth, scratch.columns
    for j in range(0, targets, BAND):
        band_product(
            scratch.noise_NL + 4 * (left + j), 1, columns, scratch.noise_ND, depth, rule.block_negatives,
            scratch.hidden_gradient_LD + 4 * depth * (left + j), depth, depth // LANES, False,
        )  # fmt: skip
    for j in range(targets):
        gradient, place = peek(scratch.gradient, left + j), update + 4 * depth * j
        hidden, target = scratch.hidden_LD + 4 * depth * (left + j), scratch.target_BD + 4 * depth * j
        axpy(gradient, target, scratch.hidden_gradient_LD + 4 * depth * (left + j), depth)
        scale_row(gradient, hidden, place, depth)


@inner
def true_pairs(tokens, start, targets, rule, lr, scratch, row, curvature):
    """Score every hidden vector against its word. `pairs` becomes 1 for targets that have a bag, else 0."""
    left, depth = 2 * rule.window, scratch.depth
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    fill(0, scratch.gradient, scratch.columns)
    fill(0, scratch.target_norm, scratch.columns)
    for c in range(0, scratch.columns, LANES):
        pairs = load(scratch.pairs, c)
        store(where_at_least(pairs, one, one, zero), scratch.pairs, c)
    for j in range(targets):
        c = left + j
        if peek(scratch.pairs, c) > 0:
            row[j] = rule.vocab_size + 1 + tokens.word_id[start + j]
            target, hidden = scratch.target_BD + 4 * depth * j, scratch.hidden_LD + 4 * depth * c
            poke(copy_row(rule.table + 4 * depth * np.int64(row[j]), target, depth), scratch.target_norm, c)
            poke(dot(hidden, hidden, depth), scratch.norm, c)
            poke(dot(hidden, target, depth), scratch.gradient, c)
    loss, predictions = zero, zero
    for c in range(0, scratch.columns, LANES):
        weight = load(scratch.pairs, c)
        residual, bend, part = wrong(zero - load(scratch.gradient, c), weight, splat(lr))
        store(residual, scratch.gradient, c)
        store(bend, scratch.bend, c)
        store(bend * load(scratch.target_norm, c), scratch.curvature, c)
        loss = loss + part
        predictions = predictions + weight
    for j in range(targets):
        curvature[j] = peek(scratch.bend, left + j) * peek(scratch.norm, left + j)
    return np.float64(lane_sum(loss)), (rule.negatives + 1.0) * lane_sum(predictions)


@inner
def exclude_targets(tokens, start, targets, rule, scratch):
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


@inner
def _count_bags(tokens, start, targets, rule, scratch):
    """Rows in the bags of all columns, padding rows included -> bag_size."""
    window, one = rule.window, splat(np.float32(1))
    for c in range(0, scratch.columns, LANES):
        size = load(scratch.last, c) - load(scratch.first, c) + load(scratch.missing, c)
        store(where_at_least(size, one, size, one), scratch.bag_size, c)
    if rule.bag_words == 0:
        return
    for c in range(2 * window, 2 * window + targets):
        size = peek(scratch.missing, c)
        for i in range(np.int64(peek(scratch.first, c)), np.int64(peek(scratch.last, c)) + 1):
            if i != c - window:
                size += bag_rows(tokens.word_id[start - window + i], rule)
        poke(max(size, np.float32(1)), scratch.bag_size, c)


@inner
def _fill_bags(rule, scratch, targets, undivided):
    """bag_CL[i, c] = 1 / size of the bag (1 if undivided) for context rows in the window of target c, else 0."""
    window, columns = rule.window, scratch.columns
    weight, one = scratch.gradient, splat(np.float32(1))
    vectors = (BAND + 2 * window + LANES - 1) // LANES
    for c in range(0, columns, LANES):
        store(one if undivided else one / load(scratch.bag_size, c), weight, c)
    for i in range((targets + 2 * window + BAND - 1) // BAND * BAND):
        place = splat(np.float32(i))
        for v in range(vectors):
            c = i // BAND * BAND + LANES * v
            inside = inside_window(scratch, place, c)
            store(inside * load(weight, c), scratch.bag_CL, columns * i + c)


@inner
def _pad_bags(rule, scratch, targets):
    """window_edges: pad. The padding row enters the bag once for each missing word."""
    depth = scratch.depth
    pad = rule.table + 4 * depth * rule.vocab_size
    for c in range(2 * rule.window, 2 * rule.window + targets):
        missing = peek(scratch.missing, c)
        if missing > 0:
            axpy(missing / peek(scratch.bag_size, c), pad, scratch.hidden_LD + 4 * depth * c, depth)


@inner
def _pad_bag_updates(rule, scratch, targets, update, row, curvature, pad_at):
    """Update of the padding row from every bag that holds it."""
    depth, place = scratch.depth, update + 4 * scratch.depth * pad_at
    fill(0, place, depth)
    row[pad_at], curvature[pad_at] = rule.vocab_size, 0
    for c in range(2 * rule.window, 2 * rule.window + targets):
        missing = peek(scratch.missing, c)
        if missing > 0:
            share = missing / peek(scratch.bag_size, c) if rule.divided else missing
            axpy(share, scratch.hidden_gradient_LD + 4 * depth * c, place, depth)
            curvature[pad_at] += share * peek(scratch.curvature, c)
