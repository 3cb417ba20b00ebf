"""Hierarchical softmax, one block: hidden vectors against the inner nodes on the paths of the words to be predicted.

A block's nodes are gathered once, however many paths they lie on, and take the place of the noise words: `noise_id`
holds nodes, `noise_ND` their rows. At a node of its path a word wants branch 0 or 1: a true pair or a false one, with
the formulas of negative sampling. Only rows of nodes on such a path move.
"""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner, njit
from wordlab.kernels.blocks import (
    axpy,
    axpy_two,
    band_product,
    copy_row,
    copy_word,
    decided,
    dense_product,
    divide_by_bags,
    dot,
    dot_two,
    draw_windows,
    fill,
    inside_window,
    scale_row,
    transpose_hidden,
    wrong,
)
from wordlab.kernels.layout import BAND, DENSE
from wordlab.kernels.simd import LANES, fma, lane_sum, load, peek, poke, splat, store

TOP_LEVELS, MOST_LEVELS = 4, 1 << 30
"""Nodes of the top levels lie on many paths, and are kept apart from those that few targets of a block meet."""


@inner
def skipgram_tree_block(tokens, start, stop, rule, draws, lr, scratch, update, row, curvature):
    """Updates of one block of skip-gram: each word's input row against the paths of its context words.

    Arguments and result as for `skipgram_block`; rows of the part: the targets' input rows, nothing, the nodes.
    """
    window, depth, columns = rule.window, scratch.depth, scratch.columns
    targets, left = stop - start, 2 * window
    nodes_at = (rule.block_tokens + BAND - 1) // BAND * BAND + scratch.context_rows
    row[:] = -1

    draw_windows(tokens, start, stop, rule, draws, scratch)
    fill(0, scratch.curvature, columns)
    for j in range(targets):
        row[j] = tokens.word_id[start + j]
        poke(copy_word(row[j], scratch.hidden_LD + 4 * depth * (left + j), rule, depth), scratch.norm, left + j)
    transpose_hidden(scratch, left, targets)
    near, wide = _want_paths(tokens, start, targets, 0, TOP_LEVELS, np.int64(0), rule, scratch)
    far, count = _want_paths(tokens, start, targets, TOP_LEVELS, MOST_LEVELS, wide, rule, scratch)
    _span_tiles(count, scratch)

    loss = np.float64(_decisions(rule, lr, scratch, count, curvature[nodes_at:]))
    for j in range(0, targets, BAND):
        first = wide
        while first < count and scratch.node_high[first] < left + j:
            first += DENSE
        last = count
        while last > first and scratch.node_low[last - DENSE] > left + j + BAND - 1:
            last -= DENSE
        gradient = scratch.noise_NL + 4 * (left + j)
        band_product(
            gradient, 1, columns, scratch.noise_ND, depth, wide, update + 4 * depth * j, depth, depth // LANES, False
        )
        band_product(
            gradient + 4 * columns * first, 1, columns, scratch.noise_ND + 4 * depth * first, depth,
            last - first, update + 4 * depth * j, depth, depth // LANES, True,
        )  # fmt: skip
    for n in range(0, count, DENSE):
        low, high = scratch.node_low[n], scratch.node_high[n]
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
    _forget_nodes(scratch, count)
    return loss, np.float64(near + far)


@inner
def _want_paths(tokens, start, targets, top, bottom, count, rule, scratch):
    """Gather the nodes of levels top to bottom on the context words' paths, with what is wanted of them.

    Every target with a context row in its window shall decide as that word's path does. Nodes come in the order of the
    text, so that neighbours have their targets in neighbouring columns; the last tile is filled up with empty rows.
    Returns the number of decisions, and of nodes gathered so far.
    """
    left, window, columns = 2 * rule.window, rule.window, scratch.columns
    decisions = np.int64(0)
    for i in range(targets + left):
        t = start - window + i
        if not 0 <= t < tokens.word_id.shape[0]:
            continue
        word, place = tokens.word_id[t], np.float32(i)
        begin, end = rule.path_start[word], rule.path_start[word + 1]
        begin, end = begin + top, min(end, begin + bottom)
        if begin >= end:
            continue
        low, high = max(i, left), min(i + left, left + targets - 1)
        while low <= high and not _is_wanted(low, i, place, window, scratch):
            low += 1
        while high >= low and not _is_wanted(high, i, place, window, scratch):
            high -= 1
        if low > high:
            continue
        wanted = splat(np.float32(0))
        for k in range(begin, end):
            slot, count = _gather_node(rule.path_node[k], count, rule, scratch)
            scratch.node_low[slot] = min(scratch.node_low[slot], low)
            scratch.node_high[slot] = max(scratch.node_high[slot], high)
            weights = scratch.true_weight_NL if rule.path_code[k] == 0 else scratch.noise_weight_NL
            weights += 4 * columns * slot
            for c in range(low, high + 1, LANES):
                inside = inside_window(scratch, splat(place), c)
                store(load(weights, c) + inside, weights, c)
                wanted = wanted + inside
        decisions += np.int64(lane_sum(wanted))
    while count % DENSE > 0:
        scratch.noise_id[count] = -1
        _clear_node(count, scratch)
        count += 1
    return decisions, count


@njit(inline="always")
def _is_wanted(c, i, place, window, scratch):
    """Whether the target of column c has context row i (also given as float32) in its window."""
    return peek(scratch.first, c) <= place and place <= peek(scratch.last, c) and i != c - window


@inner
def _span_tiles(count, scratch):
    """Columns from node_low to node_high of a tile's first node: those that any node of the tile is wanted in."""
    for tile in range(0, count, DENSE):
        for n in range(tile + 1, tile + DENSE):
            scratch.node_low[tile] = min(scratch.node_low[tile], scratch.node_low[n])
            scratch.node_high[tile] = max(scratch.node_high[tile], scratch.node_high[n])


@njit(inline="always")
def _gather_node(node, count, rule, scratch):
    """The node's place among the block's nodes, where its row is put if need be; and the number of nodes after that."""
    slot = np.int64(scratch.slot[node])
    if slot < 0:
        slot, depth = count, scratch.depth
        count += 1
        scratch.slot[node], scratch.noise_id[slot] = slot, node
        norm = copy_row(_node_row(node, rule, depth), scratch.noise_ND + 4 * depth * slot, depth)
        poke(norm, scratch.noise_norm, slot)
        _clear_node(slot, scratch)
    return slot, count


@njit(inline="always")
def _node_row(node, rule, depth):
    """Address of a node's row in the table."""
    return rule.table + 4 * depth * (rule.vocab_size + 1 + np.int64(node))


@njit(inline="always")
def _clear_node(slot, scratch):
    """Nobody wants anything of a node yet."""
    scratch.node_low[slot], scratch.node_high[slot] = scratch.columns, 0
    here = 4 * scratch.columns * slot
    for weights in (scratch.true_weight_NL, scratch.noise_weight_NL, scratch.noise_NL):
        fill(0, weights + here, scratch.columns)


@inner
def _forget_nodes(scratch, count):
    for n in range(count):
        if scratch.noise_id[n] >= 0:
            scratch.slot[scratch.noise_id[n]] = -1


@inner
def _decisions(rule, lr, scratch, count, curvature):
    """Scores of the nodes -> residuals in place; curvature of their rows and of hidden; returns the loss."""
    left, columns, depth = 2 * rule.window, scratch.columns, scratch.depth
    zero, rate = splat(np.float32(0)), splat(lr)
    loss = zero
    for tile in range(0, count, DENSE):
        low = scratch.node_low[tile]
        vectors = (scratch.node_high[tile] - low) // LANES + 1
        dense_product(
            scratch.noise_ND + 4 * depth * tile, depth, 1, scratch.hidden_DL + 4 * low, columns, rule.dim,
            scratch.noise_NL + 4 * (columns * tile + low), columns, vectors, False,
        )  # fmt: skip
        first = left + (low - left) // LANES * LANES  # sums over lanes must not depend on the tile's span
        for n in range(tile, tile + DENSE):
            squared_length, total = splat(peek(scratch.noise_norm, n)), zero
            for c in range(first, low + LANES * vectors, LANES):
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
def cbow_tree_pairs(tokens, start, targets, rule, lr, scratch, update, row, curvature):
    """CBOW: every bag against the path of its word. Fills hidden_gradient_LD and scratch.curvature.

    Few bags of a block meet the same nodes, so these are read where they are. First all scores are taken, then all
    residuals, then all steps: path by path, each would wait for the one before.
    update, row, curvature: where the nodes' part begins. Returns (sum of losses, decisions).
    """
    count, decisions = _path_scores(tokens, start, targets, rule, scratch, row, curvature)
    loss = _path_residuals(lr, scratch, decisions)
    _path_steps(tokens, start, targets, rule, scratch, update, curvature)
    _forget_nodes(scratch, count)
    return loss, np.float64(decisions)


@inner
def _path_scores(tokens, start, targets, rule, scratch, row, curvature):
    """Scores of all decisions -> path_score, negated where 0 is wanted, and their nodes -> path_slot.

    Returns the number of nodes, and of decisions.
    """
    left, depth = 2 * rule.window, scratch.depth
    count, decisions = np.int64(0), np.int64(0)
    for j in range(targets):
        if peek(scratch.pairs, left + j) == 0:
            continue
        hidden, word = scratch.hidden_LD + 4 * depth * (left + j), tokens.word_id[start + j]
        begin, end = rule.path_start[word], rule.path_start[word + 1]
        for k in range(begin, end):
            node = rule.path_node[k]
            if scratch.slot[node] < 0:
                source = _node_row(node, rule, depth)
                scratch.slot[node], scratch.noise_id[count] = count, node
                row[count], curvature[count] = rule.vocab_size + 1 + node, 0
                poke(dot(source, source, depth), scratch.noise_norm, count)
                count += 1
            scratch.path_slot[decisions + k - begin] = scratch.slot[node]
        for k in range(begin, end, 2):
            other = min(k + 1, end - 1)  # the last of an odd number is scored twice
            first, second = dot_two(
                hidden, _node_row(rule.path_node[k], rule, depth), _node_row(rule.path_node[other], rule, depth), depth
            )
            poke(_unwanted(first, rule.path_code[k]), scratch.path_score, decisions + k - begin)
            poke(_unwanted(second, rule.path_code[other]), scratch.path_score, decisions + other - begin)
        decisions += end - begin
    return count, decisions


@njit(inline="always")
def _unwanted(number, code):
    """A score as that of a noise word, or a residual the other way round: negated where branch 0 is wanted."""
    return -number if code == 0 else number


@inner
def _path_steps(tokens, start, targets, rule, scratch, update, curvature):
    """Residuals -> hidden_gradient_LD, the nodes' updates, and both curvatures."""
    left, depth = 2 * rule.window, scratch.depth
    place, known = np.int64(0), np.int64(0)
    fill(0, scratch.curvature, scratch.columns)
    for j in range(targets):
        c = left + j
        hidden, gradient = scratch.hidden_LD + 4 * depth * c, scratch.hidden_gradient_LD + 4 * depth * c
        fill(0, gradient, depth)
        if peek(scratch.pairs, c) == 0:
            continue
        word, squared_length, bent = tokens.word_id[start + j], dot(hidden, hidden, depth), np.float32(0)
        begin, end = rule.path_start[word], rule.path_start[word + 1]
        for k in range(begin, end, 2):
            nodes = min(end - k, 2)
            for n in range(nodes):
                slot, bend = np.int64(scratch.path_slot[place + n]), peek(scratch.path_bend, place + n)
                residual = -_unwanted(peek(scratch.path_score, place + n), rule.path_code[k + n])
                poke(residual, scratch.path_score, place + n)
                if slot == known:
                    known += 1
                    scale_row(residual, hidden, update + 4 * depth * slot, depth)
                else:
                    axpy(residual, hidden, update + 4 * depth * slot, depth)
                curvature[slot] += bend * squared_length
                bent += bend * peek(scratch.noise_norm, slot)
            source = _node_row(rule.path_node[k], rule, depth)
            if nodes == 2:
                axpy_two(
                    peek(scratch.path_score, place), source,
                    peek(scratch.path_score, place + 1), _node_row(rule.path_node[k + 1], rule, depth), gradient, depth,
                )  # fmt: skip
            else:
                axpy(peek(scratch.path_score, place), source, gradient, depth)
            place += nodes
        poke(bent, scratch.curvature, c)


@inner
def _path_residuals(lr, scratch, decisions):
    """How wrong each score is -> in place and path_bend; returns the loss."""
    fill(1, scratch.path_bend, (decisions + LANES - 1) // LANES * LANES)
    for k in range(decisions, (decisions + LANES - 1) // LANES * LANES):
        poke(np.float32(0), scratch.path_bend, k)
        poke(np.float32(0), scratch.path_score, k)
    loss = splat(np.float32(0))
    for k in range(0, decisions, LANES):
        residual, bend, part = wrong(load(scratch.path_score, k), load(scratch.path_bend, k), splat(lr))
        store(residual, scratch.path_score, k)
        store(bend, scratch.path_bend, k)
        loss = loss + part
    return np.float64(lane_sum(loss))
