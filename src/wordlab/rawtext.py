"""The corpus as the user has it: which files, and in which order.

An own corpus is never copied: `data/source` is a symbolic link to it, so DVC sees when it is edited, and a corpus of
100 GB needs no second 100 GB. One in an object store is read there (`wordlab.remote_files`). A catalog corpus lies in
`data/download/corpus`. `corpus_files` hides the difference; `wordlab.decompression` has the bytes.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wordlab.artifacts import read_manifest
from wordlab.decompression import FORMATS
from wordlab.errors import ArtifactError
from wordlab.remote_files import CorpusPath, RemoteFile

DOWNLOAD = Path("data/download")
SOURCE = Path("data/source")
_LONGEST_PATH = 1 << 12
_SHOWN_PATH = 1000


@dataclass(frozen=True)
class CorpusFile:
    """One file of the corpus."""

    path: CorpusPath
    format: str
    """text, gzip, bzip2, xz or zstd."""
    size_bytes: int
    """As stored, that is compressed."""


def _linked(source: Path) -> Path:
    """The place of an own corpus as its owner named it, for messages that name a file."""
    return source.parent / source.readlink() if source.is_symlink() else source


def corpus_files(download: Path = DOWNLOAD, source: Path = SOURCE) -> list[CorpusFile]:
    """All files of the corpus in their order, as the download stage recorded them.

    Raises ArtifactError where that record or a file is missing, or a file has changed since.
    """
    folder = download / "corpus"
    corpus = read_manifest(folder, "download").get("corpus")
    if not isinstance(corpus, dict) or not isinstance(corpus.get("files"), list) or not corpus["files"]:
        raise ArtifactError(f"{folder / 'manifest.json'} names no corpus. Run: dvc repro download")
    recorded = [_recorded(entry, folder) for entry in corpus["files"]]
    if "url" in corpus:
        return [CorpusFile(_remote(corpus["url"], entry, folder), entry.format, entry.size_bytes) for entry in recorded]
    root = _linked(source) if corpus.get("own") else folder
    return [CorpusFile(_as_recorded(root, entry), entry.format, entry.size_bytes) for entry in recorded]


def _as_recorded(root: Path, entry: _Recorded) -> Path:
    """The place of a file, which is there and has its size. Raises ArtifactError."""
    path = root / entry.inside if entry.inside else root
    try:
        size_bytes = path.stat().st_size
    except (OSError, ValueError) as error:  # a ValueError where the name cannot be one
        reason = getattr(error, "strerror", None) or error
        name = str(path)[:_SHOWN_PATH]  # as long as a damaged manifest likes
        raise ArtifactError(f"{name} cannot be read: {reason}. Run: dvc repro download") from None
    if size_bytes != entry.size_bytes:
        raise ArtifactError(
            f"{path} has {size_bytes} bytes, but had {entry.size_bytes} when the download stage looked. Run: dvc repro"
        )
    return path


def _remote(url: object, entry: _Recorded, folder: Path) -> RemoteFile:
    """A file in a store, which is looked at when it is opened."""
    if not isinstance(url, str) or "://" not in url or entry.version is None:
        raise ArtifactError(f"{folder / 'manifest.json'} is damaged: no URL or no version. Run: dvc repro download")
    return RemoteFile(f"{url}/{entry.inside}" if entry.inside else url, entry.size_bytes, entry.version)


def _stays_inside(path: str) -> bool:
    """Whether a path is relative, leads to nothing outside of its folder, and is no longer than Linux takes."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts and "\0" not in path and len(path) < _LONGEST_PATH


@dataclass(frozen=True)
class _Recorded:
    """A file as the manifest has it."""

    inside: str
    """Path in the folder; empty where the corpus is this file."""
    format: str
    size_bytes: int
    version: str | None
    """Of a file in a store."""


def _recorded(entry: object, folder: Path) -> _Recorded:
    """Raises ArtifactError if the manifest's entry is none."""
    keys = ("path", "format", "size_bytes", "version")
    fields = [entry.get(key) for key in keys] if isinstance(entry, dict) else [None]
    match fields:
        case [str(inside), str(compression), int(size_bytes), (str() | None) as version]:
            if compression in FORMATS and _stays_inside(inside):
                return _Recorded(inside, compression, size_bytes, version)
    raise ArtifactError(
        f"{folder / 'manifest.json'} is damaged: {reprlib.repr(entry)} describes no file of the corpus. "
        "Run: dvc repro download"
    )
