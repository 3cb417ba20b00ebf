"""Bytes that a generator makes, as a file that is open for reading."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

_BUFFER_BYTES = 1 << 20


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes], source: BinaryIO | None) -> None:
        self._pieces = pieces
        self._source = source
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._pending = memoryview(piece)
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
        super().close()


def piece_stream(pieces: Iterator[bytes], source: BinaryIO | None = None) -> BinaryIO:
    """The pieces one after the other, buffered; empty ones are passed over. source: closed with the stream."""
    return cast(BinaryIO, io.BufferedReader(_Pieces(pieces, source), _BUFFER_BYTES))


def joined_pieces(texts: Iterator[bytes], piece_bytes: int = _BUFFER_BYTES) -> Iterator[bytes]:
    """Short texts put together until they make a piece worth a read."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        parts.append(text)
        size += len(text)
        if size >= piece_bytes:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
