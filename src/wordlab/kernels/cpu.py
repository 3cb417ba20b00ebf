"""The CPU engine: a model's table and the team of threads that trains it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.config import ModelConfig, TrainConfig
from wordlab.kernels.batches import Schedule, Segment, Team, train_segment
from wordlab.kernels.layout import (
    CBOW_EXACT,
    CBOW_WORD2VEC,
    CUT,
    DROP,
    PAD,
    SKIPGRAM,
    Draws,
    Rule,
    Scratch,
    Sizes,
    Tokens,
    Updates,
    sizes,
)
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

    def __init__(self, size: Sizes, window: int) -> None:
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
        self.arrays["own"][:] = np.arange(size.columns) - window
        self.scratch = Scratch(
            columns=size.columns,
            depth=size.depth,
            context_rows=size.context,
            context_id=np.zeros(size.context, np.int32),
            noise_id=np.zeros(size.noise, np.int32),
            **{name: array.ctypes.data for name, array in self.arrays.items()},
        )


class CpuEngine:
    """A model being trained on the CPU: its table, and the team of threads that moves it."""

    def __init__(self, model: ModelConfig, train: TrainConfig, tables: SamplingTables, seed: int, threads: int) -> None:
        """Start from random input rows and zero output rows. tables: of the vocabulary, V words. threads: 1 or more."""
        vocab_size = len(tables.keep_probability)
        self.model, self.train, self.seed = model, train, seed
        self.vocab_size = vocab_size
        noise_words = getattr(train.block_negatives, model.arch)
        size = sizes(model.window, train.block_tokens, noise_words, model.dim)
        self.table = aligned_zeros((2 * vocab_size + 2, size.depth))
        initial_vectors(seed, self.table[:vocab_size, : model.dim])
        accept, alias = alias_table(tables.noise_probability)
        self._rule = Rule(
            method=METHODS[model.arch, model.cbow_gradient],
            window_edges=WINDOW_EDGES[model.window_edges],
            window=model.window,
            negatives=float(model.negatives),
            block_tokens=train.block_tokens,
            block_negatives=noise_words,
            dim=model.dim,
            vocab_size=vocab_size,
            table=self.table.ctypes.data,
            accept=accept,
            alias=alias,
            keep_threshold=keep_thresholds(tables.keep_probability),
            batch_blocks=train.batch_tokens // train.block_tokens,
            damping=np.float32(train.damping),
        )
        rows = (self._rule.batch_blocks, size.update_rows)
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
        self._memories = [Memory(size, model.window) for _ in range(threads)]
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


def memory_bytes(model: ModelConfig, train: TrainConfig, vocab_size: int, threads: int) -> int:
    """Memory that an engine will take: the table above all."""
    size = sizes(model.window, train.block_tokens, getattr(train.block_negatives, model.arch), model.dim)
    rows = 2 * vocab_size + 2
    table = 4 * rows * size.depth + 64 * row_groups(rows)
    updates = train.batch_tokens // train.block_tokens * size.update_rows * (4 * size.depth + 8 + 8 * threads)
    scratch = threads * 4 * (size.columns + size.context + size.noise) * (3 * size.depth + 3 * size.columns)
    tokens = 24 * SEGMENT_TOKENS + 16 * (SEGMENT_TOKENS // train.block_tokens + 1)
    return table + updates + scratch + tokens + 20 * vocab_size
