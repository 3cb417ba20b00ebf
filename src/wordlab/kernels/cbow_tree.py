"""Hierarchical softmax, one block of CBOW: bags against the paths of their words.

Unlike contexts of skip-gram (tree.py), few bags of a block meet the same nodes, so rows are read where they are.
"""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner, njit
from wordlab.kernels.blocks import axpy, axpy_two, dot, dot_two, fill, scale_row, wrong
from wordlab.kernels.simd import LANES, lane_sum, load, peek, poke, splat, store
from wordlab.kernels.tree import forget_nodes, node_row


@inner
def cbow_tree_pairs(tokens, start, targets, rule, lr, scratch, update, row, curvature):
    """CBOW: every bag against the path of its word. Fills hidden_gradient_LD and scratch.curvature.

    First all scores are taken, then all residuals, then all steps: path by path, each would wait for the one before.
    update, row, curvature: where the nodes' part begins. Returns (sum of losses, decisions).
    """
    count, decisions = _path_scores(tokens, start, targets, rule, scratch, row, curvature)
    loss = _path_residuals(lr, scratch, decisions)
    _path_steps(tokens, start, targets, rule, scratch, update, curvature)
    forget_nodes(scratch, count)
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
                source = node_row(node, rule, depth)
                scratch.slot[node], scratch.noise_id[count] = count, node
                row[count], curvature[count] = rule.vocab_size + 1 + node, 0
                poke(dot(source, source, depth), scratch.noise_norm, count)
                count += 1
            scratch.path_slot[decisions + k - begin] = scratch.slot[node]
        for k in range(begin, end, 2):
            other = min(k + 1, end - 1)  # the last of an odd number is scored twice
            first, second = dot_two(
                hidden, node_row(rule.path_node[k], rule, depth), node_row(rule.path_node[other], rule, depth), depth
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
            source = node_row(rule.path_node[k], rule, depth)
            if nodes == 2:
                axpy_two(
                    peek(scratch.path_score, place), source,
                    peek(scratch.path_score, place + 1), node_row(rule.path_node[k + 1], rule, depth), gradient, depth,
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
