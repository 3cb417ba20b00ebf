"""Zip archives without trust: what Python's reader cannot unpack is told of each member before it is asked to."""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

DAMAGE = (
    *(zipfile.BadZipFile, EOFError, zlib.error),
    *(struct.error, ValueError, ArithmeticError, LookupError, RecursionError),
)
"""What Python's reader raises over a damaged file; from struct.error on where a field holds what it does not expect."""
METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated", zipfile.ZIP_BZIP2: "bzip2"}
"""Not LZMA, for which zipfile takes as much memory as the file asks for."""
_ENCRYPTED, _PATCH = 1 << 0 | 1 << 6, 1 << 5
"""General purpose bits: APPNOTE 4.4.4."""


@contextlib.contextmanager
def open_zip(file: Path | IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The archive. Raises one of DAMAGE; for BadZipFile it takes a member that needs a newer reader, too."""
    try:
        archive = zipfile.ZipFile(file)
    except RuntimeError as error:  # so zipfile calls a "version needed to extract" above 6.3, and nothing else here
        raise zipfile.BadZipFile(f"it needs a newer reader than Python's ({error})") from None
    with archive:
        yield archive


def hindrance(member: zipfile.ZipInfo, methods: Collection[int] = METHODS) -> str | None:
    """Why a member cannot be unpacked, as the end of a sentence; None: nothing speaks against it.

    methods: the compressions, keys of METHODS, that will do.
    """
    if member.flag_bits & _ENCRYPTED:
        return "it is encrypted"
    if member.flag_bits & _PATCH:
        return "it is a patch of another file"
    if member.compress_type not in methods:
        *others, last = (METHODS[method] for method in methods)
        wanted = f"{', '.join(others)} or {last}" if others else last
        return f"its compression, method {member.compress_type}, is not {wanted}"
    return None
