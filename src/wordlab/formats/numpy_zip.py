"""NumPy's format for several arrays, `.npz`: a zip of `.npy` files, as numpy.savez writes and numpy.load reads it.

Which arrays there are: `named_arrays`. Nothing is compressed, so that arrays can be mapped; they begin at multiples of
64 bytes. numpy.load itself reads headers as Python expressions and unpickles objects when asked to; this reader does
neither.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from wordlab.formats import named_arrays
from wordlab.formats.contents import Contents, Description, MappedFile, row_blocks, writing
from wordlab.formats.named_arrays import Place
from wordlab.zip_files import DAMAGE, hindrance, open_zip

ALIGNMENT = 64
SUFFIX = ".npy"
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<size>..)\{'descr': '(?P<kind>[^']{1,16})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,18}, ?){0,3}(?:[0-9]{1,18})?)\), \} *\n",
    re.DOTALL,
)
_HEADER_BYTES = 1024
_LOCAL = struct.Struct("<4s5H3I2H")
"""A zip's header before a member: APPNOTE 4.3.7."""
_LOCAL_MARK = b"PK\x03\x04"
_EXTRA_BYTES = 20
"""What zipfile puts behind a member's name where sizes have 64 bits."""
_DATE = (1980, 1, 1, 0, 0, 0)
"""The same for all: equal models make equal bytes."""
_KINDS = {
    "<f4": "float32",
    "<f8": "float64",
    "<f2": "float16",
    "|u1": "uint8",
    "<i4": "int32",
    "<i8": "int64",
}


def recognises(file: MappedFile) -> bool:
    """Whether a zip begins here."""
    return file.data[:4] == _LOCAL_MARK


def describe(file: MappedFile) -> Description:
    """What the headers say. Raises ArtifactError."""
    return named_arrays.describe(file, _places(file, check_sums=False))


def load(file: MappedFile, mmap: bool) -> Contents:
    """All arrays; what is not mapped is compared with its checksum. Raises ArtifactError, or ResourceError."""
    return named_arrays.from_arrays(file, _places(file, check_sums=not mmap), mmap)


def save(path: Path, contents: Contents) -> None:
    """Write all there is. Raises QueryError for a word with a newline in it."""
    arrays = named_arrays.to_arrays(path, contents)
    need = sum(array.nbytes for array in arrays.values()) + 1024 * len(arrays)
    with writing(path, need) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            start = file.tell() + _LOCAL.size + len(name + SUFFIX) + _EXTRA_BYTES
            with archive.open(zipfile.ZipInfo(name + SUFFIX, _DATE), "w", force_zip64=True) as member:
                _write_npy(member, array, start)


def _write_npy(member: IO[bytes], array: NDArray, start: int) -> None:
    """Write an array. start: where in the file it will lie, which its header is filled up for."""
    kind = array.dtype.newbyteorder("<").str
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {array.shape!r}, }}".encode()
    header += b" " * (-(start + 10 + len(header) + 1) % ALIGNMENT) + b"\n"
    member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    for _, block in row_blocks(array.reshape(len(array), -1), kind):
        member.write(block.data.cast("B"))


def _places(file: MappedFile, check_sums: bool) -> dict[str, Place]:
    """Where each array lies, as the zip says, compared with the file's size. check_sums: read all bytes of them."""
    try:
        with file.path.open("rb") as opened, open_zip(opened) as archive:
            members = archive.infolist()
    except (*DAMAGE, OSError) as error:
        raise file.damaged(f"it is no whole zip ({error})") from None
    return {
        member.filename.removesuffix(SUFFIX): _place(file, member, check_sums)
        for member in members
        if member.filename.endswith(SUFFIX)
    }


def _place(file: MappedFile, member: zipfile.ZipInfo, check_sums: bool) -> Place:
    """Where the numbers of one member lie."""
    name, data = member.filename[:80], file.data
    if reason := hindrance(member, [zipfile.ZIP_STORED]):
        raise file.damaged(f"its {name} is not as numpy.savez writes it: {reason}")
    if member.header_offset + _LOCAL.size > len(data) or member.header_offset < 0:
        raise file.damaged(f"its {name} begins behind its end")
    mark, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(data, member.header_offset)
    start = member.header_offset + _LOCAL.size + name_bytes + extra_bytes
    stop = start + member.file_size
    if mark != _LOCAL_MARK or member.file_size != member.compress_size or stop > len(data):
        raise file.damaged(f"its {name} should have {member.file_size} bytes, which are not there")
    if check_sums and zlib.crc32(memoryview(data)[start:stop]) != member.CRC:
        raise file.damaged(f"its {name} has changed since it was written: the checksum differs")
    header = _HEADER.match(data[start : min(stop, start + _HEADER_BYTES)])
    if header is None or int.from_bytes(header["size"], "little") != header.end() - 10:
        raise file.damaged(f"its {name} does not begin as numpy writes an array of numbers")
    kind = header["kind"].decode(errors="replace")
    shape = tuple(int(number) for number in header["shape"].split(b",") if number.strip())
    if header["fortran"] == b"True" and len(shape) > 1:
        raise file.damaged(f"its {name} is in Fortran's order. Write it with numpy.ascontiguousarray")
    place = Place(_KINDS.get(kind, kind), shape, start + header.end(), stop)
    if kind in _KINDS and place.size * np.dtype(kind).itemsize != stop - place.start:
        raise file.damaged(f"its {name} has {stop - place.start} bytes, but its header promises shape {shape}")
    return place
