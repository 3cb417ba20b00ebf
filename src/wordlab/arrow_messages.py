"""What the messages of an Arrow file ask for, told before Arrow gives it to them.

A compressed buffer says how large it is unpacked, and Arrow allocates so much before it unpacks. A damaged file may say
anything. Headers are flatbuffers (format/Message.fbs of Arrow), of which only what is needed is read here.
"""

from __future__ import annotations

import struct

import pyarrow as pa

UNPACKED_LIMIT_BYTES = 1 << 30
"""Of one buffer, the values of one column of a batch. Who writes Arrow writes batches of some thousand rows."""
_BUFFERS, _COMPRESSION, _DATA_OF_DICTIONARY, _HEADER = 2, 3, 1, 2
_BUFFER = struct.Struct("<qq")
_FIRST_OF_FILE = 8
"""Where messages begin in the file format, behind ARROW1 and two NULs."""


def check_claims(source: pa.NativeFile, is_file: bool) -> None:
    """Look at every message. Raises ValueError where a buffer is to be larger than the limit, or a header is none."""
    source.seek(_FIRST_OF_FILE if is_file else 0)
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type in ("record batch", "dictionary"):
            try:
                _check_message(message)
            except struct.error:
                raise ValueError("a header of its batches is damaged") from None


def _check_message(message: pa.Message) -> None:
    header = message.metadata
    batch = _followed(header, _field(header, _followed(header, 0), _HEADER))
    if message.type == "dictionary":
        batch = _followed(header, _field(header, batch, _DATA_OF_DICTIONARY))
    if _field(header, batch, _COMPRESSION) is None:
        return
    buffers = _followed(header, _field(header, batch, _BUFFERS))
    (number,) = struct.unpack_from("<I", header, buffers)
    if number * _BUFFER.size > len(header):
        raise ValueError(f"a batch of {len(header)} bytes of header is to have {number} buffers")
    for index in range(number):
        start, size = _BUFFER.unpack_from(header, buffers + 4 + index * _BUFFER.size)
        if size == 0:
            continue
        if not 0 <= start <= len(message.body) - 8:
            raise ValueError("a buffer begins outside of its batch")
        (unpacked,) = struct.unpack_from("<q", message.body, start)
        if unpacked > UNPACKED_LIMIT_BYTES:
            raise ValueError(
                f"a buffer is to unpack to {unpacked} bytes, but may to {UNPACKED_LIMIT_BYTES}: write smaller batches"
            )


def _followed(header: pa.Buffer, place: int | None) -> int:
    """Where the reference at `place` leads."""
    if place is None:
        raise ValueError("a header of its batches lacks a field")
    return int(place + struct.unpack_from("<I", header, place)[0])


def _field(header: pa.Buffer, table: int, number: int) -> int | None:
    """Place of a table's field; None where it was left out."""
    places = table - struct.unpack_from("<i", header, table)[0]
    (places_bytes,) = struct.unpack_from("<H", header, places)
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", header, places + slot)[0] if slot < places_bytes else 0
    return int(table + offset) if offset else None
