"""sent2vec's micro-batches in plain torch, launched one by one: sentences have as many words as they have.

With S the sum of a sentence's rows and o_t that of the rows that hold target t, the bag of t is what is left
(docs/engine.md). All rows of a micro-batch are read into an array with a place for every run of words, (words, K, D);
then both sums are a few shifted additions, and so is what the rows get back. Sums over sentences are taken by
embedding_bag, which adds in the order of the text, so that the bits do not depend on who was first.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.sentence_segments import Begin, Sentences, sums_of_runs
from wordlab.torch_engine.steps import Predicted, predict_targets
from wordlab.torch_engine.sums import Places, Sums


class SentenceRunner:
    """All micro-batches of a segment, one after the other."""

    def __init__(self, layout: Layout, table: Tensor, deterministic: bool) -> None:
        """table: (layout.table_rows, depth), moved in place."""
        self.layout, self.table, self.deterministic = layout, table, deterministic
        self._places = Places(layout.table_rows, table.device)

    def run(self, sentences: Sentences, rates: NDArray[np.float32]) -> tuple[float, float]:
        """Train on all micro-batches of a segment. rates: learning rate of each, (batches,).

        Returns the weighted sum of losses and the sum of weights. Waits for the device.
        """
        lr = torch.from_numpy(rates).to(self.table)
        losses = [
            self._micro_batch(sentences, begin, end, lr[number])
            for number, (begin, end) in enumerate(pairwise(sentences.begins))
        ]
        loss, weight = torch.stack(losses).sum(dim=0).tolist()
        return loss, weight

    def _micro_batch(self, sentences: Sentences, begin: Begin, end: Begin, lr: Tensor) -> Tensor:
        """Returns float64 (2,): sum of losses, sum of weights."""
        bags = _Bags(sentences, begin, end, self.layout)
        targets, blocks = slice(begin.target, end.target), slice(begin.block, end.block)
        target_row, noise_row = sentences.target_row[targets], sentences.noise_row[blocks]
        hidden = bags.hidden(self.table)
        slot = (sentences.target_block[targets] - begin.block) * sentences.widest + sentences.target_place[targets]
        found = self._predict(hidden, target_row, noise_row, slot, sentences.widest, lr)
        steps = bags.steps_of_rows(found.hidden.flatten(0, 1)[slot], found.hidden_bend.flatten()[slot])
        moved = self._places.number([bags.row, target_row, noise_row])
        sums = Sums(len(moved), self.table, self.deterministic)
        places = self._places.of
        sums.add(places(bags.row), steps[:, :-1], steps[:, -1])
        sums.add(places(target_row), found.targets.flatten(0, 1)[slot], found.target_bend.flatten()[slot])
        sums.add(places(noise_row.flatten()), found.noise.flatten(0, 1), found.noise_bend.flatten())
        sums.move(self.table, moved, self.layout.damping)
        return found.loss

    def _predict(
        self, hidden: Tensor, target_row: Tensor, noise_row: Tensor, slot: Tensor, widest: int, lr: Tensor
    ) -> Predicted:
        """All targets against their words and the noise words of their blocks; results by slot, (b, widest, ...).

        hidden: (T, D).   target_row, slot: (T,).   noise_row: (b, N).   A slot that no target has moves nothing.
        """
        blocks, noise_words = noise_row.shape
        slots = blocks * widest
        row_of_slot = torch.full((slots,), self.layout.nothing, device=slot.device).index_copy_(0, slot, target_row)
        in_slots = hidden.new_zeros((slots, hidden.shape[1])).index_copy_(0, slot, hidden)
        there = hidden.new_zeros(slots).index_fill_(0, slot, 1)
        return predict_targets(
            in_slots.view(blocks, widest, -1),
            self.table.index_select(0, row_of_slot).view(blocks, widest, -1),
            self.table.index_select(0, noise_row.flatten()).view(blocks, noise_words, -1),
            there.view(blocks, 1, widest),
            noise_row[:, :, None] != row_of_slot.view(blocks, 1, widest),
            lr,
            self.layout,
        )


class _Bags:
    """The bags of a micro-batch: its rows by words, runs and pieces, numbered from 0."""

    def __init__(self, sentences: Sentences, begin: Begin, end: Begin, layout: Layout) -> None:
        assert layout.sentences is not None
        words, targets, runs, pieces = map(slice, begin[:4], end[:4])
        self.longest = layout.sentences.word_ngrams
        self.words = end.word - begin.word
        self.row = sentences.run_row[runs]
        """int64 (runs,): row of the table for every run"""
        self._run = sentences.run_place[runs] - begin.word * self.longest
        self._target = sentences.target_word[targets] - begin.word
        self._size = sentences.bag_size[targets]
        self._piece = sentences.word_piece[words] - begin.piece
        self._first_word = sentences.first_word[pieces] - begin.word
        self._first_target = sentences.first_target[pieces] - begin.target

    def hidden(self, table: Tensor) -> Tensor:
        """The mean of every target's bag, (T, D)."""
        depth = table.shape[1]
        runs = table.new_zeros((self.words * self.longest, depth))
        runs.index_copy_(0, self._run, table.index_select(0, self.row))
        runs = runs.view(self.words, self.longest, depth)
        held = sums_of_runs(runs).index_select(0, self._target)
        total = _sums_of_stretches(runs[:, 0], self._first_word)
        total = total.index_select(0, self._piece[self._target])
        return total.sub_(held).div_(self._size[:, None])

    def steps_of_rows(self, steps: Tensor, curvature: Tensor) -> Tensor:
        """What the hidden vectors want, (T, D) and (T,) -> what every run's row gets of it, (runs, D + 1), curvature
        last: its piece's total without the part of the targets that it holds."""
        parts = torch.cat([steps, curvature[:, None]], dim=1).div_(self._size[:, None])
        of_words = parts.new_zeros((self.words, parts.shape[1])).index_copy_(0, self._target, parts)
        left = _sums_of_stretches(parts, self._first_target).index_select(0, self._piece)
        of_runs = parts.new_zeros((self.words, self.longest, parts.shape[1]))
        for k in range(min(self.longest, self.words)):
            left[: self.words - k] -= of_words[k:]
            of_runs[:, k] = left
        return of_runs.flatten(0, 1).index_select(0, self._run)


def _sums_of_stretches(rows: Tensor, first: Tensor) -> Tensor:
    """Sums over stretches of rows (n, D): each begins at a number of `first`, rising from 0, and ends at the next."""
    return embedding_bag(torch.arange(len(rows), device=rows.device), rows.contiguous(), first, mode="sum")


def sentence_bytes(layout: Layout, segment_tokens: int, deterministic: bool) -> int:
    """Device memory of a segment and a micro-batch of sent2vec, the table and the alias table aside; rounded up."""
    assert layout.sentences is not None
    longest = layout.sentences.word_ngrams
    words = min(layout.most_words, segment_tokens)
    widest = max(layout.block_tokens, layout.longest_sentence)
    # any two neighbouring blocks have more than block_tokens targets together, and no piece has one word
    blocks, all_blocks = (min(n // 2, 2 * n // layout.block_tokens) + 1 for n in (words, segment_tokens))
    slots = blocks * widest
    runs, noise = words * longest, blocks * layout.noise_words
    segment = segment_tokens * (220 + 50 * longest) + 32 * layout.noise_words * all_blocks
    # rows that are read, sums over them, their steps, and these as whole numbers, with their totals
    numbers = (44 if deterministic else 24) * (runs + words + noise) + 32 * slots
    scores = 32 * blocks * widest * (layout.noise_words + 1)
    return segment + numbers * (layout.depth + 1) + scores + 60 * runs + 9 * layout.table_rows
