"""Full softmax: every hidden vector against the output rows of all words, a chunk of the vocabulary at a time.

The chunks are scored twice, for the sums and for the steps, so that only one chunk's scores are there at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.predictions import Predictions
from wordlab.torch_engine.steps import matrix_product

CHUNK_NUMBERS = 1 << 23
"""Scores of one chunk, for all targets: 32 MB for every copy in float32."""


def chunk_words(layout: Layout) -> int:
    """Words of a chunk of the vocabulary."""
    return min(layout.vocab_size, max(1, CHUNK_NUMBERS // max(layout.batch_tokens, layout.depth)))


def predict(
    table: Tensor, hidden: Tensor, predictions: Predictions, lr: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """Move the output rows; what the hidden vectors want.

    hidden: (T, D).   lr: a single number.
    Returns their steps (T, D), curvatures (T,), and float64 (2,): sum of losses, number of predictions.
    """
    outputs = table[layout.vocab_size + 1 : 2 * layout.vocab_size + 1]
    most, total = _totals(outputs, hidden, layout)
    wanted = predictions.there.sum(dim=1).to(table.dtype)
    norm = hidden.square().sum(dim=1)
    steps, curvature = torch.zeros_like(hidden), torch.zeros_like(norm)
    losses = []
    first = 0
    for rows in outputs.split(chunk_words(layout)):
        scores = matrix_product(hidden[None], rows.T[None], layout)[0]
        scores -= most[:, None]
        probability = torch.exp(scores) / total[:, None]
        bend = (lr * wanted)[:, None] * probability
        residual = -bend
        losses.append(_true_words(scores, residual, total, predictions, lr, first))
        steps += matrix_product(residual[None], rows[None], layout)[0]
        curvature += bend @ rows.square().sum(dim=1)
        moved = matrix_product(residual.T[None], hidden[None], layout)[0]
        rows += moved / (1 + layout.output_damping * (norm @ bend))[:, None]
        first += len(rows)
    count = predictions.there.sum().to(torch.float64)
    return steps, curvature, torch.stack([torch.stack(losses).sum(), count])


def _totals(outputs: Tensor, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Highest score of each target, and the sum of e ** (score - highest) over all words, both (T,).

    They stay apart: where one word is all but certain, 1 - its chance would drown in the rounding of the logarithm of a
    sum that is about as large as its score.
    """
    most, totals = [], []
    for rows in outputs.split(chunk_words(layout)):
        scores = matrix_product(hidden[None], rows.T[None], layout)[0]
        most.append(scores.amax(dim=1))
        totals.append((scores - most[-1][:, None]).exp_().sum(dim=1))
    highest = torch.stack(most)
    most_of_all = highest.amax(dim=0)
    return most_of_all, (torch.stack(totals) * torch.exp(highest - most_of_all)).sum(dim=0)


def _true_words(
    scores: Tensor, residual: Tensor, total: Tensor, predictions: Predictions, lr: Tensor, first: int
) -> Tensor:
    """Add lr to the residual of every true word of the chunk that begins with word `first`; its losses, float64.

    scores: with the highest of their target taken off.   total: see `_totals`.
    A word that is predicted twice gets lr twice. Whatever the order, the bits are the same: all terms are lr or 0.
    """
    words = scores.shape[1]
    word = predictions.word - first
    inside = (predictions.there & (word >= 0) & (word < words)).flatten()
    place = predictions.target * words + word.clamp(0, words - 1).flatten()
    residual.view(-1).index_add_(0, place, lr * inside.to(residual.dtype))
    loss = total.log()[predictions.target] - scores.view(-1)[place]
    return torch.where(inside, loss, 0).sum(dtype=torch.float64)
