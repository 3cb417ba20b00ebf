"""Micro-batches launched one by one: hierarchical softmax, full softmax, and all objectives with subwords.

What these do depends on the words of a micro-batch: a path has as many nodes as it has, and a word as many n-grams. So
there is no CUDA graph, which wants to know all shapes beforehand: a micro-batch takes some hundred launches and waits
for the device a few times.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordlab.torch_engine.bags import Bags, Hidden, Inputs
from wordlab.torch_engine.layout import Blocks, Layout, Paths, WordRows
from wordlab.torch_engine.predictions import predictions_of
from wordlab.torch_engine.softmax import chunk_words, predict
from wordlab.torch_engine.steps import updates_of
from wordlab.torch_engine.sums import Sums, stretch_rows
from wordlab.torch_engine.tree import Tree, decide


class EagerRunner:
    """All micro-batches of a segment, one after the other."""

    def __init__(self, layout: Layout, table: Tensor, deterministic: bool, bags: Bags, tree: Tree | None) -> None:
        """table: (layout.table_rows, depth), moved in place.   tree: for hierarchical softmax."""
        self.layout, self.table, self.deterministic = layout, table, deterministic
        self._bags, self._tree = bags, tree

    def run(self, blocks: Blocks, rates: NDArray[np.float32]) -> tuple[float, float]:
        """Train on all micro-batches of a segment. rates: learning rate of each, (batches,).

        Returns the weighted sum of losses and the sum of weights. Waits for the device.
        """
        size, lr = self.layout.batch_blocks, torch.from_numpy(rates).to(self.table)
        losses = [
            self._micro_batch(rows, windows, lr[number])
            for number, (rows, windows) in enumerate(
                zip(blocks.rows.split(size), blocks.windows.split(size), strict=True)
            )
        ]
        loss, weight = torch.stack(losses).sum(dim=0).tolist()
        return loss, weight

    def _micro_batch(self, rows: Tensor, windows: Tensor, lr: Tensor) -> Tensor:
        """rows (b, R), windows (b, 3, B): see Blocks. Returns float64 (2,): sum of losses, sum of weights."""
        inputs = self._bags.inputs(rows)
        if self.layout.objective == "ns":
            return self._noise(rows, windows, inputs, lr)
        hidden = self._bags.hidden(inputs, windows)
        if self._tree is None:
            return self._softmax(rows, windows, inputs, hidden, lr)
        return self._hierarchical(self._tree, rows, windows, inputs, hidden, lr)

    def _noise(self, rows: Tensor, windows: Tensor, inputs: Inputs, lr: Tensor) -> Tensor:
        layout, own = self.layout, self.layout.input_entries
        read = self.table.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        read[:, own], sizes = self._bags.entries(inputs)
        updates = updates_of(read, rows, windows, lr, layout, sizes)
        parts = [slice(0, own.start), slice(own.stop, layout.block_rows)]
        outputs = torch.cat([rows[:, part] for part in parts], dim=1).flatten().long()
        moved = self._bags.places.number([*self._bags.moved(inputs), outputs])
        sums = Sums(len(moved), self.table, self.deterministic)
        steps, curvature = (torch.cat([x[:, part] for part in parts], dim=1).flatten(0, 1) for x in updates[:2])
        sums.add(self._bags.places.of(outputs), steps, curvature)
        steps, curvature = (x[:, own].flatten(0, 1) for x in updates[:2])
        self._bags.add_steps(sums, inputs, steps, curvature)
        sums.move(self.table, moved, layout.damping)  # in negative sampling the same for all rows
        return updates.loss

    def _hierarchical(
        self, tree: Tree, rows: Tensor, windows: Tensor, inputs: Inputs, hidden: Hidden, lr: Tensor
    ) -> Tensor:
        predictions = predictions_of(rows, windows, self.layout)
        depth = self.layout.depth
        nodes = (decisions.row for decisions in tree.stretches(predictions, depth))
        moved = self._bags.places.number(itertools.chain(self._bags.moved(inputs), nodes))
        sums = Sums(len(moved), self.table, self.deterministic)
        of_hidden = Sums(len(hidden.vectors), self.table, self.deterministic)
        loss = torch.zeros(2, dtype=torch.float64, device=self.table.device)
        for decisions in tree.stretches(predictions, depth):
            loss += decide(self.table, hidden.vectors, decisions, lr, self._bags.places, sums, of_hidden)
        steps, curvature = (total.to(self.table.dtype) for total in of_hidden.totals())
        self._bags.add_hidden_steps(sums, inputs, hidden, steps, curvature)
        sums.move(self.table, moved, self._damping_of(moved))
        return loss

    def _damping_of(self, rows: Tensor) -> Tensor:
        """c of each of these rows of the table, in hierarchical softmax: nodes have another."""
        layout = self.layout
        kind = torch.float64 if self.deterministic else self.table.dtype
        is_node = (rows > layout.vocab_size) & (rows < layout.ngram_row)
        return torch.full(rows.shape, layout.damping, dtype=kind, device=rows.device).masked_fill_(
            is_node, layout.output_damping
        )

    def _softmax(self, rows: Tensor, windows: Tensor, inputs: Inputs, hidden: Hidden, lr: Tensor) -> Tensor:
        predictions = predictions_of(rows, windows, self.layout)
        steps, curvature, loss = predict(self.table, hidden.vectors, predictions, lr, self.layout)
        moved = self._bags.places.number(self._bags.moved(inputs))
        sums = Sums(len(moved), self.table, self.deterministic)
        self._bags.add_hidden_steps(sums, inputs, hidden, steps, curvature)
        sums.move(self.table, moved, self.layout.damping)
        return loss


def eager_bytes(layout: Layout, deterministic: bool, paths: Paths | None, subwords: WordRows | None) -> int:
    """Device memory of a micro-batch and of what it looks up, the table aside; rounded up."""
    targets, entries = layout.batch_tokens, layout.batch_blocks * layout.input_width
    predictions = targets * (1 if layout.cbow else 2 * layout.window + 1)
    longest, decisions = (paths.longest, len(paths.node)) if paths is not None else (0, 0)
    words = min(entries, layout.vocab_size + 2)
    ngrams = words * subwords.longest if subwords is not None else 0
    outputs = min(predictions * longest, layout.vocab_size) + layout.batch_rows - entries
    moved = words + min(ngrams, layout.ngram_rows) + outputs
    # a sum, its total, the total damped and rounded, and the row it is added to
    numbers = (36 if deterministic else 20) * moved + (32 if deterministic else 16) * (targets + entries)
    if subwords is not None:
        numbers += (40 if deterministic else 20) * words
    size = numbers * layout.depth + 40 * ngrams
    stretch = min(max(predictions * longest, ngrams), stretch_rows(layout.depth))
    size += stretch * ((40 if deterministic else 24) * layout.depth + 48)
    if layout.objective == "softmax":
        chunk = chunk_words(layout)
        size += chunk * (24 * targets + 16 * layout.depth) + 20 * targets * -(-layout.vocab_size // chunk)
    if layout.objective == "ns":
        size += layout.batch_rows * ((40 if deterministic else 24) * layout.depth + 40 * layout.block_tokens)
    shares = 16 * entries * layout.block_tokens if layout.cbow else 0
    lists = 9 * layout.table_rows + 16 * (layout.vocab_size + 1) + 9 * decisions
    lists += 8 * len(subwords.row) if subwords is not None else 0
    return size + shares + lists + 80 * predictions
