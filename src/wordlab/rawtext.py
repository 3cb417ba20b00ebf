"""The corpus as the user has it: which files, in which order, and their bytes, decompressed on the way.

An own corpus is never copied: `data/source` is a symbolic link to it, so DVC sees when it is edited, and a corpus of
100 GB needs no second 100 GB. A catalog corpus lies in `data/download/corpus`. `corpus_files` hides the difference.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from wordlab.artifacts import read_manifest
from wordlab.errors import ArtifactError, CorpusError

DOWNLOAD = Path("data/download")
SOURCE = Path("data/source")

_MAGIC = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}
_SUFFIX = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_READ_BYTES = 1 << 20
_ZSTD_READ_BYTES = 1 << 14  # small, because what they unpack to comes in one piece


@dataclass(frozen=True)
class CorpusFile:
    """One file of the corpus."""

    path: Path
    format: str
    """text, gzip, bzip2, xz or zstd."""
    size_bytes: int
    """As stored, that is compressed."""


def sniff_format(path: Path) -> str:
    """How the file is compressed, by its first bytes: text, gzip, bzip2, xz or zstd.

    Raises CorpusError for a file whose name promises another compression, for a zip, and for one that cannot be read.
    """
    with _unreadable_as_error(path), path.open("rb") as file:
        head = file.read(10)
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


def open_text_stream(path: Path) -> BinaryIO:
    """The decompressed bytes of a file, buffered; a stream of plain text can seek.

    Raises CorpusError, here or while reading, where the file cannot be read, is damaged or ends too early.
    """
    return open_decompressed(path, sniff_format(path))


def open_decompressed(path: Path, compression: str) -> BinaryIO:
    """As `open_text_stream`, where the compression is known. Several streams one after the other are read as one."""
    if compression == "text":
        return io.BufferedReader(_PlainFile(path), _READ_BYTES)
    inner: Any
    if compression == "gzip":
        inner = gzip.GzipFile(path)
    elif compression == "bzip2":
        inner = bz2.BZ2File(path)
    elif compression == "xz":
        inner = lzma.LZMAFile(path)  # noqa: SIM115 - the stream around it closes it
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


@contextlib.contextmanager
def _unreadable_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from None


class _Guarded(io.RawIOBase):
    """Reads from a decompressor and turns its errors into a CorpusError that names the file."""

    def __init__(self, inner: Any, path: Path) -> None:
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


class _ZstdFile:
    """zstd frames one after the other. The package's own reader takes a file that is cut off for a whole one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._inside = False
        self._pending = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._pending:
            data = self._file.read(_ZSTD_READ_BYTES)
            if not data:
                if self._inside:
                    raise EOFError("the file ends inside a frame")
                return b""
            self._pending = memoryview(b"".join(self._decompress(data)))
        part, self._pending = self._pending[:size], self._pending[size:]
        return bytes(part)

    def _decompress(self, data: bytes) -> Iterator[bytes]:
        while data:
            self._inside = True
            yield self._frame.decompress(data)
            if not self._frame.eof:
                return
            data = self._frame.unused_data
            self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._inside = False

    def close(self) -> None:
        self._file.close()


def list_own_files(path: Path) -> list[Path]:
    """The files of an own corpus: the file itself, or all files below the folder, ordered by their relative paths.

    Hidden files and folders are left out, and links to folders are not followed (DVC does not follow them either, so an
    edit there would go unnoticed). Raises CorpusError where there is none.
    """
    if path.is_file():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    files = [file for file in found if file.is_file()]
    if not files:
        raise CorpusError(f"The folder {path} holds no files. Put the corpus there or let corpus: name another place.")
    return sorted(files, key=lambda file: file.relative_to(path).as_posix().encode())


def _linked(source: Path) -> Path:
    """The place of an own corpus as its owner named it, for messages that name a file."""
    return source.parent / source.readlink() if source.is_symlink() else source


def corpus_files(download: Path = DOWNLOAD, source: Path = SOURCE) -> list[CorpusFile]:
    """All files of the corpus in their order, as the download stage recorded them.

    Raises ArtifactError where that record or a file is missing, or a file has changed since.
    """
    folder = download / "corpus"
    corpus = read_manifest(folder, "download").get("corpus")
    if not isinstance(corpus, dict) or not corpus.get("files"):
        raise ArtifactError(f"{folder / 'manifest.json'} names no corpus. Run: dvc repro download")
    root = _linked(source) if corpus.get("own") else folder
    files = []
    for recorded in corpus["files"]:
        path = root / recorded["path"] if recorded["path"] else root
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}. Run: dvc repro download") from None
        if size_bytes != recorded["size_bytes"]:
            raise ArtifactError(
                f"{path} has {size_bytes} bytes, but had {recorded['size_bytes']} when the download stage looked. "
                "Run: dvc repro"
            )
        files.append(CorpusFile(path, recorded["format"], size_bytes))
    return files
