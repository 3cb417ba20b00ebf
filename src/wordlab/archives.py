"""Content out of what was fetched, without trust in it.

Nothing is ever unpacked by the names an archive chooses: one member is read as a stream, and the caller names the file
it goes to. So no path can escape; an archive that tries, or whose member is a link, is refused all the same. Reading
stops at the size that the catalog declares, so a bomb costs no more than the file it pretends to be. Python's readers
are held short: a tar is read forwards only and in small pieces, of a zip only the usual compressions are unpacked.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from wordlab.catalog import is_safe_path
from wordlab.decompression import open_decompressed
from wordlab.errors import CorpusError, DownloadError
from wordlab.zip_files import DAMAGE, hindrance, open_zip

CHUNK_BYTES = 1 << 20
MAX_MEMBERS = 100_000
MAX_ARCHIVE_BYTES = 1 << 32
"""Unpacked size up to which a tar is searched for its member."""
_DAMAGE = (*DAMAGE, CorpusError, tarfile.TarError, lzma.LZMAError)
"""What Python's readers raise over a damaged file, zipped or not."""
TAR_HEADER_BYTES = 1 << 13
"""Longest header of a tar that is read, extended ones included; a path has 4 KiB at most."""
_MANY_DIGITS = re.compile(rb"[0-9]{100}")
"""tarfile searches an extended header for a number in a time that is quadratic in its digits (CVE-2024-6232)."""
SHOWN_NAMES = 5
_COMPRESSED_TAR = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def read_content(path: Path, container: str | None, member: str | None, size_bytes: int) -> Iterator[bytes]:
    """The content of a fetched file, in pieces of at most CHUNK_BYTES.

    container: as in the catalog, None for a plain file.   member: path inside a zip or tar.
    size_bytes: of the content; for anything packed, more than that is an error.
    Raises DownloadError, here or while reading, where the file is damaged or unsafe.
    """
    try:
        if container is None:
            with path.open("rb") as file:
                yield from _chunks(file)
        elif container == "zip":
            yield from _read_zip(path, _wanted(member), size_bytes)
        elif container == "tar":
            yield from _read_tar(path, _wanted(member), size_bytes)
        else:
            with open_decompressed(path, container) as file:
                yield from _limited(file, path, size_bytes)
    except _DAMAGE as error:
        raise DownloadError(f"the {container} file is damaged: {_reason(error)}") from None
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror or error}") from None


def read_sdist_file(path: Path, file: str) -> Iterator[bytes]:
    """A file of a source distribution, a .tar.gz or .zip whose entries lie in one top folder."""
    try:
        if zipfile.is_zipfile(path):
            container = "zip"
            with open_zip(path) as archive:
                member = _below_top_folder(archive.namelist(), file, path)
                size_bytes = archive.getinfo(member).file_size
        else:
            container, size_bytes = "tar", MAX_ARCHIVE_BYTES
            with _tar(path) as (tar, _):
                member = _below_top_folder((entry.name for entry in _entries(tar, file)), file, path)
    except _DAMAGE as error:
        raise DownloadError(f"the source distribution {path.name} is damaged: {_reason(error)}") from None
    yield from read_content(path, container, member, size_bytes)


def _below_top_folder(names: Iterable[str], file: str, path: Path) -> str:
    for name in names:
        if PurePosixPath(*PurePosixPath(name).parts[1:]) == PurePosixPath(file):
            return name
    raise DownloadError(f"{path.name} holds no {file}")


def _wanted(member: str | None) -> PurePosixPath:
    assert member is not None
    return PurePosixPath(member)


def _read_zip(path: Path, wanted: PurePosixPath, size_bytes: int) -> Iterator[bytes]:
    with open_zip(path) as archive:
        members = archive.infolist()
        _check_names((info.filename for info in members), "zip")
        info = next((info for info in members if PurePosixPath(info.filename) == wanted), None)
        if info is None:
            raise _no_member("zip", wanted, [info.filename for info in members])
        if stat.S_ISLNK(info.external_attr >> 16) or info.is_dir():
            raise DownloadError(f"the zip's member {wanted} is a link or folder, not a file; it is not opened")
        if reason := hindrance(info):
            raise DownloadError(f"the zip's member {wanted} cannot be unpacked: {reason}")
        _check_declared(info.file_size, wanted, size_bytes)
        with archive.open(info) as file:
            yield from _limited(file, wanted, size_bytes)


def _read_tar(path: Path, wanted: PurePosixPath, size_bytes: int) -> Iterator[bytes]:
    seen: list[str] = []
    with _tar(path) as (archive, stream):
        for entry in _entries(archive, wanted):
            if PurePosixPath(entry.name) == wanted:
                if not entry.isreg() or entry.issparse():
                    raise DownloadError(f"the tar's member {wanted} is a link or folder, not a file; it is not opened")
                _check_declared(entry.size, wanted, size_bytes)
                file = archive.extractfile(entry)
                assert file is not None
                stream.most_bytes = CHUNK_BYTES
                with file:
                    yield from _limited(file, wanted, size_bytes)
                return
            if len(seen) <= SHOWN_NAMES:
                seen.append(entry.name)
    raise _no_member("tar", wanted, seen)


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[tuple[tarfile.TarFile, _Forwards]]:
    """A tar, compressed or not, opened for reading from front to back, and the stream it is read from."""
    with path.open("rb") as file:
        head = file.read(6)
    compression = next((name for magic, name in _COMPRESSED_TAR.items() if head.startswith(magic)), "text")
    with open_decompressed(path, compression) as unpacked:
        stream = _Forwards(unpacked)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            yield archive, stream


def _entries(archive: tarfile.TarFile, wanted: object) -> Iterator[tarfile.TarInfo]:
    """All entries of a tar. Raises DownloadError for a path that escapes, and where they unpack to too much."""
    number = total_bytes = 0
    while entry := archive.next():
        archive.members = []  # type: ignore[attr-defined]  # it would remember all of them
        _check_names([entry.name], "tar")
        if entry.size < 0:
            raise tarfile.ReadError(f"a member of {entry.size} bytes")
        yield entry
        number, total_bytes = number + 1, total_bytes + entry.size
        if total_bytes > MAX_ARCHIVE_BYTES or number >= MAX_MEMBERS:
            raise DownloadError(
                f"the tar unpacks to more than {MAX_ARCHIVE_BYTES} bytes or {MAX_MEMBERS} entries "
                f"without {wanted}; the search was given up"
            )


class _Forwards(io.RawIOBase):
    """What tarfile gets to read. It cannot go back, as a tar that leads in circles would have it, or take much at once.

    A position in a compressed stream is where one is after reading; going to a later one is reading up to it.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._position = 0
        self.most_bytes = TAR_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise tarfile.ReadError("it leads back to what was read before")
        while self._position < offset:
            data = self._stream.read(min(CHUNK_BYTES, offset - self._position))
            if not data:
                raise tarfile.ReadError("it ends within a member")
            self._position += len(data)
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.most_bytes:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data = self._stream.read(size)
        if self.most_bytes == TAR_HEADER_BYTES and _MANY_DIGITS.search(data):
            raise tarfile.ReadError("a header with a number of a hundred digits")
        self._position += len(data)
        return data


def _check_names(names: Iterator[str] | list[str], kind: str) -> None:
    for name in names:
        if not is_safe_path(name.rstrip("/") or name):
            raise DownloadError(f"the {kind} holds the path {name[:100]!r}, which leaves its folder; it is not opened")


def _check_declared(declared_bytes: int, wanted: PurePosixPath, size_bytes: int) -> None:
    if declared_bytes > size_bytes:
        raise DownloadError(f"{wanted} unpacks to {declared_bytes} bytes, but the catalog says {size_bytes}")


def _limited(file: IO[bytes], name: object, size_bytes: int) -> Iterator[bytes]:
    """Chunks of a stream; a DownloadError as soon as there are more than `size_bytes`."""
    total_bytes = 0
    for chunk in _chunks(file):
        total_bytes += len(chunk)
        if total_bytes > size_bytes:
            raise DownloadError(
                f"{name} unpacks to more than the {size_bytes} bytes that the catalog says; stopped there"
            )
        yield chunk


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _no_member(kind: str, wanted: PurePosixPath, names: list[str]) -> DownloadError:
    some = ", ".join(_shown(name) for name in names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
    return DownloadError(f"the {kind} holds no {wanted}, only: {some or 'nothing'}")


def _reason(error: BaseException) -> str:
    """What a reader complains of, which may quote the archive."""
    return str(error)[:400]


def _shown(name: str) -> str:
    """A name from an archive as one may print it: what is no text escaped, and not all of a long one."""
    return (name if name.isprintable() else repr(name))[:100]
