"""Which files of a folder are the corpus, and in which order: the same rules for a folder here and one in a store."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path

from wordlab.errors import CorpusError

_DUMP_INDEX = re.compile(r"-pages-articles-multistream-index\d*\.txt(?:-p\d+p\d+)?(?:\.bz2)?$")
"""Where which page begins in the file beside it: numbers and titles, no text."""


def list_own_files(path: Path, pattern: str = "") -> list[Path]:
    """The files of an own corpus: the file itself, or all files below the folder, ordered by their relative paths.

    pattern: only those whose relative paths match it; `*` and `?` stand for parts of a name, `**` for any folders.

    Hidden files and folders are left out, so are the indices of Wikipedia's multistream dumps, and links to folders are
    not followed (DVC does not follow them either, so an edit there would go unnoticed). Raises CorpusError where there
    is none.
    """
    if path.is_file():
        return [path]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name).relative_to(path) for name in names]
    files = [file.as_posix() for file in found if (path / file).is_file()]
    try:
        return [path / name for name in chosen_files(path, files, pattern)]
    except UnicodeEncodeError as error:
        raise CorpusError(f"The name of the file {error.object!r} in {path} is not UTF-8. Rename it.") from None


def chosen_files(folder: object, paths: Sequence[str], pattern: str) -> list[str]:
    """Those of a folder's files, by their relative paths, that are the corpus, in order: see `list_own_files`.

    Raises CorpusError where there is none; UnicodeEncodeError for a name that is not UTF-8.
    """
    seen = [path for path in paths if not _is_left_out(path)]
    if not seen:
        raise CorpusError(
            f"The folder {folder} holds no files. Put the corpus there or let corpus: name another place."
        )
    chosen = [path for path in seen if not pattern or _matches(path.split("/"), pattern.split("/"))]
    if not chosen:
        raise CorpusError(
            f"None of the {len(seen)} files in {folder} matches {pattern}. Correct corpus: in params.yaml; ** "
            "stands for any folders, and hidden files and folders are left out."
        )
    return sorted(chosen, key=str.encode)


def _is_left_out(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/")) or _DUMP_INDEX.search(path) is not None


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path's parts match a pattern's."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[start:], patterns[1:]) for start in range(len(parts) + 1))
    return len(parts) > 0 and fnmatch.fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])
