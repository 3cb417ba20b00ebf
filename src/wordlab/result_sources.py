"""Where an experiment's files are read from: a folder, or a commit whose data DVC keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from wordlab.errors import ArtifactError
from wordlab.revisions import CachedFiles, Revision, list_committed, read_committed


class Source(Protocol):
    """Where an experiment's files are read from."""

    def where(self, path: str) -> str:
        """The name of a file or folder for messages, as the user would find it."""

    def read(self, path: str) -> bytes | None:
        """A small file that git keeps; None if it is not there."""

    def read_data(self, path: str, most: int | None = None) -> bytes | None:
        """A file below data/, which DVC keeps; None if it is not at hand. most: only so many bytes of its beginning."""

    def listed_results(self) -> list[int]:
        """Seeds of the files metrics/seed-N.json that are there."""


@dataclass(frozen=True)
class FolderSource:
    """Files as they lie in a folder."""

    metrics: Path
    root: Path | None
    """The project around it, if it is one."""

    def where(self, path: str) -> str:
        return str(self._place(path) or self.metrics / path)

    def _place(self, path: str) -> Path | None:
        """Where a file of a project lies; None for what a folder of results alone does not have."""
        if path == "metrics" or path.startswith("metrics/"):
            return self.metrics / path.removeprefix("metrics").removeprefix("/")
        return None if self.root is None else self.root / path

    def read(self, path: str) -> bytes | None:
        found = self._place(path)
        return None if found is None else _read(found)

    def read_data(self, path: str, most: int | None = None) -> bytes | None:
        found = self._place(path)
        return None if found is None else _read(found, most)

    def listed_results(self) -> list[int]:
        return seeds_in([path.name for path in self.metrics.iterdir()])


@dataclass(frozen=True)
class CommitSource:
    """Files of a commit, by git and DVC."""

    root: Path
    revision: Revision

    def where(self, path: str) -> str:
        return f"{self.revision.name}:{path}"

    @cached_property
    def _cached(self) -> CachedFiles:
        return CachedFiles(self.root, self.revision.commit)

    def read(self, path: str) -> bytes | None:
        return read_committed(self.root, self.revision.commit, path)

    def read_data(self, path: str, most: int | None = None) -> bytes | None:
        return self._cached.read(path, most)

    def listed_results(self) -> list[int]:
        return seeds_in(list_committed(self.root, self.revision.commit, "metrics"))


def _read(path: Path, most: int | None = None) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(-1 if most is None else most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None


def holds_results(folder: Path) -> bool:
    """Whether it is a folder with results: a project, or its metrics/."""
    return (folder / "metrics").is_dir() or any(folder.glob("seed-*.json"))


def folder_source(folder: Path) -> FolderSource:
    if any(folder.glob("seed-*.json")):
        around = folder.absolute().parent
        whole = folder.absolute().name == "metrics" and (around / "params.yaml").exists()
        return FolderSource(folder, around if whole else None)
    if (folder / "metrics").is_dir():
        return FolderSource(folder / "metrics", folder)
    raise ArtifactError(f"{folder} holds no results: neither metrics/ nor seed-N.json. Run there: dvc repro")


def seeds_in(names: Iterable[str]) -> list[int]:
    """Seeds of the files named seed-N.json, rising."""
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"seed-([0-9]{1,19})\.json", name)))
