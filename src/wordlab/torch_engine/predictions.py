"""The words that the targets of a micro-batch predict: all of a window in skip-gram, the target itself in CBOW."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wordlab.torch_engine.layout import Layout


class Predictions(NamedTuple):
    """M places for every target of a micro-batch: 2W + 1 in skip-gram, one in CBOW."""

    word: Tensor
    """int64 (T, M); 0 where nothing is predicted"""
    there: Tensor
    """bool (T, M)"""

    @property
    def target(self) -> Tensor:
        """Which target each place is of, int64 (T * M,)."""
        targets, places = self.word.shape
        return torch.arange(targets, device=self.word.device).repeat_interleave(places, output_size=targets * places)


def predictions_of(rows: Tensor, windows: Tensor, layout: Layout) -> Predictions:
    """rows (b, R), windows (b, 3, B): of a micro-batch, see Blocks."""
    size, low, high = layout.block_tokens, windows[:, 0], windows[:, 1]
    if layout.cbow:
        there = (high > low)[:, :, None]
        predicted = rows[:, :size, None]
    else:
        # places j .. j + 2W of the context are those that the window of target j can have
        predicted = rows[:, size : size + layout.context].unfold(1, 2 * layout.window + 1, 1)
        offset = torch.arange(2 * layout.window + 1, device=rows.device)[None, None, :]
        place = torch.arange(size, device=rows.device)[None, :, None] + offset
        there = (place >= low[:, :, None]) & (place <= high[:, :, None]) & (offset != layout.window)
    word = torch.where(there, predicted - (layout.vocab_size + 1), 0)
    return Predictions(word.flatten(0, 1).long(), there.flatten(0, 1))
