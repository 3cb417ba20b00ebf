"""One checkpoint as a file: how far a training is, and the rows it has come to. Written whole or not at all.

    8 bytes     MAGIC
    8 bytes     length of the header, little-endian
    header      JSON: `identity` (what decides the training's bytes), `state`, `shape` of the table; zeros to 64 bytes
    table       float32, row by row
    32 bytes    SHA-256 of everything before

A reader believes nothing before it has compared sizes, checksum and identity.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wordlab.errors import ArtifactError

MAGIC = b"wlckpt01"
PIECE_BYTES = 1 << 22
"""Bytes that are hashed and written at a time: small enough to stay in the CPU's cache between the two."""
_LENGTHS = 16
_CHECKSUM = 32
_ALIGNMENT = 64


def write_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any], table: NDArray[Any]) -> None:
    """Write by rename: file and folder are on the disk when this returns. table: float32, C order, two dimensions.

    Raises OSError where the disk does not take it, and leaves nothing half-written then.
    """
    assert table.dtype == np.float32 and table.ndim == 2 and table.flags.c_contiguous, (table.dtype, table.shape)
    header = json.dumps({"identity": identity, "state": state, "shape": table.shape}, allow_nan=False).encode()
    header += b"\0" * (-(_LENGTHS + len(header)) % _ALIGNMENT)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            digest = hashlib.sha256()
            for piece in _pieces(MAGIC + len(header).to_bytes(8, "little") + header, table):
                digest.update(piece)
                file.write(piece)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _pieces(header: bytes, table: NDArray[Any]) -> Iterator[bytes | memoryview]:
    yield header
    flat = table.reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), PIECE_BYTES):
        yield flat[start : start + PIECE_BYTES]


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names in a folder: a rename alone may be lost when the power goes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The state and the table, memory-mapped, of a checkpoint that is whole and belongs to `identity`.

    Raises ArtifactError where it is damaged or another training's.
    """
    try:
        with path.open("rb") as file:
            header, length = _read_header(path, file)
            _require_checksum(path, file)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error
    wanted = json.loads(json.dumps(identity))
    if header["identity"] != wanted:
        raise ArtifactError(f"{path} belongs to another training: {_differing(header['identity'], wanted)} differ.")
    table = np.memmap(path, np.float32, "r", _LENGTHS + length, tuple(header["shape"]))
    return header["state"], table


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header and its length in bytes, where the file has the size that it says."""
    size_bytes = os.fstat(file.fileno()).st_size
    start = file.read(_LENGTHS)
    length = int.from_bytes(start[8:], "little")
    if start[:8] != MAGIC or length > size_bytes - _LENGTHS - _CHECKSUM:
        raise ArtifactError(f"{path} is damaged: {size_bytes} bytes do not begin like a checkpoint.")
    try:
        header = json.loads(file.read(length).rstrip(b"\0"))
        rows, columns = header["shape"]
        kinds = [type(value) for value in (header["identity"], header["state"], rows, columns)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: its header cannot be read ({type(error).__name__}).") from None
    if kinds != [dict, dict, int, int] or not 0 < rows <= size_bytes or not 0 < columns <= size_bytes:
        raise ArtifactError(f"{path} is damaged: its header says nothing of a table that fits into {size_bytes} bytes.")
    wanted_bytes = _LENGTHS + length + 4 * rows * columns + _CHECKSUM
    if wanted_bytes != size_bytes:
        raise ArtifactError(f"{path} is damaged: it has {size_bytes} bytes, where its header says {wanted_bytes}.")
    return header, length


def _require_checksum(path: Path, file: BinaryIO) -> None:
    file.seek(0, os.SEEK_END)
    left = file.tell() - _CHECKSUM
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(min(left, PIECE_BYTES)):
        digest.update(piece)
        left -= len(piece)
    if file.read() != digest.digest():
        raise ArtifactError(f"{path} is damaged: its SHA-256 differs from the one it was written with.")


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    return ", ".join(sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key)))
