"""What Python's reader of zips cannot unpack is told of a member by its kind, before it is read."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wordlab.archives import read_content, read_sdist_file
from wordlab.embeddings import Embeddings
from wordlab.errors import ArtifactError, DownloadError
from wordlab.zip_files import hindrance, open_zip

LOCAL, DIRECTORY = b"PK\x03\x04", b"PK\x01\x02"
VERSION, FLAGS, METHOD = (4, 6), (6, 8), (8, 10)
"""Fields of two bytes: where they are in a member's local header, and where in the archive's directory."""
MESSAGES = {
    "encrypted": (FLAGS, 1, "it is encrypted"),
    "strongly encrypted": (FLAGS, 1 << 6, "it is encrypted"),
    "a patch": (FLAGS, 1 << 5, "it is a patch of another file"),
    "LZMA": (METHOD, zipfile.ZIP_LZMA, "its compression, method 14, is not stored"),
    "Zstandard": (METHOD, 93, "its compression, method 93, is not stored"),
    "no method": (METHOD, 65535, "its compression, method 65535, is not stored"),
    "a later version": (VERSION, 64, "it needs a newer reader than Python's"),
}


def odd(path: Path, places: tuple[int, int], value: int) -> Path:
    """The zip with another value in a field of its first member, in both of its headers."""
    data = bytearray(path.read_bytes())
    for mark, place in zip((LOCAL, DIRECTORY), places, strict=True):
        struct.pack_into("<H", data, data.index(mark) + place, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("places", "value", "message"), MESSAGES.values(), ids=MESSAGES.keys())
def test_a_member_that_cannot_be_unpacked_says_why(
    tmp_path: Path, places: tuple[int, int], value: int, message: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/text", b"one two three")
    odd(path, places, value)
    for reading in (read_content(path, "zip", "top/text", 100), read_sdist_file(path, "text")):
        with pytest.raises(DownloadError) as caught:
            list(reading)
        assert message in str(caught.value)

    np.savez(tmp_path / "x.npz", vectors=np.ones((1, 2), np.float32), words=np.frombuffer(b"a", np.uint8))
    assert len(Embeddings.load(tmp_path / "x.npz")) == 1
    with pytest.raises(ArtifactError) as refused:
        Embeddings.load(odd(tmp_path / "x.npz", places, value))
    assert message in str(refused.value)


def test_an_ordinary_member_is_unhindered_and_closed_after_use(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("text", b"one")
    with open_zip(tmp_path / "a.zip") as archive:
        (member,) = archive.infolist()
        assert hindrance(member) is None
        assert hindrance(member, [zipfile.ZIP_STORED]) == "its compression, method 12, is not stored"
        assert archive.read(member) == b"one"
    assert archive.fp is None
