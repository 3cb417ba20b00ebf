"""Memory of the CPU engine: the arrays that kernels work in, how large they are, and how much that is together."""

from __future__ import annotations

from typing import Any

import numpy as np

from wordlab.config import ModelConfig, TrainConfig
from wordlab.huffman import Paths
from wordlab.kernels.layout import DENSE, Scratch, Sizes, round_up, sizes
from wordlab.kernels.simd import LANES
from wordlab.kernels.softmax import CHUNK, Shared
from wordlab.subwords import Subwords

SEGMENT_TOKENS = 1 << 18
"""Tokens of one segment, before subsampling. Windows are cut at its ends, which meets one window in many thousands."""


def aligned_zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """Zeros that start at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


class Memory:
    """Owns the arrays of one thread's Scratch."""

    def __init__(self, size: Sizes, window: int, nodes: int, longest_path: int) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {
            "hidden_LD": aligned_zeros((size.columns, size.depth)),
            "hidden_DL": aligned_zeros((size.depth, size.columns)),
            "hidden_gradient_LD": aligned_zeros((size.columns, size.depth)),
            "context_CD": aligned_zeros((size.context, size.depth)),
            "noise_ND": aligned_zeros((size.noise, size.depth)),
            "target_BD": aligned_zeros((size.targets, size.depth)),
            "context_CL": aligned_zeros((size.context, size.columns)),
            "bag_CL": aligned_zeros((size.context, size.columns)),
            "noise_NL": aligned_zeros((size.noise, size.columns)),
            "noise_weight_NL": aligned_zeros((size.noise, size.columns)),
            "true_weight_NL": aligned_zeros((size.noise if nodes else 0, size.columns)),
            "context_norm": aligned_zeros((size.context,)),
            "noise_norm": aligned_zeros((size.noise,)),
        }
        for name in (
            "first",
            "last",
            "own",
            "pairs",
            "missing",
            "bag_size",
            "norm",
            "curvature",
            "gradient",
            "bend",
            "target_norm",
        ):
            self.arrays[name] = aligned_zeros((size.columns,))
        for name in ("path_score", "path_bend", "path_weight"):
            self.arrays[name] = aligned_zeros((round_up(longest_path, LANES),))
        self.arrays["own"][:] = np.arange(size.columns) - window
        self.scratch = Scratch(
            columns=size.columns,
            depth=size.depth,
            context_rows=size.context,
            slot=np.full(nodes, -1, np.int32),
            node_low=np.zeros(size.noise if nodes else 0, np.int32),
            node_high=np.zeros(size.noise if nodes else 0, np.int32),
            context_id=np.zeros(size.context, np.int32),
            noise_id=np.zeros(size.noise, np.int32),
            **{name: array.ctypes.data for name, array in self.arrays.items()},
        )


class SoftmaxMemory:
    """Owns the arrays of a team's Shared: full softmax."""

    def __init__(self, model: ModelConfig, batch_tokens: int, vocab_size: int, table_rows: int, threads: int) -> None:
        columns, depth = round_up(batch_tokens, LANES), round_up(model.dim, LANES)
        chunks = -(-vocab_size // CHUNK)
        self.arrays = {
            "hidden_TD": aligned_zeros((columns, depth)),
            "hidden_DT": aligned_zeros((depth, columns)),
            "norm": aligned_zeros((columns,)),
            "pairs": aligned_zeros((columns,)),
            "most": aligned_zeros((chunks, columns)),
            "total": aligned_zeros((chunks, columns)),
            "log_total": aligned_zeros((columns,)),
            "gradient": aligned_zeros((chunks, columns, depth)),
            "curvature": aligned_zeros((chunks, columns)),
            "scores": aligned_zeros((threads, CHUNK, columns)),
            "steps": aligned_zeros((threads, DENSE, depth)),
            "bends": aligned_zeros((threads, CHUNK)),
        }
        self.shared = Shared(
            columns=columns,
            depth=depth,
            chunks=chunks,
            chunk_losses=np.zeros(chunks),
            low=np.zeros(columns, np.int32),
            high=np.zeros(columns, np.int32),
            absent=np.zeros(columns, np.int32),
            true_word=np.zeros(2 * model.window * columns, np.int32),
            true_column=np.zeros(2 * model.window * columns, np.int32),
            true_count=np.zeros(1, np.int64),
            bent=np.zeros(table_rows, np.float32),
            **{name: array.ctypes.data for name, array in self.arrays.items()},
        )


def row_groups(rows: int) -> int:
    """Number of groups of 16 rows, a power of two, that hold `rows` rows."""
    groups = 1
    while 16 * groups < rows:
        groups *= 2
    return groups


def block_sizes(model: ModelConfig, train: TrainConfig, vocab_size: int, longest_path: int) -> Sizes:
    """Sizes of a block's arrays. In hierarchical softmax there is room for every node that its paths could have."""
    words = train.block_tokens + (2 * model.window if model.arch == "skipgram" else 0)
    nodes = min(max(vocab_size - 1, 1), words * longest_path)
    outputs = nodes + 2 * DENSE if model.objective == "hs" else getattr(train.block_negatives, model.arch)
    return sizes(model.window, train.block_tokens, outputs, model.dim)


def input_entries(model: ModelConfig, size: Sizes) -> int:
    """Rows of a block's part of the update buffer that are for input rows."""
    return size.targets if model.arch == "skipgram" else size.context


def memory_bytes(
    model: ModelConfig,
    train: TrainConfig,
    vocab_size: int,
    threads: int,
    paths: Paths | None = None,
    subwords: Subwords | None = None,
) -> int:
    """Memory that an engine will take: the table above all. paths: of hierarchical softmax."""
    bags = subwords or Subwords.none(vocab_size)
    size = block_sizes(model, train, vocab_size, paths.longest if paths else 0)
    rows = 2 * vocab_size + 2 + len(bags.buckets)
    blocks = train.batch_tokens // train.block_tokens
    others = 24 * SEGMENT_TOKENS + 16 * (SEGMENT_TOKENS // train.block_tokens + 1)
    others += 20 * vocab_size + 8 * len(bags.row) + 8 * threads * blocks * input_entries(model, size) * bags.longest
    table = 4 * rows * size.depth + 64 * row_groups(rows)
    if model.objective == "softmax":
        columns, chunks = round_up(train.batch_tokens, LANES), -(-vocab_size // CHUNK)
        shared = columns * (chunks * (size.depth + 4) + 3 * size.depth + 16 * model.window + threads * CHUNK)
        return table + 4 * (rows + shared) + others
    updates = blocks * size.update_rows * (4 * size.depth + 8 + 8 * threads)
    scratch = threads * 4 * (size.columns + size.context + size.noise) * (3 * size.depth + 3 * size.columns)
    return table + updates + scratch + others
