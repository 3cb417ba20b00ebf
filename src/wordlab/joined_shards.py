"""The token shards as a pass for phrases reads them, on several threads, and sums over them that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.parallel import bounded_map
from wordlab.phrases import PairTable
from wordlab.shard_sums import Arrays, KeptSum, Made, Sum, add_up
from wordlab.stage import available_cores
from wordlab.token_shards import joined_sentences, map_shard
from wordlab.wordtable import WordTable


class JoinedShards:
    """The token shards as a pass reads them: in ids of the table, joined by the passes before it."""

    def __init__(self, folder: Path, shard_tokens: Sequence[int], table: WordTable, workers: int) -> None:
        """shard_tokens: tokens of each shard.   workers: threads, 0 for all cores."""
        self.folder, self.shard_tokens, self.table = folder, shard_tokens, table
        self.workers = max(1, min(workers or available_cores(), len(shard_tokens)))
        self.passes: list[PairTable] = []
        self.bar: Any = None
        """Progress is shown there while pairs are counted or joined."""

    @property
    def num_shards(self) -> int:
        return len(self.shard_tokens)

    def add_up(self, total: Sum, kept: KeptSum, work: Callable[[NDArray[np.int32], NDArray[np.int64]], Arrays]) -> None:
        """Add to `total` work(ids, offsets) of each shard that is not added yet, on several threads: kernels leave
        Python's lock to others.

        `work` may change both arrays.
        """

        def read_and_work(index: int) -> Arrays:
            return work(*joined_sentences(map_shard(self.folder, index, self.table), self.table, self.passes))

        self.pass_over(kept.num_shards())
        add_up(total, kept, enumerate(range(self.num_shards)), read_and_work, self._run)

    def pass_over(self, num_shards: int) -> None:
        """Show so many shards as read that need not be read."""
        self.bar.update(sum(self.shard_tokens[:num_shards]))

    def _run(
        self, function: Callable[[tuple[int, int | None]], Made], tasks: Iterable[tuple[int, int | None]]
    ) -> Iterator[Made]:
        with ThreadPoolExecutor(self.workers) as executor:
            for made in bounded_map(executor, function, tasks, self.workers + 1):
                self.bar.update(self.shard_tokens[made[0]])
                yield made
