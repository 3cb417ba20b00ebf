"""Hierarchical softmax, one block of CBOW: bags against the paths of their words.

Unlike contexts of skip-gram (tree.py), few bags of a block meet the same nodes, so rows are read where they are.
"""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner, njit
from wordlab.kernels.blocks import copy_row, dot, fill, wrong
from wordlab.kernels.simd import LANES, fma, lane_sum, load, peek, poke, splat, store
from wordlab.kernels.tree import forget_nodes, node_row


@inner
def cbow_tree_pairs(tokens, start, targets, rule, lr, scratch, updates, part, nodes_at, row, curvature):
    """CBOW: every bag against the path of its word. Fills hidden_gradient_LD and scratch.curvature.

    First all scores are taken, then all residuals, then all steps: path by path, each would wait for the one before.
    part: place of the block's part in the whole update buffer; nodes_at: place of the nodes in it, where row and
    curvature begin. Returns (sum of losses, decisions).
    """
    count, decisions = _path_scores(tokens, start, targets, rule, scratch, row, curvature)
    loss = _path_residuals(lr, scratch, decisions)
    _begin_nodes(count, scratch)
    _path_steps(tokens, start, targets, rule, scratch, curvature)
    _node_steps(targets, count, rule, scratch, updates, part, part + nodes_at)
    forget_nodes(scratch, count)
    return loss, np.float64(decisions)


@inner
def _path_scores(tokens, start, targets, rule, scratch, row, curvature):
    """Scores of all decisions -> path_score, negated where 0 is wanted, and their nodes -> path_slot.

    Returns the number of nodes, and of decisions; how many decisions each node has -> node_place.
    """
    left, depth = 2 * rule.window, scratch.depth
    count, decisions = np.int64(0), np.int64(0)
    for j in range(targets):
        if peek(scratch.pairs, left + j) == 0:
            continue
        hidden, word = scratch.hidden_LD + 4 * depth * (left + j), tokens.word_id[start + j]
        begin, end = rule.path_start[word], rule.path_start[word + 1]
        for k in range(begin, end):
            node = rule.path_step[k] >> 1
            if scratch.slot[node] < 0:
                source = node_row(node, rule, depth)
                scratch.slot[node], scratch.noise_id[count] = count, node
                row[count], curvature[count] = rule.vocab_size + 1 + node, 0
                poke(dot(source, source, depth), scratch.noise_norm, count)
                scratch.node_place[count] = 0
                count += 1
            slot = np.int64(scratch.slot[node])
            scratch.path_slot[decisions + k - begin] = slot
            scratch.node_place[slot] += 1
        for k in range(begin, end, 2):
            other = min(k + 1, end - 1)  # the last of an odd number is scored twice
            step, other_step = rule.path_step[k], rule.path_step[other]
            first, second = dot_two(
                hidden, node_row(step >> 1, rule, depth), node_row(other_step >> 1, rule, depth), depth
            )
            poke(_unwanted(first, step), scratch.path_score, decisions + k - begin)
            poke(_unwanted(second, other_step), scratch.path_score, decisions + other - begin)
        decisions += end - begin
    return count, decisions


@njit(inline="always")
def _unwanted(number, step):
    """A score as that of a noise word, or a residual the other way round: negated where branch 0 is wanted."""
    return -number if step & 1 == 0 else number


@inner
def _path_steps(tokens, start, targets, rule, scratch, curvature):
    """Residuals -> hidden_gradient_LD and both curvatures; the decisions are put in the order of the nodes.

    A bag's gradient is a sum over the nodes of its path, a node's update one over the bags that meet it: each is summed
    in registers and written once.
    """
    left, depth = 2 * rule.window, scratch.depth
    nodes = rule.table + 4 * depth * (rule.vocab_size + 1)
    fill(0, scratch.curvature, scratch.columns)
    place = np.int64(0)
    for j in range(targets):
        c = left + j
        hidden, gradient = scratch.hidden_LD + 4 * depth * c, scratch.hidden_gradient_LD + 4 * depth * c
        if peek(scratch.pairs, c) == 0:
            fill(0, gradient, depth)
            continue
        word, squared_length, bent = tokens.word_id[start + j], dot(hidden, hidden, depth), np.float32(0)
        begin, end = rule.path_start[word], rule.path_start[word + 1]
        factors = scratch.path_score + 4 * place
        for k in range(begin, end):
            slot, bend = np.int64(scratch.path_slot[place]), peek(scratch.path_bend, place)
            residual = -_unwanted(peek(scratch.path_score, place), rule.path_step[k])
            poke(residual, scratch.path_score, place)
            at = np.int64(scratch.node_place[slot])
            scratch.node_place[slot] = at + 1
            scratch.node_column[at] = c
            poke(residual, scratch.node_residual, at)
            curvature[slot] += bend * squared_length
            bent += bend * peek(scratch.noise_norm, slot)
            place += 1
        sum_rows(factors, rule.path_step, 1, begin, end, nodes, depth, gradient)
        poke(bent, scratch.curvature, c)


@inner
def _node_steps(targets, count, rule, scratch, updates, bags_at, nodes_at):
    """Updates of the nodes: sums over the bags that meet them; where that is one, its place and the residual.

    bags_at, nodes_at: places in the update buffer. The bags are copied there, since the next block has others.
    """
    left, depth, vectors = 2 * rule.window, scratch.depth, updates.vector.ctypes.data
    copy_row(scratch.hidden_LD + 4 * depth * left, vectors + 4 * depth * bags_at, depth * targets)
    begin = np.int64(0)
    for n in range(count):
        end, factors, place = np.int64(scratch.node_place[n]), scratch.node_residual + 4 * begin, nodes_at + n
        if end - begin == 1:
            updates.factor[place] = peek(factors, 0)
            updates.source[place] = bags_at + scratch.node_column[begin] - left
        else:
            updates.factor[place], updates.source[place] = 1, place
            sum_rows(factors, scratch.node_column, 0, begin, end, scratch.hidden_LD, depth, vectors + 4 * depth * place)
        begin = end


@inner
def _begin_nodes(count, scratch):
    """How many decisions each node has -> where its first one stands in the order of the nodes."""
    begin = np.int32(0)
    for n in range(count):
        decisions = scratch.node_place[n]
        scratch.node_place[n] = begin
        begin += decisions


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


@inner
def sum_rows(factors, numbers, shift, begin, end, rows, depth, target):
    """target = sum over begin <= i < end of factors[i - begin] * rows[numbers[i] >> shift], in order, in registers.

    factors, rows, target: addresses; numbers: int32 array.
    """
    k, wide = np.int64(0), 4 * LANES
    while k < depth:
        a, b, c, d = splat(np.float32(0)), splat(np.float32(0)), splat(np.float32(0)), splat(np.float32(0))
        if depth < wide:
            for i in range(begin, end):
                source = rows + 4 * depth * np.int64(numbers[i] >> shift)
                a = fma(splat(peek(factors, i - begin)), load(source, k), a)
            store(a, target, k)
            k += LANES
            continue
        k = min(k, depth - wide)  # the last four vectors may have some in common with those before
        for i in range(begin, end):
            factor, source = splat(peek(factors, i - begin)), rows + 4 * depth * np.int64(numbers[i] >> shift)
            a, b = fma(factor, load(source, k), a), fma(factor, load(source, k + LANES), b)
            c = fma(factor, load(source, k + 2 * LANES), c)
            d = fma(factor, load(source, k + 3 * LANES), d)
        store(a, target, k)
        store(b, target, k + LANES)
        store(c, target, k + 2 * LANES)
        store(d, target, k + 3 * LANES)
        k += wide


@njit(inline="always")
def dot_two(a, b, c, depth):
    """Products of a with b and of a with c, rows given by their addresses."""
    first, second = splat(np.float32(0)), splat(np.float32(0))
    for k in range(0, depth, LANES):
        vector = load(a, k)
        first = fma(vector, load(b, k), first)
        second = fma(vector, load(c, k), second)
    return lane_sum(first), lane_sum(second)
