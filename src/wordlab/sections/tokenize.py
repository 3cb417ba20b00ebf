"""Section `tokenize` of params.yaml: from raw text to sentences of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class SentencePieceConfig:
    """Section `tokenize.sentencepiece` of params.yaml."""

    model_type: Literal["unigram", "bpe"]
    vocab_size: int
    """Pieces."""
    character_coverage: float
    """Fraction of the sample's characters that get a piece of their own."""
    sample_bytes: int
    """Normalised text the model is trained on, in bytes, spread evenly over the corpus."""

    def __post_init__(self) -> None:
        size = self.vocab_size
        require(8 <= size < 1 << 31, "tokenize.sentencepiece.vocab_size", size, "8 or more pieces, below 2^31")
        coverage = self.character_coverage
        require(0 < coverage <= 1, "tokenize.sentencepiece.character_coverage", coverage, "above 0 and at most 1")
        size = self.sample_bytes
        require(1 <= size <= 1 << 40, "tokenize.sentencepiece.sample_bytes", size, "from 1 byte to 1 TiB")


@dataclass(frozen=True, kw_only=True)
class FiltersConfig:
    """Section `tokenize.filters` of params.yaml: which lines or documents of the normalised text are dropped."""

    unit: Literal["lines", "documents"]
    """What is dropped. Below, a line is a document if it is to be that."""
    min_chars: int
    """Shorter lines, in characters, white space around them aside."""
    max_chars: int
    """Longer ones; 0: no limit."""
    duplicates: Literal["keep", "drop"]
    """Lines that an equal one precedes anywhere in the corpus."""
    near_duplicates: float
    """Lines that one as similar as this precedes (Jaccard similarity of their n-grams); 0: none are looked for."""

    def __post_init__(self) -> None:
        limit = 1 << 30
        require(0 <= self.min_chars <= limit, "tokenize.filters.min_chars", self.min_chars, "from 0 to 2^30")
        require(0 <= self.max_chars <= limit, "tokenize.filters.max_chars", self.max_chars, "0 (no limit) to 2^30")
        wanted = f"0 (no limit) or more than min_chars, {self.min_chars}"
        fits = self.max_chars == 0 or self.max_chars >= self.min_chars
        require(fits, "tokenize.filters.max_chars", self.max_chars, wanted)
        near = self.near_duplicates
        require(near == 0 or 0.5 <= near <= 1, "tokenize.filters.near_duplicates", near, "0 (off), or from 0.5 to 1")

    @property
    def drop_some(self) -> bool:
        """Whether anything is dropped at all."""
        return self.min_chars > 0 or self.max_chars > 0 or self.look_ahead

    @property
    def by_document(self) -> bool:
        """Whether it has to be known where documents end."""
        return self.drop_some and self.unit == "documents"

    @property
    def look_ahead(self) -> bool:
        """Whether all lines must be seen before the first is kept or dropped."""
        return self.duplicates == "drop" or self.near_duplicates > 0


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """Section `tokenize` of params.yaml."""

    normalizer: Literal["plain", "wiki", "korean"]
    tokenizer: Literal["words", "ascii", "whitespace", "sentencepiece", "kiwi"]
    lowercase: bool
    sentences: Literal["punctuation", "lines"]
    """What ends a sentence besides the end of a line."""
    invalid_bytes: Literal["error", "drop"]
    """Broken UTF-8 and NUL bytes: stop with an error, or drop and count them."""
    max_bytes: int
    """Raw text of the corpus that is read, in bytes, from its start to the end of a line or page; 0 means all."""
    shard_bytes: int
    """Raw text in one shard, in bytes."""
    count_words: bool
    """With sentencepiece and kiwi, count the words beside the tokens, for `evaluate.words: corpus`."""
    filters: FiltersConfig
    sentencepiece: SentencePieceConfig

    def __post_init__(self) -> None:
        require(0 <= self.max_bytes <= 1 << 60, "tokenize.max_bytes", self.max_bytes, "0 (all) or more, to 2^60 bytes")
        require(1 << 10 <= self.shard_bytes <= 1 << 30, "tokenize.shard_bytes", self.shard_bytes, "1 KiB to 1 GiB")
