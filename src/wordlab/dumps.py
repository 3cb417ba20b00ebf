"""Dumps of wikis: the newest or that of a date, checked by the list of checksums that their publisher makes.

What is in a dump nobody knows before it is made, so the catalog cannot promise its SHA-256. The publisher's list names
a SHA-1 for each file, and lies beside them. The newest dump is the one that the list in the folder `latest` names, so
what comes has a date in any case, by which it can be named later. Dumps of a date are deleted after some months.

A dump is large. It is kept once, in `.wordlab/dumps` of the main checkout, and read from there as an own corpus is, by
the link `data/source`; one in a mirror is read where it lies.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordlab.artifacts import unwritable_as_error
from wordlab.catalog import DumpRow, load_dumps
from wordlab.claims import held_alone
from wordlab.decompression import sniff_format
from wordlab.errors import ConfigError, DownloadError, suggestion
from wordlab.fetch import main_checkout
from wordlab.locations import MIRROR_VARIABLE, mirror_folder
from wordlab.machine import require_disk
from wordlab.stage import progress, say
from wordlab.transfer import Client, discard

LATEST = "latest"
_NAME = re.compile(rf"([a-z][a-z0-9_]*)-({LATEST}|[0-9]{{8}})")
_SUM = re.compile(r"([0-9a-f]{40}) [ *](\S+)")
_MAX_LIST_BYTES = 1 << 22
_MAX_DUMP_BYTES = 1 << 42
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Dump:
    """One that `corpus:` names."""

    row: DumpRow
    date: str
    """YYYYMMDD, or `latest`."""

    @property
    def name(self) -> str:
        return f"{self.row.name}-{self.date}"

    def path_of(self, end: str) -> str:
        """Of a file of this dump, in any place."""
        return f"{self.row.name}/{self.date}/{self.name}-{end}"


@dataclass(frozen=True)
class FetchedDump:
    """One that is here and is what its publisher's list says."""

    dump: Dump
    """With its date."""
    path: Path
    sha1: str
    sha256: str

    def describe(self) -> dict[str, Any]:
        """What the manifest says of it: nothing that depends on where it came from."""
        row = self.dump.row
        about = {"name": self.dump.name, "language": row.language, "licence": row.licence, "own": True}
        sums = {"date": self.dump.date, "sha1": self.sha1, "sha256": self.sha256}
        file = {"path": "", "format": sniff_format(self.path), "size_bytes": self.path.stat().st_size}
        return about | {"dump": sums, "files": [file]}


def dump_names() -> list[str]:
    """Names that `corpus:` can have here, those of dates aside."""
    return [f"{name}-{LATEST}" for name in load_dumps()]


def find_dump(corpus: str) -> Dump | None:
    """The dump that `corpus:` names; None where it names something else. Raises ConfigError for half of a name."""
    dumps = load_dumps()
    if corpus in dumps:
        raise ConfigError(
            f"params.yaml: corpus is {corpus!r}, of which there is a dump every month. Name the newest, "
            f"{corpus}-{LATEST}, or one by its date, {corpus}-YYYYMMDD."
        )
    match = _NAME.fullmatch(corpus)
    if match is None or (main_checkout() / corpus).exists():
        return None
    if match[1] not in dumps:
        names = [f"{name}-{match[2]}" for name in dumps]
        raise ConfigError(
            f"params.yaml: corpus is {corpus!r}, which is no file or folder here, and no dump of a wiki that the "
            f"catalog has.{suggestion(corpus, names)} A row for another wiki is a few lines in catalog.yaml."
        )
    return Dump(dumps[match[1]], match[2])


class DumpFetcher:
    """Fetches dumps into a folder and checks them."""

    def __init__(self, store: Path | None = None, client: Client | None = None) -> None:
        self._store = store or main_checkout() / ".wordlab" / "dumps"
        self._client = client or Client()

    def fetch(self, dump: Dump) -> FetchedDump:
        """The dump, from the first place that has it whole; a mirror comes first where there is one.

        Raises DownloadError, which lists every place with what was wrong there.
        """
        with unwritable_as_error(self._store):
            self._store.mkdir(parents=True, exist_ok=True)
        with held_alone(self._store / f"{dump.row.name}.lock", f"fetching a dump of {dump.row.name}"):
            reasons = []
            places = dump.row.locations
            if mirror_folder() is not None:
                places = tuple(sorted(places, key=lambda location: location[0] != "mirror"))
            for place, target in places:
                if place == "mirror" and mirror_folder() is None:
                    reasons.append(f"mirror {target}: {MIRROR_VARIABLE} is not set")
                    continue
                try:
                    found = self._in_mirror(dump, target) if place == "mirror" else self._from_address(dump, target)
                except DownloadError as error:
                    reasons.append(f"{target if place == 'url' else f'mirror {target}'}: {error}")
                    continue
                self._tell(dump, found)
                return found
        raise DownloadError(self._failure(dump, reasons))

    def _in_mirror(self, dump: Dump, target: str) -> FetchedDump:
        folder = mirror_folder()
        assert folder is not None
        base = folder / target
        text = _read_list(base / dump.path_of("sha1sums.txt"))
        dated, sha1 = _listed(text, dump)
        path = base / dated.path_of(dump.row.file)
        if not path.is_file():
            raise DownloadError(f"there is no {path}")
        return _checked(dated, path, sha1)

    def _from_address(self, dump: Dump, target: str) -> FetchedDump:
        if (kept := self._kept(dump)) is not None:
            return kept
        list_path = self._store / f"{dump.name}-sha1sums.txt"
        discard(list_path)  # the list of the newest dump changes
        self._client.fetch(target + dump.path_of("sha1sums.txt"), list_path, _MAX_LIST_BYTES)
        dated, sha1 = _listed(_read_list(list_path), dump)
        discard(list_path)
        if self._path(dated).is_file() and (there := self._still_whole(dated, sha1)) is not None:
            return there
        return self._fetched(dated, sha1, target + dated.path_of(dump.row.file))

    def _kept(self, dump: Dump) -> FetchedDump | None:
        """A dump of this date that an earlier run has fetched and checked; the list need not be asked for again."""
        path, note = self._path(dump), self._note(dump)
        if dump.date == LATEST or not (path.is_file() and note.is_file()):
            return None
        return self._still_whole(dump, note.read_text(encoding="utf-8").strip())

    def _still_whole(self, dump: Dump, sha1: str) -> FetchedDump | None:
        """A dump that is there, if it has this sum; else it is removed."""
        path = self._path(dump)
        try:
            return _checked(dump, path, sha1)
        except DownloadError as error:
            say(f"{path} has changed since it was fetched ({error}); it is fetched again")
            path.unlink()
            self._note(dump).unlink(missing_ok=True)
            return None

    def _fetched(self, dump: Dump, sha1: str, url: str) -> FetchedDump:
        """Fetch the file, going on where an earlier run stopped; once more if it came in pieces and is wrong."""
        partial = self._store / f"{dump.name}-{dump.row.file}.part"
        for last in (False, True):
            pieced = self._client.fetch(url, partial, _MAX_DUMP_BYTES, require=self._require)
            try:
                found = _checked(dump, partial, sha1)
                break
            except DownloadError as error:
                discard(partial)
                if last or not pieced:
                    raise
                say(f"{url}: {error}; it came in pieces and is fetched again from its start")
        path = self._path(dump)
        with unwritable_as_error(path):
            self._note(dump).write_text(f"{sha1}\n", encoding="utf-8")
            partial.chmod(0o444)
            partial.replace(path)
            discard(partial)
        return FetchedDump(dump, path, found.sha1, found.sha256)

    def _require(self, more_bytes: int) -> None:
        require_disk(more_bytes, self._store, "a smaller corpus")

    def _path(self, dump: Dump) -> Path:
        return self._store / f"{dump.name}-{dump.row.file}"

    def _note(self, dump: Dump) -> Path:
        """Holds the SHA-1 that the publisher's list had."""
        return self._store / f"{dump.name}.sha1"

    def _tell(self, dump: Dump, found: FetchedDump) -> None:
        say(f"{dump.name}: {found.path.stat().st_size:,} bytes in {found.path}, SHA-1 as the publisher's list says")
        if dump.date == LATEST:
            say(f"It is the dump of {found.dump.date}. For the same text next month, too: corpus: {found.dump.name}")

    def _failure(self, dump: Dump, reasons: list[str]) -> str:
        tried = "".join(f"  {number}. {reason}\n" for number, reason in enumerate(reasons, 1))
        here = sorted(path.stem for path in self._store.glob(f"{dump.row.name}-*.sha1"))
        advice = f"Fetched before, and still here: {', '.join(here)}. " if here else ""
        if dump.date != LATEST:
            advice += (
                f"Dumps are deleted after some months: {dump.row.name}-{LATEST} is the newest, and the address with "
                f"{dump.row.name}/ behind it lists those there are. "
            )
        return (
            f"{dump.name} could not be had from any of its {len(reasons)} locations:\n{tried}{advice}Or check the "
            f"network, or set {MIRROR_VARIABLE}, or let corpus: in params.yaml name a file of your own."
        )


def _listed(text: str, dump: Dump) -> tuple[Dump, str]:
    """The dump with its date, and the SHA-1 of its file, by the publisher's list. Raises DownloadError."""
    date = "([0-9]{8})" if dump.date == LATEST else f"({dump.date})"
    wanted = re.compile(rf"{re.escape(dump.row.name)}-{date}-{re.escape(dump.row.file)}")
    found = {}
    for line in text.splitlines():
        match = _SUM.fullmatch(line.rstrip())
        if match and (named := wanted.fullmatch(match[2])):
            found[named[1]] = match[1]
    if not found:
        raise DownloadError(
            f"the publisher's list of checksums names no {dump.name}-{dump.row.file}: that dump is not finished, or "
            "has no such file"
        )
    newest = max(found)
    return Dump(dump.row, newest), found[newest]


def _read_list(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_LIST_BYTES).decode("ascii", errors="replace")
    except FileNotFoundError:
        raise DownloadError(f"there is no {path}") from None
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror}") from None


def _checked(dump: Dump, path: Path, expected_sha1: str) -> FetchedDump:
    """Both sums of the file. Raises DownloadError where the first is not the publisher's."""
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as file, progress(path.stat().st_size, "B", f"check {path.name}") as bar:
            while data := file.read(_READ_BYTES):
                sha1.update(data)
                sha256.update(data)
                bar.update(len(data))
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror}") from None
    if sha1.hexdigest() != expected_sha1:
        raise DownloadError(
            f"wrong checksum: it has SHA-1 {sha1.hexdigest()}, but its publisher's list says {expected_sha1}"
        )
    return FetchedDump(dump, path, expected_sha1, sha256.hexdigest())
