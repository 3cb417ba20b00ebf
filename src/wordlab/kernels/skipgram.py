"""Skip-gram, one block: every word's input row against the output rows of its context words and of the noise words."""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner
from wordlab.kernels.blocks import (
    axpy,
    band_product,
    copy_row,
    copy_word,
    divide_by_bags,
    dot,
    draw_noise,
    draw_windows,
    fill,
    inside_window,
    noise_residuals,
    noise_updates,
    one_residual,
    transpose_hidden,
    wrong,
)
from wordlab.kernels.layout import BAND
from wordlab.kernels.simd import LANES, fma, lane_sum, load, peek, poke, splat, store


@inner
def skipgram_block(tokens, start, stop, rule, draws, lr, scratch, update, row, curvature):
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

    pairs, missing = draw_windows(tokens, start, stop, rule, draws, scratch)
    for c in range(0, columns, LANES):
        store(load(scratch.pairs, c) + load(scratch.missing, c), scratch.pairs, c)
    fill(0, scratch.curvature, columns)
    draw_noise(tokens, start, targets, rule, draws, scratch, scratch.pairs)
    for j in range(targets):
        c = left + j
        row[j] = word_id[start + j]
        poke(copy_word(row[j], scratch.hidden_LD + 4 * depth * c, rule, depth), scratch.norm, c)
    for i in range(targets + 2 * window):
        t = start - window + i
        context_id[i] = -1
        if 0 <= t < word_id.shape[0]:
            context_id[i] = word_id[t]
            row[context_at + i] = outputs + word_id[t]
            source = rule.table + 4 * depth * np.int64(row[context_at + i])
            poke(copy_row(source, scratch.context_CD + 4 * depth * i, depth), scratch.context_norm, i)
    excluded = _exclude_coincidences(rule, scratch, targets)
    transpose_hidden(scratch, left, targets)

    loss = np.float64(noise_residuals(rule, lr, scratch, targets, curvature[noise_at:]))
    loss += _context_residuals(rule, lr, scratch, targets, curvature[context_at:])

    for j in range(0, targets, BAND):
        band_product(
            scratch.context_CL + 4 * (columns * j + left + j), 1, columns, scratch.context_CD + 4 * depth * j, depth,
            BAND + 2 * window, update + 4 * depth * j, depth, depth // LANES, False,
        )  # fmt: skip
        band_product(
            scratch.noise_NL + 4 * (left + j), 1, columns, scratch.noise_ND, depth,
            rule.block_negatives, update + 4 * depth * j, depth, depth // LANES, True,
        )  # fmt: skip
    for i in range(0, targets + 2 * window, BAND):
        band_product(
            scratch.context_CL + 4 * (columns * i + i), columns, 1, scratch.hidden_LD + 4 * depth * i, depth,
            BAND + 2 * window, update + 4 * depth * (context_at + i), depth, depth // LANES, False,
        )  # fmt: skip
    noise_updates(rule, scratch, targets, update + 4 * depth * noise_at, row[noise_at:])
    for j in range(targets):
        curvature[j] = peek(scratch.curvature, left + j)
    if missing > 0:
        loss += _pad_skipgram(rule, lr, scratch, targets, update, row, curvature, pad_at)
    if rule.bag_words > 0 and rule.divided:
        divide_by_bags(tokens, start, targets, rule, update, curvature, depth)
    return loss, (rule.negatives + 1.0) * (pairs + missing) - excluded


@inner
def _context_residuals(rule, lr, scratch, targets, curvature):
    """Scores of the context words -> residuals in place, zero outside windows; curvatures; returns the loss."""
    window, depth, columns = rule.window, scratch.depth, scratch.columns
    vectors = (BAND + 2 * window + LANES - 1) // LANES
    rows = targets + 2 * window
    for tile in range(0, rows, BAND):
        band_product(
            scratch.context_CD + 4 * depth * tile, depth, 1, scratch.hidden_DL + 4 * tile, columns, rule.dim,
            scratch.context_CL + 4 * (columns * tile + tile), columns, vectors, False,
        )  # fmt: skip
    zero, rate = splat(np.float32(0)), splat(lr)
    loss = zero
    for i in range((rows + BAND - 1) // BAND * BAND):
        place, squared_length, total = splat(np.float32(i)), splat(peek(scratch.context_norm, i)), zero
        for v in range(vectors):
            c = i // BAND * BAND + LANES * v
            here = columns * i + c
            inside = inside_window(scratch, place, c)
            residual, bend, part = wrong(zero - load(scratch.context_CL, here), inside, rate)
            store(residual, scratch.context_CL, here)
            loss = loss + part
            total = fma(bend, load(scratch.norm, c), total)
            store(fma(bend, squared_length, load(scratch.curvature, c)), scratch.curvature, c)
        curvature[i] = lane_sum(total)
    return lane_sum(loss)


@inner
def _exclude_coincidences(rule, scratch, targets):
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
def _pad_skipgram(rule, lr, scratch, targets, update, row, curvature, pad_at):
    """window_edges: pad. Targets with a ragged window predict the padding row once for each missing word."""
    left, depth, pad_row = 2 * rule.window, scratch.depth, 2 * rule.vocab_size + 1
    pad, place = rule.table + 4 * depth * pad_row, update + 4 * depth * pad_at
    squared_length, loss = dot(pad, pad, depth), 0.0
    fill(0, place, depth)
    row[pad_at], curvature[pad_at] = pad_row, 0
    for j in range(targets):
        missing = peek(scratch.missing, left + j)
        if missing > 0:
            hidden = scratch.hidden_LD + 4 * depth * (left + j)
            residual, bend, part = one_residual(dot(hidden, pad, depth), missing, lr)
            axpy(residual, pad, update + 4 * depth * j, depth)
            axpy(residual, hidden, place, depth)
            curvature[j] += bend * squared_length
            curvature[pad_at] += bend * peek(scratch.norm, left + j)
            loss += part
    return loss
