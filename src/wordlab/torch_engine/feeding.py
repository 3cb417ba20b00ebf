"""Word ids from mapped shards to the device, ahead of the training.

A thread copies segment after segment into pinned memory, which reads the disk, and from there to the device on a stream
of its own, so that both overlap with training. Where the whole corpus fits, every segment is copied once, to a place
of its own, and stays; the first epoch need not wait for all of it. Else segments go round through a few places. The
host holds a few pinned segments, whatever the size of the corpus.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AHEAD = 3
"""Segments under way at once."""


class Piece(NamedTuple):
    """One segment of the corpus."""

    shard: int
    start: int
    """First token in the shard."""
    position: int
    """First token in the corpus."""
    size: int


class Arrived(NamedTuple):
    number: int
    ids: Tensor
    copied: torch.cuda.Event | None
    """Recorded after the copy; None where nothing is asynchronous."""


def pieces_of(shard_tokens: Sequence[int], segment_tokens: int) -> list[Piece]:
    """The corpus's segments in order; none reaches over the end of a shard."""
    pieces, before = [], 0
    for shard, tokens in enumerate(shard_tokens):
        for start in range(0, tokens, segment_tokens):
            pieces.append(Piece(shard, start, before + start, min(segment_tokens, tokens - start)))
        before += tokens
    return pieces


class Feed:
    """The segments of a corpus on a device, epoch after epoch."""

    def __init__(
        self, shards: Sequence[NDArray[np.int32]], segment_tokens: int, device: torch.device, resident: bool
    ) -> None:
        """shards: mapped ids. resident: keep the whole corpus on the device."""
        self._shards, self._device, self.resident = shards, device, resident
        self._pieces = pieces_of([len(ids) for ids in shards], segment_tokens)
        self._number_of = {piece.position: number for number, piece in enumerate(self._pieces)}
        self._size = min(segment_tokens, max(map(len, shards)))
        tokens = sum(map(len, shards)) if resident else (AHEAD + 1) * self._size
        self._home = torch.empty(tokens, dtype=torch.int32, device=device)
        self._arrived: dict[int, Arrived] = {}
        self._ready: queue.Queue[Arrived] = queue.Queue()
        self._free: queue.Queue[Tensor | None] = queue.Queue()
        self._taken: Tensor | None = None
        self._expected: int | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._closed = False
        self._work: Future[None] | None = None
        if not resident:
            for place in self._home.split(self._size):
                self._free.put(place)

    def take(self, position: int) -> Tensor:
        """Ids of the segment at this place of the corpus, int32 (n,). Segments are taken in order, round and round.

        What was taken before must not be used any more. Begins wherever the first one taken is.
        """
        number = self._number_of[position]
        assert self._expected in (None, number), "segments are taken in order"
        self._expected = (number + 1) % len(self._pieces)
        if self._work is None:
            self._work = self._thread.submit(self._copy, number)
        if self._taken is not None and not self.resident:
            self._free.put(self._taken)
        while number not in self._arrived:
            self._receive()
        arrived = self._arrived[number] if self.resident else self._arrived.pop(number)
        if arrived.copied is not None:
            torch.cuda.current_stream().wait_event(arrived.copied)
        size = self._pieces[number].size
        self._taken = arrived.ids
        return arrived.ids[:size]

    def _receive(self) -> None:
        """Note the next segment that arrives; raises what stopped the thread."""
        assert self._work is not None
        while True:
            try:
                arrived = self._ready.get(timeout=0.5)
            except queue.Empty:
                if self._work.done():
                    self._work.result()
                continue
            self._arrived[arrived.number] = arrived
            return

    def _copy(self, first: int) -> None:
        """The thread: copy segments from number `first` on, once around or for ever."""
        asynchronous = self._device.type == "cuda"
        stream = torch.cuda.Stream(self._device) if asynchronous else None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(self._device))
        pinned = [torch.empty(self._size, dtype=torch.int32, pin_memory=asynchronous) for _ in range(AHEAD)]
        copied: list[torch.cuda.Event | None] = [None] * AHEAD
        for turn, number in enumerate(self._order(first)):
            if self._closed:
                return
            piece, slot, earlier = self._pieces[number], pinned[turn % AHEAD], copied[turn % AHEAD]
            if earlier is not None:
                earlier.synchronize()
            np.copyto(slot.numpy()[: piece.size], self._shards[piece.shard][piece.start : piece.start + piece.size])
            place = self._home[piece.position : piece.position + piece.size] if self.resident else self._free.get()
            if place is None:
                return
            with torch.cuda.stream(stream):
                place[: piece.size].copy_(slot[: piece.size], non_blocking=asynchronous)
                event = stream.record_event() if stream is not None else None
            copied[turn % AHEAD] = event
            self._ready.put(Arrived(number, place, event))

    def _order(self, first: int) -> Iterator[int]:
        once = itertools.chain(range(first, len(self._pieces)), range(first))
        return once if self.resident else itertools.cycle(once)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._free.put(None)
        self._thread.shutdown()


def feed_bytes(shard_tokens: Sequence[int], segment_tokens: int, resident: bool) -> int:
    """Device memory that a Feed takes."""
    return 4 * (sum(shard_tokens) if resident else (AHEAD + 1) * min(segment_tokens, max(shard_tokens)))
