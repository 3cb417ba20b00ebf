"""Content out of what was fetched, without trust in it.

Nothing is ever unpacked by the names an archive chooses: one member is read as a stream, and the caller names the file
it goes to. So no path can escape; an archive that tries, or whose member is a link, is refused all the same. Reading
stops at the size that the catalog declares, so a bomb costs no more than the file it pretends to be.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from wordlab.catalog import is_safe_path
from wordlab.errors import CorpusError, DownloadError
from wordlab.rawtext import open_decompressed

CHUNK_BYTES = 1 << 20
MAX_MEMBERS = 100_000
MAX_ARCHIVE_BYTES = 1 << 32
"""Unpacked size up to which a tar is searched for its member."""


_DAMAGE = (CorpusError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, UnicodeDecodeError)


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
        raise DownloadError(f"the {container} file is damaged: {error}") from None
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror or error}") from None


def read_sdist_file(path: Path, file: str) -> Iterator[bytes]:
    """A file of a source distribution, a .tar.gz or .zip whose entries lie in one top folder."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = _below_top_folder(archive.namelist(), file, path)
            size_bytes = archive.getinfo(member).file_size
        yield from read_content(path, "zip", member, size_bytes)
    else:
        try:
            with tarfile.open(path, "r:*") as tar:
                member = _below_top_folder(tar.getnames(), file, path)
        except _DAMAGE as error:
            raise DownloadError(f"the source distribution {path.name} is damaged: {error}") from None
        yield from read_content(path, "tar", member, MAX_ARCHIVE_BYTES)


def _below_top_folder(names: list[str], file: str, path: Path) -> str:
    for name in names:
        if PurePosixPath(*PurePosixPath(name).parts[1:]) == PurePosixPath(file):
            return name
    raise DownloadError(f"{path.name} holds no {file}")


def _wanted(member: str | None) -> PurePosixPath:
    assert member is not None
    return PurePosixPath(member)


def _read_zip(path: Path, wanted: PurePosixPath, size_bytes: int) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_names((info.filename for info in members), "zip")
        info = next((info for info in members if PurePosixPath(info.filename) == wanted), None)
        if info is None:
            raise _no_member("zip", wanted, [info.filename for info in members])
        if stat.S_ISLNK(info.external_attr >> 16) or info.is_dir():
            raise DownloadError(f"the zip's member {wanted} is a link or folder, not a file; it is not opened")
        if info.flag_bits & 1:
            raise DownloadError(f"the zip's member {wanted} is encrypted")
        _check_declared(info.file_size, wanted, size_bytes)
        try:
            with archive.open(info) as file:
                yield from _limited(file, wanted, size_bytes)
        except NotImplementedError as error:
            raise DownloadError(f"the zip's member {wanted} cannot be unpacked: {error}") from None


def _read_tar(path: Path, wanted: PurePosixPath, size_bytes: int) -> Iterator[bytes]:
    seen = []
    total_bytes = 0
    with tarfile.open(path, "r:*") as archive:
        for entry in archive:
            _check_names([entry.name], "tar")
            seen.append(entry.name)
            if PurePosixPath(entry.name) == wanted:
                if not entry.isreg():
                    raise DownloadError(f"the tar's member {wanted} is a link or folder, not a file; it is not opened")
                _check_declared(entry.size, wanted, size_bytes)
                file = archive.extractfile(entry)
                assert file is not None
                with file:
                    yield from _limited(file, wanted, size_bytes)
                return
            total_bytes += entry.size
            if total_bytes > MAX_ARCHIVE_BYTES or len(seen) > MAX_MEMBERS:
                raise DownloadError(
                    f"the tar unpacks to more than {MAX_ARCHIVE_BYTES} bytes or {MAX_MEMBERS} entries "
                    f"without {wanted}; the search was given up"
                )
    raise _no_member("tar", wanted, seen)


def _check_names(names: Iterator[str] | list[str], kind: str) -> None:
    for name in names:
        if not is_safe_path(name.rstrip("/") or name):
            raise DownloadError(f"the {kind} holds the path {name!r}, which leaves its folder; it is not opened")


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
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return DownloadError(f"the {kind} holds no {wanted}, only: {some or 'nothing'}")
