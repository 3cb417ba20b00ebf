"""The CPU engine: a model's table and the team of threads that trains it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.config import ModelConfig, TrainConfig
from wordlab.huffman import Paths
from wordlab.kernels.batches import Schedule, Segment, Team, train_segment
from wordlab.kernels.layout import (
    CBOW_EXACT,
    CBOW_WORD2VEC,
    CUT,
    DENSE,
    DROP,
    PAD,
    SKIPGRAM,
    Draws,
    Rule,
    Scratch,
    Sizes,
    Tokens,
    Updates,
    round_up,
    sizes,
)
from wordlab.kernels.simd import LANES
from wordlab.kernels.softmax import CHUNK, Shared, train_softmax_segment
from wordlab.kernels.threads import new_state
from wordlab.sampling import KEEP, NOISE, WINDOW, alias_table, initial_vectors, keep_thresholds, stream_key
from wordlab.vocab import SamplingTables

METHODS = {
    ("skipgram", "exact"): SKIPGRAM,
    ("skipgram", "word2vec"): SKIPGRAM,
    ("cbow", "exact"): CBOW_EXACT,
    ("cbow", "word2vec"): CBOW_WORD2VEC,
}
WINDOW_EDGES = {"cut": CUT, "drop": DROP, "pad": PAD}
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

    def __init__(self, model: ModelConfig, batch_tokens: int, vocab_size: int, threads: int) -> None:
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
            bent=np.zeros(vocab_size + 1, np.float32),
            **{name: array.ctypes.data for name, array in self.arrays.items()},
        )


class CpuEngine:
    """A model being trained on the CPU: its table, and the team of threads that moves it."""

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        tables: SamplingTables,
        seed: int,
        threads: int,
        paths: Paths | None = None,
    ) -> None:
        """Start from random input rows and zero output rows. tables: of the vocabulary, V words. threads: 1 or more.

        paths: of the vocabulary's Huffman tree; model.objective hs needs it.
        """
        vocab_size = len(tables.keep_probability)
        self.model, self.train, self.seed = model, train, seed
        self.vocab_size = vocab_size
        paths = paths or Paths.of_counts(np.zeros(0, np.int64))
        size = block_sizes(model, train, vocab_size, paths.longest)
        softmax = model.objective == "softmax"
        self.table = aligned_zeros((2 * vocab_size + 2 + DENSE, size.depth))[: 2 * vocab_size + 2]
        initial_vectors(seed, self.table[:vocab_size, : model.dim])
        accept, alias = alias_table(tables.noise_probability)
        self._rule = Rule(
            method=METHODS[model.arch, model.cbow_gradient],
            window_edges=WINDOW_EDGES[model.window_edges],
            window=model.window,
            negatives=float(model.negatives),
            block_tokens=train.block_tokens,
            block_negatives=0 if model.objective == "hs" else getattr(train.block_negatives, model.arch),
            hierarchical=model.objective == "hs",
            path_start=paths.start,
            path_node=paths.node,
            path_code=paths.code,
            dim=model.dim,
            vocab_size=vocab_size,
            table=self.table.ctypes.data,
            accept=accept,
            alias=alias,
            keep_threshold=keep_thresholds(tables.keep_probability),
            batch_blocks=train.batch_tokens // train.block_tokens,
            damping=np.float32(train.damping),
        )
        rows = (1, 1) if softmax else (self._rule.batch_blocks, size.update_rows)
        self._state = new_state()
        self._team = Team(
            threads=threads,
            state=self._state.ctypes.data,
            rough=Tokens(*(np.zeros(SEGMENT_TOKENS + 1, np.int32) for _ in range(3))),
            kept=np.zeros(threads, np.int64),
            tokens=Tokens(*(np.zeros(SEGMENT_TOKENS, np.int32) for _ in range(3))),
            updates=Updates(aligned_zeros((*rows, size.depth)), np.zeros(rows, np.int32), np.zeros(rows, np.float32)),
            bent=aligned_zeros((16 * row_groups(2 * vocab_size + 2),)),
            losses=np.zeros((SEGMENT_TOKENS // train.block_tokens + 1, 2)),
        )
        if softmax:
            self._softmax = SoftmaxMemory(model, train.batch_tokens, vocab_size, threads)
        nodes = len(paths.start) - 1
        memories = 0 if softmax else threads
        self._memories = [Memory(size, model.window, nodes, paths.longest) for _ in range(memories)]
        self._mine = [np.zeros(rows[0] * rows[1] + 1, np.int64) for _ in range(threads)]
        self._leader = ThreadPoolExecutor(1)
        self._others = ThreadPoolExecutor(max(threads - 1, 1))

    def train_segment(
        self,
        ids: NDArray[np.int32],
        ends: NDArray[np.int64],
        start: int,
        first_position: int,
        epoch: int,
        tokens_total: int,
    ) -> tuple[float, float]:
        """Train on ids[start : start + SEGMENT_TOKENS] of a shard.

        ids, ends: the shard's word ids and sentence ends. first_position: where the segment starts in the corpus.
        tokens_total: tokens of the corpus. Returns the sum of weighted losses and the sum of weights, float64.
        """
        stretch, ends = ids[start : start + SEGMENT_TOKENS].view(), ends.view()
        stretch.flags.writeable = ends.flags.writeable = False  # as mapped shards are: one type, one compilation
        keep, window, noise = (np.uint64(stream_key(self.seed, epoch, stream)) for stream in (KEEP, WINDOW, NOISE))
        segment = Segment(stretch, ends, start)
        draws = Draws(keep, window, noise, first_position)
        train = self.train
        schedule = Schedule(
            getattr(train.lr, self.model.arch),
            train.lr_floor,
            epoch * tokens_total + first_position,
            train.epochs * tokens_total,
        )

        def work(thread: int) -> int:
            if self.model.objective == "softmax":
                shared = self._softmax.shared
                return train_softmax_segment(thread, self._team, segment, self._rule, draws, schedule, shared)
            scratch, mine = self._memories[thread].scratch, self._mine[thread]
            return train_segment(thread, self._team, segment, self._rule, draws, schedule, scratch, mine)

        blocks = self._leader.submit(self._together, work).result()
        loss, weight = self._team.losses[:blocks].sum(axis=0)
        return float(loss), float(weight)

    def _together(self, work: Callable[[int], int]) -> int:
        """Call `work` with every thread's number at once; returns what thread 0 returns.

        Runs in a thread of its own, where no KeyboardInterrupt can come between the first and the last of the team.
        """
        others = [self._others.submit(work, thread) for thread in range(1, self._team.threads)]
        result = work(0)
        for other in others:
            other.result()
        return result

    def learning_rate(self, tokens_read: int, tokens_total: int) -> float:
        """Learning rate after `tokens_read` of epochs * `tokens_total` tokens."""
        train = self.train
        progress = tokens_read / (train.epochs * tokens_total)
        return float(getattr(train.lr, self.model.arch) * max(1.0 - progress, train.lr_floor))

    @property
    def description(self) -> dict[str, Any]:
        """What of the engine decides the bits of a model, the parameters aside."""
        return {"name": "cpu"}

    @property
    def segment_tokens(self) -> int:
        """Tokens of one segment, before subsampling."""
        return SEGMENT_TOKENS

    def read_table(self) -> NDArray[np.float32]:
        """All rows, (2V + 2, D), as they are: no copy."""
        return self.table

    def load_table(self, table: NDArray[np.float32]) -> None:
        """Take over all rows, (2V + 2, D). The kernels hold the address of `self.table`, which stays."""
        self.table[:] = table

    @property
    def input_vectors(self) -> NDArray[np.float32]:
        """View of shape (V, dim)."""
        return self.table[: self.vocab_size, : self.model.dim]

    @property
    def output_vectors(self) -> NDArray[np.float32]:
        """View of shape (V, dim)."""
        return self.table[self.vocab_size + 1 : 2 * self.vocab_size + 1, : self.model.dim]

    def close(self) -> None:
        """End the threads."""
        self._leader.shutdown()
        self._others.shutdown()


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


def memory_bytes(model: ModelConfig, train: TrainConfig, vocab_size: int, threads: int, longest_path: int = 0) -> int:
    """Memory that an engine will take: the table above all. longest_path: of hierarchical softmax."""
    size = block_sizes(model, train, vocab_size, longest_path)
    rows = 2 * vocab_size + 2
    tokens = 24 * SEGMENT_TOKENS + 16 * (SEGMENT_TOKENS // train.block_tokens + 1)
    if model.objective == "softmax":
        columns, chunks = round_up(train.batch_tokens, LANES), -(-vocab_size // CHUNK)
        shared = columns * (chunks * (size.depth + 4) + 3 * size.depth + 16 * model.window + threads * CHUNK)
        return 4 * (rows * size.depth + shared) + 64 * row_groups(rows) + tokens + 20 * vocab_size
    table = 4 * rows * size.depth + 64 * row_groups(rows)
    updates = train.batch_tokens // train.block_tokens * size.update_rows * (4 * size.depth + 8 + 8 * threads)
    scratch = threads * 4 * (size.columns + size.context + size.noise) * (3 * size.depth + 3 * size.columns)
    return table + updates + scratch + tokens + 20 * vocab_size
