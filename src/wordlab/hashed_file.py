"""Large Arrow files hashed while they are written, and brought to the disk while something else is done.

A file would be written to memory, then read again for its SHA-256, then sent to the disk, each waiting for the other.
Here a thread hashes what is written so far, as it is in the file. So what was written may change at once, and who
wrote it can go on while the thread comes to the end and the disk takes the file.
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

PIECE_BYTES = 1 << 20
"""Written, and hashed, at a time: it is in the cache then when it is hashed."""


def write_hashed(path: Path, batch: pa.RecordBatch) -> HashedFile:
    """As `shards.write_batch`: the same bytes. What is left is to `finish` the file."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(HashedFile(path))
        with pa.PythonFile(file, "w") as sink, pa.ipc.new_file(sink, batch.schema, options=LONG_COLUMNS) as writer:
            writer.write_batch(batch)
        stack.pop_all()
    return file


class HashedFile:
    """A file open for writing, as Arrow wants one. As a context, it is closed as it is where it was not finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False
        self._file = path.open("w+b", buffering=0)
        self._digest = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1)
        self._hashed: list[Future[None]] = []
        self._written = self._begun = 0
        """Bytes in the file, and those of them that the thread has been given."""

    def write(self, data: Any) -> int:
        """Write all of `data`, any bytes."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            while len(piece):
                written = self._file.write(piece)
                piece = piece[written:]
                self._written += written
            if self._written - self._begun >= PIECE_BYTES:
                self._begin()
        return len(view)

    def _begin(self) -> None:
        """Have the thread hash what was written since."""
        self._hashed.append(self._hasher.submit(self._hash, self._begun, self._written))
        self._begun = self._written

    def _hash(self, start: int, stop: int) -> None:
        while start < stop:
            data = os.pread(self._file.fileno(), min(PIECE_BYTES, stop - start), start)
            if not data:
                raise OSError(f"{self.path} ends at {start} bytes, but {stop} were written")
            self._digest.update(data)
            start += len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing waits in a buffer."""

    def close(self) -> None:
        """Arrow has written what it had. The file stays open for `finish`."""
        self.closed = True

    def finish(self) -> str:
        """Wait for the hash, and for the disk if the file is large, and close it; the SHA-256."""
        with self:
            self._begin()
            if self._written >= PIECE_BYTES:
                os.fsync(self._file.fileno())
            for hashed in self._hashed:
                hashed.result()
        return self._digest.hexdigest()

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._hasher.shutdown(cancel_futures=True)
        self._file.close()
