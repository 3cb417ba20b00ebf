"""Bytes of a file, decompressed on the way: gzip, bzip2, xz and zstd, told by the first bytes.

A compressed file may unpack to far more than it is, so it is unpacked in pieces of bounded size, with a dictionary of
bounded size, whatever its headers ask for.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from wordlab.bzip2 import Bzip2File
from wordlab.errors import CorpusError
from wordlab.remote_files import CorpusPath, RemoteFile, size_of

_MAGIC = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}
FORMATS = ("text", *_MAGIC)
"""What `sniff_format` can find."""
_MAGIC_BYTES = 10
_SUFFIX = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_READ_BYTES = 1 << 20
_ZSTD_RUN = 1  # a block of one byte many times over
XZ_MEMORY_BYTES = 1 << 27
"""Memory an xz file may ask for, or four times its own size where that is more; xz -9 asks for half of this."""


def sniff_format(path: CorpusPath) -> str:
    """How the file is compressed, by its first bytes: text, gzip, bzip2, xz or zstd.

    Raises CorpusError for a file whose name promises another compression, for a zip, and for one that cannot be read.
    """
    head = (path.head() if isinstance(path, RemoteFile) else _first_bytes(path))[:_MAGIC_BYTES]
    found = next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "text")
    if found == "bzip2" and head[4:] not in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        found = "text"  # a text may begin with BZh; a block or the end of a bzip2 stream follows only in bzip2
    promised = _SUFFIX.get(path.suffix.lower(), found)
    if promised != found:
        raise CorpusError(
            f"{path} is named as {promised}, but its first bytes are those of {found}. "
            f"Fetch or pack it again, or give it the name that fits."
        )
    if head.startswith(b"PK\x03\x04"):
        raise CorpusError(f"{path} is a zip archive. Unpack it and let corpus: name the file or folder inside.")
    return found


def _first_bytes(path: Path) -> bytes:
    with _unreadable_as_error(path), path.open("rb") as file:
        return file.read(_MAGIC_BYTES)


def open_text_stream(path: CorpusPath) -> BinaryIO:
    """The decompressed bytes of a file, buffered; a stream of plain text can seek.

    Raises CorpusError, here or while reading, where the file cannot be read, is damaged or ends too early.
    """
    return open_decompressed(path, sniff_format(path))


def open_decompressed(path: CorpusPath, compression: str, threads: int = 1) -> BinaryIO:
    """As `open_text_stream`, where the compression is known. Several streams one after the other are read as one.

    threads: that unpack ahead of who reads, where the compression allows it (bzip2). They change nothing else.
    """
    if compression == "text":
        return path.open("rb") if isinstance(path, RemoteFile) else io.BufferedReader(_PlainFile(path), _READ_BYTES)
    inner: Any
    if compression == "gzip":
        inner = _GzipFile(path)
    elif compression == "bzip2":
        inner = Bzip2File(path, threads)
    elif compression == "xz":
        inner = _XzFile(path)
    else:
        inner = _ZstdFile(path)
    return cast(BinaryIO, io.BufferedReader(_Guarded(inner, path), _READ_BYTES))


class _PlainFile(io.FileIO):
    """A file that is open for reading and turns a disk's errors into a CorpusError that names it."""

    def __init__(self, path: Path) -> None:
        with _unreadable_as_error(path):
            super().__init__(path, "rb")
        self._path = path

    def readinto(self, buffer: Any) -> int:
        with _unreadable_as_error(self._path):
            return super().readinto(buffer) or 0

    def readall(self) -> bytes:
        with _unreadable_as_error(self._path):
            return super().readall() or b""


def size_and_time(file: BinaryIO | io.RawIOBase) -> tuple[int, int]:
    """Bytes of an open file, and when it was written last, in nanoseconds: with another of them it has changed."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def read_part(path: Path, offset: int, size: int, seen: tuple[int, int]) -> bytes:
    """`size` bytes of a file from `offset` on. seen: its `size_and_time`.

    Raises CorpusError where it has changed since, or cannot be read.
    """
    with _unreadable_as_error(path), path.open("rb", buffering=0) as file:
        file.seek(offset)
        parts = []
        while size and (data := file.read(size)):  # one call gives 2 GiB at most
            parts.append(data)
            size -= len(data)
        now = size_and_time(file)
    if size or now != seen:
        raise changed_while_read(path)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def changed_while_read(path: CorpusPath) -> CorpusError:
    """What is told of such a file."""
    return CorpusError(
        f"{path} has changed while it was read. Leave it as it is until the stage is done, then run: dvc repro"
    )


@contextlib.contextmanager
def _unreadable_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from None


class _Guarded(io.RawIOBase):
    """Reads from a decompressor and turns its errors into a CorpusError that names the file."""

    def __init__(self, inner: Any, path: CorpusPath) -> None:
        self._inner = inner
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inner.read(len(buffer))
        except _DAMAGE as error:
            raise CorpusError(
                f"{self._path} is damaged and cannot be decompressed to its end: {error}. Fetch or pack it again."
            ) from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _GzipFile:
    """gzip members one after the other. The library closes no file that it was given open."""

    def __init__(self, path: CorpusPath) -> None:
        self._file = path.open("rb")
        self._inner = gzip.GzipFile(fileobj=self._file)

    def read(self, size: int) -> bytes:
        return self._inner.read(size)

    def close(self) -> None:
        self._inner.close()
        self._file.close()


class _XzFile:
    """xz streams one after the other. The library's own reader sets no limit to the memory a header can ask for."""

    def __init__(self, path: CorpusPath) -> None:
        self._file = path.open("rb")
        self._memory_bytes = max(XZ_MEMORY_BYTES, 4 * size_of(path))
        self._stream = self._new_stream()
        self._started = False

    def _new_stream(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._memory_bytes)

    def read(self, size: int) -> bytes:
        while True:
            packed = b""
            if self._stream.eof:
                packed = self._after_stream()
                if not packed:
                    return b""
                self._stream = self._new_stream()
            elif self._stream.needs_input:
                packed = self._file.read(_READ_BYTES)
                if not packed:
                    raise EOFError("the file ends inside a stream")
            data = self._stream.decompress(packed, size)
            if data:
                return data

    def _after_stream(self) -> bytes:
        """The beginning of the next stream, behind what NULs there are between two; empty at the end of the file."""
        packed = self._stream.unused_data or self._file.read(_READ_BYTES)
        while packed and not (rest := packed.lstrip(b"\0")):
            packed = self._file.read(_READ_BYTES)
        return rest if packed else b""

    def close(self) -> None:
        self._file.close()


class _ZstdFile:
    """zstd frames one after the other. The package's own reader takes a file that is cut off for a whole one."""

    def __init__(self, path: CorpusPath) -> None:
        self._file = path.open("rb")
        self._pieces = _zstd_pieces(self._file)
        self._frame: Any = None
        self._pending = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._pending:
            starts_frame, packed = next(self._pieces, (False, b""))
            if not packed:
                return b""
            if starts_frame:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._pending = memoryview(self._frame.decompress(packed))
        part, self._pending = self._pending[:size], self._pending[size:]
        return bytes(part)

    def close(self) -> None:
        self._file.close()


def _zstd_pieces(file: BinaryIO) -> Iterator[tuple[bool, bytes]]:
    """A zstd file cut at its blocks, and whether a piece starts a frame; frames to be skipped are left out.

    A block unpacks to 128 KiB at most, and so a piece does; 16 KiB of the file can unpack to 512 MiB. RFC 8878, 3.1.
    """
    while magic := file.read(4):
        if magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5:
            _skip(file, int.from_bytes(_exactly(file, 4), "little"))
            continue
        descriptor = _exactly(file, 1)[0]
        single_segment = descriptor >> 5 & 1
        header_bytes = (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + (single_segment, 2, 4, 8)[descriptor >> 6]
        yield True, magic + bytes([descriptor]) + _exactly(file, header_bytes)
        last = 0
        while not last:
            header = _exactly(file, 3)
            value = int.from_bytes(header, "little")
            last, kind, size = value & 1, value >> 1 & 3, value >> 3
            yield False, header + _exactly(file, 1 if kind == _ZSTD_RUN else size)
        if descriptor & 4:
            yield False, _exactly(file, 4)


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the file ends inside a frame")
    return data


def _skip(file: BinaryIO, size: int) -> None:
    while size:
        size -= len(_exactly(file, min(size, _READ_BYTES)))
