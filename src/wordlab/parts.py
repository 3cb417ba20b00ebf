"""Finished parts of a stage's work, kept beside its output until that is in its place.

A stage that is killed loses its output, since DVC removes what is there before it runs the stage again. So a stage that
works shard by shard collects what is finished in a folder that DVC does not know, and goes on there when it is run
again. The folder's name is made of everything that decides the bytes: inputs, parameters, code. With any other, what is
there is removed, and the work begins anew.

    data/tokenize.parts/<fingerprint>/files/      files as they will be in the output
    data/tokenize.parts/<fingerprint>/records/    a file for each finished part: the SHA-256 of its files, its report

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

from wordlab.artifacts import fingerprint, move_into_place, sha256_file, sync_all, unwritable_as_error
from wordlab.code_identity import code_identity
from wordlab.errors import ConfigError, CorpusError
from wordlab.remote_files import CorpusPath, RemoteFile
from wordlab.stage import progress, say

Record = dict[str, Any]
"""`files`: size_bytes and sha256 of each file by name, as manifests have them; `report`: whatever the work gave."""


def make_part(place: Path, name: str, work: Callable[[Path], Any], known: Mapping[str, str] | None = None) -> Record:
    """Have `work` write the files of a part into the folder it gets, move them to their place, and record it.

    place: `Parts.place`.   name: of the part; parts share no file.   work: returns its report, in types of JSON.
    known: SHA-256 of files by name, as far as `work` has found it while writing them.
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
        record = {"files": files, "report": report}
        (folder / "record").write_text(json.dumps({"record": record, "fingerprint": fingerprint(record)}))
        (folder / "record").replace(place / "records" / f"{name}.json")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return record


class Parts:
    """The finished parts of one piece of work. Made by `kept_parts`."""

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        """root: holds the parts of this identity, whose parts are read and checked, and nothing else afterwards."""
        self.root = root
        self.place = (root / fingerprint(identity)[:32]).absolute()
        self.folder = self.place / "files"
        for other in root.iterdir() if root.is_dir() else []:
            if other.name != self.place.name:
                _remove(other)
        for folder in (self.folder, self.place / "records"):
            folder.mkdir(parents=True, exist_ok=True)
        self._records = _whole_records(self.place)
        self.num_kept = len(self._records)
        """Parts that an earlier run has left."""

    def found(self, name: str) -> Any:
        """The report of a part that is finished, or None."""
        record = self._records.get(name)
        return record["report"] if record else None

    def add(self, name: str, record: Record) -> Any:
        """Note a part that `make_part` has finished; its report."""
        self._records[name] = record
        return record["report"]

    def files(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of all files of finished parts, by name, for `write_manifest`."""
        return {name: about for record in self._records.values() for name, about in record["files"].items()}

    def publish(self, output: Path) -> None:
        """Move the files to be the output folder, in place of what is there."""
        sync_all(self.folder)
        move_into_place(self.folder, output)

    def remove(self) -> None:
        """Remove everything, once what the parts were made for is in its place, or cannot be."""
        _remove(self.root)


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
def kept_parts(output: Path, identity: Mapping[str, Any]) -> Iterator[Parts]:
    """The parts of the work that makes `output`, with those that an earlier run has finished.

    They stay when the work ends in an error that may be mended from outside (a full disk, too little memory), or is
    stopped; they go when it is done, or cannot be done with these inputs and parameters. Errors of the disk become
    messages, as in `artifacts.output_folder`.
    """
    with unwritable_as_error(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        parts = Parts(output.with_name(output.name + ".parts"), identity)
        if parts.num_kept:
            say(f"going on: an earlier run has finished {parts.num_kept} parts of the work, which are kept")
        try:
            yield parts
        except (ConfigError, CorpusError):
            parts.remove()
            raise
        except BaseException:
            if not any((parts.place / "records").glob("*.json")):
                parts.remove()
            raise
        parts.remove()


def _whole_records(place: Path) -> dict[str, Record]:
    """The records whose files are as they say. What else lies there, unfinished or damaged, is removed."""
    paths = sorted((place / "records").glob("*.json"))
    records: dict[str, Record] = {}
    known: set[str] = set()
    for path in progress(len(paths), "part", "check what is finished", iterable=paths) if paths else []:
        record = _whole_record(place, path)
        if record is None:
            path.unlink(missing_ok=True)
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
        if fingerprint(record) != written["fingerprint"]:
            return None
        for name, about in record["files"].items():
            file = place / "files" / name
            if file.stat().st_size != about["size_bytes"] or sha256_file(file) != about["sha256"]:
                return None
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _remove(path: Path) -> None:
    """Remove a file or folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
