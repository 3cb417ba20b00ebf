"""Compressed files are read as the text in them, to their end or not at all."""

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest
import zstandard

from wordlab.decompression import open_decompressed, open_text_stream, sniff_format
from wordlab.errors import CorpusError

TEXT = "Zwei Sätze.\n한국어 문장.\n".encode() * 5000
COMPRESS = {
    "gzip": (".gz", gzip.compress),
    "bzip2": (".bz2", bz2.compress),
    "xz": (".xz", lzma.compress),
    "zstd": (".zst", zstandard.compress),
}


def read_all(path: Path) -> bytes:
    with open_text_stream(path) as stream:
        return stream.read()


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressed_files_read_as_the_text_in_them(tmp_path: Path, kind: str) -> None:
    suffix, compress = COMPRESS[kind]
    path = tmp_path / f"own{suffix}"
    path.write_bytes(compress(TEXT))
    assert sniff_format(path) == kind
    assert read_all(path) == TEXT


@pytest.mark.parametrize("kind", COMPRESS)
def test_streams_one_after_the_other_are_read_as_one(tmp_path: Path, kind: str) -> None:
    """pigz, pbzip2, xz -T and zstd write files of several streams."""
    path = tmp_path / "own"
    path.write_bytes(COMPRESS[kind][1](TEXT) + COMPRESS[kind][1](b"more"))
    assert read_all(path) == TEXT + b"more"


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_compressed_file_that_is_cut_off_is_an_error_not_a_shorter_corpus(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "own"
    path.write_bytes(COMPRESS[kind][1](TEXT)[:-9])
    with pytest.raises(CorpusError, match=r"own is damaged and cannot be decompressed to its end: .*Fetch or pack it"):
        read_all(path)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])  # zstd writes no checksum unless it is asked to
def test_a_damaged_compressed_file_is_an_error(tmp_path: Path, kind: str) -> None:
    data = bytearray(COMPRESS[kind][1](os.urandom(5000)))
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(600)
    path = tmp_path / "own"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="is damaged and cannot be decompressed"):
        read_all(path)


def test_an_empty_compressed_file_is_empty_text(tmp_path: Path) -> None:
    path = tmp_path / "own.zst"
    path.write_bytes(zstandard.compress(b""))
    assert read_all(path) == b""


def test_plain_text_can_seek(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(TEXT)
    with open_text_stream(path) as stream:
        stream.seek(len(TEXT) - 3)
        assert stream.read() == TEXT[-3:]


def test_a_plain_text_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"gone\.txt cannot be read: No such file or directory. Check the path"):
        open_decompressed(tmp_path / "gone.txt", "text")
    unreadable = Path("/proc/self/mem")  # nothing is mapped at its beginning
    for size in (-1, 5, 1 << 21):
        with (
            open_decompressed(unreadable, "text") as stream,
            pytest.raises(CorpusError, match=r"/proc/self/mem cannot be read: Input/output error"),
        ):
            stream.read(size)


def test_a_text_that_begins_with_the_letters_bzh_is_text(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes(b"BZh9 is how a bzip2 file begins.\n")
    assert sniff_format(path) == "text"


def test_a_name_that_promises_another_compression_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "own.gz"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(CorpusError, match=r"own\.gz is named as gzip, but its first bytes are those of text"):
        open_text_stream(path)


def test_a_zip_and_a_missing_file_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    with pytest.raises(CorpusError, match=r"own\.txt cannot be read: No such file or directory"):
        sniff_format(path)
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(CorpusError, match=r"is a zip archive. Unpack it"):
        sniff_format(path)
