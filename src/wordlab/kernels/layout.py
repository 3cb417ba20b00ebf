"""Arrays and numbers that the kernels hand to one another.

Shapes, in the names of the arrays:
    B   targets of a block, each a kept token          W   window          N   noise words, shared by the block
    C   context positions: B + 2W, from W tokens before the block to W after it
    L   columns: target j is column 2W + j, so that column c and context row i are a possible pair when c-2W <= i <= c
    D   vector length, a multiple of 16                R   rows of a block's part of the update buffer

Arrays are handed around as addresses, or in functions that do not count references (see wordlab.compiled).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from wordlab.kernels.simd import AVX512, LANES

BAND, DENSE = 6, 8 if AVX512 else 4
"""Rows of a tile: 6 targets and a window of 5 need just 16 columns; noise words come in multiples of DENSE."""
TREE_TILE = 8
"""Nodes of a tree that are computed over the same columns; a multiple of DENSE on every CPU."""
CUT, DROP, PAD = 0, 1, 2
SKIPGRAM, CBOW = 0, 1


class Tokens(NamedTuple):
    """Kept tokens of one segment, arrays of shape (n,)."""

    word_id: Any
    sentence: Any
    """int32; equal for tokens of one sentence, rising."""
    position: Any
    """int32; place in the segment before subsampling."""


class Rule(NamedTuple):
    """What is computed; the same for all blocks of a run."""

    method: int
    window_edges: int
    window: int
    negatives: float
    block_tokens: int
    block_negatives: int
    """Noise words of a block; 0 in hierarchical softmax."""
    hierarchical: bool
    """Whether output rows are the inner nodes of a Huffman tree."""
    path_start: Any
    path_step: Any
    """Words' paths, see huffman.Paths; int32, 2 * node + code: what is read together lies together."""
    bag_words: int
    """Words that are bags of rows: V with subwords, else 0."""
    bag_start: Any
    bag_row: Any
    """Table rows of the words' n-grams, see subwords.Subwords; a word's bag is its own row and these."""
    bag_others: Any
    """By how much other words' curvature of a word's rows counts for it, see subwords.Subwords."""
    divided: bool
    """Whether the gradient of a bag's mean is divided by the bag's size."""
    dim: int
    """Length of a vector without padding."""
    vocab_size: int
    """Table rows 0..V-1 are input rows, V the padding row as input; V+1..2V are output rows, 2V+1 padding as output;
    n-gram rows follow."""
    table: int
    """Address of the table, float32 (2V+2+G, D)."""
    accept: Any
    alias: Any
    """Noise distribution, see sampling.alias_table."""
    keep_threshold: Any
    """Subsampling, see sampling.keep_thresholds."""
    batch_blocks: int
    """Blocks in one micro-batch."""
    damping: Any
    """float32; an input row's step is divided by 1 + damping * its curvature."""
    output_damping: Any
    """float32; the same for an output row."""


class Draws(NamedTuple):
    """Keys of the random choices of one epoch, and where the segment starts in the corpus, in tokens."""

    keep_key: Any
    window_key: Any
    noise_key: Any
    first_position: Any


class Scratch(NamedTuple):
    """Working memory of one thread: addresses of float32 arrays, zero at the start. `columns` is L, `depth` is D."""

    columns: int
    depth: int
    context_rows: int
    hidden_LD: int
    hidden_DL: int
    hidden_gradient_LD: int
    context_CD: int
    noise_ND: int
    target_BD: int
    context_CL: int
    bag_CL: int
    noise_NL: int
    noise_weight_NL: int
    true_weight_NL: int
    first: int
    """(L,) first context row of a target's window; for a target that is left out, above `last`."""
    last: int
    """(L,) last context row of a target's window."""
    own: int
    """(L,) a target's own context row, which is no pair."""
    pairs: int
    """(L,) number of true pairs."""
    missing: int
    """(L,) number of padded pairs (window_edges: pad)."""
    bag_size: int
    """(L,) rows in the bag of a target; where there is none, 1."""
    norm: int
    """(L,) squared length of hidden."""
    curvature: int
    """(L,) curvature of hidden."""
    gradient: int
    """(L,) CBOW: score, then residual of the true pair."""
    bend: int
    """(L,) CBOW: lr * sigma (1 - sigma) of the true pair."""
    target_norm: int
    """(L,) CBOW: squared length of the true word's output row."""
    context_norm: int
    """(C,) squared lengths of context rows."""
    noise_norm: int
    """(N,) squared lengths of noise rows."""
    path_score: int
    """Hierarchical CBOW: of all decisions of the block, scores, then residuals."""
    path_bend: int
    path_slot: Any
    """int32 array: of all decisions, where the node stands among the block's nodes."""
    node_place: Any
    """int32 array (N,): how many decisions each of the block's nodes has, then where the last of them stands."""
    node_column: Any
    """int32 array: of all decisions, in the order of the nodes, the bag's column."""
    node_residual: int
    """Residuals in that order."""
    slot: Any
    """int32 array (V,), hierarchical softmax: where a node stands among the block's nodes; -1 where it does not."""
    met_node: Any
    met_low: Any
    met_high: Any
    """int32 arrays (N,): nodes in the order they are met in, and the first and last column that each is wanted in."""
    want_low: Any
    want_high: Any
    """int32 arrays (C,): first and last column that a context row's path is wanted in."""
    begin: Any
    """int32 array (4L,): where the nodes that are sorted alike begin."""
    tile_low: Any
    tile_high: Any
    """int32 arrays (N / TREE_TILE,): first and last column that any node of a tile is wanted in."""
    context_id: Any
    """int32 array (C,); -1 outside the segment."""
    noise_id: Any
    """int32 array (N,)."""


class Updates(NamedTuple):
    """Update buffer of a micro-batch: one part for each of its blocks."""

    vector: Any
    """float32, (blocks, R, D)"""
    row: Any
    """int32, (blocks, R): the table row that a vector is for, with subwords the word whose rows it is for; -1: none"""
    curvature: Any
    """float32, (blocks, R)"""
    factor: Any
    source: Any
    """float32 and int32, (blocks * R,); hierarchical CBOW alone: a row's step is factor times the vector at the place
    `source` of the whole buffer. Most nodes are met by one bag of a block, and their steps are that bag's, scaled."""


class Sizes(NamedTuple):
    """Array sizes that follow from a rule, with room for whole tiles at every end."""

    targets: int
    context: int
    noise: int
    columns: int
    depth: int

    @property
    def update_rows(self) -> int:
        """Rows of a block's part of the update buffer: targets, context, noise words, the padding row."""
        return self.targets + self.context + self.noise + 1


def round_up(value: int, step: int) -> int:
    """The smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def sizes(window: int, block_tokens: int, outputs: int, dim: int) -> Sizes:
    """Sizes of Scratch and of the update buffer. outputs: noise words of a block, or the most nodes it can have."""
    targets = round_up(block_tokens, BAND)
    context = round_up(targets + 2 * window, BAND)
    band = round_up(BAND + 2 * window, LANES)
    ends = context + band + BAND, 2 * window + round_up(block_tokens, LANES) + BAND, 2 * (window + LANES) + block_tokens
    columns = round_up(max(ends), LANES)
    return Sizes(targets, context, round_up(outputs, TREE_TILE), columns, round_up(dim, LANES))
