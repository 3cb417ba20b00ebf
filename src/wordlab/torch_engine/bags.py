"""From the input rows of a micro-batch to its hidden vectors, and from their steps back to the rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.steps import bag_shares, matrix_product
from wordlab.torch_engine.sums import Places, Sums


class Inputs(NamedTuple):
    """The input rows of a micro-batch, each once."""

    rows: Tensor
    """int64 (U,), rising"""
    place: Tensor
    """int64 (b, n): where the rows of each block's entries stand among them"""
    vectors: Tensor
    """(U, D)"""


class Hidden(NamedTuple):
    """The hidden vectors of a micro-batch."""

    vectors: Tensor
    """(T, D); of a target that is left out: whatever"""
    share: Tensor | None
    """CBOW, (b, C + P, B): the part of a hidden vector's step that each entry gets; None: the entry is the target"""


class Bags:
    """What the words of a vocabulary are made of: their rows."""

    def __init__(self, layout: Layout, table: Tensor) -> None:
        self.layout, self.table = layout, table
        self.places = Places(layout.table_rows, table.device)

    def inputs(self, rows: Tensor) -> Inputs:
        """rows: Blocks.rows of a micro-batch, (b, R)."""
        entries = rows[:, self.layout.input_entries].long()
        different = self.places.number([entries])
        return Inputs(different, self.places.of(entries), self.table.index_select(0, different))

    def hidden(self, inputs: Inputs, windows: Tensor) -> Hidden:
        """windows: of the micro-batch's blocks, (b, 3, B)."""
        layout, depth = self.layout, self.table.shape[1]
        entries = inputs.vectors[inputs.place]
        if not layout.cbow:
            return Hidden(entries.view(-1, depth), None)
        members, mean = bag_shares(windows, layout, self.table.dtype)
        vectors = matrix_product(mean.transpose(1, 2), entries, layout)
        return Hidden(vectors.reshape(-1, depth), members if layout.undivided else mean)

    def add_steps(self, sums: Sums, inputs: Inputs, hidden: Hidden, steps: Tensor, curvature: Tensor) -> None:
        """Steps (T, D) and curvatures (T,) of hidden vectors -> `sums` of the rows that `places` has numbered last."""
        if hidden.share is not None:
            blocks, _, targets = hidden.share.shape
            steps = matrix_product(hidden.share, steps.view(blocks, targets, -1), self.layout).flatten(0, 1)
            curvature = torch.bmm(hidden.share, curvature.view(blocks, targets, 1)).flatten()
        sums.add(self.places.of(inputs.rows)[inputs.place.view(-1)], steps, curvature)
