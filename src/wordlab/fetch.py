"""A catalog row -> one checked file, from the first location that works.

Fetched content is kept in a store, `.wordlab/downloads/<sha256>` of the main checkout. It lies outside of DVC's reach:
DVC deletes a stage's outputs before it runs the stage again, so what lies in data/download would be fetched again for
every change of `download.evaluation_sets`, and a half-fetched file would be lost. Files are copied out, never linked:
DVC hard-links outputs into its cache, and a file in two places should not change in both.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from wordlab.archives import read_content
from wordlab.artifacts import sha256_file, unwritable_as_error
from wordlab.catalog import FROM_INDEX, Location, Row
from wordlab.claims import held_alone
from wordlab.errors import DownloadError
from wordlab.locations import MIRROR_VARIABLE, check_sha256, fetched_file, mirror_folder
from wordlab.stage import say
from wordlab.transfer import Client


def main_checkout(folder: Path | None = None) -> Path:
    """The checkout that `folder` (default: the current one) belongs to.

    `dvc exp run --temp` and `--queue` run in copies, <checkout>/.dvc/tmp/exps/<...>/<name>; for these it is <checkout>.
    """
    folder = (folder or Path.cwd()).resolve()
    for parent in folder.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return folder


class NoLocationWorkedError(DownloadError):
    """Every location of a row was tried. `reasons`: one line for each."""

    def __init__(self, row: Row, reasons: list[str]) -> None:
        self.reasons = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
        tried = "".join(f"  {reason}\n" for reason in self.reasons)
        super().__init__(
            f"{row.name} could not be had from any of its {len(reasons)} locations:\n{tried}"
            f"Check the network and run it again, or set {MIRROR_VARIABLE} to a folder that holds the file at the path "
            "of its mirror location, or let corpus: in params.yaml name a file of your own."
        )


class Fetcher:
    """Fetches rows of the catalog into a store and copies them out."""

    def __init__(self, store: Path | None = None, client: Client | None = None) -> None:
        self._store = store or main_checkout() / ".wordlab" / "downloads"
        self._client = client or Client()

    def fetch(self, row: Row, destination: Path) -> Location:
        """Put the row's content at `destination`. Returns the location it is from.

        Raises NoLocationWorkedError, which lists every location with what was wrong there.
        """
        with unwritable_as_error(self._store):
            self._store.mkdir(parents=True, exist_ok=True)
        with held_alone(self._store / f"{row.name}.lock", f"fetching {row.name}"):
            locations = in_order(row.locations)
            for location in locations:
                if self._copy_out(location, destination):
                    return location
            reasons: list[str] = []
            for location in locations:
                try:
                    self._fetch(location)
                except DownloadError as error:
                    reasons.append(f"{location}: {error}")
                    continue
                self._copy_out(location, destination)
                for reason in reasons:  # a mirror that is not set is no news
                    if MIRROR_VARIABLE not in reason or mirror_folder():
                        say(f"{row.name} could not be had from {reason}")
                say(f"{row.name}: {location.size_bytes:,} bytes from {location}, checksum right")
                return location
        raise NoLocationWorkedError(row, reasons)

    def _fetch(self, location: Location) -> None:
        """Fetch, unpack and check one location's content into the store. Raises DownloadError.

        A file that came in pieces and is wrong is fetched once more, from its start: the server may have changed it in
        between without saying so.
        """
        work = self._store / "partial" / hashlib.sha256(str(location).encode()).hexdigest()[:16]
        for last in (False, True):
            with unwritable_as_error(work):
                work.mkdir(parents=True, exist_ok=True)
            try:
                path, pieced = fetched_file(location, work, self._client)
            except DownloadError:
                if location.place != "url" or not any(work.iterdir()):  # half of a file over http is worth keeping
                    shutil.rmtree(work)
                raise
            try:
                self._check_and_keep(location, path)
                return
            except DownloadError as error:
                if last or not pieced:
                    raise
                say(f"{location}: {error}; it came in pieces and is fetched again from its start")
            finally:
                shutil.rmtree(work)

    def _check_and_keep(self, location: Location, path: Path) -> None:
        """Unpack a fetched file into the store, where it appears by rename once its checksum is right."""
        kept = self._kept(location)
        building = kept.with_name(kept.name + ".tmp")
        digest = hashlib.sha256()
        try:
            if (
                location.archive_sha256 is not None and location.place not in FROM_INDEX
            ):  # pip's fetch is checked already
                check_sha256("archive", location.archive_sha256, sha256_file(path))
            with unwritable_as_error(building), building.open("wb") as file:
                for chunk in read_content(path, location.container, location.member, location.size_bytes):
                    digest.update(chunk)
                    file.write(chunk)
            check_sha256("content", location.sha256, digest.hexdigest())
            with unwritable_as_error(kept):
                building.chmod(0o444)
                building.replace(kept)
        finally:
            building.unlink(missing_ok=True)

    def _copy_out(self, location: Location, destination: Path) -> bool:
        """Copy the location's content out of the store; False where it is not there, or is damaged and now gone."""
        kept = self._kept(location)
        if not kept.is_file():
            return False
        digest = hashlib.sha256()
        with unwritable_as_error(destination), kept.open("rb") as source, destination.open("wb") as target:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() == location.sha256:
            return True
        say(f"{kept} has changed since it was fetched; it is fetched again")
        kept.unlink()
        destination.unlink()
        return False

    def _kept(self, location: Location) -> Path:
        return self._store / location.sha256


def in_order(locations: tuple[Location, ...]) -> list[Location]:
    """Locations in the order to try: the catalog's, but a mirror comes first where WORDLAB_MIRROR is set.

    Who sets it wants it used, and does not want to wait for a network that may not be there.
    """
    if mirror_folder() is None:
        return list(locations)
    return sorted(locations, key=lambda location: location.place != "mirror")
