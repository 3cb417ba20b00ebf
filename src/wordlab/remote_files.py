"""Files of a corpus that lie in an object store, or on any file system that fsspec knows, read where they are.

A file is named by its URL and by the version that the download stage saw: its size and checksum, or the time of its
last change where the store tells no checksum. It is read by ranges, a few megabytes at a time, and compared with that
version when it is opened and when it has been read. Who may read it is no business of ours: fsspec and the package for
the store find accounts and addresses where they always do, in the environment and in their own files.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from wordlab.errors import ConfigError, CorpusError, DownloadError, WordlabError
from wordlab.parallel import bounded_map
from wordlab.stage import progress

FIRST_BYTES = 1 << 16
"""Asked for at a place one has jumped to; each further request there asks for twice as much, up to MOST_BYTES."""
MOST_BYTES = 1 << 23
AT_ONCE = 16
"""Files that are looked at, or opened, beside each other: most of the time goes by waiting for the store."""
_HEAD_BYTES = 128
_CHECKSUMS = ("md5Hash", "crc32c", "ETag", "etag", "sha256", "sha", "generation")
"""What stores tell of a file's content, the nearest to it first: Google's, S3's and http's, Hugging Face's."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_LOOK_AGAIN = "To take the corpus as it is now, run: dvc repro --force download, then: dvc repro"
_EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Extras of this project that bring the package for a kind of store."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteFile:
    """One version of a file. Has what is asked of a `Path` here: a name, a suffix, bytes."""

    url: str
    size_bytes: int
    version: str
    """As `version_of` tells it; empty where the store tells nothing, so that the size alone is compared."""

    @property
    def name(self) -> str:
        """Without what a web address may have behind it: `part.jsonl` of https://host/part.jsonl?download=true."""
        path = re.split("[?#]", self.url)[0] if self.url.startswith(("http://", "https://")) else self.url
        return PurePosixPath(path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def __str__(self) -> str:
        return self.url

    def open(self, mode: str = "rb") -> BinaryIO:
        """Its bytes, buffered. Raises CorpusError, here or at the end, where it is another version or gone.

        Raises DownloadError, here or while reading, where the store does not answer or refuses.
        """
        assert mode == "rb"
        return cast(BinaryIO, io.BufferedReader(_Ranges(self), MOST_BYTES))

    def head(self) -> bytes:
        """Its first 128 bytes. Raises as `open` does."""
        return _head(self)

    def read_part(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises as `open` does."""
        with _Ranges(self, is_read_at_once=True) as file:
            return file.read_whole(offset, size)


CorpusPath = Path | RemoteFile
"""A file of the corpus, here or elsewhere."""


def size_of(path: CorpusPath) -> int:
    """Bytes of a file as it is stored."""
    return path.size_bytes if isinstance(path, RemoteFile) else path.stat().st_size


def look_at_all(look: Callable[[RemoteFile], Result], paths: Sequence[CorpusPath]) -> list[Result]:
    """look(file) of those files that lie in a store, in order, several beside each other.

    Raises what `look` raises for the first file, in order, for which it does.
    """
    files = [path for path in paths if isinstance(path, RemoteFile)]
    with ThreadPoolExecutor(AT_ONCE) as executor:
        found = bounded_map(executor, look, files, 2 * AT_ONCE)
        return list(progress(len(files), "file", "look at the corpus", iterable=found) if files else found)


@functools.cache
def _head(file: RemoteFile) -> bytes:
    with _Ranges(file, is_read_at_once=True) as ranges:
        return ranges.read_whole(0, min(_HEAD_BYTES, file.size_bytes))


class _Ranges(io.RawIOBase):
    """A file that asks for more with each request, for as long as one reads on."""

    def __init__(self, file: RemoteFile, is_read_at_once: bool = False) -> None:
        """is_read_at_once: by `read_whole`, which looks at the version behind it; before it is one question more."""
        self._file = file
        system, path = file_system(file.url)
        if not is_read_at_once:
            self._require_same()
        with store_errors(file.url):
            self._inner = system.open(path, "rb", block_size=MOST_BYTES, cache_type="none")
        self._most = FIRST_BYTES
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        with store_errors(self._file.url):
            return bool(self._inner.seekable())

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._file.size_bytes}[whence]
        if start + offset != self._place:
            with store_errors(self._file.url):
                self._inner.seek(start + offset)
            self._place = start + offset
            self._most = FIRST_BYTES
        return self._place

    def readinto(self, buffer: Any) -> int:
        left = self._file.size_bytes - self._place
        wanted = min(len(buffer), self._most, left)
        if wanted <= 0:
            return 0
        with store_errors(self._file.url):
            data = self._inner.read(wanted)
        if not data or wanted == left:  # all of it has come, or less than there was
            self._require_same()
        if not data:
            raise DownloadError(f"{self._file} ended {left} bytes too early. Run it again: dvc repro")
        buffer[: len(data)] = data
        self._place += len(data)
        self._most = min(2 * self._most, MOST_BYTES)
        return len(data)

    def read_whole(self, offset: int, size: int) -> bytes:
        """So many bytes in as few requests as the store wants. Raises DownloadError where there are fewer."""
        parts = []
        with store_errors(self._file.url):
            if offset:
                self._inner.seek(offset)
            while size and (data := self._inner.read(size)):
                parts.append(data)
                size -= len(data)
        self._require_same()
        if size:
            raise DownloadError(f"{self._file} ended {size} bytes too early. Run it again: dvc repro")
        return b"".join(parts)

    def _require_same(self) -> None:
        size_bytes, version = current_version(self._file.url)
        if (size_bytes, version) != (self._file.size_bytes, self._file.version):
            before, now = self._file.version or "no version", version or "no version"
            raise CorpusError(
                f"{self._file} has changed since the download stage looked: it had {self._file.size_bytes} bytes "
                f"({before}) and has {size_bytes} ({now}). {_LOOK_AGAIN}"
            )

    def close(self) -> None:
        if not self.closed and hasattr(self, "_inner"):
            self._inner.close()
        super().close()


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path that the URL is there. Raises ConfigError where there is none."""
    import fsspec  # takes a while, and most corpora lie here

    protocol = url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        install = f"pip install -c constraints.txt -e '.[{extra}]'" if extra else "pip"
        raise ConfigError(
            f"params.yaml: corpus is {url!r}, and {protocol}:// needs a package that is not installed ({error}). "
            f"Install it with {install}, on every machine that reads the corpus."
        ) from None
    except ValueError:
        raise ConfigError(
            f"params.yaml: corpus is {url!r}, but fsspec knows no file system {protocol}://. Among those it knows: "
            "s3, gs, az, hdfs, sftp, https, file."
        ) from None
    with store_errors(url):
        system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


def current_version(url: str) -> tuple[int, str]:
    """Size and version of a file as it is now. Raises CorpusError where it is gone, DownloadError."""
    system, path = file_system(url)
    with store_errors(url):
        system.invalidate_cache()  # what it was when a folder was listed is what it is compared with
        info = system.info(path)
    return as_version(info, url)


def as_version(info: Mapping[str, Any], url: str) -> tuple[int, str]:
    """Size and version by what a store tells of a file. Raises CorpusError where it is no file of known size."""
    size_bytes = info.get("size")
    if info.get("type") != "file" or not isinstance(size_bytes, int):
        raise CorpusError(f"{url} is no file whose size is known ({info.get('type')}). Correct corpus: in params.yaml.")
    for name in (*_CHECKSUMS, *_TIMES):
        value = info.get(name)
        if value not in (None, ""):
            return size_bytes, f"{name} {_as_time(value) if name in _TIMES else value}".replace('"', "")
    return size_bytes, ""


def _as_time(value: object) -> object:
    """A time in one form: some stores give another to who lists a folder than to who asks for a file."""
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


@contextlib.contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Whatever goes wrong in a store as an error that says where, and what to do."""
    try:
        yield
    except WordlabError:
        raise
    except FileNotFoundError:
        raise CorpusError(f"{url} is not there, or no longer. Correct corpus: in params.yaml. {_LOOK_AGAIN}") from None
    except PermissionError as error:
        raise DownloadError(
            f"{url} may not be read: {_reason(error)}. Give this machine, and each worker, an account that may: "
            "docs/data.md says where it is looked for."
        ) from error
    except Exception as error:  # stores are plug-ins, whose errors have no base in common
        raise DownloadError(
            f"{url} cannot be read: {_reason(error)}. Check the address, the network and the account (docs/data.md), "
            "then run it again: what is finished is kept."
        ) from error


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}".rstrip(". :").replace("\n", " ")
