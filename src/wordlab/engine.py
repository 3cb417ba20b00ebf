"""What training wants of an engine: one table of rows in, segments of text trained, the table out.

Between two segments the table is all that an engine holds: every random choice follows from seed, epoch and position.
So a table and the number of the next segment are enough to go on, on any number of threads.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wordlab.sections.model import ModelConfig
from wordlab.sections.train import TrainConfig
from wordlab.subwords import Subwords


class Engine(Protocol):
    """A model being trained. After `close` it trains no more, but its rows can still be read."""

    @property
    def description(self) -> dict[str, Any]:
        """What of it decides the bits of a model, the parameters aside: `name` and more."""

    @property
    def model(self) -> ModelConfig:
        """What is trained."""

    @property
    def train(self) -> TrainConfig:
        """With the micro-batches that are used."""

    @property
    def segment_tokens(self) -> int:
        """Tokens of one segment, before subsampling."""

    def read_table(self) -> NDArray[np.float32]:
        """All rows, in C order and in the memory of this process."""

    def load_table(self, table: NDArray[np.float32]) -> None:
        """Take over all rows, of the shape of `read_table`."""

    def train_segment(
        self,
        ids: NDArray[np.int32],
        ends: NDArray[np.int64],
        start: int,
        position: int,
        epoch: int,
        tokens_total: int,
        /,
    ) -> tuple[float, float]:
        """Train on ids[start : start + segment_tokens] of a shard; see CpuEngine.train_segment."""

    def learning_rate(self, tokens_read: int, tokens_total: int) -> float:
        """After `tokens_read` of epochs * `tokens_total` tokens."""

    @property
    def input_vectors(self) -> NDArray[np.float32]:
        """(V, dim)."""

    @property
    def subwords(self) -> Subwords | None:
        """Which n-gram rows the words have; None without any."""

    @property
    def word_vectors(self) -> NDArray[np.float32]:
        """The words' own rows, (V, dim). Without n-grams the same as `input_vectors`, else these are means."""

    @property
    def ngram_vectors(self) -> NDArray[np.float32]:
        """Rows of n-grams, (G, dim)."""

    @property
    def output_vectors(self) -> NDArray[np.float32]:
        """(V, dim)."""

    def close(self) -> None:
        """End threads, free what only training needs."""
