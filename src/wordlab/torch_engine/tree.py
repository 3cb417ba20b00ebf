"""Hierarchical softmax: hidden vectors against the inner nodes on the paths of the words to be predicted.

Every prediction of a word is as many decisions as its path has nodes. They are listed flat, a stretch at a time, so
that their vectors take the same memory however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wordlab.torch_engine.layout import Layout, Paths
from wordlab.torch_engine.predictions import Predictions
from wordlab.torch_engine.sums import Places, Sums, stretch_rows


class Decisions(NamedTuple):
    """Some decisions, arrays of shape (n,)."""

    target: Tensor
    """int64: the hidden vector, 0..T-1"""
    row: Tensor
    """int64: the node's row of the table"""
    label: Tensor
    """1: branch 0 is right, 0: branch 1"""


class Tree:
    """The words' paths, on the device."""

    def __init__(self, paths: Paths, layout: Layout, table: Tensor) -> None:
        self._start = torch.from_numpy(paths.start).to(table.device)
        self._row = torch.from_numpy(paths.node).to(table.device) + (layout.vocab_size + 1)
        self._label = (1 - torch.from_numpy(paths.code)).to(table.device, torch.int8)

    def stretches(self, predictions: Predictions, depth: int) -> Iterator[Decisions]:
        """All decisions of a micro-batch, those of a target one after the other. Waits for the device at its start."""
        word = predictions.word.flatten()
        length = torch.where(predictions.there.flatten(), self._start[word + 1] - self._start[word], 0)
        end, target = length.cumsum(0), predictions.target
        skipped = self._start[word] - (end - length)
        total, size = int(end[-1]), stretch_rows(depth)
        for first in range(0, total, size):
            number = torch.arange(first, min(first + size, total), device=word.device)
            prediction = torch.searchsorted(end, number, right=True)
            place = number + skipped[prediction]
            yield Decisions(target[prediction], self._row[place].long(), self._label[place])


def decide(
    table: Tensor, hidden: Tensor, decisions: Decisions, lr: Tensor, places: Places, sums: Sums, of_hidden: Sums
) -> Tensor:
    """Add the steps of nodes to `sums`, those of hidden vectors to `of_hidden`.

    hidden: (T, D).   lr: a single number.   Returns float64 (2,): sum of losses, number of decisions.
    """
    vectors, nodes = hidden.index_select(0, decisions.target), table.index_select(0, decisions.row)
    label = decisions.label.to(table.dtype)
    score = (vectors * nodes).sum(dim=1)
    sigma = torch.sigmoid(score)
    residual = lr * (label - sigma)
    bend = lr * sigma * (1 - sigma)
    of_hidden.add(decisions.target, residual[:, None] * nodes, bend * nodes.square().sum(dim=1))
    sums.add(places.of(decisions.row), residual[:, None] * vectors, bend * vectors.square().sum(dim=1))
    loss = (softplus(score) - label * score).sum(dtype=torch.float64)
    return torch.stack([loss, torch.full_like(loss, len(score))])
