"""Sums over all shards, kept while they grow, so that a pass over the shards that is killed goes on where it was.

What a shard adds is a part of its own (wordlab.parts) as soon as it is known. Once these have more bytes than the sum,
and more than KEPT_BYTES, the sum so far is written, and they go. So at most twice the bytes are written that the shards
add, and the disk holds the sum twice at most, what shards add up to its size, and what the workers are ahead.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wordlab.parts import Parts, Record, make_part

KEPT_BYTES = 1 << 26
Task = TypeVar("Task")
Arrays = tuple[NDArray[Any], ...]
Run = Callable[
    [Callable[[tuple[int, str, Task | None]], Record | None], Iterable[tuple[int, str, Task | None]]],
    Iterator[Record | None],
]
"""function(task) of each task, in the order of the tasks: a shard's number, its key, and its task, None for nothing to
do."""


class Sum(Protocol):
    """What shards are added to, in their order."""

    def add(self, addend: Arrays) -> None:
        """Add what a shard has given."""

    def state(self) -> Arrays:
        """The sum so far."""

    def restore(self, state: Arrays) -> None:
        """Begin with what `state` has given."""


@dataclass(frozen=True)
class KeptSum:
    """Where a sum is kept."""

    parts: Parts
    name: str
    """Of the sum among these parts."""
    key: str
    """Fingerprint of what decides what the shards add."""

    def is_whole(self) -> bool:
        """Whether the sum over all shards is there."""
        return any(report["whole"] for report in self._sums())

    def restore(self, total: Sum) -> int:
        """Give `total` the sum that is there; of how many shards, the first ones, it is, 0 for none."""
        num_shards: int = max((report["shards"] for report in self._sums()), default=0)
        if num_shards:
            total.restore(self.load(self._sum(num_shards), [self.key]))
        return num_shards

    def keep(self, total: Sum, num_shards: int, whole: bool = False) -> int:
        """Write the sum of so many shards, and remove what it stands for. Returns its bytes. whole: of all."""
        name, state = self._sum(num_shards), total.state()
        work = functools.partial(_write, name, state, {"shards": num_shards, "whole": whole})
        self.parts.add(name, make_part(self.parts.place, name, work, None, self.key))
        for other in self.parts.names(f"{self.name}.sum."):
            if other != name:
                self.parts.remove_part(other)
        for other in self.parts.names(f"{self.name}.shard."):
            if int(other.rpartition(".")[2]) < num_shards:
                self.parts.remove_part(other)
        return sum(array.nbytes for array in state)

    def remove(self) -> None:
        """Remove the sum and what shards add to it, which are not needed any more."""
        for name in self.parts.names(f"{self.name}."):
            self.parts.remove_part(name)

    def load(self, part: str, keys: Sequence[str]) -> Arrays:
        """The arrays of a part that is there."""
        number = self.parts.found(part, *keys)["arrays"]
        return tuple(np.load(self.parts.folder / f"{part}.{i}.npy", allow_pickle=False) for i in range(number))

    def _sums(self) -> list[dict[str, Any]]:
        reports = [self.parts.found(name, self.key) for name in self.parts.names(f"{self.name}.sum.")]
        return [report for report in reports if report]

    def _sum(self, num_shards: int) -> str:
        return f"{self.name}.sum.{num_shards}"


def add_up(
    total: Sum, kept: KeptSum, tasks: Iterable[tuple[int, Task]], work: Callable[[Task], Arrays], run: Run[Task]
) -> None:
    """Add to `total`, which is 0, what work(task) gives for each shard, in order, as far as that is not there.

    tasks: the shards' numbers, from 0 on, and what `work` takes.   run: as for `addends`.
    """
    first = done = kept.restore(total)
    if kept.is_whole():
        return
    waiting, sum_bytes = 0, sum(array.nbytes for array in total.state()) if first else 0
    for addend in addends(kept, ((index, task) for index, task in tasks if index >= first), work, run):
        total.add(addend)
        waiting += sum(array.nbytes for array in addend)
        done += 1
        if waiting > max(KEPT_BYTES, sum_bytes):
            sum_bytes, waiting = kept.keep(total, done), 0
    kept.keep(total, done, whole=True)


def addends(
    kept: KeptSum,
    tasks: Iterable[tuple[int, Task]],
    work: Callable[[Task], Arrays],
    run: Run[Task],
    keys_of: Callable[[Task], Sequence[str]] | None = None,
) -> Iterator[Arrays]:
    """work(task) of each shard, in order, each a part of its own from then on; those that are there are not made again.

    tasks: the shards' numbers, rising, and what `work` takes.   run: function(task) of each task, in their order, on
    workers; those that are other processes need a `work` that can be pickled.
    keys_of: keys that stand for what a shard gives, its own first; without it, they all have the sum's.
    """
    asked: deque[tuple[int, Sequence[str]]] = deque()

    def missing() -> Iterator[tuple[int, str, Task | None]]:
        for index, task in tasks:
            keys = keys_of(task) if keys_of else [kept.key]
            asked.append((index, keys))
            is_there = kept.parts.found(addend_name(kept.name, index), *keys) is not None
            yield index, keys[0], None if is_there else task

    make = functools.partial(_make_addend, work=work, place=kept.parts.place, name=kept.name)
    for record in run(make, missing()):
        index, keys = asked.popleft()
        if record is not None:
            kept.parts.add(addend_name(kept.name, index), record)
        yield kept.load(addend_name(kept.name, index), keys)


def addend_name(name: str, index: int) -> str:
    """The part with what a shard adds to the sum of this name."""
    return f"{name}.shard.{index}"


def _make_addend(
    numbered: tuple[int, str, Task | None], work: Callable[[Task], Arrays], place: Path, name: str
) -> Record | None:
    """Have what a shard adds written, unless its task is None: then it is there."""
    index, key, task = numbered
    if task is None:
        return None
    part = addend_name(name, index)
    return make_part(place, part, functools.partial(_write, part, work(task), {}), None, key)


def _write(part: str, arrays: Arrays, report: dict[str, Any], folder: Path) -> dict[str, Any]:
    for number, array in enumerate(arrays):
        np.save(folder / f"{part}.{number}.npy", array, allow_pickle=False)
    return report | {"arrays": len(arrays)}
