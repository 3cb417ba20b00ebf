"""One micro-batch in plain torch: gather rows, a few batched matrix products, add the steps to the table.

The rule is docs/engine.md's; every block of the micro-batch reads the same rows. All shapes are known beforehand and
nothing asks the device a question, so that a micro-batch can be captured in a CUDA graph. On a CPU this is the slow
witness of what runs on a GPU; in float64 it takes the reference's steps to the last digits.

Letters of shapes: see layout.py; b is the number of blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from wordlab.torch_engine.layout import Layout

FIXED_POINT = 2.0**40
"""Deterministic sums are of whole numbers of 2^-40: the order does not matter. A step of 1e-6 keeps six digits."""


class Updates(NamedTuple):
    """What a micro-batch wants of its rows, before damping."""

    steps: Tensor
    """(b, R, D)"""
    curvature: Tensor
    """(b, R)"""
    loss: Tensor
    """float64 (2,): weighted sum of losses, sum of weights"""


def block_updates(table: Tensor, rows: Tensor, windows: Tensor, lr: Tensor, layout: Layout) -> Updates:
    """Steps of these blocks. rows (b, R), windows (b, 3, B): see Blocks. lr: a single number, of the table's dtype."""
    gathered = table.index_select(0, rows.view(-1)).view(*rows.shape, -1)
    return updates_of(gathered, rows, windows, lr, layout, None)


def updates_of(
    gathered: Tensor, rows: Tensor, windows: Tensor, lr: Tensor, layout: Layout, sizes: Tensor | None
) -> Updates:
    """The same for rows that have been read: (b, R, D).

    sizes: with subwords in CBOW, where input entries are sums of rows: of how many each is one, (b, C + P).
    """
    if layout.cbow:
        return _cbow(gathered, rows, windows, lr, layout, sizes)
    return _skipgram(gathered, rows, windows, lr, layout)


def _inside(windows: Tensor, layout: Layout, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What a window is, as numbers: inside (b, C, B), 1 for a true pair else 0; pairs and missing, both (b, 1, B)."""
    low, high, missing = windows.split(1, dim=1)
    place = torch.arange(layout.context, device=windows.device, dtype=torch.int32)[None, :, None]
    own = torch.arange(layout.block_tokens, device=windows.device, dtype=torch.int32)[None, None, :] + layout.window
    inside = (place >= low) & (place <= high) & (place != own)
    return inside.to(dtype), (high - low).to(dtype), missing.to(dtype)


def bag_shares(windows: Tensor, layout: Layout, dtype: torch.dtype, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
    """CBOW's bags as numbers, (b, C + P, B): how often an entry is in the bag of a target; and divided by its size.

    sizes: rows of each entry, (b, C + P); None: one.
    """
    inside, pairs, missing = _inside(windows, layout, dtype)
    members = torch.cat([inside, missing], dim=1) if layout.padding else inside
    rows = pairs + missing if sizes is None else torch.bmm(sizes[:, None, :], members)
    return members, members / rows.clamp(min=1)


def _skipgram(gathered: Tensor, rows: Tensor, windows: Tensor, lr: Tensor, layout: Layout) -> Updates:
    """Each target's input row against the output rows of its context, the padding row, and the noise words."""
    size, noise_at = layout.block_tokens, layout.noise_at
    hidden, outputs = gathered[:, :size], gathered[:, size:]
    inside, pairs, missing = _inside(windows, layout, gathered.dtype)
    true_pairs = torch.cat([inside, missing], dim=1) if layout.padding else inside
    same = rows[:, noise_at:, None] == rows[:, None, size : size + layout.context]
    noise = layout.share * (pairs + missing - torch.bmm(same.to(inside.dtype), inside))

    scores = matrix_product(outputs, hidden.transpose(1, 2), layout)
    true_weight = torch.cat([true_pairs, torch.zeros_like(noise)], dim=1)
    residual, bend, loss = _residuals(scores, true_weight, torch.cat([true_pairs, noise], dim=1), lr)
    steps = [matrix_product(residual.transpose(1, 2), outputs, layout), matrix_product(residual, hidden, layout)]
    norms = gathered.square().sum(dim=2)
    curvature = [
        torch.bmm(norms[:, None, size:], bend).squeeze(1),
        torch.bmm(bend, norms[:, :size, None]).squeeze(2),
    ]
    return Updates(torch.cat(steps, dim=1), torch.cat(curvature, dim=1), loss)


def _cbow(gathered: Tensor, rows: Tensor, windows: Tensor, lr: Tensor, layout: Layout, sizes: Tensor | None) -> Updates:
    """The mean of each window's input rows against the output rows of the target and of the noise words."""
    size, noise_at = layout.block_tokens, layout.noise_at
    targets, bag, noise = gathered[:, :size], gathered[:, size:noise_at], gathered[:, noise_at:]
    members, mean = bag_shares(windows, layout, gathered.dtype, sizes)
    hidden = matrix_product(mean.transpose(1, 2), bag, layout)

    has_bag = (windows[:, 1:2] > windows[:, :1]).to(gathered.dtype)
    other = rows[:, noise_at:, None] != rows[:, None, :size]
    found = predict_targets(hidden, targets, noise, has_bag, other, lr, layout)
    bag_share = members if layout.undivided else mean
    steps = [found.targets, matrix_product(bag_share, found.hidden, layout), found.noise]
    bag_bend = torch.bmm(bag_share, found.hidden_bend[:, :, None]).squeeze(2)
    curvature = [found.target_bend, bag_bend, found.noise_bend]
    return Updates(torch.cat(steps, dim=1), torch.cat(curvature, dim=1), found.loss)


class Predicted(NamedTuple):
    """What predicting the targets of some blocks wants of vectors and rows, before damping; curvatures as `bend`."""

    hidden: Tensor
    """(b, B, D)"""
    targets: Tensor
    """(b, B, D)"""
    noise: Tensor
    """(b, N, D)"""
    hidden_bend: Tensor
    """(b, B)"""
    target_bend: Tensor
    """(b, B)"""
    noise_bend: Tensor
    """(b, N)"""
    loss: Tensor
    """float64 (2,): weighted sum of losses, sum of weights"""


def predict_targets(
    hidden: Tensor, targets: Tensor, noise: Tensor, has_bag: Tensor, other: Tensor, lr: Tensor, layout: Layout
) -> Predicted:
    """Each hidden vector against the output row of its target and those of the block's noise words.

    hidden, targets: (b, B, D).   noise: (b, N, D).   has_bag: (b, 1, B), 1 or 0: a target without a bag moves nothing.
    other: bool (b, N, B), whether a noise word is another word than the target.
    """
    noise_weight = layout.share * has_bag * other.to(hidden.dtype)
    true_score = (hidden * targets).sum(dim=2)[:, None, :]
    scores = torch.cat([true_score, matrix_product(noise, hidden.transpose(1, 2), layout)], dim=1)
    true_weight = torch.cat([has_bag, torch.zeros_like(noise_weight)], dim=1)
    residual, bend, loss = _residuals(scores, true_weight, torch.cat([has_bag, noise_weight], dim=1), lr)
    true_residual = residual[:, 0, :, None]
    hidden_norm, target_norm, noise_norm = (rows.square().sum(dim=2) for rows in (hidden, targets, noise))
    return Predicted(
        hidden=true_residual * targets + matrix_product(residual[:, 1:].transpose(1, 2), noise, layout),
        targets=true_residual * hidden,
        noise=matrix_product(residual[:, 1:], hidden, layout),
        hidden_bend=bend[:, 0] * target_norm + torch.bmm(noise_norm[:, None], bend[:, 1:]).squeeze(1),
        target_bend=bend[:, 0] * hidden_norm,
        noise_bend=torch.bmm(bend[:, 1:], hidden_norm[:, :, None]).squeeze(2),
        loss=loss,
    )


def _residuals(scores: Tensor, true_weight: Tensor, weight: Tensor, lr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores -> residuals, bends lr * weight * sigma (1 - sigma), and the two sums of Updates.loss.

    weight: of a prediction; true_weight: the same for true pairs, 0 for noise words.
    """
    sigma = torch.sigmoid(scores)
    residual = lr * (true_weight - weight * sigma)
    bend = lr * weight * sigma * (1 - sigma)
    loss = (weight * softplus(scores) - true_weight * scores).sum(dtype=torch.float64)
    return residual, bend, torch.stack([loss, weight.sum(dtype=torch.float64)])


def matrix_product(a: Tensor, b: Tensor, layout: Layout) -> Tensor:
    """a @ b for every block, as `products` says. float32 and tf32 differ by a switch of torch that the engine sets."""
    if layout.products == "bf16":
        return torch.bmm(a.bfloat16(), b.bfloat16()).to(a.dtype)
    return torch.bmm(a, b)


def add_fast(table: Tensor, bent: Tensor, rows: Tensor, updates: Updates, damping: float) -> None:
    """Add the damped steps to the rows, in any order. bent: (table rows,), zeros before and after."""
    places = rows.view(-1).long()
    bent.index_add_(0, places, updates.curvature.view(-1))
    scale = 1 / (1 + damping * bent.index_select(0, places))
    steps = updates.steps.flatten(0, 1).mul_(scale[:, None])
    table.index_add_(0, places, steps)
    bent.index_fill_(0, places, 0)


def add_deterministic(table: Tensor, slots: Tensor, row_of_slot: Tensor, updates: Updates, damping: float) -> None:
    """Add the damped steps to the rows, the same bits every time: sums of integers do not depend on their order.

    slots, row_of_slot: of this micro-batch, see `slots_of`. A number that is not finite would not survive the fixed
    point, so it is looked for in the losses.
    """
    steps = (updates.steps.flatten(0, 1).double() * FIXED_POINT).long()
    curvature = (updates.curvature.view(-1).double() * FIXED_POINT).long()
    step = torch.zeros_like(steps).index_add_(0, slots, steps).double() / FIXED_POINT
    bent = torch.zeros_like(curvature).index_add_(0, slots, curvature).double() / FIXED_POINT
    moved = table.index_select(0, row_of_slot) + (step / (1 + damping * bent)[:, None]).to(table.dtype)
    table.index_copy_(0, row_of_slot, moved)
