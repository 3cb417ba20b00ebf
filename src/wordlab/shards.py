"""Shards: sentences of word ids as Arrow IPC files that memory-map.

One file holds one record batch with one column `sentences`, a large_list<int32>: int32 ids one after the other, and
int64 offsets so that sentence i is ids[offsets[i] : offsets[i + 1]]. Uncompressed, so what a reader gets are views of
the mapped file: opening a corpus costs no memory, and processes share its pages. `tokenize` writes local ids so,
each file beside its dictionary; `encode` writes ids of the vocabulary.

Arrow's own checks are not enough for a file from elsewhere: a compressed batch unpacks to whatever size it claims, and
strings whose offsets fall crash whoever reads them. So only the form that is written here is opened (`map_batch`).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.artifacts import MANIFEST, fingerprint, read_manifest
from wordlab.errors import ArtifactError

SENTENCES_SCHEMA = pa.schema([pa.field("sentences", pa.large_list(pa.field("item", pa.int32())))])
DICTIONARY_SCHEMA = pa.schema([pa.field("word", pa.large_string()), pa.field("count", pa.int64())])
LONG_COLUMNS = pa.ipc.IpcWriteOptions(allow_64bit=True)
"""2^31 rows and more, which Arrow writes only for who asks, since its readers in some languages cannot count so far."""
_CHECKED_OFFSETS = 1 << 16


def write_sentences(path: Path, ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
    """Write one shard. ids: shape (num_tokens,). offsets: shape (num_sentences + 1,), from 0 to num_tokens."""
    assert ids.dtype == np.int32 and offsets.dtype == np.int64, (ids.dtype, offsets.dtype)
    assert len(offsets) >= 1 and offsets[0] == 0 and offsets[-1] == len(ids), "offsets do not span ids"
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(ids))
    write_batch(path, pa.record_batch([lists], schema=SENTENCES_SCHEMA))


def map_sentences(path: Path, stage: str = "encode", verify: bool = False) -> tuple[NDArray[Any], NDArray[Any]]:
    """Memory-map one shard: read-only views (ids int32, offsets int64), as given to `write_sentences`.

    verify: also have Arrow check everything it can.
    Raises ArtifactError naming `stage`, which writes the file, if it is missing, damaged or of another form. That the
    offsets never fall is always checked, since compiled code reads wherever they say.
    """
    batch = map_batch(path, SENTENCES_SCHEMA, stage)
    lists = batch.column(0)
    with _damaged_as_error(path, stage):
        lists.validate(full=verify)
        offsets, ids = lists.offsets.to_numpy(), lists.values.to_numpy()  # an error where an id is null
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(ids):
        raise ArtifactError(f"{path} is damaged: its offsets do not span its ids. Run: dvc repro {stage}")
    if _falls(offsets):
        raise ArtifactError(f"{path} is damaged: its offsets fall. Run: dvc repro {stage}")
    return ids, offsets


def _falls(offsets: NDArray[np.int64]) -> bool:
    """Whether any offset is smaller than the one before it. Looks at a part at a time, to hold little memory."""
    for start in range(0, len(offsets) - 1, _CHECKED_OFFSETS):
        part = offsets[start : start + _CHECKED_OFFSETS + 1]
        if (part[1:] < part[:-1]).any():
            return True
    return False


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    """Write one record batch as an Arrow IPC file. The caller's folder is renamed when whole (`output_folder`)."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema, options=LONG_COLUMNS) as writer:
        writer.write_batch(batch)


def map_batch(path: Path, schema: pa.Schema, stage: str) -> pa.RecordBatch:
    """Memory-map the one record batch of an Arrow IPC file of this schema (metadata aside, which must be UTF-8).

    Nothing but the file is held in memory. No column holds a null, and strings are whole and UTF-8, which is checked
    by looking at all of them. Raises ArtifactError naming `stage`, which writes the file.
    """
    with _damaged_as_error(path, stage):
        with pa.memory_map(str(path)) as source:
            data = source.read_buffer()
        reader = pa.ipc.open_file(data)
        num_batches = reader.num_record_batches
        if num_batches != 1 or not reader.schema.equals(schema, check_metadata=False):
            raise ArtifactError(
                f"{path} has {num_batches} record batches of form {_form(reader.schema)}, "
                f"but must have one of form {_form(schema)}. Run: dvc repro {stage}"
            )
        if _is_compressed(data):
            raise ArtifactError(f"{path} is compressed, so it cannot be mapped. Run: dvc repro {stage}")
        batch = reader.get_batch(0)
        batch.validate(full=any(pa.types.is_large_string(kind) for kind in schema.types))
        for text in (reader.schema.metadata or {}).values():
            text.decode()
    if any(column.null_count for column in batch.columns):
        raise ArtifactError(f"{path} is damaged: it holds nulls. Run: dvc repro {stage}")
    return batch


def _is_compressed(data: pa.Buffer) -> bool:
    """Whether the one record batch of an Arrow file is compressed, which Arrow tells only after unpacking it.

    Walks from the footer to the batch's header; both are flatbuffers (format/File.fbs and Message.fbs of Arrow).
    """
    (footer_bytes,) = struct.unpack_from("<i", data, len(data) - 10)
    footer = _flatbuffer_root(data, len(data) - 10 - footer_bytes)
    blocks = _followed(data, _flatbuffer_field(data, footer, 3))
    (message_start,) = struct.unpack_from("<q", data, blocks + 4)
    (mark,) = struct.unpack_from("<I", data, message_start)
    if mark != 0xFFFFFFFF:
        raise ValueError("its record batch has no header of the current format")
    message = _flatbuffer_root(data, message_start + 8)
    batch = _followed(data, _flatbuffer_field(data, message, 2))
    return _flatbuffer_field(data, batch, 3) is not None


def _flatbuffer_root(data: pa.Buffer, start: int) -> int:
    return start + struct.unpack_from("<I", data, start)[0]


def _followed(data: pa.Buffer, place: int | None) -> int:
    """Where the reference at `place` leads."""
    if place is None:
        raise ValueError("its header lacks a field")
    return place + struct.unpack_from("<I", data, place)[0]


def _flatbuffer_field(data: pa.Buffer, table: int, number: int) -> int | None:
    """Place of a table's field; None where it was left out."""
    places = table - struct.unpack_from("<i", data, table)[0]
    (places_bytes,) = struct.unpack_from("<H", data, places)
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, places + slot)[0] if slot < places_bytes else 0
    return table + offset if offset else None


def string_buffers(strings: pa.LargeStringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Views of a string array without nulls: offsets, shape (n + 1,), into UTF-8 bytes."""
    if len(strings) == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    _, offsets, utf8 = strings.buffers()
    first = strings.offset
    bytes_view = np.frombuffer(utf8, dtype=np.uint8) if utf8 else np.zeros(0, dtype=np.uint8)
    return np.frombuffer(offsets, np.int64, len(strings) + 1, 8 * first), bytes_view


def string_array(offsets: NDArray[np.int64], utf8: NDArray[np.uint8]) -> pa.LargeStringArray:
    """The inverse, without a copy. Raises ArrowInvalid if a string is not UTF-8."""
    strings = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(utf8))
    strings.validate(full=True)
    return strings


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are valid UTF-8. Makes no string, which would be up to four times as large."""
    text = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)])), pa.py_buffer(data))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _form(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


@contextlib.contextmanager
def _damaged_as_error(path: Path, stage: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run: dvc repro {stage}") from None
    except (OSError, ValueError, struct.error, pa.ArrowException) as error:
        raise ArtifactError(f"{path} is damaged: {error}. Run: dvc repro {stage}") from None


def read_tokens_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of stage tokenize, with the numbers in it that later stages count on. Raises ArtifactError."""
    manifest = read_manifest(folder, "tokenize")
    numbers = [manifest.get(key) for key in ("num_tokens", "num_sentences")]
    if not isinstance(manifest.get("shards"), list) or not all(type(number) is int for number in numbers):
        raise ArtifactError(
            f"{Path(folder) / MANIFEST} is damaged: it does not count shards, tokens and sentences. "
            "Run: dvc repro tokenize"
        )
    return manifest


@dataclass(frozen=True)
class Shard:
    """One mapped shard. ids: int32, shape (num_tokens,). offsets: int64, shape (num_sentences + 1,)."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    @property
    def num_sentences(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class EncodedCorpus:
    """The output of stage `encode`, mapped: the corpus as word ids, shard after shard."""

    shards: list[Shard]
    num_tokens: int
    num_sentences: int
    vocabulary: str
    """Fingerprint of the vocabulary the ids belong to."""
    fingerprint: str
    """SHA-256 over the names, sizes and SHA-256 of all shard files, as the manifest records them."""

    @classmethod
    def open(cls, folder: Path, verify: bool = False) -> EncodedCorpus:
        """Check the manifest and map all shards. verify: also compare every file's SHA-256, which reads all bytes.

        Raises ArtifactError.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, "encode", verify)
        if not isinstance(manifest.get("vocabulary"), str):
            raise ArtifactError(f"{folder / MANIFEST} is damaged: it names no vocabulary. Run: dvc repro encode")
        names = sorted(manifest["files"])
        shards = [Shard(*map_sentences(folder / name, "encode", verify)) for name in names]
        num_tokens = sum(shard.num_tokens for shard in shards)
        num_sentences = sum(shard.num_sentences for shard in shards)
        if (num_tokens, num_sentences) != (manifest.get("num_tokens"), manifest.get("num_sentences")):
            raise ArtifactError(
                f"{folder} holds {num_tokens} tokens in {num_sentences} sentences, but {MANIFEST} says "
                f"{manifest.get('num_tokens')} in {manifest.get('num_sentences')}. Run: dvc repro encode"
            )
        return cls(shards, num_tokens, num_sentences, manifest["vocabulary"], fingerprint(manifest["files"]))
