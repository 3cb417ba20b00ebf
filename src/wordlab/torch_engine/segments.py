"""Segments: a stretch of word ids -> kept tokens -> blocks with windows and noise words, all on the device.

Everything about a segment that does not depend on the vectors is done here for all of its micro-batches at once, in a
few dozen launches for a million tokens. What is left to the micro-batches is gathers, products and sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wordlab.torch_engine.draws import KEEP, NOISE, WINDOW, is_kept, noise_words, stream_key, window_width
from wordlab.torch_engine.layout import Blocks, Layout, Order


@dataclass(frozen=True)
class Drawing:
    """What the random choices are made from, on the device."""

    seed: int
    keep_threshold: Tensor
    """int64 (V,), see draws.keep_thresholds"""
    accept: Tensor
    alias: Tensor
    """See draws.alias_table."""


def cut_into_blocks(
    ids: Tensor, ends: Tensor, first_position: int, epoch: int, drawing: Drawing, layout: Layout
) -> Blocks:
    """Subsample a segment and cut it into blocks.

    ids: int32 (n,), the segment's tokens.   ends: int64, rising: where its sentences end, counted from its first token;
    the last one is n or more.   first_position: its place in the corpus, in tokens.
    """
    keys = [stream_key(drawing.seed, epoch, stream) for stream in (KEEP, WINDOW, NOISE)]
    position = torch.arange(first_position, first_position + len(ids), device=ids.device)
    kept = is_kept(keys[0], position, drawing.keep_threshold[ids]).nonzero().squeeze(1)
    words, position = ids[kept], position[kept]
    blocks = layout.blocks_of(len(kept))
    size = blocks * layout.block_tokens
    windows = _windows(kept, ends, window_width(keys[1], position, layout.window), layout)
    first = position[:: layout.block_tokens]
    noise = noise_words(keys[2], first, layout.noise_words, drawing.accept, drawing.alias)

    rows = torch.full((blocks, layout.block_rows), layout.nothing, dtype=torch.int32, device=ids.device)
    halo = torch.full((size + 2 * layout.window,), layout.nothing, dtype=torch.int32, device=ids.device)
    halo[layout.window : layout.window + len(words)] = words + layout.context_row
    rows[:, : layout.block_tokens] = _padded(words + layout.target_row, size, layout.nothing).view(
        blocks, layout.block_tokens
    )
    context = halo.as_strided((blocks, layout.context), (layout.block_tokens, 1))
    rows[:, layout.block_tokens : layout.block_tokens + layout.context] = context
    if layout.padding:
        rows[: len(first), layout.noise_at - 1] = layout.context_row + layout.vocab_size
    rows[: len(first), layout.noise_at :] = noise + (layout.vocab_size + 1)
    return Blocks(rows, windows, len(words))


def _windows(kept: Tensor, ends: Tensor, width: Tensor, layout: Layout) -> Tensor:
    """Blocks.windows from the kept tokens' places in the segment and the widths drawn for them."""
    place = torch.arange(len(kept), device=kept.device)
    end_of = torch.searchsorted(kept, ends)  # number of kept tokens before each sentence's end
    sentence = torch.searchsorted(ends, kept, right=True)
    first = torch.where(sentence > 0, end_of[(sentence - 1).clamp_(min=0)], 0)
    low = torch.maximum(place - width, first)
    high = torch.minimum(place + width, end_of[sentence] - 1)
    absent = 2 * width - (high - low)
    out = high == low
    if layout.window_edges == "drop":
        out |= absent > 0
    low, high = torch.where(out, place, low), torch.where(out, place, high)
    missing = torch.where(out, 0, absent) if layout.padding else torch.zeros_like(absent)
    size = layout.blocks_of(len(kept)) * layout.block_tokens
    shift = layout.window - place // layout.block_tokens * layout.block_tokens
    own = torch.arange(layout.block_tokens, device=kept.device) + layout.window
    windows = torch.zeros((3, size // layout.block_tokens, layout.block_tokens), dtype=torch.int32, device=kept.device)
    windows[:2] = own
    for number, values in enumerate((low + shift, high + shift, missing)):
        windows[number].view(-1)[: len(kept)] = values
    return windows.transpose(0, 1).contiguous()


def _padded(x: Tensor, size: int, filling: int) -> Tensor:
    whole = torch.full((size,), filling, dtype=x.dtype, device=x.device)
    whole[: len(x)] = x
    return whole


def order_of(rows: Tensor, layout: Layout) -> Order:
    """The entries of each micro-batch sorted by row. rows: Blocks.rows."""
    by_batch = rows.view(-1, layout.batch_rows)
    sorted_rows, entries = torch.sort(by_batch, dim=1, stable=True)
    return Order(sorted_rows, entries.to(torch.int32))


def slots_of(order: Order, layout: Layout) -> tuple[Tensor, Tensor]:
    """Each row of a micro-batch gets a slot of its own.

    Returns int64 (batches, entries) twice: the slot of every entry, and the row of every slot, `nothing` where a
    micro-batch has fewer rows than entries.
    """
    is_first = torch.ones_like(order.rows, dtype=torch.int64)
    is_first[:, 1:] = order.rows[:, 1:] != order.rows[:, :-1]
    slot = is_first.cumsum(1).sub_(1)
    slot_of_entry = torch.empty_like(slot).scatter_(1, order.entries.long(), slot)
    row_of_slot = torch.full_like(slot, layout.nothing).scatter_(1, slot, order.rows.long())
    return slot_of_entry, row_of_slot
