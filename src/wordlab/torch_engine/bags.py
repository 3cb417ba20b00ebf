"""From the input rows of a micro-batch to its hidden vectors, and from their steps back to the rows.

A word is its own row and, with subwords, those of its n-grams. Words of a micro-batch are put together once, however
many places they have in it, and their steps are added up before they go to all of their rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from wordlab.torch_engine.layout import Layout, WordRows
from wordlab.torch_engine.steps import bag_shares, matrix_product
from wordlab.torch_engine.sums import Places, Sums, stretch_rows


class Inputs(NamedTuple):
    """The words of a micro-batch's bags, each once; the padding row and the row of nothing are words here."""

    rows: Tensor
    """int64 (U,): their own rows of the table, rising"""
    place: Tensor
    """int64 (b, n): where the words of each block's entries stand among them"""
    sums: Tensor
    """(U, D): sums of all rows of a word"""
    sizes: Tensor | None
    """(U,): how many rows; None: one"""
    ngrams: Tensor
    """int64 (F,): the n-gram rows of all words, one word after the other"""
    owner: Tensor
    """int64 (F,): which of the words each is of"""
    others: Tensor
    """(U,): by how much other words' curvature of their n-grams counts for them"""


class Hidden(NamedTuple):
    """The hidden vectors of a micro-batch."""

    vectors: Tensor
    """(T, D); of a target that is left out: whatever"""
    share: Tensor | None
    """CBOW, (b, C + P, B): the part of a hidden vector's step that each entry gets; None: the entry is the target"""


class Bags:
    """What the words of a vocabulary are made of."""

    def __init__(self, layout: Layout, table: Tensor, deterministic: bool, subwords: WordRows | None) -> None:
        self.layout, self.table, self.deterministic = layout, table, deterministic
        self.places = Places(layout.table_rows, table.device)
        self._start: Tensor | None = None
        self._nothing = torch.zeros(0, dtype=torch.int64, device=table.device)
        if subwords is not None:
            self._start = torch.from_numpy(subwords.start).to(table.device)
            self._ngram = torch.from_numpy(subwords.row).to(table.device) + layout.ngram_row
            self._others = torch.from_numpy(subwords.others).to(table)

    def inputs(self, rows: Tensor) -> Inputs:
        """rows: Blocks.rows of a micro-batch, (b, R). Waits for the device."""
        entries = rows[:, self.layout.input_entries].long()
        different = self.places.number([entries])
        place, sums = self.places.of(entries), self.table.index_select(0, different)
        if self._start is None:
            return Inputs(different, place, sums, None, self._nothing, self._nothing, self._nothing)
        word = different.clamp(max=self.layout.vocab_size - 1)
        count = torch.where(different < self.layout.vocab_size, self._start[word + 1] - self._start[word], 0)
        end = count.cumsum(0)
        total = int(end[-1])
        owner = torch.repeat_interleave(torch.arange(len(different), device=rows.device), count, output_size=total)
        first = self._start[word] - (end - count)
        ngrams = self._ngram[torch.arange(total, device=rows.device) + first[owner]].long()
        if total:
            sums += embedding_bag(ngrams, self.table, end - count, mode="sum")
        return Inputs(different, place, sums, (1 + count).to(sums.dtype), ngrams, owner, self._others[word])

    def entries(self, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
        """What each input entry of the blocks reads, (b, n, D), and in CBOW its number of rows, (b, n).

        In CBOW the sum of a word's rows, in skip-gram their mean, which is the hidden vector.
        """
        if inputs.sizes is None:
            return inputs.sums[inputs.place], None
        if self.layout.cbow:
            return inputs.sums[inputs.place], inputs.sizes[inputs.place]
        return (inputs.sums / inputs.sizes[:, None])[inputs.place], None

    def hidden(self, inputs: Inputs, windows: Tensor) -> Hidden:
        """windows: of the micro-batch's blocks, (b, 3, B)."""
        layout = self.layout
        entries, sizes = self.entries(inputs)
        if not layout.cbow:
            return Hidden(entries.flatten(0, 1), None)
        members, mean = bag_shares(windows, layout, self.table.dtype, sizes)
        vectors = matrix_product(mean.transpose(1, 2), entries, layout)
        return Hidden(vectors.flatten(0, 1), members if layout.undivided else mean)

    def moved(self, inputs: Inputs) -> list[Tensor]:
        """The rows that `add_steps` moves, to be numbered."""
        return [inputs.rows, inputs.ngrams]

    def add_hidden_steps(self, sums: Sums, inputs: Inputs, hidden: Hidden, steps: Tensor, curvature: Tensor) -> None:
        """Steps (T, D) and curvatures (T,) of hidden vectors -> `sums` of the rows that `places` has numbered last."""
        if hidden.share is not None:
            blocks, _, targets = hidden.share.shape
            steps = matrix_product(hidden.share, steps.view(blocks, targets, -1), self.layout).flatten(0, 1)
            curvature = torch.bmm(hidden.share, curvature.view(blocks, targets, 1)).flatten()
        self.add_steps(sums, inputs, steps, curvature)

    def add_steps(self, sums: Sums, inputs: Inputs, steps: Tensor, curvature: Tensor) -> None:
        """The same for steps of entries: (b * n, D) and (b * n,).

        With subwords they are damped here: by the word's own curvature and by a share of what others add to the row's.
        """
        places = self.places.of(inputs.rows)
        if inputs.sizes is None:
            sums.add(places[inputs.place.view(-1)], steps, curvature)
            return
        of_words = Sums(len(inputs.rows), self.table, self.deterministic)
        of_words.add(inputs.place.view(-1), steps, curvature)
        steps, curvature = (total.to(self.table.dtype) for total in of_words.totals())
        if not (self.layout.cbow or self.layout.undivided):
            steps, curvature = steps / inputs.sizes[:, None], curvature / inputs.sizes
        bent = Sums(sums.size, self.table[:, :0], self.deterministic)
        bent.add(places, steps[:, :0], curvature)
        for ngrams, owner in self._stretches(inputs):
            bent.add(self.places.of(ngrams), steps[owner, :0], curvature[owner])
        _, curved = bent.totals()
        sums.add(places, self._damped(steps, curvature), torch.zeros_like(curvature))
        for ngrams, owner in self._stretches(inputs):
            of_row, own = self.places.of(ngrams), curvature[owner]
            own += (curved[of_row].to(own.dtype) - own) * inputs.others[owner]
            sums.add(of_row, self._damped(steps[owner], own), torch.zeros_like(own))

    def _damped(self, steps: Tensor, curvature: Tensor) -> Tensor:
        return steps / (1 + self.layout.damping * curvature)[:, None]

    def _stretches(self, inputs: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
        size = stretch_rows(self.layout.depth)
        return zip(inputs.ngrams.split(size), inputs.owner.split(size), strict=True)
