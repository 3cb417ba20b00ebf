"""Section `evaluate` of params.yaml: by which rules models are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Section `evaluate` of params.yaml."""

    restrict_vocab: int
    """Analogy questions and answers are limited to this many most frequent words; 0 means all."""
    rules: Literal["wordlab", "gensim", "word2vec"]
    """Whose evaluator is followed (wordlab.rules)."""
    case: Literal["ignore", "exact"]
    """Whether words that differ in case alone are one word."""
    unknown: Literal["skip", "wrong"]
    """Questions and pairs with an unknown word: not asked, or wrong."""
    compose: bool
    """A model with subwords makes words of pairs that its vocabulary lacks of their n-grams; by rules wordlab alone."""
    words: Literal["vocabulary", "corpus"]
    """What is asked about and answers: the model's tokens, or the words of the corpus made of them."""
    vectors: Literal["input", "input+output"]
    """The vectors that words are compared by: the model's input vectors, or their sums with the output vectors."""
    neighbors: tuple[str, ...]
    neighbors_count: int

    def __post_init__(self) -> None:
        require(
            0 <= self.restrict_vocab < 1 << 31, "evaluate.restrict_vocab", self.restrict_vocab, "0 (all) to 2^31 - 1"
        )
        if self.rules == "word2vec":  # its program has no switches
            require(self.case == "ignore", "evaluate.case", self.case, "ignore with evaluate.rules=word2vec")
            require(self.unknown == "skip", "evaluate.unknown", self.unknown, "skip with evaluate.rules=word2vec")
        count = self.neighbors_count
        require(1 <= count <= 1_000_000, "evaluate.neighbors_count", count, "from 1 to 1000000")
