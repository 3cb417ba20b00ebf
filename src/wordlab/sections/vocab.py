"""Section `vocab` of params.yaml: words, phrases, and the two distributions that training draws from."""

from __future__ import annotations

from dataclasses import dataclass

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class PhrasesConfig:
    """Section `vocab.phrases` of params.yaml."""

    thresholds: tuple[float, ...]
    """A pass over the tokens for each: neighbours are joined whose score is above it; none: no phrases."""
    delta: int
    """Taken off the count of a pair, so that rare words make no phrase."""

    def __post_init__(self) -> None:
        limit = 16  # passes: phrases of 65,536 words
        require(len(self.thresholds) <= limit, "vocab.phrases.thresholds", list(self.thresholds), "16 passes at most")
        for number, threshold in enumerate(self.thresholds):
            wanted = "a score from 0 to 1e15; word2phrase.c has 100"
            require(0 <= threshold <= 1e15, f"vocab.phrases.thresholds.{number}", threshold, wanted)
        require(0 <= self.delta <= 1 << 40, "vocab.phrases.delta", self.delta, "from 0 to 2^40")


@dataclass(frozen=True, kw_only=True)
class VocabConfig:
    """Section `vocab` of params.yaml."""

    min_count: int
    """A word seen fewer times in the corpus is dropped."""
    max_size: int
    """Largest vocabulary, in words; 0 means no limit."""
    subsample_t: float
    """Threshold of frequent-word subsampling, as a fraction of all tokens; 0 keeps every token."""
    noise_power: float
    """Exponent of the noise distribution."""
    phrases: PhrasesConfig

    def __post_init__(self) -> None:
        require(1 <= self.min_count <= 1 << 40, "vocab.min_count", self.min_count, "from 1 to 2^40")
        require(0 <= self.max_size < 1 << 31, "vocab.max_size", self.max_size, "0 (no limit) or more, below 2^31")
        require(0 <= self.subsample_t <= 1, "vocab.subsample_t", self.subsample_t, "a fraction from 0 to 1")
        require(0 <= self.noise_power <= 2, "vocab.noise_power", self.noise_power, "from 0 to 2")
