"""Sums over all shards, kept while they grow, so that a pass over the shards that is killed goes on where it was.

What a shard adds is a part of its own (wordlab.parts) as soon as it is known. Once these have more bytes than the sum,
and more than KEPT_BYTES, the sum so far is written, and they go. So at most twice the bytes are written that the shards
add, and the disk holds the sum twice at most, what shards add up to its size, and what the workers are ahead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from wordlab.parts import Parts, Record, make_part

KEPT_BYTES = 1 << 26
Task = TypeVar("Task")
Arrays = tuple[NDArray[Any], ...]
Made = tuple[int, Record | None]
"""A shard's number, and the record of what it adds; None where that was there."""


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

    def num_shards(self) -> int:
        """Of how many shards, the first ones, the sum is there; 0 for none."""
        reports = [self.parts.found(name, self.key) for name in self.parts.names(f"{self.name}.sum.")]
        return max((report["shards"] for report in reports if report), default=0)

    def restore(self, total: Sum) -> int:
        """Give `total` the sum that is there; of how many shards it is."""
        num_shards = self.num_shards()
        if num_shards:
            total.restore(self._load(self._sum(num_shards)))
        return num_shards

    def keep(self, total: Sum, num_shards: int) -> int:
        """Write the sum of so many shards, and remove what it stands for. Returns its bytes."""
        name, state = self._sum(num_shards), total.state()
        work = functools.partial(_write, name, state, num_shards)
        self.parts.add(name, make_part(self.parts.place, name, work, None, self.key))
        for other in self.parts.names(f"{self.name}.sum."):
            if other != name:
                self.parts.remove_part(other)
        for other in self.parts.names(f"{self.name}.shard."):
            if int(other.rpartition(".")[2]) < num_shards:
                self.parts.remove_part(other)
        return sum(array.nbytes for array in state)

    def has(self, index: int) -> bool:
        """Whether what a shard adds is there."""
        return self.parts.found(addend_name(self.name, index), self.key) is not None

    def addend(self, index: int) -> Arrays:
        """What a shard adds, which is there."""
        return self._load(addend_name(self.name, index))

    def remove(self) -> None:
        """Remove the sum, which is not needed any more."""
        for name in self.parts.names(f"{self.name}."):
            self.parts.remove_part(name)

    def _sum(self, num_shards: int) -> str:
        return f"{self.name}.sum.{num_shards}"

    def _load(self, part: str) -> Arrays:
        number = self.parts.found(part, self.key)["arrays"]
        return tuple(np.load(self.parts.folder / f"{part}.{i}.npy", allow_pickle=False) for i in range(number))


def add_up(
    total: Sum,
    kept: KeptSum,
    tasks: Iterable[tuple[int, Task]],
    work: Callable[[Task], Arrays],
    run: Callable[[Callable[[tuple[int, Task | None]], Made], Iterable[tuple[int, Task | None]]], Iterator[Made]],
) -> None:
    """Add to `total`, which is 0, what work(task) gives for each shard, in order, as far as that is not there.

    tasks: the shards' numbers, from 0 on, and what `work` takes.   run: function(task) of each task, in their order, on
    workers; those that are other processes need a `work` that can be pickled.
    """
    first = done = kept.restore(total)
    waiting, sum_bytes = 0, sum(array.nbytes for array in total.state()) if first else 0

    def unfinished() -> Iterator[tuple[int, Task | None]]:
        for index, task in tasks:
            if index >= first:
                yield index, None if kept.has(index) else task

    make = functools.partial(_make_addend, work=work, place=kept.parts.place, name=kept.name, key=kept.key)
    for index, record in run(make, unfinished()):
        if record is not None:
            kept.parts.add(addend_name(kept.name, index), record)
        addend = kept.addend(index)
        total.add(addend)
        waiting += sum(array.nbytes for array in addend)
        done = index + 1
        if waiting > max(KEPT_BYTES, sum_bytes):
            sum_bytes, waiting = kept.keep(total, done), 0
    if done > kept.num_shards():
        kept.keep(total, done)


def addend_name(name: str, index: int) -> str:
    """The part with what a shard adds to the sum of this name."""
    return f"{name}.shard.{index}"


def _make_addend(
    numbered: tuple[int, Task | None], work: Callable[[Task], Arrays], place: Path, name: str, key: str
) -> Made:
    """Have what a shard adds written, unless its task is None."""
    index, task = numbered
    if task is None:
        return index, None
    part = addend_name(name, index)
    addend = work(task)
    return index, make_part(place, part, functools.partial(_write, part, addend, 1), None, key)


def _write(part: str, arrays: Arrays, num_shards: int, folder: Path) -> dict[str, int]:
    for number, array in enumerate(arrays):
        np.save(folder / f"{part}.{number}.npy", array, allow_pickle=False)
    return {"shards": num_shards, "arrays": len(arrays)}
