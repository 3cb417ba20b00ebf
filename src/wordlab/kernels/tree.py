"""Hierarchical softmax, one block of skip-gram: hidden vectors against the inner nodes on the paths of context words.

A block's nodes are gathered once, however many paths they lie on, and take the place of the noise words: `noise_id`
holds nodes, `noise_ND` their rows. At a node of its path a word wants branch 0 or 1: a true pair or a false one, with
the formulas of negative sampling. Only rows of nodes on such a path move.
"""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner, njit
from wordlab.kernels.blocks import (
    band_product,
    copy_row,
    copy_word,
    decided,
    dense_product,
    divide_by_bags,
    draw_windows,
    fill,
    inside_window,
    prefetch_row,
    transpose_hidden,
)
from wordlab.kernels.layout import BAND, DENSE, TREE_TILE
from wordlab.kernels.simd import LANES, fma, lane_sum, load, peek, poke, splat, store


@inner
def skipgram_tree_block(tokens, start, stop, rule, draws, lr, scratch, update, row, curvature):
    """Updates of one block of skip-gram: each word's input row against the paths of its context words.

    Arguments and result as for `skipgram_block`; rows of the part: the targets' input rows, nothing, the nodes.
    """
    depth, columns = scratch.depth, scratch.columns
    targets, left = stop - start, 2 * rule.window
    nodes_at = (rule.block_tokens + BAND - 1) // BAND * BAND + scratch.context_rows
    row[:] = -1

    draw_windows(tokens, start, stop, rule, draws, scratch)
    fill(0, scratch.curvature, columns)
    for j in range(targets):
        row[j] = tokens.word_id[start + j]
        poke(copy_word(row[j], scratch.hidden_LD + 4 * depth * (left + j), rule, depth), scratch.norm, left + j)
    transpose_hidden(scratch, left, targets)
    wide, count = _place_nodes(_meet_nodes(tokens, start, targets, rule, scratch), rule, scratch)
    decisions = _want_paths(tokens, start, targets, rule, scratch)

    loss = np.float64(_decisions(rule, lr, scratch, count, curvature[nodes_at:]))
    for j in range(0, targets, BAND):
        _step_of_targets(left + j, 0, wide, False, scratch, update + 4 * depth * j)
        _step_of_targets(left + j, wide, count, True, scratch, update + 4 * depth * j)
    for n in range(0, count, DENSE):
        low, high = scratch.tile_low[n // TREE_TILE], scratch.tile_high[n // TREE_TILE]
        dense_product(
            scratch.noise_NL + 4 * (columns * n + low), columns, 1, scratch.hidden_LD + 4 * depth * low, depth,
            high + 1 - low, update + 4 * depth * (nodes_at + n), depth, depth // LANES, False,
        )  # fmt: skip
    for n in range(count):
        if scratch.noise_id[n] >= 0:
            row[nodes_at + n] = rule.vocab_size + 1 + scratch.noise_id[n]
    for j in range(targets):
        curvature[j] = peek(scratch.curvature, left + j)
    if rule.bag_words > 0 and rule.divided:
        divide_by_bags(tokens, start, targets, rule, update, curvature, depth)
    forget_nodes(scratch, count)
    return loss, np.float64(decisions)


@inner
def _meet_nodes(tokens, start, targets, rule, scratch):
    """Nodes on the paths of all context words -> met_node, with the columns they are wanted in; returns their number.

    The columns of each context row go to want_low and want_high: none where the first is above the last.
    """
    left, window = 2 * rule.window, rule.window
    met = np.int64(0)
    for i in range(targets + left):
        scratch.want_low[i], scratch.want_high[i] = 1, 0
        t = start - window + i
        if not 0 <= t < tokens.word_id.shape[0]:
            continue
        word, place = tokens.word_id[t], np.float32(i)
        low, high = max(i, left), min(i + left, left + targets - 1)
        while low <= high and not _is_wanted(low, i, place, window, scratch):
            low += 1
        while high >= low and not _is_wanted(high, i, place, window, scratch):
            high -= 1
        if low > high:
            continue
        scratch.want_low[i], scratch.want_high[i] = low, high
        for k in range(rule.path_start[word], rule.path_start[word + 1]):
            node = rule.path_step[k] >> 1
            n = np.int64(scratch.slot[node])
            if n < 0:
                prefetch_row(rule.table, rule.vocab_size + 1 + node, scratch.depth)
                scratch.slot[node], scratch.met_node[met] = met, node
                scratch.met_low[met], scratch.met_high[met] = low, high
                met += 1
            else:
                scratch.met_low[n] = min(scratch.met_low[n], low)
                scratch.met_high[n] = max(scratch.met_high[n], high)
    return met


@njit(inline="always")
def _is_wanted(c, i, place, window, scratch):
    """Whether the target of column c has context row i (also given as float32) in its window."""
    return peek(scratch.first, c) <= place and place <= peek(scratch.last, c) and i != c - window


@inner
def _place_nodes(met, rule, scratch):
    """Put every node's row in its place: the nodes of a tile shall be wanted in about the same columns.

    First come those wanted across LANES columns or more, such as the top of the tree, then the others, each kind in
    the order of the middle of their columns; both end with a whole tile, filled up with empty rows.
    Returns the number of places of the first kind, and of both.
    """
    columns, depth, begin = scratch.columns, scratch.depth, scratch.begin
    begin[:] = 0
    for n in range(met):
        begin[_sort_key(n, scratch)] += 1
    wide, count = np.int64(0), np.int64(0)
    for key in range(4 * columns):
        if key == 2 * columns:
            wide = count = (count + TREE_TILE - 1) // TREE_TILE * TREE_TILE
        begin[key], count = count, count + begin[key]
    count = (count + TREE_TILE - 1) // TREE_TILE * TREE_TILE
    for place in range(count):
        scratch.noise_id[place] = -1
        for weights in (scratch.true_weight_NL, scratch.noise_weight_NL, scratch.noise_NL):
            fill(0, weights + 4 * columns * place, columns)
    for tile in range(count // TREE_TILE):
        scratch.tile_low[tile], scratch.tile_high[tile] = columns, 0
    for n in range(met):
        key, node = _sort_key(n, scratch), scratch.met_node[n]
        place = np.int64(begin[key])
        tile = place // TREE_TILE
        begin[key] += 1
        scratch.slot[node], scratch.noise_id[place] = place, node
        scratch.tile_low[tile] = min(scratch.tile_low[tile], scratch.met_low[n])
        scratch.tile_high[tile] = max(scratch.tile_high[tile], scratch.met_high[n])
        norm = copy_row(node_row(node, rule, depth), scratch.noise_ND + 4 * depth * place, depth)
        poke(norm, scratch.noise_norm, place)
    return wide, count


@njit(inline="always")
def _sort_key(n, scratch):
    low, high = np.int64(scratch.met_low[n]), np.int64(scratch.met_high[n])
    return low + high if high - low >= LANES else 2 * scratch.columns + low + high


@njit(inline="always")
def node_row(node, rule, depth):
    """Address of a node's row in the table."""
    return rule.table + 4 * depth * (rule.vocab_size + 1 + np.int64(node))


@inner
def _want_paths(tokens, start, targets, rule, scratch):
    """Every target with a context word in its window shall decide as that word's path does; returns how many decide."""
    decisions = np.int64(0)
    for i in range(targets + 2 * rule.window):
        if scratch.want_low[i] > scratch.want_high[i]:
            continue
        word = tokens.word_id[start - rule.window + i]
        begin, end = rule.path_start[word], rule.path_start[word + 1]
        for c in range(scratch.want_low[i], scratch.want_high[i] + 1, LANES):
            inside = inside_window(scratch, splat(np.float32(i)), c)
            for k in range(begin, end):
                step = rule.path_step[k]
                weights = scratch.true_weight_NL if step & 1 == 0 else scratch.noise_weight_NL
                here = scratch.columns * np.int64(scratch.slot[step >> 1]) + c
                store(load(weights, here) + inside, weights, here)
            decisions += np.int64(lane_sum(inside)) * (end - begin)
    return decisions


@inner
def forget_nodes(scratch, count):
    for n in range(count):
        if scratch.noise_id[n] >= 0:
            scratch.slot[scratch.noise_id[n]] = -1


@inner
def _decisions(rule, lr, scratch, count, curvature):
    """Scores of the nodes -> residuals in place; curvature of their rows and of hidden; returns the loss."""
    columns, depth = scratch.columns, scratch.depth
    zero, rate = splat(np.float32(0)), splat(lr)
    loss = zero
    for n in range(count):
        low, high = scratch.tile_low[n // TREE_TILE], scratch.tile_high[n // TREE_TILE]
        vectors = (high - low) // LANES + 1
        if n % DENSE == 0:
            dense_product(
                scratch.noise_ND + 4 * depth * n, depth, 1, scratch.hidden_DL + 4 * low, columns, rule.dim,
                scratch.noise_NL + 4 * (columns * n + low), columns, vectors, False,
            )  # fmt: skip
        squared_length, total = splat(peek(scratch.noise_norm, n)), zero
        for c in range(low, low + LANES * vectors, LANES):
            here = columns * n + c
            residual, bend, part = decided(
                load(scratch.noise_NL, here),
                load(scratch.true_weight_NL, here),
                load(scratch.noise_weight_NL, here),
                rate,
            )
            store(residual, scratch.noise_NL, here)
            loss = loss + part
            total = fma(bend, load(scratch.norm, c), total)
            store(fma(bend, squared_length, load(scratch.curvature, c)), scratch.curvature, c)
        curvature[n] = lane_sum(total)
    return lane_sum(loss)


@inner
def _step_of_targets(c, first, last, add, scratch, step):
    """Residuals of the nodes in places first to last, but for tiles that want none of BAND columns -> targets' steps.

    c: the first of the columns. step: where their rows begin. add: to what is there.
    """
    columns, depth = scratch.columns, scratch.depth
    while first < last and scratch.tile_high[first // TREE_TILE] < c:
        first += TREE_TILE
    while last > first and scratch.tile_low[last // TREE_TILE - 1] > c + BAND - 1:
        last -= TREE_TILE
    band_product(
        scratch.noise_NL + 4 * (columns * first + c), 1, columns, scratch.noise_ND + 4 * depth * first, depth,
        last - first, step, depth, depth // LANES, add,
    )  # fmt: skip
