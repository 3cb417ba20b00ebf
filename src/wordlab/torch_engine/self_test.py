"""Do the fused kernels run here and take the steps of plain torch? Asked before a training that would use them.

A driver may be too old for Triton, its compiler may be missing, a kernel may want more of a multiprocessor than this
GPU has, and a new version of Triton may compile it wrongly. All of that shows on a few blocks of text, in the kernels
that the training would use anyway: what is compiled for them is kept on the disk by Triton.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from wordlab.torch_engine.layout import Layout
from wordlab.torch_engine.runners import Runner, TritonRunner
from wordlab.torch_engine.segments import Drawing, cut_into_blocks

LARGEST_ERROR = {"float32": 1e-5, "tf32x3": 1e-5, "tf32": 1e-2, "bf16": 3e-2}
"""Of a step by what `cuda.products` rounds, relative to its length."""
WORDS, SENTENCE_TOKENS, BATCH_BLOCKS, BATCHES = 50, 23, 2, 3


def error_of_kernels(layout: Layout, deterministic: bool, device: str) -> float:
    """How far the fused kernels' steps are from plain torch's, relative to their length; NaN where they are none.

    layout: of the training; its sizes are kept, its vocabulary and its micro-batches are made small.
    Raises what Triton, its compiler or the driver raise.
    """
    layout = dataclasses.replace(layout, vocab_size=WORDS, batch_blocks=BATCH_BLOCKS)
    torch.set_float32_matmul_precision("highest")
    start = _start(layout, device)
    plain = _trained(Runner, dataclasses.replace(layout, products="float32"), start, deterministic)
    fused = _trained(TritonRunner, layout, start, deterministic)
    return float((fused - plain).norm() / (plain - start).norm())


def _start(layout: Layout, device: str) -> Tensor:
    """A table of random numbers; zeros in the row of nothing and in the columns that fill a row up."""
    rng = np.random.default_rng(1)
    table = np.zeros((layout.table_rows, layout.depth), np.float32)
    table[: layout.nothing, : layout.dim] = 0.3 * rng.normal(size=(layout.nothing, layout.dim))
    return torch.from_numpy(table).to(device)


def _trained(kind: type[Runner], layout: Layout, start: Tensor, deterministic: bool) -> Tensor:
    """The table after some micro-batches, the last one not full. start: the table before."""
    rng, device = np.random.default_rng(2), start.device
    tokens = BATCHES * layout.batch_tokens - layout.block_tokens // 2
    ids = torch.from_numpy(rng.integers(0, WORDS, tokens).astype(np.int32)).to(device)
    ends = torch.arange(SENTENCE_TOKENS, tokens + SENTENCE_TOKENS, SENTENCE_TOKENS, device=device)
    always = torch.full((WORDS,), 1 << 32, device=device)
    drawing = Drawing(1, always, always, torch.arange(WORDS, dtype=torch.int32, device=device))
    blocks = cut_into_blocks(ids, ends, 0, 0, drawing, layout)
    table = start.clone()
    kind(layout, table, tokens, deterministic).run(blocks, np.full(BATCHES, 0.05, np.float32))
    return table
