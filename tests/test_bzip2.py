"""bzip2 files are read as the library reads them, by any number of threads, and damage is told with its place."""

import bz2
import contextlib
import itertools
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from wordlab import bzip2
from wordlab.bzip2 import LONGEST_SEGMENT_BYTES, Bzip2File

THREADS = [1, 3]
_RANDOM = Random(1)
WORDS = [f"word{i}" for i in range(500)]
TEXT = " ".join(_RANDOM.choices(WORDS, k=60_000)).encode()
BLOCK_BYTES = 100_000
"""With level 1."""
SHORT = bz2.compress(b"the king and the queen")


def read_all(path: Path, threads: int, size: int = 1 << 20) -> bytes:
    with contextlib.closing(Bzip2File(path, threads)) as file:
        return b"".join(iter(lambda: file.read(size), b""))


def file_of(folder: Path, data: bytes) -> Path:
    path = folder / "a.bz2"
    path.write_bytes(data)
    return path


def streams(text: bytes, size: int) -> bytes:
    """Many streams one after the other, as in a multistream dump."""
    return b"".join(bz2.compress(text[start : start + size]) for start in range(0, len(text), size))


FORMS = {
    "one stream": bz2.compress(TEXT),
    "small blocks": bz2.compress(TEXT, 1),
    "many streams": streams(TEXT, 7001),
    "streams of several levels": bz2.compress(TEXT, 1) + bz2.compress(TEXT, 9) + bz2.compress(TEXT, 5),
    "empty": bz2.compress(b""),
    "empty streams between": bz2.compress(b"") + SHORT + bz2.compress(b"") * 2,
    "noise": bz2.compress(_RANDOM.randbytes(1_500_000)),
    "noise in a stream of noise": bz2.compress(bz2.compress(_RANDOM.randbytes(200_000))),
    "a long run": bz2.compress(b"a" * 10_000_000),
    "followed by NULs": bz2.compress(TEXT) + bytes(5000),
}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("form", FORMS)
def test_content_is_what_the_library_reads(tmp_path: Path, form: str, threads: int) -> None:
    with bz2.open(file_of(tmp_path, FORMS[form])) as file:
        expected = file.read()
    for size in (1 << 20, 1000):
        assert read_all(tmp_path / "a.bz2", threads, size) == expected


@pytest.mark.parametrize("read_bytes", [1, 7, 100])
def test_marks_are_found_wherever_the_file_is_cut_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    monkeypatch.setattr(bzip2, "_READ_BYTES", read_bytes)
    data = streams(TEXT[:3000], 100)
    with file_of(tmp_path, data).open("rb") as file:
        assert len(list(bzip2._segments(file))) == 1 + 2 * 30
    assert read_all(tmp_path / "a.bz2", 1) == TEXT[:3000]


def test_every_block_of_one_stream_is_found(tmp_path: Path) -> None:
    with file_of(tmp_path, FORMS["small blocks"]).open("rb") as file:
        segments = list(bzip2._segments(file))
    assert len(segments) == 2 + -(-len(TEXT) // (BLOCK_BYTES - 20))
    assert {segment.start % 8 for segment in segments} > {0}, "no block begins inside a byte: this tests nothing"


@pytest.mark.parametrize("threads", THREADS)
def test_a_file_that_is_cut_off_anywhere_is_an_error(tmp_path: Path, threads: int) -> None:
    data = SHORT + bz2.compress(b"")
    for size in range(len(data)):
        path = file_of(tmp_path, data[:size])
        if size == len(SHORT):
            assert read_all(path, threads) == b"the king and the queen"
        else:
            with pytest.raises((EOFError, OSError), match=r"ends|begins at byte (0|4|\d\d)|no bzip2 stream"):
                read_all(path, threads)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SHORT[:-20], r"^it ends inside the block that begins at byte 4$"),
        (SHORT[:-3], r"^it ends before the end of a stream$"),
        (SHORT[:4], r"^it ends before the end of a stream$"),
        (SHORT + b"BZh9", r"^it ends before the end of a stream$"),
        (SHORT + b"junk", rf"^no bzip2 stream begins at byte {len(SHORT)}, where one has ended$"),
        (SHORT + b"\0BZh9", rf"^no bzip2 stream begins at byte {len(SHORT)}, where one has ended$"),
        (SHORT + b"BZh0" + SHORT[4:], rf"^no bzip2 stream begins at byte {len(SHORT)}, where one has ended$"),
        (SHORT + b"\0" * 4 + SHORT[4:], rf"^what lies before byte {len(SHORT) + 4} begins no bzip2 stream$"),
        (b"BZh0" + SHORT[4:], r"^no bzip2 stream begins at byte 0$"),
        (SHORT[4:], r"^no bzip2 stream begins at byte 0$"),
    ],
)
@pytest.mark.parametrize("threads", THREADS)
def test_damage_is_named(tmp_path: Path, data: bytes, message: str, threads: int) -> None:
    with pytest.raises((EOFError, OSError), match=message):
        read_all(file_of(tmp_path, data), threads)


def test_of_every_changed_bit_it_says_what_the_library_says(tmp_path: Path) -> None:
    """Refused, or of no meaning: fill before the next byte, tables that no symbol uses, a level that is higher."""
    verdicts = set()
    for bit in range(8 * len(SHORT)):
        changed = bytearray(SHORT)
        changed[bit // 8] ^= 0x80 >> bit % 8
        found = []
        for read in (bz2.decompress, lambda data: read_all(file_of(tmp_path, data), 1)):
            try:
                found.append(read(bytes(changed)))
            except (EOFError, OSError, ValueError):  # the library: a ValueError where the end is missing
                found.append(None)
        assert found[0] == found[1], bit
        verdicts.add(found[0])
    assert verdicts == {None, b"the king and the queen"}


@pytest.mark.parametrize("threads", THREADS)
def test_blocks_before_a_broken_one_are_read_and_its_place_is_told(tmp_path: Path, threads: int) -> None:
    with file_of(tmp_path, FORMS["small blocks"]).open("rb") as stored:
        third = list(bzip2._segments(stored))[3].start // 8
    data = bytearray(FORMS["small blocks"])
    data[third + 2000] ^= 1
    found = b""
    with (
        contextlib.closing(Bzip2File(file_of(tmp_path, bytes(data)), threads)) as file,
        pytest.raises(OSError, match=rf"^the block that begins at byte {third} is broken$"),
    ):
        while part := file.read(5000):
            found += part
    assert 2 * (BLOCK_BYTES - 100) < len(found) < 2 * BLOCK_BYTES and TEXT.startswith(found)


@pytest.mark.parametrize("threads", THREADS)
def test_data_that_looks_like_a_mark_by_chance_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Nobody has a file in which it does, so marks are invented: up to two in a block, inside and at odd bits."""
    honest = bzip2._marks
    path = file_of(tmp_path, streams(TEXT[:30_000], 10_000))

    def invented(number: int):
        def marks(data: bytes) -> list[int]:
            found = honest(data)
            more = [found[0] + 1000 + 77 * i for i in range(number)] if len(found) > 2 else []
            return sorted(found + more)

        return marks

    for number in (1, 2):
        monkeypatch.setattr(bzip2, "_marks", invented(number))
        assert read_all(path, threads) == TEXT[:30_000]
    monkeypatch.setattr(bzip2, "_marks", invented(3))
    with pytest.raises(OSError, match="the block that begins at byte 4 is broken"):
        read_all(path, threads)


@pytest.mark.parametrize("threads", THREADS)
def test_a_block_that_does_not_end_is_given_up(tmp_path: Path, threads: int) -> None:
    path = file_of(tmp_path, SHORT + SHORT[:10] + bytes(8 * LONGEST_SEGMENT_BYTES))
    tracemalloc.start()
    try:
        with contextlib.closing(Bzip2File(path, threads)) as file:
            assert file.read(100) == b"the king and the queen"
            with pytest.raises(OSError, match=rf"the block that begins at byte {len(SHORT) + 4} is broken"):
                file.read(100)
        assert tracemalloc.get_traced_memory()[1] < 8 * LONGEST_SEGMENT_BYTES
    finally:
        tracemalloc.stop()


def test_a_bomb_is_unpacked_in_pieces(tmp_path: Path) -> None:
    """45 bytes that unpack to 40 MB; who reads a little of it gets a little, and few threads' worth is held."""
    path = file_of(tmp_path, bz2.compress(bytes(40_000_000)) * 20)
    tracemalloc.start()
    try:
        for threads in THREADS:
            with contextlib.closing(Bzip2File(path, threads)) as file:
                assert file.read(10) == bytes(10)
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


def test_threads_read_no_more_than_they_may(tmp_path: Path) -> None:
    taken = []
    path = file_of(tmp_path, streams(TEXT, 2000))
    with path.open("rb") as file, ThreadPoolExecutor(3) as executor:
        segments = (taken.append(1) or segment for segment in bzip2._segments(file))
        for _ in itertools.islice(bzip2._unpacked_ahead(executor, segments, 6), 3):
            pass
    assert len(taken) == 8
