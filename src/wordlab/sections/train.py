"""Section `train` of params.yaml: how it is learned."""

from __future__ import annotations

from dataclasses import dataclass

from wordlab.sections.model import ModelConfig
from wordlab.sections.reading import require, require_each


@dataclass(frozen=True, kw_only=True)
class LearningRates:
    """Section `train.lr` of params.yaml: one starting learning rate for each architecture."""

    skipgram: float
    cbow: float
    sent2vec: float

    def __post_init__(self) -> None:
        require_each(self, "train.lr", lambda value: 0 < value <= 10, "above 0 and at most 10")


@dataclass(frozen=True, kw_only=True)
class BlockNegatives:
    """Section `train.block_negatives` of params.yaml: noise words of a block, one number for each architecture."""

    skipgram: int
    cbow: int
    sent2vec: int

    def __post_init__(self) -> None:
        require_each(self, "train.block_negatives", lambda value: 1 <= value <= 1024, "from 1 to 1024")


@dataclass(frozen=True, kw_only=True)
class Damping:
    """Section `train.damping` of params.yaml: c for each architecture, and for the nodes of hierarchical softmax.

    A row's summed step is divided by 1 + c * lr * curvature (docs/engine.md).
    """

    skipgram: float
    cbow: float
    sent2vec: float
    hs: float

    def __post_init__(self) -> None:
        require_each(self, "train.damping", lambda value: 0 <= value <= 1_000_000, "from 0 to 1000000")

    @staticmethod
    def name(arch: str, objective: str) -> str:
        """Of the one that keeps a model's output rows from overshooting."""
        return "hs" if objective == "hs" else arch

    def of_inputs(self, model: ModelConfig) -> float:
        """c of the rows of words, as input, and of n-grams."""
        return float(getattr(self, model.arch))

    def of_outputs(self, model: ModelConfig) -> float:
        """c of output rows, which in hierarchical softmax are nodes."""
        return float(getattr(self, self.name(model.arch, model.objective)))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Section `train` of params.yaml."""

    epochs: int
    lr: LearningRates
    lr_floor: float
    """Learning rate at the end, as a fraction of the starting one."""
    block_tokens: int
    """Kept tokens in one block, which share noise words (docs/engine.md)."""
    block_negatives: BlockNegatives
    batch_tokens: int
    """Kept tokens in one micro-batch, all computed from the same rows (docs/engine.md)."""
    damping: Damping

    def __post_init__(self) -> None:
        require(1 <= self.epochs <= 1_000_000, "train.epochs", self.epochs, "from 1 to 1000000")
        require(0 <= self.lr_floor <= 1, "train.lr_floor", self.lr_floor, "a fraction from 0 to 1")
        require(1 <= self.block_tokens <= 1024, "train.block_tokens", self.block_tokens, "from 1 to 1024")
        fits = self.block_tokens <= self.batch_tokens <= 1 << 30 and self.batch_tokens % self.block_tokens == 0
        wanted = f"a multiple of train.block_tokens={self.block_tokens}, at most 2^30"
        require(fits, "train.batch_tokens", self.batch_tokens, wanted)
