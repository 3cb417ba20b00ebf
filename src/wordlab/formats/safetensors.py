"""safetensors, as the library of that name writes and reads it (huggingface.co/docs/safetensors).

    8 bytes, little endian: the length of the header
    the header, JSON: {"vectors": {"dtype": "F32", "shape": [V, d], "data_offsets": [0, 4 V d]}, ...}
    the arrays, one after the other

Which arrays there are: `named_arrays`. The header is filled up with spaces so that the vectors begin at a multiple of
64 bytes, where they can be mapped and read at full speed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from wordlab.formats import named_arrays
from wordlab.formats.contents import Contents, Description, MappedFile, row_blocks, writing
from wordlab.formats.named_arrays import Place

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""As the library has it."""
ALIGNMENT = 64
KINDS = {
    "F32": "float32",
    "F64": "float64",
    "F16": "float16",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "BOOL": "bool",
}
"""Of the format's types those that NumPy has."""
METADATA = "__metadata__"


def recognises(file: MappedFile) -> bool:
    """Whether a length and a JSON object begin the file."""
    head = file.data[: LENGTH_BYTES + 1]
    return head[LENGTH_BYTES:] == b"{" and head[5:LENGTH_BYTES] == b"\0\0\0"


def describe(file: MappedFile) -> Description:
    """What the header says. Raises ArtifactError."""
    return named_arrays.describe(file, _places(file))


def load(file: MappedFile, mmap: bool) -> Contents:
    """All arrays. Raises ArtifactError, or ResourceError if memory is too small."""
    return named_arrays.from_arrays(file, _places(file), mmap)


def save(path: Path, contents: Contents) -> None:
    """Write all there is. Raises QueryError for a word with a newline in it."""
    arrays = named_arrays.to_arrays(path, contents)
    names = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)  # none begins in the middle of a number
    header: dict[str, Any] = {METADATA: {"format": "wordlab", "words": "UTF-8, separated by newlines"}}
    kinds, start = {kind: name for name, kind in KINDS.items()}, 0
    for name in names:
        array = arrays[name]
        stop = start + array.nbytes
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(LENGTH_BYTES + len(text)) % ALIGNMENT)
    with writing(path, LENGTH_BYTES + len(text) + start) as file:
        file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        for name in names:
            array = arrays[name]
            for _, block in row_blocks(array.reshape(len(array), -1), array.dtype.newbyteorder("<").str):
                file.write(block.data.cast("B"))


def _places(file: MappedFile) -> dict[str, Place]:
    """Where each array lies, as the header says, compared with the file's size."""
    size = int.from_bytes(file.data[:LENGTH_BYTES], "little")
    start = LENGTH_BYTES + size
    if size > MAX_HEADER_BYTES or start > len(file):
        raise file.damaged(f"its header should have {size} bytes, but {len(file) - LENGTH_BYTES} follow")
    try:
        header = json.loads(file.data[LENGTH_BYTES:start])
    except (ValueError, RecursionError) as error:
        raise file.damaged(f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise file.damaged("its header is no JSON object")
    header.pop(METADATA, None)
    return {name: _place(file, name, entry, start) for name, entry in header.items()}


def _place(file: MappedFile, name: str, entry: Any, start: int) -> Place:
    """One entry of the header. start: where arrays begin."""
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError
        kind = KINDS.get(kind, kind)
    except (TypeError, ValueError, KeyError):
        raise file.damaged(f"the entry of {name[:80]!r} in its header has no dtype, shape and data_offsets") from None
    if kind not in KINDS.values():  # one that NumPy lacks: nothing of ours
        return Place(str(kind)[:20], shape, 0, 0)
    place = Place(kind, shape, start + begin, start + end)
    if place.stop > len(file) or place.size * np.dtype(kind).itemsize != end - begin:
        raise file.damaged(
            f"its array {name[:80]!r} should have shape {shape} at {begin} to {end}, but the header leaves "
            f"{len(file) - start} bytes"
        )
    return place
