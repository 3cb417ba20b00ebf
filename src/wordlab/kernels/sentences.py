"""sent2vec: a word is predicted from the mean of all other words of its sentence and of the sentence's word n-grams.

Pagliardini, Gupta, Jaggi (2018). With S the sum of all M rows of a sentence (words, and n-grams that are not dropped)
and own_t those that hold the word at place t, the bag of target t is S - own_t, and so is what its rows get back:

    hidden_t = (S - own_t) / (M - m_t)        e_t = gradient of hidden_t / (M - m_t)        E = sum of e_t
    step of a row = E - sum of e_t over the targets t that it holds                         (curvature likewise)

So a sentence of L words costs O(L) rows, where a bag at a time would cost O(L^2). What the program does otherwise
(epfml/sent2vec at 9efbc2d, fasttext.cc `sent2vec`, dictionary.cc `addNgrams`, `getLine`), and why we do not:

- A target's place holds the word <PLACEHOLDER>, which has a row, is in every bag, and makes n-grams with its
  neighbours. Here the rows that hold the target are left out, and there is no placeholder.
- dropoutK words are drawn for every target, here for every sentence and epoch: that makes S one sum. As in the program
  an n-gram is left out when it holds one of them, words by themselves never are, and two words at least are not drawn.
- Targets are chosen by subsampling, and bags are never subsampled: the same here. minCountLabel, a least count of
  targets, is left out: vocab.min_count holds for all words.
- Noise words are drawn by counts ** 0.5 and are never the true word; here by vocab.noise_power, and one that is the
  true word does nothing, as in all our methods. Noise words are shared by a block.
- The n-grams' rows start as random as the words', here as zeros, so that a bucket that no n-gram of the text falls into
  adds nothing to a sentence vector.
- The gradient of the mean is divided by the bag's size: the same here, whatever model.cbow_gradient is.
- Lines end sentences and are no word (</s> is not trained): the same here. Lines may be of any length; here a sentence
  is cut after LONGEST_SENTENCE words, since the words of a whole book say little of one another.
"""

from __future__ import annotations

import numpy as np

from wordlab.compiled import inner, kernel
from wordlab.kernels.batches import Team, apply_updates, keep_tokens
from wordlab.kernels.blocks import (
    axpy,
    draw_noise,
    fill,
    noise_residuals,
    noise_updates,
    prefetch_row,
    transpose_hidden,
)
from wordlab.kernels.cbow import exclude_targets, hidden_gradients, true_pairs
from wordlab.kernels.layout import DENSE, Updates
from wordlab.kernels.sentence_plan import plan_segment
from wordlab.kernels.simd import LANES, load, peek, poke, splat, store
from wordlab.kernels.threads import take_next, wait_for_all
from wordlab.word_ngrams import bucket_of, draw_dropped, first_hash, longer_hash


@kernel
def train_sentences_segment(
    thread, team, segment, rule, bags, draws, dropout_key, schedule, scratch, mine, plan, pieces
):
    """Train on one segment; called by every thread of the team at once. Returns the number of blocks.

    Arguments as for `train_segment`; team.updates is one long part, (1, R).
    """
    n = keep_tokens(thread, team, segment, rule.keep_threshold, draws)
    if thread == 0:
        plan_segment(n, team.tokens, segment, rule, bags, plan)
    wait_for_all(team.state, team.threads)
    blocks, batches = plan.counts[0], plan.counts[1]
    losses, depth, updates = team.losses, scratch.depth, team.updates
    vector, rows, curvatures = updates.vector.ctypes.data, updates.row[0], updates.curvature[0]
    for batch in range(batches):
        done = schedule.tokens_before + segment.ids.shape[0] * (batch / batches)
        lr = np.float32(schedule.lr * max(1.0 - done / schedule.tokens_total, schedule.lr_floor))
        first, stop = plan.batch_block[batch], plan.batch_block[batch + 1]
        while True:
            block = first + take_next(team.state)
            if block >= stop:
                break
            begin = np.int64(plan.block_at[block])
            end = plan.batch_rows[batch] if block + 1 == stop else plan.block_at[block + 1]
            if block + team.threads < blocks:
                _prefetch_block(block + team.threads, segment, rule, bags, draws, dropout_key, plan, pieces, depth)
            total = _sentence_block(
                block, team.tokens, segment, rule, bags, draws, dropout_key, lr, scratch, plan, pieces,
                vector + 4 * depth * begin, rows[begin:end], curvatures[begin:end],
            )  # fmt: skip
            losses[block, 0], losses[block, 1] = total
        wait_for_all(team.state, team.threads)
        used = np.int64(plan.batch_rows[batch])
        part = Updates(
            updates.vector,
            rows[:used].reshape((1, used)),
            curvatures[:used].reshape((1, used)),
            updates.factor,
            updates.source,
        )
        shared = Team(team.threads, team.state, team.rough, team.kept, team.tokens, part, team.bent, team.losses)
        apply_updates(thread, shared, rule, 1, depth, mine)
        wait_for_all(team.state, team.threads)
    return blocks


@inner
def _sentence_block(
    block, tokens, segment, rule, bags, draws, dropout_key, lr, scratch, plan, pieces, update, row, curvature
):
    """Updates of one block. Rows of its part: the targets' output rows, the noise words', the sentences' input rows.

    Returns (sum of weighted losses, sum of weights).
    """
    first, last = plan.block_piece[block], plan.block_piece[block + 1]
    start = plan.piece_target[first]
    targets, depth = np.int64(plan.piece_target[last] - start), scratch.depth
    noise_at = targets
    input_at = noise_at + (rule.block_negatives + DENSE - 1) // DENSE * DENSE
    row[:] = -1
    fill(0, scratch.pairs, scratch.columns)
    for j in range(targets):
        poke(np.float32(1), scratch.pairs, j)
    _list_rows(first, last, start, input_at, tokens, segment, bags, draws, dropout_key, plan, pieces, row)
    _mean_bags(first, last, start, rule, bags, scratch, plan, pieces, row)
    loss, predictions = true_pairs(tokens, start, targets, rule, lr, scratch, row, curvature)
    draw_noise(tokens, start, targets, rule, draws, scratch, scratch.pairs)
    predictions -= exclude_targets(tokens, start, targets, rule, scratch)
    transpose_hidden(scratch, 0, targets)
    noise_update = update + 4 * depth * noise_at
    loss += noise_residuals(rule, lr, scratch, targets, curvature[noise_at:])
    noise_updates(rule, scratch, targets, noise_update, row[noise_at:])
    hidden_gradients(rule, scratch, targets, update)
    _move_bags(first, last, start, scratch, plan, pieces, update, curvature)
    return loss, predictions


@inner
def _list_rows(first, last, start, count, tokens, segment, bags, draws, dropout_key, plan, pieces, row):
    """Write down a block's input rows from `count` on: word after word, each with the n-grams that it begins."""
    word, target = np.int64(0), start
    for piece in range(first, last):
        begin, stop = np.int64(plan.piece_start[piece]), np.int64(plan.piece_stop[piece])
        draw_dropped(dropout_key, draws.first_position + begin, stop - begin, bags.dropout, pieces.dropped)
        for t in range(begin, stop):
            pieces.row_at[word], pieces.target[word] = count, -1
            if target < plan.piece_target[piece + 1] and tokens.position[target] == t:
                pieces.target[word] = target - start
                target += 1
            word += 1
            row[count] = segment.ids[t]
            count += 1
            if pieces.dropped[t - begin]:
                continue
            value = first_hash(segment.ids[t])
            for other in range(t + 1, min(t + bags.word_ngrams, stop)):
                if pieces.dropped[other - begin]:
                    break
                value = longer_hash(value, segment.ids[other])
                row[count] = bags.first_row + bucket_of(value, bags.buckets)
                count += 1
    pieces.row_at[word] = count


@inner
def _prefetch_block(block, segment, rule, bags, draws, dropout_key, plan, pieces, depth):
    """Ask for the input rows that a block will read: most of the n-grams' lie outside the caches."""
    for piece in range(plan.block_piece[block], plan.block_piece[block + 1]):
        begin, stop = np.int64(plan.piece_start[piece]), np.int64(plan.piece_stop[piece])
        draw_dropped(dropout_key, draws.first_position + begin, stop - begin, bags.dropout, pieces.dropped)
        for t in range(begin, stop):
            prefetch_row(rule.table, segment.ids[t], depth)
            if pieces.dropped[t - begin]:
                continue
            value = first_hash(segment.ids[t])
            for other in range(t + 1, min(t + bags.word_ngrams, stop)):
                if pieces.dropped[other - begin]:
                    break
                value = longer_hash(value, segment.ids[other])
                prefetch_row(rule.table, bags.first_row + bucket_of(value, bags.buckets), depth)


@inner
def _mean_bags(first, last, start, rule, bags, scratch, plan, pieces, row):
    """hidden_LD of all targets; scratch.first becomes 1 / size of the bag."""
    depth, table, one = scratch.depth, rule.table, np.float32(1)
    total, own = scratch.context_CD, scratch.context_CD + 4 * scratch.depth
    word = np.int64(0)
    for piece in range(first, last):
        end = word + plan.piece_stop[piece] - plan.piece_start[piece]
        begin, size = word, pieces.row_at[end] - pieces.row_at[word]
        fill(0, total, depth)
        for i in range(pieces.row_at[word], pieces.row_at[end]):
            axpy(one, table + 4 * depth * np.int64(row[i]), total, depth)
        while word < end:
            j = np.int64(pieces.target[word])
            if j >= 0:
                fill(0, own, depth)
                left = np.int64(size)
                for other in range(max(begin, word - bags.word_ngrams + 1), word + 1):
                    for i in range(pieces.row_at[other] + word - other, pieces.row_at[other + 1]):
                        axpy(one, table + 4 * depth * np.int64(row[i]), own, depth)
                        left -= 1
                share = one / np.float32(left)
                poke(share, scratch.first, j)
                place = scratch.hidden_LD + 4 * depth * j
                for k in range(0, depth, LANES):
                    store((load(total, k) - load(own, k)) * splat(share), place, k)
            word += 1


@inner
def _move_bags(first, last, start, scratch, plan, pieces, update, curvature):
    """Gradients of the hidden vectors -> updates of the sentences' input rows: of each the total, less its own."""
    depth, total = scratch.depth, scratch.context_CD
    word = np.int64(0)
    for piece in range(first, last):
        fill(0, total, depth)
        bend = np.float32(0)
        for j in range(plan.piece_target[piece] - start, plan.piece_target[piece + 1] - start):
            share, gradient = peek(scratch.first, j), scratch.hidden_gradient_LD + 4 * depth * j
            for k in range(0, depth, LANES):
                scaled = splat(share) * load(gradient, k)
                store(scaled, gradient, k)
                store(load(total, k) + scaled, total, k)
            part = share * peek(scratch.curvature, j)
            poke(part, scratch.curvature, j)
            bend += part
        end = word + plan.piece_stop[piece] - plan.piece_start[piece]
        while word < end:
            before, left, other = total, bend, word
            for i in range(pieces.row_at[word], pieces.row_at[word + 1]):
                place, j = update + 4 * depth * np.int64(i), np.int64(pieces.target[other])
                if j < 0:
                    for k in range(0, depth, LANES):
                        store(load(before, k), place, k)
                else:
                    gradient = scratch.hidden_gradient_LD + 4 * depth * j
                    for k in range(0, depth, LANES):
                        store(load(before, k) - load(gradient, k), place, k)
                    left -= peek(scratch.curvature, j)
                curvature[i] = left
                before = place
                other += 1
            word += 1
