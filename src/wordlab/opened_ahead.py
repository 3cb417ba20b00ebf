"""Files opened in order, those in a store ahead of their turn: that takes round trips, which are mostly waiting."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from wordlab.remote_files import AT_ONCE


class Closable(Protocol):
    """What is closed when it is not needed any more."""

    def close(self) -> None:
        """Close it."""


File = TypeVar("File")
Opened = TypeVar("Opened", bound=Closable)


def opened_ahead(
    files: Iterable[File], open_one: Callable[[File], Opened], ahead: Callable[[File], bool]
) -> Generator[Opened]:
    """open_one(file) of each file, in order, to be closed by who gets it.

    ahead: whether a file may be opened before its turn, in another thread; AT_ONCE are then open at most.
    Raises what `open_one` raises when it is the file's turn. What was opened and not given out is closed at the end.
    """
    todo = iter(files)
    waiting: deque[tuple[File, Future[Opened] | None]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as executor:
        try:
            while True:
                for file in todo:
                    waiting.append((file, executor.submit(open_one, file) if ahead(file) else None))
                    if len(waiting) >= AT_ONCE:
                        break
                if not waiting:
                    return
                file, future = waiting.popleft()
                yield open_one(file) if future is None else future.result()
        finally:
            for _, future in waiting:
                if future is not None and not future.cancel():
                    with contextlib.suppress(Exception):  # of a file whose turn has not come: nobody misses it
                        future.result().close()
