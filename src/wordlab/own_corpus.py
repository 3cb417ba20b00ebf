"""A corpus of the user's own: found, described and linked, never copied.

`data/source` becomes a symbolic link to the file or folder. It is an output of the download stage (`cache: false`), so
DVC compares what the link leads to with what it was, and an edit re-runs download, which takes no time, and then
tokenize. For a corpus of the catalog, `data/source` is a file of one line. So dvc.yaml needs no conditions, which DVC
does not have. For a corpus in a store it is such a file too: DVC does not look there (`wordlab.remote_corpus`).

DVC must not clear this output away before the stage runs (`persist: true`): it would take the link for the folder
behind it and make that writable for everybody (`_chmod` in dvc_objects/fs/utils.py, seen with DVC 3.67.1).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.artifacts import unwritable_as_error, write_atomic
from wordlab.catalog import Row, names_of_kind
from wordlab.corpus_listing import list_own_files
from wordlab.decompression import sniff_format
from wordlab.dumps import dump_names
from wordlab.errors import ConfigError, suggestion
from wordlab.fetch import main_checkout
from wordlab.rawtext import DOWNLOAD, SOURCE
from wordlab.remote_corpus import RemoteCorpus, describe_remote, find_remote, is_url
from wordlab.sections.download import CorpusFormatConfig


@dataclass(frozen=True)
class OwnCorpus:
    """A file, a folder, or files of a folder."""

    path: Path
    pattern: str
    """Of the files in the folder that count; empty: all of them."""

    def files(self) -> list[Path]:
        """Raises CorpusError where there are none."""
        return list_own_files(self.path, self.pattern)


def find_own(corpus: str, catalog: dict[str, Row]) -> OwnCorpus | RemoteCorpus:
    """The file, folder or files that `corpus:` names, by an absolute path, or by a URL.

    A relative path starts at the main checkout, also in the temporary copies of `dvc exp run --temp` and `--queue`,
    which hold no file that git does not know. Raises ConfigError.
    """
    if "\0" in corpus or corpus != corpus.encode(errors="replace").decode():
        raise ConfigError(f"params.yaml: corpus is {corpus!r}, which cannot be the name of a file. Correct it.")
    if is_url(corpus):
        return find_remote(corpus)
    checkout = main_checkout()
    path = checkout / (Path(corpus).expanduser() if corpus.startswith("~/") else corpus)
    pattern = ""
    try:
        found = path.exists()
        if not found:
            path, pattern = _split_pattern(path)
            found = path.is_dir() if pattern else False
    except OSError as error:
        raise ConfigError(
            f"params.yaml: corpus is {corpus!r}, and {path} cannot be read: {error.strerror}. Correct it."
        ) from None
    if not found:
        names = names_of_kind(catalog, "corpus")
        raise ConfigError(
            f"params.yaml: corpus is {corpus!r}, which is neither a row of the catalog nor a file or folder: "
            f"there is no {path}.{suggestion(corpus, names + dump_names())}"
        )
    real = path.resolve()
    if checkout.is_relative_to(real):
        raise ConfigError(
            f"params.yaml: corpus is {corpus!r}, a folder that holds this project. Name one with text only."
        )
    for output in (checkout / DOWNLOAD, checkout / SOURCE):
        if path.is_relative_to(output) or real.is_relative_to(output):
            raise ConfigError(f"params.yaml: corpus is {corpus!r}, but DVC deletes {output}. Move your text elsewhere.")
    return OwnCorpus(path, pattern)


def _split_pattern(path: Path) -> tuple[Path, str]:
    """The folder before the first part with a wildcard, and the rest, which is empty where there is none."""
    for number, part in enumerate(path.parts):
        if any(sign in part for sign in "*?["):
            return Path(*path.parts[:number]), "/".join(path.parts[number:])
    return path, ""


def describe_own(own: OwnCorpus | RemoteCorpus, stored: CorpusFormatConfig) -> dict[str, Any]:
    """What the manifest says of an own corpus: nothing that depends on where it lies on this machine.

    Raises CorpusError for a folder without files, an unreadable file, or one that is not what its name says; and for a
    corpus in a store what `RemoteCorpus.files` raises.
    """
    if isinstance(own, RemoteCorpus):
        return describe_remote(own, stored)
    files = [
        {
            "path": "" if file == own.path else file.relative_to(own.path).as_posix(),
            "format": sniff_format(file),
            "size_bytes": file.stat().st_size,
        }
        for file in own.files()
    ]
    about = {"name": own.path.name, "language": None, "licence": None, "own": True}
    return about | {"corpus_format": dataclasses.asdict(stored), "files": files}


def show_source(own: OwnCorpus | RemoteCorpus, source: Path = SOURCE) -> None:
    """Make `source` lead to the own corpus, or say where it lies."""
    if isinstance(own, OwnCorpus):
        link_source(own.path, source)
    else:
        written = f"{DOWNLOAD}/corpus/manifest.json"
        write_atomic(source, f"{own.root}: read where it lies; {written} names its files and their versions\n".encode())


def link_source(path: Path, source: Path = SOURCE) -> None:
    """Make `source` a symbolic link to the own corpus, in place of whatever it was."""
    temporary = source.with_name(source.name + ".tmp")
    with unwritable_as_error(source):
        source.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path)
        temporary.replace(source)


def mark_source(name: str, source: Path = SOURCE) -> None:
    """Make `source` a one-line file that says the corpus is the catalog's row of that name."""
    write_atomic(source, f"{name}: a row of the catalog, stored in {DOWNLOAD}/corpus\n".encode())
