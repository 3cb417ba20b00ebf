"""A corpus named by a URL: `s3://bucket/wiki/*.txt.gz`. Which files it has, and what of them is written down.

DVC does not look into the store. What the download stage finds there, with the version of each file, is its output, on
which stage tokenize depends; so a corpus that has changed is read anew once download is asked to look again, and one
that changes unnoticed stops the stage that reads it.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from wordlab.corpus_listing import chosen_files
from wordlab.decompression import sniff_format
from wordlab.errors import ConfigError, CorpusError
from wordlab.remote_files import RemoteFile, as_version, file_system, look_at_all, store_errors
from wordlab.sections.download import CorpusFormatConfig
from wordlab.stage import say

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\x00-\x1f]+")
_WITH_QUERIES = ("http", "https")
"""Where ? and * belong to the address, and folders cannot be listed."""
_PASSWORD = re.compile(
    r"://[^/@]*:[^/@]*@|[?&][^=&]*(signature|token|sig|key|secret|credential|password)=", re.IGNORECASE
)
"""Before the host, or in the query as in the signed addresses that stores give out."""


def is_url(corpus: str) -> bool:
    """Whether `corpus:` names a file system by a URL, and not a path or a row of the catalog."""
    return _URL.fullmatch(corpus) is not None


@dataclass(frozen=True)
class RemoteCorpus:
    """A file, a folder, or files of a folder, in a store."""

    root: str
    """URL of the file or folder."""
    pattern: str
    """Of the files in the folder that count; empty: all of them."""

    def files(self) -> list[RemoteFile]:
        """In the order of their paths, as they are now. Raises ConfigError, CorpusError, DownloadError."""
        system, path = file_system(self.root)
        with store_errors(self.root):
            system.invalidate_cache()
            about = system.info(path)
            found = system.find(path, detail=True) if about["type"] == "directory" else {}
        if about["type"] != "directory":
            return [RemoteFile(self.root, *as_version(about, self.root))]
        files = {name: info for name, info in found.items() if info.get("type") == "file" and not name.endswith("/")}
        infos = {inside: info for name, info in files.items() if (inside := _inside(name, path))}  # no marks of folders
        try:
            names = chosen_files(self.root, list(infos), self.pattern)
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"The name of the file {error.object!r} in {self.root} is not UTF-8. Rename it."
            ) from None
        if odd := [name for name in names if "::" in name or "" in name.split("/")]:
            raise CorpusError(f"The file {odd[0]!r} in {self.root} has :: or an empty part in its name. Rename it.")
        return [RemoteFile(self._url(name), *as_version(infos[name], self._url(name))) for name in names]

    def _url(self, inside: str) -> str:
        return f"{self.root}/{inside}"


def find_remote(corpus: str) -> RemoteCorpus:
    """What a URL names, without a look at the store. Raises ConfigError."""
    if "::" in corpus:
        raise ConfigError(
            f"params.yaml: corpus is {corpus!r}, a URL in a URL. Name the files themselves; those packed with gzip, "
            "bzip2, xz or zstd are unpacked while they are read."
        )
    if _PASSWORD.search(corpus):
        raise ConfigError(
            "params.yaml: corpus is a URL with a password or a signature in it, which git and manifests would keep. "
            "Take it out, and put it where docs/data.md says."
        )
    protocol, _, rest = corpus.partition("://")
    parts = rest.rstrip("/").split("/") if protocol not in _WITH_QUERIES else [rest]
    number = len(parts)
    if protocol not in _WITH_QUERIES:
        number = next((i for i, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
    root = f"{protocol}://{'/'.join(parts[:number])}"
    if not any(parts[:number]):
        raise ConfigError(f"params.yaml: corpus is {corpus!r}, which names no bucket or folder. Name one.")
    return RemoteCorpus(root, "/".join(parts[number:]))


def describe_remote(corpus: RemoteCorpus, stored: CorpusFormatConfig) -> dict[str, Any]:
    """What the manifest says of it: each file by its path below the URL, with its version. Raises as `files` does."""
    files = corpus.files()
    formats = look_at_all(sniff_format, files)
    if any(not file.version for file in files):
        say(f"{corpus.root}: no checksum and no time is told of its files, so changes are seen by their sizes alone")
    about = {"name": PurePosixPath(corpus.root).name, "language": None, "licence": None, "own": True}
    described = [
        {"path": file.url.removeprefix(corpus.root).lstrip("/"), "format": format_, "size_bytes": file.size_bytes}
        | {"version": file.version}
        for file, format_ in zip(files, formats, strict=True)
    ]
    return about | {"url": corpus.root, "corpus_format": dataclasses.asdict(stored), "files": described}


def _inside(name: str, root: str) -> str:
    """The path of a file below the folder that was listed."""
    return name.removeprefix(root.rstrip("/")).removeprefix("/")
