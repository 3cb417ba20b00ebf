"""The CPU engine: micro-batches of blocks, the same bits on any number of threads (DESIGN 4.2).

The blocks of a micro-batch compute their updates from the same table; then every thread adds all updates, in block
order, to the rows that it owns. A row's additions so happen in one order whatever the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wordlab.compiled import inner, kernel
from wordlab.config import ModelConfig, TrainConfig
from wordlab.kernels.blocks import (
    CBOW_EXACT,
    CBOW_WORD2VEC,
    CUT,
    DROP,
    LANES,
    PAD,
    SKIPGRAM,
    Draws,
    Rule,
    Scratch,
    Sizes,
    Tokens,
    Updates,
    cbow_block,
    prefetch_block,
    sizes,
    skipgram_block,
)
from wordlab.kernels.simd import fma, load, prefetch, splat, store
from wordlab.kernels.threads import new_state, take_next, wait_for_all
from wordlab.sampling import (
    KEEP,
    NOISE,
    WINDOW,
    alias_table,
    initial_vectors,
    is_kept,
    keep_thresholds,
    stream_key,
)
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
PREFETCH_AHEAD = 12
"""Rows asked for before they are moved."""


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
        for name in ("first", "last", "own", "pairs", "missing", "norm", "curvature", "gradient"):
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


class Segment(NamedTuple):
    """A stretch of the corpus that is trained on in one call, at most SEGMENT_TOKENS tokens of one shard."""

    ids: Any
    """int32 (n,): the stretch's word ids"""
    ends: Any
    """int64: where the shard's sentences end, in tokens of the shard"""
    start: Any
    """Where the stretch begins, in tokens of the shard."""
    first_position: Any
    """Where the stretch begins, in tokens of the corpus."""


class Schedule(NamedTuple):
    """Learning rate by progress: linear in tokens read, before subsampling, over all epochs."""

    lr: float
    lr_floor: float
    """Fraction of lr at the end."""
    tokens_before: Any
    """Tokens read before this segment, earlier epochs included."""
    tokens_total: Any
    """Tokens of the corpus times epochs."""


class Team(NamedTuple):
    """What the threads of a run share."""

    threads: int
    state: int
    """Address of the shared state, see threads.py."""
    rough: Tokens
    """Kept tokens of each thread's part of a segment, at the place of that part."""
    kept: Any
    """int64 (threads,): how many those are"""
    tokens: Tokens
    """Kept tokens of the whole segment."""
    updates: Updates
    bent: Any
    """Sum of curvatures of each row moved in a micro-batch; zero between micro-batches."""
    losses: Any
    """float64 (blocks of a segment, 2): written: each block's weighted losses and weights"""


@inner
def _keep_tokens(thread, team, segment, thresholds, key):  # type: ignore[no-untyped-def]
    """Subsample the segment into team.tokens; returns the number of kept tokens.

    Every thread subsamples a part of the segment to the place where that part lies, and when all know how many tokens
    the parts before theirs kept, moves its tokens there.
    """
    ids, ends, size = segment.ids, segment.ends, segment.ids.shape[0]
    begin, stop = size * thread // team.threads, size * (thread + 1) // team.threads
    word_id, sentence, position = team.rough
    first_sentence = np.searchsorted(ends, segment.start, side="right")
    s = np.searchsorted(ends, segment.start + begin, side="right")
    count = begin
    for t in range(begin, stop):
        while ends[s] <= segment.start + t:
            s += 1
        word_id[count], sentence[count], position[count] = ids[t], s - first_sentence, t
        count += np.int64(is_kept(key, segment.first_position + t, thresholds[ids[t]]))
    kept = team.kept
    kept[thread] = count - begin
    wait_for_all(team.state, team.threads)
    place = np.int64(0)
    for other in range(thread):
        place += kept[other]
    all_word_id, all_sentence, all_position = team.tokens
    for t in range(count - begin):
        all_word_id[place + t] = word_id[begin + t]
        all_sentence[place + t] = sentence[begin + t]
        all_position[place + t] = position[begin + t]
    wait_for_all(team.state, team.threads)
    return kept.sum()


@kernel
def train_segment(thread, team, segment, thresholds, keep_key, rule, draws, schedule, batch_blocks, damping, scratch, mine):  # type: ignore[no-untyped-def]  # fmt: skip
    """Train on one segment; called by every thread of the team at once. Returns the number of blocks.

    thresholds: uint64 (V,), see sampling.keep_thresholds. draws.first_position is segment.first_position.
    scratch, mine: this thread's own; mine: int64, one entry for each update row.
    """
    n = _keep_tokens(thread, team, segment, thresholds, keep_key)
    tokens = Tokens(team.tokens.word_id[:n], team.tokens.sentence[:n], team.tokens.position[:n])
    size, losses = rule.block_tokens, team.losses
    blocks = (n + size - 1) // size
    batches = (blocks + batch_blocks - 1) // batch_blocks
    vector, rows, curvatures = team.updates.vector.ctypes.data, team.updates.row, team.updates.curvature
    part = 4 * rows.shape[1] * scratch.depth
    for batch in range(batches):
        done = schedule.tokens_before + segment.ids.shape[0] * (batch / batches)
        lr = np.float32(schedule.lr * max(1.0 - done / schedule.tokens_total, schedule.lr_floor))
        first = batch * batch_blocks
        count = min(batch_blocks, blocks - first)
        while True:
            b = take_next(team.state)
            if b >= count:
                break
            start = (first + b) * size
            ahead = start + team.threads * size
            prefetch_block(tokens, ahead, min(ahead + size, n), rule, draws, scratch.depth)
            stop, update = min(start + size, n), vector + part * b
            if rule.method == SKIPGRAM:
                total = skipgram_block(tokens, start, stop, rule, draws, lr, scratch, update, rows[b], curvatures[b])
            else:
                total = cbow_block(tokens, start, stop, rule, draws, lr, scratch, update, rows[b], curvatures[b])
            losses[first + b, 0], losses[first + b, 1] = total
        wait_for_all(team.state, team.threads)
        _apply(
            thread, team.threads, rule.table, scratch.depth, vector, rows, curvatures, count, damping, mine, team.bent
        )
        wait_for_all(team.state, team.threads)
    return blocks


@inner
def _apply(thread, threads, table, depth, vector, rows_of_blocks, curvatures, blocks, damping, mine, bent):  # type: ignore[no-untyped-def]  # fmt: skip
    """Add this thread's share of a micro-batch's updates to the table, every row's step damped by its curvature.

    Rows are owned in groups of 16 far-apart rows, whose entries of `bent` share a cache line.
    """
    size = rows_of_blocks.size
    rows, curvature = rows_of_blocks.reshape(size), curvatures.reshape(size)
    groups = bent.shape[0] // 16
    shift = np.int64(0)
    while (1 << shift) < groups:
        shift += 1
    count = 0
    for k in range(blocks * rows_of_blocks.shape[1]):
        row = np.int64(rows[k])
        group = np.uint64(row & (groups - 1))
        owner = (((group * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)) * np.uint64(threads)) >> np.uint64(32)
        mine[count] = k
        count += np.int64((row >= 0) & (np.int64(owner) == thread))
    for m in range(count):
        row = np.int64(rows[mine[m]])
        bent[(row & (groups - 1)) * 16 + (row >> shift)] += curvature[mine[m]]
    one = np.float32(1)
    for m in range(count):
        ahead = table + 4 * depth * np.int64(rows[mine[min(m + PREFETCH_AHEAD, count - 1)]])
        for k in range(0, depth, LANES):
            prefetch(ahead, k)
        row = np.int64(rows[mine[m]])
        scale = splat(one / (one + damping * bent[(row & (groups - 1)) * 16 + (row >> shift)]))
        place, source = table + 4 * depth * row, vector + 4 * depth * mine[m]
        for k in range(0, depth, LANES):
            store(fma(scale, load(source, k), load(place, k)), place, k)
    for m in range(count):
        row = np.int64(rows[mine[m]])
        bent[(row & (groups - 1)) * 16 + (row >> shift)] = 0


class CpuEngine:
    """A model being trained on the CPU: its table, and the team of threads that moves it."""

    def __init__(self, model: ModelConfig, train: TrainConfig, tables: SamplingTables, seed: int, threads: int) -> None:
        """Start from random input rows and zero output rows. tables: of the vocabulary, V words. threads: 1 or more."""
        vocab_size = len(tables.keep_probability)
        self.model, self.train, self.seed = model, train, seed
        self.vocab_size = vocab_size
        size = sizes(model.window, train.block_tokens, train.block_negatives, model.dim)
        self.table = aligned_zeros((2 * vocab_size + 2, size.depth))
        initial_vectors(seed, self.table[:vocab_size, : model.dim])
        self._thresholds = keep_thresholds(tables.keep_probability)
        accept, alias = alias_table(tables.noise_probability)
        self._rule = Rule(
            method=METHODS[model.arch, model.cbow_gradient],
            window_edges=WINDOW_EDGES[model.window_edges],
            window=model.window,
            negatives=float(model.negatives),
            block_tokens=train.block_tokens,
            block_negatives=train.block_negatives,
            dim=model.dim,
            vocab_size=vocab_size,
            table=self.table.ctypes.data,
            accept=accept,
            alias=alias,
        )
        self._batch_blocks = train.batch_tokens // train.block_tokens
        rows = (self._batch_blocks, size.update_rows)
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
        self._pool = ThreadPoolExecutor(threads)

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
        stretch = np.ascontiguousarray(ids[start : start + SEGMENT_TOKENS])
        keep, window, noise = (np.uint64(stream_key(self.seed, epoch, stream)) for stream in (KEEP, WINDOW, NOISE))
        segment = Segment(stretch, ends, start, first_position)
        draws = Draws(window, noise, first_position)
        train = self.train
        schedule = Schedule(
            getattr(train.lr, self.model.arch),
            train.lr_floor,
            epoch * tokens_total + first_position,
            train.epochs * tokens_total,
        )

        def work(thread: int) -> int:
            return train_segment(
                thread, self._team, segment, self._thresholds, keep, self._rule, draws, schedule,
                self._batch_blocks, np.float32(train.damping), self._memories[thread].scratch, self._mine[thread],
            )  # fmt: skip

        blocks = list(self._pool.map(work, range(self._team.threads)))[0]
        loss, weight = self._team.losses[:blocks].sum(axis=0)
        return float(loss), float(weight)

    def learning_rate(self, tokens_read: int, tokens_total: int) -> float:
        """Learning rate after `tokens_read` of epochs * `tokens_total` tokens."""
        train = self.train
        progress = tokens_read / (train.epochs * tokens_total)
        return float(getattr(train.lr, self.model.arch) * max(1.0 - progress, train.lr_floor))

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
        self._pool.shutdown()


def row_groups(rows: int) -> int:
    """Number of groups of 16 rows, a power of two, that hold `rows` rows."""
    groups = 1
    while 16 * groups < rows:
        groups *= 2
    return groups


def memory_bytes(model: ModelConfig, train: TrainConfig, vocab_size: int, threads: int) -> int:
    """Memory that an engine will take: the table above all."""
    size = sizes(model.window, train.block_tokens, train.block_negatives, model.dim)
    rows = 2 * vocab_size + 2
    table = 4 * rows * size.depth + 64 * row_groups(rows)
    updates = train.batch_tokens // train.block_tokens * size.update_rows * (4 * size.depth + 8 + 8 * threads)
    scratch = threads * 4 * (size.columns + size.context + size.noise) * (3 * size.depth + 3 * size.columns)
    return table + updates + scratch + 24 * SEGMENT_TOKENS + 20 * vocab_size
