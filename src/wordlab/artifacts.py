"""Outputs of stages: written by rename, described by a manifest that is written last and checked first.

A folder with a manifest is complete. `output_folder` builds the folder beside its place and moves it there in one step
when the stage has ended well, so that a stage that fails or is killed leaves nothing a later one would trust. All bytes
are on the disk before the move: after a power failure, too, a folder that is in its place is whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import reprlib
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wordlab.errors import ArtifactError, ResourceError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_LONGEST_NAME = 1000
"""Characters of a file's name in a manifest, with its folders."""
_CUT_SHORT = re.compile(r"^\d+ requested and \d+ written$")
"""What NumPy says where a disk is full; it gives no error number."""
_RENAME_EXCHANGE = 2
_WORKING_FOLDER = -100
"""Names of <linux/fs.h> and <fcntl.h> (AT_FDCWD), for paths relative to where the process is."""
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What kernels and file systems answer that cannot exchange two folders, or sync one."""


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits. An OSError while reading names the file too."""
    with path.open("rb") as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form: sorted keys, no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextlib.contextmanager
def unwritable_as_error(path: Path, again: str = "run: dvc repro") -> Iterator[None]:
    """Turn an OSError while writing `path` into an ArtifactError or ResourceError that says what to do.

    An error that names another file, which was read for it, is told as that file's.
    again: how to repeat what failed; ends the message.
    """
    try:
        yield
    except (ConnectionError, ChildProcessError, TimeoutError):  # of sockets, pipes and processes, not of files
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        other = _other_file(error, path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and _CUT_SHORT.search(reason)):
            raise ResourceError(
                f"{other or path} could not be written: {reason}. Free some space on its disk, then {again}"
            ) from error
        if error.errno == errno.EFBIG:
            raise ResourceError(
                f"{other or path} could not be written: {reason}. Files may not be that large here: "
                f"lift the limit that `ulimit -f` shows, or use another disk, then {again}"
            ) from error
        if other:
            raise ArtifactError(
                f"{other} could not be read or written: {reason}. Check that it exists and is yours, then {again}"
            ) from error
        raise ArtifactError(
            f"{path} could not be written: {reason}. Check that its folder exists and is yours, then {again}"
        ) from error


def _other_file(error: OSError, path: Path) -> Path | None:
    """The file an error names, unless that is `path`, something in it, a folder it lies in, or its temporary form."""
    names = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
    own = Path(path).absolute()
    forms = (own, own.with_name(own.name + ".tmp"), own.with_name(own.name + ".parts"))
    for name in names:
        named = name.absolute()
        if named in own.parents or any(named.is_relative_to(form) for form in forms):
            return None
    return names[0] if names else None


def write_atomic(path: Path, data: bytes) -> None:
    """Write a small file by rename, so that it is there whole or not at all."""
    with unwritable_as_error(path):
        temporary = beside(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def beside(path: Path) -> Path:
    """Where a file is written before it takes its place.

    Raises ArtifactError for a folder, and for a device or pipe, whose place a file would take: /dev/stdout for one.
    A link to a folder gives way, as data/source does.
    """
    if not path.name or (path.is_dir() and not path.is_symlink()):
        raise ArtifactError(f"{path} is a folder, not a file. Name a file in it.")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ArtifactError(f"{path} is a device or a pipe, not a file. Name a file.")
    return path.with_name(path.name + ".tmp")


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and for git: indented, keys in the order given, newline at the end."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, remedy: str) -> Any:
    """Read JSON; `remedy` ends the message of the ArtifactError raised where the file is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. {remedy}") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: {error}. {remedy}") from None


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, on failure it is removed.

    The stage writes its files there and calls `write_manifest` last. An output that was there before stays until then,
    and whoever reads it meanwhile sees the old one whole or the new one whole.
    """
    path = Path(path)
    building = path.with_name(path.name + ".tmp")
    with unwritable_as_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
    try:
        with unwritable_as_error(path):
            yield building
            sync_all(building)
            move_into_place(building, path)
    finally:  # after success, the old output lies here
        shutil.rmtree(building, ignore_errors=True)


def move_into_place(building: Path, path: Path) -> None:
    """Move a folder to `path`. A folder that is there changes places with it, in one step where the system can."""
    is_there = path.is_dir() and not path.is_symlink()
    if not (is_there and _exchange(building, path)):
        if is_there:
            shutil.rmtree(path)  # killed from here on, there is no output, which the next run mends
        building.rename(path)
    _sync(path.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change places in one step; False where kernel, C library or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_WORKING_FOLDER, os.fsencode(first), _WORKING_FOLDER, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def sync_all(folder: Path) -> None:
    """Have the disk hold every file below `folder`, and the folders themselves."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until the disk holds a file's bytes, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


def write_manifest(
    folder: Path, stage: str, content: dict[str, Any], known: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Write manifest.json: format version, stage, `content`, then size and SHA-256 of every file in the folder.

    known: both, by name, of files that need not be read again.
    """
    files = {
        str(file.relative_to(folder)): (known or {}).get(str(file.relative_to(folder)))
        or {"size_bytes": file.stat().st_size, "sha256": sha256_file(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"format": FORMAT_VERSION, "stage": stage, **content, "files": files})


def read_manifest(folder: Path, stage: str, verify: bool = False) -> dict[str, Any]:
    """Read and check manifest.json of a stage's output folder: version, stage, and size of every file.

    verify: also compare every file's SHA-256 (reads all bytes).
    Raises ArtifactError whose message ends with the command that writes the folder anew.
    """
    folder = Path(folder)
    remedy = f"Run: dvc repro {stage}"
    if not folder.is_dir():
        raise ArtifactError(f"{folder} does not exist. Run: dvc repro {stage}")
    manifest = read_json(folder / MANIFEST, remedy)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactError(f"{folder / MANIFEST} is damaged: it lists no files. {remedy}")
    if manifest.get("format") != FORMAT_VERSION or manifest.get("stage") != stage:
        raise ArtifactError(
            f"{folder / MANIFEST} is of stage {reprlib.repr(manifest.get('stage'))}, "
            f"format {reprlib.repr(manifest.get('format'))}; "
            f"this version of wordlab reads stage {stage!r}, format {FORMAT_VERSION}. {remedy}"
        )
    for name, recorded in manifest["files"].items():
        file = folder / name
        try:
            if len(name) > _LONGEST_NAME or Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(name)
            status = file.stat()  # a ValueError where the name can be none
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(name)
            size_bytes = status.st_size
            recorded_bytes, recorded_sha256 = recorded["size_bytes"], recorded["sha256"]
        except OSError:
            raise ArtifactError(f"{file} is missing, but {MANIFEST} lists it. {remedy}") from None
        except (TypeError, KeyError):
            raise ArtifactError(f"{folder / MANIFEST} is damaged: the entry of {name} has no size. {remedy}") from None
        except ValueError:
            found = reprlib.repr(name)
            raise ArtifactError(f"{folder / MANIFEST} is damaged: {found} names no file in it. {remedy}") from None
        if size_bytes != recorded_bytes:
            raise ArtifactError(
                f"{file} has {size_bytes} bytes, but {MANIFEST} says {reprlib.repr(recorded_bytes)}. {remedy}"
            )
        if verify and _sha256_as_listed(file, remedy) != recorded_sha256:
            raise ArtifactError(f"{file} has changed since it was written: its SHA-256 differs. {remedy}")
    return manifest


def _sha256_as_listed(file: Path, remedy: str) -> str:
    """SHA-256 of a file that a manifest lists; it may be on its way out."""
    try:
        return sha256_file(file)
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}. {remedy}") from None
