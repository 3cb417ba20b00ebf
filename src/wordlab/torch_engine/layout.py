"""What the parts of the torch engine hand to one another: sizes, the table's rows, and a segment cut into blocks.

Letters in names and shapes, as in kernels/layout.py:
    B   targets of a block        W   window        C   context positions, B + 2W        N   noise words of a block
    P   padding rows: 1 with window_edges: pad, else 0        R   rows that a block moves: B + C + P + N
    D   depth                     T   targets of a micro-batch, all blocks' together

    G   rows of n-grams           U   different input rows of a micro-batch
    K   sent2vec: words of the longest run that has a row

Rows of the table: 0..V-1 input vectors, V padding as input, V+1..2V output vectors, 2V+1 padding as output, then the G
of n-grams, 2V+2..2V+1+G. The last row is `nothing`: zeros, read where there is no token and moved by zeros only, so
that no kernel has to leave out a place. In hierarchical softmax the output rows are those of inner nodes, V+1..2V-1.

The rows of a block, in this order (R,):
    skip-gram   targets as input · context as output · padding as output · noise words as output
    CBOW        targets as output · context as input · padding as input · noise words as output
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig

LANES = 16
"""Rows of the table are this many numbers or a multiple of it apart: whole sectors of the GPU's memory."""
Products = Literal["float32", "tf32x3", "tf32", "bf16"]
"""How matrix products are computed. Vectors and sums are float32 in all of them."""
LONGEST_SENTENCE = 64
"""sent2vec: words of a sentence that are looked at together, as in kernels/sentence_plan.py."""


class Tables(Protocol):
    """What `wordlab.vocab.SamplingTables` has; said apart from it, since that module needs pyarrow."""

    @property
    def keep_probability(self) -> NDArray[np.float32]: ...

    @property
    def noise_probability(self) -> NDArray[np.float64]: ...


class WordRows(Protocol):
    """What `wordlab.subwords.Subwords` has; that module needs pyarrow."""

    @property
    def start(self) -> NDArray[np.int64]: ...

    @property
    def row(self) -> NDArray[np.int32]: ...

    @property
    def buckets(self) -> NDArray[np.int32]: ...

    @property
    def others(self) -> NDArray[np.float32]: ...

    @property
    def longest(self) -> int: ...


class Paths(Protocol):
    """What `wordlab.huffman.Paths` has; that module needs numba."""

    @property
    def start(self) -> NDArray[np.int64]: ...

    @property
    def node(self) -> NDArray[np.int32]: ...

    @property
    def code(self) -> NDArray[np.int32]: ...

    @property
    def longest(self) -> int: ...


@dataclass(frozen=True)
class SentenceBags:
    """sent2vec: what the bags of a sentence are made of."""

    word_ngrams: int
    """Words of the longest run that has a row."""
    buckets: int
    """Rows that runs of two words and more are hashed into."""
    dropout: int
    """Words of a sentence whose runs are left out."""


@dataclass(frozen=True)
class Layout:
    """All numbers of a run that its kernels need."""

    objective: Literal["ns", "hs", "softmax"]
    cbow: bool
    undivided: bool
    """cbow_gradient: word2vec."""
    window_edges: Literal["cut", "drop", "pad"]
    window: int
    negatives: int
    block_tokens: int
    noise_words: int
    """Noise words of a block; 0 but in negative sampling."""
    batch_blocks: int
    """Blocks in one micro-batch."""
    damping: float
    """Of input rows and n-grams."""
    output_damping: float
    dim: int
    vocab_size: int
    ngram_rows: int
    sentences: SentenceBags | None
    """For arch sent2vec, which has no windows and no blocks of a fixed size."""
    products: Products

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        train: TrainConfig,
        vocab_size: int,
        products: Products,
        subwords: WordRows | None = None,
    ) -> Layout:
        own, sentences = model.sent2vec, model.arch == "sent2vec"
        return cls(
            objective=model.objective,
            cbow=model.arch == "cbow",
            undivided=model.cbow_gradient == "word2vec" and not sentences,
            window_edges=model.window_edges,
            window=model.window,
            negatives=model.negatives,
            block_tokens=train.block_tokens,
            noise_words=getattr(train.block_negatives, model.arch) if model.objective == "ns" else 0,
            batch_blocks=train.batch_tokens // train.block_tokens,
            damping=train.damping.of_inputs(model),
            output_damping=train.damping.of_outputs(model),
            dim=model.dim,
            vocab_size=vocab_size,
            ngram_rows=len(subwords.buckets) if subwords is not None else model.word_ngram_rows,
            sentences=SentenceBags(own.word_ngrams, own.buckets, own.dropout) if sentences else None,
            products=products,
        )

    @property
    def share(self) -> float:
        """Weight of one noise word for one true pair."""
        return self.negatives / self.noise_words

    @property
    def context(self) -> int:
        return self.block_tokens + 2 * self.window

    @property
    def padding(self) -> int:
        return int(self.window_edges == "pad")

    @property
    def noise_at(self) -> int:
        """Place of the first noise word among the rows of a block."""
        return self.block_tokens + self.context + self.padding

    @property
    def block_rows(self) -> int:
        return self.noise_at + self.noise_words

    @property
    def input_entries(self) -> slice:
        """Those of a block's rows that are input rows."""
        return slice(self.block_tokens, self.noise_at) if self.cbow else slice(0, self.block_tokens)

    @property
    def input_width(self) -> int:
        """Input rows of a block."""
        return self.input_entries.stop - self.input_entries.start

    @property
    def batch_rows(self) -> int:
        return self.batch_blocks * self.block_rows

    @property
    def batch_tokens(self) -> int:
        """T"""
        return self.batch_blocks * self.block_tokens

    @property
    def longest_sentence(self) -> int:
        """sent2vec: words after which a sentence is cut. No piece has more than a micro-batch; one word has no bag."""
        return max(2, min(LONGEST_SENTENCE, self.batch_tokens))

    @property
    def most_words(self) -> int:
        """sent2vec: words of a micro-batch, targets or not; no piece has more."""
        return max(self.batch_tokens, self.longest_sentence)

    @property
    def depth(self) -> int:
        return -(-self.dim // LANES) * LANES

    @property
    def nothing(self) -> int:
        return self.ngram_row + self.ngram_rows

    @property
    def ngram_row(self) -> int:
        """The first row of an n-gram."""
        return 2 * self.vocab_size + 2

    @property
    def table_rows(self) -> int:
        return self.nothing + 1

    @property
    def target_row(self) -> int:
        """Row of word 0 as a target."""
        return self.vocab_size + 1 if self.cbow else 0

    @property
    def context_row(self) -> int:
        """Row of word 0 as a context word. The padding row is V below it."""
        return 0 if self.cbow else self.vocab_size + 1

    def blocks_of(self, tokens: int) -> int:
        """Blocks that hold this many kept tokens, in whole micro-batches."""
        return -(-tokens // (self.block_tokens * self.batch_blocks)) * self.batch_blocks


class Blocks(NamedTuple):
    """A segment's micro-batches: all that was drawn, and nothing of the vectors."""

    rows: Tensor
    """int32 (blocks, R)"""
    windows: Tensor
    """int32 (blocks, 3, B): first and last context place of each target's window, and its padded words. The target's
    own place, j + W, is between them and no pair. A target that is left out has just its own place and no padding."""
    kept: int
    """Kept tokens of the segment."""


class Order(NamedTuple):
    """The entries of every micro-batch by the row they move, for sums in a fixed order. An entry is one of the
    batch_blocks * R rows of a micro-batch, counted from 0."""

    rows: Tensor
    """int32 (batches, entries): rows in rising order"""
    entries: Tensor
    """int32 (batches, entries): the entry that stands at this place; of equal rows the lower one first"""
