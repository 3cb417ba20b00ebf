"""The token shards as a pass for phrases reads them, on several threads, and sums over them that are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wordlab.parallel import bounded_map
from wordlab.parts import Record
from wordlab.phrases import PairTable
from wordlab.shard_sums import Arrays, KeptSum, Sum, add_up
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

        shown_before = self.bar.n
        with ThreadPoolExecutor(self.workers) as executor:
            run = functools.partial(self._run, executor)
            add_up(total, kept, enumerate(range(self.num_shards)), read_and_work, run)
        self.pass_over(self.bar.n - shown_before)

    def pass_over(self, num_tokens: int = 0) -> None:
        """Show all shards as read, of which so many tokens were."""
        self.bar.update(sum(self.shard_tokens) - num_tokens)

    def _run(
        self,
        executor: Executor,
        function: Callable[[tuple[int, str, int | None]], Record | None],
        tasks: Iterable[tuple[int, str, int | None]],
    ) -> Iterator[Record | None]:
        def shown() -> Iterator[tuple[int, str, int | None]]:
            for task in tasks:
                yield task
                self.bar.update(self.shard_tokens[task[0]])

        return bounded_map(executor, function, shown(), self.workers + 1)
