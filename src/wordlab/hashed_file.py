"""Large Arrow files written, hashed and brought to the disk at the same time.

A thread of its own hashes what is written; meanwhile the disk begins with it. Otherwise each would wait for the other:
a file would be written to memory, then read again for its SHA-256, then sent to the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from wordlab.shards import LONG_COLUMNS

LARGE_BYTES = 1 << 20
"""Pieces of this size are hashed by the thread, files of this size sent to the disk before they are whole elsewhere."""


def write_hashed(path: Path, batch: pa.RecordBatch) -> str:
    """As `shards.write_batch`: the same bytes. Returns their SHA-256. The disk holds a large file afterwards."""
    with contextlib.ExitStack() as stack:
        file = HashedFile(path, stack)
        with pa.PythonFile(file, "w") as sink, pa.ipc.new_file(sink, batch.schema, options=LONG_COLUMNS) as writer:
            writer.write_batch(batch)
        return file.finish()


class HashedFile:
    """A file open for writing, as Arrow wants one. Closed, and its thread ended, with the stack it is given."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self.closed = False
        self._file = stack.enter_context(path.open("wb", buffering=0))
        self._digest = hashlib.sha256()
        self._stack = stack
        self._hasher: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []

    def write(self, data: Any) -> int:
        """Write all of `data`, any bytes, which must not change before `finish`."""
        view = memoryview(data).cast("B")
        if self._hasher is None and len(view) < LARGE_BYTES:
            self._digest.update(view)
        else:
            self._hasher = self._hasher or self._stack.enter_context(ThreadPoolExecutor(1))
            self._pending.append(self._hasher.submit(self._digest.update, view))
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        return written

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing waits in a buffer."""

    def close(self) -> None:
        """Arrow has written what it had. The file stays open for `finish`."""
        self.closed = True

    def finish(self) -> str:
        """Wait for the hash, and for the disk if the file is large; the SHA-256."""
        if self._file.tell() >= LARGE_BYTES:
            os.fsync(self._file.fileno())
        for hashed in self._pending:
            hashed.result()
        return self._digest.hexdigest()
