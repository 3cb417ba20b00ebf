"""Memory of the CPU engine: the arrays that kernels work in, how large they are, and how much that is together."""

from __future__ import annotations

from typing import Any

import numpy as np

from wordlab.huffman import Paths
from wordlab.kernels.layout import DENSE, TREE_TILE, Scratch, Sizes, Updates, round_up, sizes
from wordlab.kernels.sentence_plan import LONGEST_SENTENCE, Bags, Pieces, Plan
from wordlab.kernels.simd import LANES
from wordlab.kernels.softmax import CHUNK, Shared
from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.subwords import Subwords

SEGMENT_TOKENS = 1 << 18
"""Tokens of one segment, before subsampling. Windows are cut at its ends, which meets one window in many thousands."""
TREE_BLOCK_TOKENS = 128
"""Targets of a block of hierarchical CBOW: 256 would leave few blocks for many threads."""


def aligned_zeros(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """Zeros that start at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def new_updates(rows: tuple[int, int], depth: int, borrowed: bool) -> Updates:
    """An update buffer for (blocks, rows of a block's part). borrowed: with room for factor and source."""
    places = rows[0] * rows[1] if borrowed else 0
    return Updates(
        vector=aligned_zeros((*rows, depth)),
        row=np.zeros(rows, np.int32),
        curvature=np.zeros(rows, np.float32),
        factor=np.ones(places, np.float32),
        source=np.arange(places, dtype=np.int32),
    )


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
        decisions = round_up(size.targets * longest_path, LANES)
        for name in ("path_score", "path_bend", "node_residual"):
            self.arrays[name] = aligned_zeros((decisions,))
        self.arrays["own"][:] = np.arange(size.columns) - window
        self.scratch = Scratch(
            columns=size.columns,
            depth=size.depth,
            context_rows=size.context,
            path_slot=np.zeros(decisions, np.int32),
            node_place=np.zeros(size.noise if nodes else 0, np.int32),
            node_column=np.zeros(decisions, np.int32),
            slot=np.full(nodes, -1, np.int32),
            met_node=np.zeros(size.noise if nodes else 0, np.int32),
            met_low=np.zeros(size.noise if nodes else 0, np.int32),
            met_high=np.zeros(size.noise if nodes else 0, np.int32),
            want_low=np.zeros(size.context, np.int32),
            want_high=np.zeros(size.context, np.int32),
            begin=np.zeros(4 * size.columns, np.int32),
            tile_low=np.zeros(size.noise // TREE_TILE, np.int32),
            tile_high=np.zeros(size.noise // TREE_TILE, np.int32),
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
            "highest": aligned_zeros((columns,)),
            "share": aligned_zeros((columns,)),
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


class SentenceMemory:
    """Owns the arrays of sent2vec: the team's plan of a segment, and every thread's notes on a block."""

    def __init__(self, model: ModelConfig, train: TrainConfig, vocab_size: int, threads: int) -> None:
        self.bags = sentence_bags(model, train, vocab_size)
        room = SEGMENT_TOKENS + 1  # every word could be a block by itself
        self.plan = Plan(*(np.zeros(room, np.int32) for _ in range(7)), np.zeros(2, np.int64))
        self.pieces = [self._pieces() for _ in range(threads)]
        self.losses = np.zeros((room, 2))

    def _pieces(self) -> Pieces:
        words = self.bags.most_words + 1
        dropped = np.zeros(self.bags.longest, np.uint8)
        return Pieces(np.zeros(words, np.int32), np.zeros(words, np.int32), dropped)


def longest_sentence(train: TrainConfig) -> int:
    """sent2vec: words after which a sentence is cut. No piece has more than a micro-batch; one word makes no bag."""
    return max(2, min(LONGEST_SENTENCE, train.batch_tokens))


def sentence_bags(model: ModelConfig, train: TrainConfig, vocab_size: int) -> Bags:
    """What decides the bags of sent2vec, and how large a micro-batch can be."""
    longest = longest_sentence(train)
    return Bags(
        word_ngrams=model.sent2vec.word_ngrams,
        buckets=model.sent2vec.buckets,
        dropout=model.sent2vec.dropout,
        first_row=2 * vocab_size + 2,
        longest=longest,
        most_words=max(min(train.batch_tokens, SEGMENT_TOKENS), longest),
    )


def sentence_update_rows(train: TrainConfig, bags: Bags) -> int:
    """Rows of the update buffer. Any two neighbouring blocks have more than block_tokens targets together."""
    most_blocks = 2 * bags.most_words // train.block_tokens + 1
    noise = round_up(train.block_negatives.sent2vec, DENSE)
    return (1 + bags.word_ngrams) * bags.most_words + most_blocks * noise


def row_groups(rows: int) -> int:
    """Number of groups of 16 rows, a power of two, that hold `rows` rows."""
    groups = 1
    while 16 * groups < rows:
        groups *= 2
    return groups


def block_tokens(model: ModelConfig, train: TrainConfig) -> int:
    """Targets of a block: train.block_tokens, or a multiple of it where no noise words are shared and larger ones pay.

    Hierarchical CBOW meets fewer different nodes for each target in a larger block, and adds fewer updates. What it
    computes is the same but for rounding.
    """
    tokens = train.block_tokens
    if model.arch == "cbow" and model.objective == "hs":
        while 2 * tokens <= TREE_BLOCK_TOKENS and train.batch_tokens % (2 * tokens) == 0:
            tokens *= 2
    return tokens


def block_sizes(model: ModelConfig, train: TrainConfig, vocab_size: int, longest_path: int) -> Sizes:
    """Sizes of a block's arrays. In hierarchical softmax there is room for every node that its paths could have."""
    if model.arch == "sent2vec":  # a block has whole sentences, and no windows
        most = max(train.block_tokens, longest_sentence(train))
        return sizes(0, most, train.block_negatives.sent2vec, model.dim)
    targets = block_tokens(model, train)
    words = targets + (2 * model.window if model.arch == "skipgram" else 0)
    nodes = min(max(vocab_size - 1, 1), words * longest_path)
    outputs = nodes + 2 * TREE_TILE if model.objective == "hs" else getattr(train.block_negatives, model.arch)
    return sizes(model.window, targets, outputs, model.dim)


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
    rows = 2 * vocab_size + 2 + len(bags.buckets) + model.word_ngram_rows
    blocks = train.batch_tokens // block_tokens(model, train)
    others = 24 * SEGMENT_TOKENS + 16 * (SEGMENT_TOKENS // train.block_tokens + 1)
    others += 20 * vocab_size + 8 * len(bags.row) + 8 * threads * blocks * input_entries(model, size) * bags.longest
    table = 4 * rows * size.depth + 64 * row_groups(rows)
    if model.objective == "softmax":
        columns, chunks = round_up(train.batch_tokens, LANES), -(-vocab_size // CHUNK)
        shared = columns * (chunks * (size.depth + 4) + 3 * size.depth + 16 * model.window + threads * CHUNK)
        return table + 4 * (rows + shared) + others
    update_rows = blocks * size.update_rows
    if model.arch == "sent2vec":
        own = sentence_bags(model, train, vocab_size)
        update_rows = sentence_update_rows(train, own)
        others += 44 * SEGMENT_TOKENS + threads * (8 * own.most_words + own.longest)
    updates = update_rows * (4 * size.depth + 16 + 8 * threads)
    scratch = threads * 4 * (size.columns + size.context + size.noise) * (3 * size.depth + 3 * size.columns)
    return table + updates + scratch + others
