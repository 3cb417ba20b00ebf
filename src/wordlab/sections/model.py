"""Section `model` of params.yaml: what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class SubwordsConfig:
    """Section `model.subwords` of params.yaml: words made of character n-grams, as in fastText."""

    units: Literal["none", "characters", "jamo"]
    """What n-grams are runs of: characters, or the letters of Hangul syllables; none: a word has no n-grams."""
    min_n: int
    max_n: int
    """Shortest and longest n-gram, in units, the marks of a word's ends counted."""
    buckets: int
    """Rows that n-grams are hashed into."""

    def __post_init__(self) -> None:
        require(1 <= self.min_n <= 100, "model.subwords.min_n", self.min_n, "from 1 to 100")
        wanted = f"from model.subwords.min_n={self.min_n} to 100"
        require(self.min_n <= self.max_n <= 100, "model.subwords.max_n", self.max_n, wanted)
        require(1 <= self.buckets < 1 << 31, "model.subwords.buckets", self.buckets, "from 1 to 2^31 - 1")


@dataclass(frozen=True, kw_only=True)
class Sent2vecConfig:
    """Section `model.sent2vec` of params.yaml: read by arch sent2vec alone."""

    word_ngrams: int
    """Longest run of words that has a row of its own; 1: words only."""
    dropout: int
    """Words of a sentence, drawn in every epoch, whose n-grams are left out of its bags; two at least are not drawn."""
    buckets: int
    """Rows that word n-grams are hashed into."""

    def __post_init__(self) -> None:
        require(1 <= self.word_ngrams <= 8, "model.sent2vec.word_ngrams", self.word_ngrams, "from 1 to 8 words")
        require(0 <= self.dropout <= 1024, "model.sent2vec.dropout", self.dropout, "from 0 to 1024 words")
        require(1 <= self.buckets <= 1 << 30, "model.sent2vec.buckets", self.buckets, "from 1 to 2^30")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Section `model` of params.yaml."""

    arch: Literal["skipgram", "cbow", "sent2vec"]
    objective: Literal["ns", "hs", "softmax"]
    """Negative sampling, hierarchical softmax over a Huffman tree, or softmax over all words."""
    dim: int
    """Length of a vector."""
    window: int
    """Largest distance between target and context, on one side, in tokens. word2vec's default is 5."""
    window_edges: Literal["cut", "drop", "pad"]
    """Windows at the ends of a sentence: cut short, left out, or filled with a padding row that learns."""
    negatives: int
    """Noise words for each positive pair. Only negative sampling has them; 0 says so for the other objectives."""
    cbow_gradient: Literal["exact", "word2vec"]
    """Gradient of a bag's mean to its rows: divided by the bag's size, or undivided as in word2vec.c and fastText.
    Bags are CBOW's windows, and with subwords the rows of a word."""
    subwords: SubwordsConfig
    sent2vec: Sent2vecConfig

    def __post_init__(self) -> None:
        require(1 <= self.dim <= 4096, "model.dim", self.dim, "from 1 to 4096")
        require(1 <= self.window <= 100, "model.window", self.window, "from 1 to 100 tokens")
        least, why = (1, ": without noise words nothing is learned") if self.objective == "ns" else (0, "")
        wanted = f"from {least} to 1000000{why}"
        require(least <= self.negatives <= 1_000_000, "model.negatives", self.negatives, wanted)
        path = self.arch != "skipgram" or self.objective == "ns" or self.window_edges != "pad"
        wanted = "cut or drop with arch skipgram, unless objective is ns: the padding row is no word to predict"
        require(path, "model.window_edges", self.window_edges, wanted)
        if self.arch == "sent2vec":
            require(self.objective == "ns", "model.objective", self.objective, "ns with arch sent2vec")
            units = self.subwords.units
            require(units == "none", "model.subwords.units", units, "none with arch sent2vec: its n-grams are of words")

    @property
    def word_ngram_rows(self) -> int:
        """Rows of the table for word n-grams: with arch sent2vec, unless it has words only."""
        return self.sent2vec.buckets if self.arch == "sent2vec" and self.sent2vec.word_ngrams > 1 else 0
