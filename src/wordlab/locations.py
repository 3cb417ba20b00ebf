"""The five kinds of places where a file can lie: from a catalog location to the fetched file on this disk.

Fetched means the bytes as they lie there, still packed. A mirror's or package's file is read where it is; what comes
over the network is put into a working folder. Everything that goes wrong is a DownloadError with the reason alone: the
caller knows the location and adds it.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from wordlab.archives import MAX_ARCHIVE_BYTES, read_content, read_sdist_file
from wordlab.artifacts import sha256_file, unwritable_as_error
from wordlab.catalog import Location
from wordlab.errors import DownloadError
from wordlab.stage import say
from wordlab.transfer import Client

MIRROR_VARIABLE = "WORDLAB_MIRROR"
PIP_SECONDS = 1800


def fetched_file(location: Location, work: Path, client: Client) -> tuple[Path, bool]:
    """The file at a location as it lies there, in `work` if it had to be fetched; and whether it came in pieces.

    Raises DownloadError.
    """
    pieced = False
    if location.place == "mirror":
        path = _in_mirror(location)
    elif location.place == "package":
        path = _in_package(location)
    elif location.place == "url":
        path = work / "url.part"
        # A plain file has its size; what an archive holds besides the wanted member, the catalog does not say.
        max_bytes = location.size_bytes if location.container is None else 2 * location.size_bytes + (1 << 30)
        size_bytes = location.size_bytes if location.container is None else None
        pieced = client.fetch(location.target, path, max_bytes, size_bytes)
    else:
        path = _from_index(location, work)
    return path, pieced


def check_sha256(what: str, expected: str, found: str) -> None:
    """Raises DownloadError with both sums if they differ."""
    if found != expected:
        raise DownloadError(f"wrong checksum: the {what} has SHA-256 {found}, but the catalog says {expected}")


def mirror_folder() -> Path | None:
    """The folder that WORDLAB_MIRROR names, or None where it is not set."""
    value = os.environ.get(MIRROR_VARIABLE, "")
    return Path(value).expanduser() if value else None


def _in_mirror(location: Location) -> Path:
    mirror = mirror_folder()
    if mirror is None:
        raise DownloadError(f"{MIRROR_VARIABLE} is not set")
    return _existing(mirror / location.target, f"the folder that {MIRROR_VARIABLE} names has no such file")


def _in_package(location: Location) -> Path:
    """A file of an installed package, found by its list of files; the package is not imported."""
    try:
        distribution = importlib.metadata.distribution(location.target)
    except importlib.metadata.PackageNotFoundError:
        raise DownloadError("the package is not installed") from None
    version = distribution.version
    for file in distribution.files or ():
        if file.as_posix() == location.file:
            return _existing(Path(str(distribution.locate_file(file))), f"version {version} is installed without it")
    raise DownloadError(f"version {version}, which is installed, has no such file")


def _existing(path: Path, otherwise: str) -> Path:
    if not path.is_file():
        raise DownloadError(f"{otherwise}: {path}")
    return path


def _from_index(location: Location, work: Path) -> Path:
    """A file out of a source distribution or wheel that pip downloads from whatever index it is configured for.

    Nothing is installed. But of a source distribution `pip download` has pip prepare the metadata, which runs build
    code, and no option prevents that. So the archive's hash goes into a requirements file, and pip compares it before
    it opens the archive: only known code can run. Wheels are refused for this one name, not for all: the build tools
    should come as wheels. A wheel may be for any platform and Python; the catalog's is for all.
    """
    name = location.target.partition("==")[0]
    kind, option = ("source distribution", "--no-binary") if location.place == "sdist" else ("wheel", "--only-binary")
    requirements = work / "requirements.txt"
    folder = work / location.place
    with unwritable_as_error(work):
        requirements.write_text(f"{location.target} --hash=sha256:{location.archive_sha256}\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    say(f"{location.target}: the {kind} comes by pip download")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", option, name, "--require-hashes"]
    command += ["--requirement", str(requirements), "--dest", str(folder), "--retries", "2", "--timeout", "15"]
    try:
        # pip's progress bar goes where ours go; its errors are kept for our own message.
        result = subprocess.run(
            command, stdout=sys.__stderr__, stderr=subprocess.PIPE, text=True, errors="replace", timeout=PIP_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"pip download could not be run: {error}") from None
    archives = sorted(folder.iterdir())
    if result.returncode or len(archives) != 1:
        raise DownloadError(f"pip download failed: {_pip_reason(result.stderr)}")
    assert location.archive_sha256 is not None
    check_sha256("archive", location.archive_sha256, sha256_file(archives[0]))
    path = work / f"{location.place}.file"
    assert location.file is not None
    if location.place == "sdist":
        chunks = read_sdist_file(archives[0], location.file)
    else:
        most = location.size_bytes if location.container is None else MAX_ARCHIVE_BYTES
        chunks = read_content(archives[0], "zip", location.file, most)
    with unwritable_as_error(path), path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
    archives[0].unlink()
    return path


def _pip_reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return "; ".join(errors[:2] or lines[-1:] or ["it gave no reason"]).rstrip(".")
