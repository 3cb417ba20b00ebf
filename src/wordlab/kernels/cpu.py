"""The CPU engine: a model's table and the team of threads that trains it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.huffman import Paths
from wordlab.kernels.batches import Schedule, Segment, Team, train_segment
from wordlab.kernels.layout import CBOW, CUT, DENSE, DROP, PAD, SKIPGRAM, Draws, Rule, Tokens
from wordlab.kernels.memory import (
    SEGMENT_TOKENS,
    Memory,
    SentenceMemory,
    SoftmaxMemory,
    aligned_zeros,
    block_sizes,
    block_tokens,
    input_entries,
    new_updates,
    row_groups,
    sentence_update_rows,
)
from wordlab.kernels.sentences import train_sentences_segment
from wordlab.kernels.softmax import train_softmax_segment
from wordlab.kernels.threads import new_state
from wordlab.sampling import (
    DROPOUT,
    KEEP,
    NOISE,
    WINDOW,
    alias_table,
    initial_ngram_vectors,
    initial_vectors,
    keep_thresholds,
    stream_key,
)
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.subwords import Subwords, mean_vectors
from wordlab.vocab import SamplingTables

METHODS = {"skipgram": SKIPGRAM, "cbow": CBOW, "sent2vec": CBOW}
WINDOW_EDGES = {"cut": CUT, "drop": DROP, "pad": PAD}


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
        subwords: Subwords | None = None,
    ) -> None:
        """Start from random input rows and zero output rows. tables: of the vocabulary, V words. threads: 1 or more.

        paths: of the vocabulary's Huffman tree; model.objective hs needs it. subwords: its words' n-gram rows.
        """
        vocab_size = len(tables.keep_probability)
        self.model, self.train, self.seed = model, train, seed
        self.vocab_size = vocab_size
        paths = paths or Paths.of_counts(np.zeros(0, np.int64))
        bags = subwords or Subwords.none(vocab_size)
        size = block_sizes(model, train, vocab_size, paths.longest)
        softmax, sentences = model.objective == "softmax", model.arch == "sent2vec"
        self.subwords = subwords
        table_rows = 2 * vocab_size + 2 + len(bags.buckets) + model.word_ngram_rows
        self.table = aligned_zeros((table_rows + DENSE, size.depth))[:table_rows]
        initial_vectors(seed, self.table[:vocab_size, : model.dim])
        initial_ngram_vectors(seed, bags.buckets, self.ngram_vectors[: len(bags.buckets)])
        accept, alias = alias_table(tables.noise_probability)
        self._rule = Rule(
            method=METHODS[model.arch],
            window_edges=WINDOW_EDGES[model.window_edges],
            window=0 if sentences else model.window,
            negatives=float(model.negatives),
            block_tokens=block_tokens(model, train),
            block_negatives=0 if model.objective == "hs" else getattr(train.block_negatives, model.arch),
            hierarchical=model.objective == "hs",
            path_start=paths.start,
            path_step=2 * paths.node + paths.code,
            bag_words=vocab_size if subwords else 0,
            bag_start=bags.start,
            bag_row=(2 * vocab_size + 2 + bags.row).astype(np.int32),
            bag_others=bags.others,
            divided=model.cbow_gradient == "exact",
            dim=model.dim,
            vocab_size=vocab_size,
            table=self.table.ctypes.data,
            accept=accept,
            alias=alias,
            keep_threshold=keep_thresholds(tables.keep_probability),
            batch_blocks=train.batch_tokens // block_tokens(model, train),
            damping=np.float32(train.damping.of_inputs(model)),
            output_damping=np.float32(train.damping.of_outputs(model)),
        )
        rows = (1, 1) if softmax else (self._rule.batch_blocks, size.update_rows)
        losses = np.zeros((SEGMENT_TOKENS // train.block_tokens + 1, 2))
        if sentences:
            self._sentences = SentenceMemory(model, train, vocab_size, threads)
            rows, losses = (1, sentence_update_rows(train, self._sentences.bags)), self._sentences.losses
        self._state = new_state()
        self._team = Team(
            threads=threads,
            state=self._state.ctypes.data,
            rough=Tokens(*(np.zeros(SEGMENT_TOKENS + 1, np.int32) for _ in range(3))),
            kept=np.zeros(threads, np.int64),
            tokens=Tokens(*(np.zeros(SEGMENT_TOKENS, np.int32) for _ in range(3))),
            updates=new_updates(rows, size.depth, model.arch == "cbow" and model.objective == "hs"),
            bent=aligned_zeros((16 * row_groups(table_rows),)),
            losses=losses,
        )
        if softmax:
            self._softmax = SoftmaxMemory(model, train.batch_tokens, vocab_size, table_rows, threads)
        nodes = len(paths.start) - 1
        memories = 0 if softmax else threads
        self._memories = [Memory(size, self._rule.window, nodes, paths.longest) for _ in range(memories)]
        moves = rows[0] * (rows[1] + input_entries(model, size) * bags.longest)
        self._mine = [np.zeros(moves + 1, np.int64) for _ in range(threads)]
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
        dropout = np.uint64(stream_key(self.seed, epoch, DROPOUT))
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
            if self.model.arch == "sent2vec":
                own, choices = self._sentences, (draws, dropout, schedule)
                return train_sentences_segment(
                    thread,
                    self._team,
                    segment,
                    self._rule,
                    own.bags,
                    *choices,
                    scratch,
                    mine,
                    own.plan,
                    own.pieces[thread],
                )
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
        """All rows, (2V + 2 + G, D), as they are: no copy."""
        return self.table

    def load_table(self, table: NDArray[np.float32]) -> None:
        """Take over all rows, (2V + 2 + G, D). The kernels hold the address of `self.table`, which stays."""
        self.table[:] = table

    @property
    def input_vectors(self) -> NDArray[np.float32]:
        """Shape (V, dim): a view, with subwords the means of the words' rows."""
        if self.subwords is None:
            return self.word_vectors
        return mean_vectors(self.subwords.start, self.subwords.row, self.word_vectors, self.ngram_vectors)

    @property
    def word_vectors(self) -> NDArray[np.float32]:
        """View of the words' own input rows, (V, dim)."""
        return self.table[: self.vocab_size, : self.model.dim]

    @property
    def ngram_vectors(self) -> NDArray[np.float32]:
        """View of the n-grams' rows, of characters or of words, (G, dim)."""
        return self.table[2 * self.vocab_size + 2 :, : self.model.dim]

    @property
    def output_vectors(self) -> NDArray[np.float32]:
        """View of shape (V, dim)."""
        return self.table[self.vocab_size + 1 : 2 * self.vocab_size + 1, : self.model.dim]

    def close(self) -> None:
        """End the threads."""
        self._leader.shutdown()
        self._others.shutdown()
