"""Section `encode` of params.yaml: shards of word ids."""

from __future__ import annotations

from dataclasses import dataclass

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """Section `encode` of params.yaml."""

    shard_tokens: int
    """Tokens in one shard of word ids; a sentence is never split over shards."""

    def __post_init__(self) -> None:
        require(1 <= self.shard_tokens <= 1 << 40, "encode.shard_tokens", self.shard_tokens, "from 1 to 2^40")
