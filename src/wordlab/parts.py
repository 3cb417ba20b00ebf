"""Finished parts of a stage's work, kept beside its output until that is in its place.

A stage that is killed loses its output, since DVC removes what is there before it runs the stage again. So a stage that
works shard by shard collects what is finished in a folder that DVC does not know, and goes on there when it is run
again. The folder's name is made of everything that decides the bytes: inputs, parameters, code.

    data/tokenize.parts/<common>-<all>/files/      files as they will be in the output
    data/tokenize.parts/<common>-<all>/records/    a file for each finished part: its key, the SHA-256 of its files,
                                                   its report

Where an input was mended or a parameter changed in between, the folder of before is taken over if what decides the
bytes of every part, `common`, is the same; else it is removed. A part is used only if its own key is what is asked for:
a fingerprint of what decides the bytes of this part. It is renamed when it is taken over, so that whoever still writes
for the run before finds no place to write to.

A part's files are written elsewhere in the folder and moved to their place when whole, the record last. Nothing of it
is believed on its record alone: after a power failure a file may lack its bytes, so all are read once and compared.
Any process may write a part, also one on another host. One that belongs to a run that is over, and does not know it,
has either nothing left to write to, or writes the bytes that are there already.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wordlab.artifacts import (
    fingerprint,
    move_into_place,
    sha256_file,
    sync_all,
    unwritable_as_error,
    write_manifest,
)
from wordlab.code_identity import code_identity
from wordlab.remote_files import CorpusPath, RemoteFile
from wordlab.stage import progress, say

Record = dict[str, Any]
"""`key`: fingerprint of what decides its bytes; `files`: size_bytes and sha256 of each file by name, as manifests have
them; `report`: whatever the work gave."""
_NAME_DIGITS = 32


def make_part(
    place: Path, name: str, work: Callable[[Path], Any], known: Mapping[str, str] | None = None, key: str = ""
) -> Record:
    """Have `work` write the files of a part into the folder it gets, move them to their place, and record it.

    place: `Parts.place`.   name: of the part; parts share no file.   work: returns its report, in types of JSON.
    known: SHA-256 of files by name, as far as `work` has found it while writing them.
    key: fingerprint of what decides the part's bytes; empty where that is all that decides those of the whole work.
    Can be called in any process that sees the folder. Raises what `work` raises; then nothing of the part is left.
    """
    folder = place / f"{name}.{secrets.token_hex(8)}.tmp"
    folder.mkdir()
    try:
        report = work(folder)
        paths = sorted(folder.iterdir())
        digests = {path.name: (known or {}).get(path.name) or sha256_file(path) for path in paths}
        files = {path.name: {"size_bytes": path.stat().st_size, "sha256": digests[path.name]} for path in paths}
        for path in paths:
            path.replace(place / "files" / path.name)
        record = {"key": key or place.name, "files": files, "report": report}
        (folder / "record").write_text(json.dumps({"record": record, "fingerprint": fingerprint(record)}))
        (folder / "record").replace(place / "records" / f"{name}.json")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return record


class Parts:
    """The finished parts of one piece of work. Made by `kept_parts`."""

    def __init__(self, root: Path, identity: Mapping[str, Any], common: Mapping[str, Any] | None = None) -> None:
        """root: holds the parts of this work, which are read and checked, and nothing else afterwards.

        identity: what decides the bytes of the work.   common: what of it decides those of every part, None for all of
        it. Parts of other work with the same are kept until they are asked for, or `publish` sees that they are not.
        """
        family = fingerprint(identity if common is None else common)[:_NAME_DIGITS]
        self.place = (root / f"{family}-{fingerprint(identity)[:_NAME_DIGITS]}").absolute()
        self.folder = self.place / "files"
        self.of_other_work = self._take_over(root, family)
        """Whether an earlier run of something else has left them."""
        for folder in (self.folder, self.place / "records"):
            folder.mkdir(parents=True, exist_ok=True)
        self._records = _whole_records(self.place)
        self._used: set[str] = set()
        self.num_kept = len(self._records)
        """Parts that an earlier run has left."""

    def _take_over(self, root: Path, family: str) -> bool:
        """Make the folder of other work of this family the place, if it is not there yet; remove all others."""
        taken = False
        for other in sorted(root.iterdir()) if root.is_dir() else []:
            if other.name == self.place.name:
                continue
            if other.name.startswith(f"{family}-") and not self.place.exists():
                other.rename(self.place)
                taken = True
            else:
                _remove(other)
        return taken

    def found(self, name: str, *keys: str) -> Any:
        """The report of a finished part that has one of these keys, by default that of the whole work; or None.

        A part of that name with another key is removed.
        """
        record = self._records.get(name)
        if record is None:
            return None
        if record["key"] not in (keys or (self.place.name,)):
            self.remove_part(name)
            return None
        self._used.add(name)
        return record["report"]

    def names(self, start: str) -> list[str]:
        """Of the parts that are there, used or not, whose names begin so; in order."""
        return sorted(name for name in self._records if name.startswith(start))

    def add(self, name: str, record: Record) -> Any:
        """Note a part that `make_part` has finished; its report."""
        self._records[name] = record
        self._used.add(name)
        return record["report"]

    def digest(self, name: str) -> str:
        """SHA-256 over the names, sizes and SHA-256 of a part's files."""
        return fingerprint(self._records[name]["files"])

    def files(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of all files of the parts that are used, by name, for `write_manifest`."""
        return {name: about for part in sorted(self._used) for name, about in self._records[part]["files"].items()}

    def remove_part(self, name: str) -> None:
        """Remove a part, if it is there: its record, then its files."""
        self._used.discard(name)
        if record := self._records.pop(name, None):
            _remove(self.place / "records" / f"{name}.json")
            for file in record["files"]:
                _remove(self.folder / file)

    def publish(self, output: Path, stage: str, content: dict[str, Any]) -> None:
        """Move the files of the parts that are used to be the output folder, with a manifest, in place of what is
        there."""
        for name in set(self._records) - self._used:
            self.remove_part(name)
        files = self.files()
        for path in self.folder.iterdir():
            if path.name not in files:  # a cluster may have had a task done twice, late where its part was removed
                _remove(path)
        write_manifest(self.folder, stage, content, files)
        sync_all(self.folder)
        move_into_place(self.folder, output)

    def remove(self) -> None:
        """Remove everything, once what the parts were made for is in its place, or nobody can use them."""
        _remove(self.place.parent)


def identity_of(stage: str, **what: Any) -> dict[str, Any]:
    """What decides the bytes of a stage's parts: its inputs and parameters, and the code."""
    return {"stage": stage, "code": code_identity(), **what}


def file_identity(path: CorpusPath) -> list[Any]:
    """What changes when a file does: its place, size, times and inode. Not its bytes: all would have to be read."""
    if isinstance(path, RemoteFile):
        return [path.url, path.size_bytes, path.version]
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


@contextlib.contextmanager
def kept_parts(output: Path, identity: Mapping[str, Any], common: Mapping[str, Any] | None = None) -> Iterator[Parts]:
    """The parts of the work that makes `output`, with those that an earlier run has finished. See `Parts`.

    They go when the work is done. Whatever else ends it, they stay: a stop, a full disk, too little memory, and an
    error of the text or the parameters too, since who mends one file of a thousand need not wait for the others again.
    Errors of the disk become messages, as in `artifacts.output_folder`.
    """
    with unwritable_as_error(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        parts = Parts(output.with_name(output.name + ".parts"), identity, common)
        if parts.num_kept:
            say(_going_on(parts))
        try:
            yield parts
        except BaseException:
            if not any((parts.place / "records").glob("*.json")):
                parts.remove()
            raise
        parts.remove()


def _going_on(parts: Parts) -> str:
    found = f"going on: an earlier run has finished {parts.num_kept} parts of the work"
    if parts.of_other_work:
        return f"{found}; files or parameters have changed since, and what does not depend on these is kept"
    return f"{found}, which are kept"


def _whole_records(place: Path) -> dict[str, Record]:
    """The records whose files are as they say. What else lies there, unfinished or damaged, is removed."""
    paths = sorted((place / "records").glob("*.json"))
    records: dict[str, Record] = {}
    known: set[str] = set()
    for path in progress(len(paths), "part", "check what is finished", iterable=paths) if paths else []:
        record = _whole_record(place, path)
        if record is None:
            _remove(path)
        else:
            records[path.stem] = record
            known.update(record["files"])
    for path in place.iterdir():
        if path.name not in ("files", "records"):
            _remove(path)
    for path in (place / "files").iterdir():
        if path.name not in known:
            _remove(path)
    return records


def _whole_record(place: Path, path: Path) -> Record | None:
    """A record, if it is one and every file it names has the bytes it says."""
    try:
        written = json.loads(path.read_bytes())
        record: Record = written["record"]
        if fingerprint(record) != written["fingerprint"] or not isinstance(record["key"], str):
            return None
        for name, about in record["files"].items():
            file = place / "files" / name
            if file.name != name or file.is_symlink():  # a damaged record must not have others' files removed
                return None
            if file.stat().st_size != about["size_bytes"] or sha256_file(file) != about["sha256"]:
                return None
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _remove(path: Path) -> None:
    """Remove a file or folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
