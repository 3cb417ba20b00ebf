"""Section `peers` of params.yaml: other programs on the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require, require_each


@dataclass(frozen=True, kw_only=True)
class PeerRates:
    """Section `peers.lr` of params.yaml: a starting learning rate for each program."""

    gensim: float
    fasttext: float
    word2vec: float

    def __post_init__(self) -> None:
        require_each(self, "peers.lr", lambda value: 0 < value <= 10, "above 0 and at most 10")


@dataclass(frozen=True, kw_only=True)
class PeersConfig:
    """Section `peers` of params.yaml: other programs that are trained on the same words and scored alike."""

    programs: tuple[Literal["gensim", "fasttext", "word2vec"], ...]
    """None by default; stages `peers` and `versus` are made for each."""
    threads_each: int
    """Threads of a program; with more than one they race, and no run can be repeated."""
    lr: PeerRates

    def __post_init__(self) -> None:
        names = list(self.programs)
        require(len(set(names)) == len(names), "peers.programs", names, "different from one another")
        require(1 <= self.threads_each <= 4096, "peers.threads_each", self.threads_each, "from 1 to 4096 threads")
