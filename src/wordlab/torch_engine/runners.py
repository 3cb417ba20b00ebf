"""All micro-batches of a segment, one after the other: launched from a CUDA graph on a GPU, in a loop on a CPU.

A runner owns what a graph needs at fixed addresses: the segment's rows, windows and learning rates, and the number of
the next micro-batch. A graph holds UNROLL micro-batches; those beyond the end of a segment have rows of `nothing` and
move nothing. So a micro-batch of 512 tokens costs its kernels and no Python.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wordlab.torch_engine.layout import Blocks, Layout
from wordlab.torch_engine.segments import order_of, slots_of
from wordlab.torch_engine.steps import add_deterministic, add_fast, block_updates

UNROLL = 16
"""Micro-batches in one CUDA graph."""
WARP_NUMBERS = 1 << 13
"""Numbers of a block's targets up to which eight warps keep them in registers, on a Hopper GPU."""


class Runner:
    """Micro-batches in plain torch."""

    captures = True
    """Whether a GPU's micro-batches are replayed from a graph; the benchmark tries without where that fails."""

    def __init__(self, layout: Layout, table: Tensor, segment_tokens: int, deterministic: bool) -> None:
        """Allocate for segments up to `segment_tokens` tokens. table: (layout.table_rows, depth), moved in place."""
        self.layout, self.table, self.deterministic = layout, table, deterministic
        device = table.device
        batches = layout.blocks_of(segment_tokens) // layout.batch_blocks
        self.batches = -(-batches // UNROLL) * UNROLL
        blocks = self.batches * layout.batch_blocks
        self.rows = torch.full((blocks, layout.block_rows), layout.nothing, dtype=torch.int32, device=device)
        self.windows = torch.zeros((blocks, 3, layout.block_tokens), dtype=torch.int32, device=device)
        self.rates = torch.zeros(self.batches, dtype=table.dtype, device=device)
        self.next = torch.zeros(1, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self._leave_out(0, blocks)
        self._allocate()

    def _allocate(self) -> None:
        """What this kind of runner needs besides."""
        device, entries = self.table.device, self.layout.batch_rows
        self.losses = torch.zeros((self.batches, 2), dtype=torch.float64, device=device)
        if self.deterministic:
            self.slots = torch.zeros((self.batches, entries), dtype=torch.int64, device=device)
            self.row_of_slot = torch.full_like(self.slots, self.layout.nothing)
        else:
            self.bent = torch.zeros(self.layout.table_rows, dtype=self.table.dtype, device=device)

    def run(self, blocks: Blocks, rates: NDArray[np.float32]) -> tuple[float, float]:
        """Train on all micro-batches of a segment. rates: learning rate of each, (batches,).

        Returns the weighted sum of losses and the sum of weights. Waits for the device.
        """
        batches, used = len(rates), len(blocks.rows)
        padded = -(-batches // UNROLL) * UNROLL
        self.rows[:used] = blocks.rows
        self.windows[:used] = blocks.windows
        self._leave_out(used, padded * self.layout.batch_blocks)
        self.rates[:batches] = torch.from_numpy(rates).to(self.table.device)
        self._prepare(padded)
        self.next.zero_()
        if self.table.is_cuda and self.captures:
            if self.graph is None:
                self.graph = self._capture()
            for _ in range(0, padded, UNROLL):
                self.graph.replay()
        else:
            for _ in range(batches):
                self._micro_batch(0)
                self.next.add_(1)
        loss, weight = self._total(batches).tolist()
        return loss, weight

    def _leave_out(self, first: int, stop: int) -> None:
        """Fill these blocks with nothing."""
        own = torch.arange(self.layout.block_tokens, dtype=torch.int32, device=self.table.device) + self.layout.window
        self.rows[first:stop] = self.layout.nothing
        self.windows[first:stop] = 0
        self.windows[first:stop, :2] = own

    def _prepare(self, batches: int) -> None:
        """Find out, for all micro-batches at once, which entries move the same row."""
        if self.deterministic:
            order = order_of(self.rows[: batches * self.layout.batch_blocks], self.layout)
            self.slots[:batches], self.row_of_slot[:batches] = slots_of(order, self.layout)

    def _micro_batch(self, offset: int) -> None:
        """Micro-batch number `next` + offset."""
        layout = self.layout
        number = self.next + offset
        rows = self.rows.view(self.batches, -1).index_select(0, number).view(layout.batch_blocks, -1)
        windows = self.windows.view(self.batches, -1).index_select(0, number)
        windows = windows.view(layout.batch_blocks, 3, layout.block_tokens)
        updates = block_updates(self.table, rows, windows, self.rates.index_select(0, number), layout)
        if self.deterministic:
            slots, row_of_slot = (x.index_select(0, number).squeeze(0) for x in (self.slots, self.row_of_slot))
            add_deterministic(self.table, slots, row_of_slot, updates, layout.damping)
        else:
            add_fast(self.table, self.bent, rows, updates, layout.damping)
        self.losses.index_copy_(0, number, updates.loss[None])

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record UNROLL micro-batches, which does not run them. The runs before move nothing and set libraries up."""
        rows, windows = (
            self.rows[: UNROLL * self.layout.batch_blocks],
            self.windows[: UNROLL * self.layout.batch_blocks],
        )
        kept = rows.clone(), windows.clone()
        self._leave_out(0, len(rows))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for offset in range(UNROLL):
                self._micro_batch(offset)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the feed goes on meanwhile
            for offset in range(UNROLL):
                self._micro_batch(offset)
            self.next.add_(UNROLL)
        rows.copy_(kept[0])
        windows.copy_(kept[1])
        return graph

    def _total(self, batches: int) -> Tensor:
        """float64 (2,): losses and weights of all micro-batches."""
        return self.losses[:batches].sum(dim=0)


class TritonRunner(Runner):
    """Micro-batches by fused kernels: two launches each."""

    stages = 3
    """Chunks of rows under way at once in a block's program: Triton's own choice. The benchmark tries others."""

    def _allocate(self) -> None:
        from wordlab.torch_engine import triton_kernels  # slow to import, and missing on many machines

        self.kernels = triton_kernels
        layout, device = self.layout, self.table.device
        self.warps = block_warps(layout.block_tokens, layout.depth)
        self.next = torch.zeros(1, dtype=torch.int32, device=device)
        self.losses = torch.zeros((len(self.rows), 2), dtype=torch.float32, device=device)
        self.steps = torch.zeros((layout.batch_rows, layout.depth), dtype=torch.float32, device=device)
        self.bends = torch.zeros(layout.batch_rows, dtype=torch.float32, device=device)
        self.bent = torch.zeros(1 if self.deterministic else 2 * layout.table_rows, dtype=torch.float32, device=device)
        if self.deterministic:
            shape = (self.batches, layout.batch_rows)
            self.sorted_rows = torch.full(shape, layout.nothing, dtype=torch.int32, device=device)
            self.sorted_entries = torch.zeros(shape, dtype=torch.int32, device=device)

    def _prepare(self, batches: int) -> None:
        if self.deterministic:
            order = order_of(self.rows[: batches * self.layout.batch_blocks], self.layout)
            self.sorted_rows[:batches], self.sorted_entries[:batches] = order
        else:
            self.bent.zero_()

    def _micro_batch(self, offset: int) -> None:
        layout, kernels, entries = self.layout, self.kernels, self.layout.batch_rows
        row = {"DEPTH": layout.depth, "WIDE": power_of_two(layout.depth)}
        block = {
            "B": layout.block_tokens, "W": layout.window, "P": layout.padding, "N": layout.noise_words,
            "TARGETS": power_of_two(layout.block_tokens), "PRODUCTS": layout.products,
            "ATOMIC": not self.deterministic, "num_warps": self.warps, "num_stages": self.stages,
        }  # fmt: skip
        if layout.cbow:
            kernel, own = kernels.cbow_block, {"UNDIVIDED": int(layout.undivided)}
        else:
            kernel, own = kernels.skipgram_block, {"CONTEXT": power_of_two(layout.context)}
        kernel[(layout.batch_blocks,)](
            self.table, self.rows, self.windows, self.rates, self.next, self.steps, self.bends, self.bent, self.losses,
            layout.share, offset, layout.batch_blocks, layout.nothing, layout.table_rows, **row, **block, **own,
        )  # fmt: skip
        if self.deterministic:
            kernels.add_sorted[(entries,)](
                self.table, self.sorted_rows, self.sorted_entries, self.next, self.steps, self.bends, layout.damping,
                offset, entries, layout.nothing, **row, num_warps=1,
            )  # fmt: skip
        else:
            kernels.add_atomic[(-(-entries // 16),)](
                self.table, self.rows, self.next, self.steps, self.bent, layout.damping,
                offset, entries, layout.nothing, layout.table_rows, **row,
            )  # fmt: skip

    def _total(self, batches: int) -> Tensor:
        return self.losses[: batches * self.layout.batch_blocks].sum(dim=0, dtype=torch.float64)


def block_warps(targets: int, depth: int) -> int:
    """Warps of a block's program. There is about one block for each multiprocessor, so it should fill one; those of
    long vectors need as many registers as twice as many threads have."""
    return 8 if power_of_two(targets) * power_of_two(depth) <= WARP_NUMBERS else 16


def power_of_two(size: int) -> int:
    """The smallest power of two that holds `size`, 16 or more: what the matrix units take."""
    return max(16, 1 << (size - 1).bit_length())
