"""bzip2 files, unpacked block by block and in several threads, whatever program has packed them.

Every block of a bzip2 stream begins with 48 fixed bits, at any bit of the file, and unpacks without the blocks before
it. So blocks are found by these bits, made streams of their own, and unpacked beside each other: those of one big
stream as well as those of a Wikipedia dump of many streams, with or without its index. The library has no lock on
Python meanwhile. What comes out, and what is told of a damaged file, is the same for any number of threads.

    file    one or more streams, then nothing but NULs
    stream  "BZh" and a digit, from a byte on; blocks; 48 other fixed bits, CRC of all blocks, bits to the next byte
    block   48 fixed bits, CRC of its content, data

The format has no other description than the program's source, bzip2 1.0.8 (compress.c, decompress.c).
"""

from __future__ import annotations

import bz2
import itertools
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wordlab.remote_files import CorpusPath

MAX_THREADS = 16
"""At some 30 MB/s a thread, more than the process that reads can hand on."""
THREAD_BYTES = 10_000_000
"""Memory that a thread takes, measured: the library's tables, 3.6 MB, and two blocks that wait."""
_BLOCK, _END = 0x314159265359, 0x177245385090
_MARK_BITS, _CRC_BITS = 48, 32
_MARK_BYTES = _MARK_BITS // 8
_MARK_MASK, _CRC_MASK = (1 << _MARK_BITS) - 1, (1 << _CRC_BITS) - 1
_HEADER = re.compile(rb"BZh[1-9]")
_OWN_HEADER = b"BZh9"
_READ_BYTES = 1 << 20
LONGEST_SEGMENT_BYTES = 1 << 22
"""Bytes from a mark to the next. The longest codes there are make 2.3 MB of a block, and programs half of that."""
_PIECE_BYTES = 1 << 21
"""Unpacked at a time: a block of one byte many times over is 46 MB."""
_MOST_FALSE_MARKS = 2
"""Marks in the data of one block, by chance: one in 2^47 bits looks like one."""


@dataclass(frozen=True)
class _Segment:
    """What lies from a mark of the file to the next. The first of a file is what lies before any mark."""

    start: int
    """Place of its first bit in the file."""
    num_bits: int
    bits: int
    """All of them as one number, the first the highest."""

    @property
    def mark(self) -> int:
        return self.part(0, _MARK_BITS)

    @property
    def crc(self) -> int:
        """What follows the mark of a block, or of the end of a stream."""
        return self.part(_MARK_BITS, _CRC_BITS)

    def part(self, skip: int, count: int) -> int:
        """`count` bits after the first `skip`; 0 where it ends before."""
        behind = self.num_bits - skip - count
        return self.bits >> behind & (1 << count) - 1 if behind >= 0 else 0

    def joined(self, other: _Segment) -> _Segment:
        return _Segment(self.start, self.num_bits + other.num_bits, self.bits << other.num_bits | other.bits)

    def bytes_after(self, skip: int) -> bytes:
        """What lies behind the byte of the file in which the first `skip` bits end."""
        left = self.num_bits - skip - -(self.start + skip) % 8
        return ((self.bits & (1 << left) - 1) << -left % 8).to_bytes(-(-left // 8), "big") if left > 0 else b""


@dataclass(frozen=True)
class _Unpacked:
    """A segment, and what came of taking it for a block."""

    segment: _Segment
    is_block: bool
    piece: bytes = b""
    """The beginning of its content, at most _PIECE_BYTES."""
    decompressor: bz2.BZ2Decompressor | None = None
    """Has the rest, where there is more."""


class Bzip2File:
    """The content of a bzip2 file, read forwards.

    Reading raises OSError or EOFError where the file is damaged or ends too early; they name the byte.
    """

    def __init__(self, path: CorpusPath, threads: int = 1) -> None:
        self._file = path.open("rb")
        segments = _segments(self._file)
        threads = min(threads, MAX_THREADS)
        self._executor = ThreadPoolExecutor(threads) if threads > 1 else None
        tried = _unpacked_ahead(self._executor, segments, 2 * threads) if self._executor else map(_unpacked, segments)
        self._pieces = _content(tried)
        self._pending = memoryview(b"")

    def read(self, size: int) -> bytes:
        while not self._pending:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._pending = memoryview(piece)
        part, self._pending = self._pending[:size], self._pending[size:]
        return bytes(part)

    def close(self) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)
        self._file.close()


def _segments(file: BinaryIO) -> Iterator[_Segment]:
    """The whole file, cut at all marks. Ends with the first segment that is too long to be one, if there is any."""
    buffer = bytearray()
    before = start = searched = 0  # bytes of the file before the buffer; first bit not given back yet; byte
    while True:
        data = file.read(_READ_BYTES)
        buffer += data
        for place in _marks(bytes(buffer[searched - before :])):
            mark = 8 * searched + place
            if mark > start:
                yield _cut(buffer, before, start, mark)
                start = mark
        searched = max(searched, before + len(buffer) - _MARK_BYTES)
        del buffer[: start // 8 - before]
        before = start // 8
        if not data or len(buffer) > LONGEST_SEGMENT_BYTES + 1:
            break
    yield _cut(buffer, before, start, 8 * (before + len(buffer)))


def _cut(buffer: bytearray, before: int, start: int, stop: int) -> _Segment:
    """Bits from start to stop of the file, whose byte `before` is the first of the buffer."""
    last = -(-stop // 8)
    bits = int.from_bytes(buffer[start // 8 - before : last - before], "big") >> 8 * last - stop
    return _Segment(start, stop - start, bits & (1 << stop - start) - 1)


def _mark_keys() -> NDArray[np.bool_]:
    """Which pairs of bytes may be the second and third of the seven that a mark touches."""
    keys = np.zeros(1 << 16, dtype=np.bool_)
    for mark, shift in itertools.product((_BLOCK, _END), range(8)):
        keys[mark << 8 - shift >> 32 & 0xFFFF] = True
    return keys


_MARK_KEYS = _mark_keys()


def _marks(data: bytes) -> list[int]:
    """Places of all marks in the data, in bits from its beginning; not of one that ends behind it."""
    raw = np.frombuffer(data, dtype=np.uint8)
    pairs = raw[:-1].astype(np.uint16) << 8 | raw[1:]
    found = []
    for second in np.flatnonzero(_MARK_KEYS[pairs]).tolist():
        window = int.from_bytes(data[second - 1 : second + _MARK_BYTES].ljust(_MARK_BYTES + 1, b"\0"), "big")
        for shift in range(8) if second else ():
            is_whole = 8 * (second - 1) + shift + _MARK_BITS <= 8 * len(data)
            if is_whole and window >> 8 - shift & _MARK_MASK in (_BLOCK, _END):
                found.append(8 * (second - 1) + shift)
    return found


def _unpacked(segment: _Segment) -> _Unpacked:
    """Take the segment for a block, as a stream of its own: with a header before it and the end of a stream behind."""
    if segment.mark != _BLOCK or segment.num_bits > 8 * LONGEST_SEGMENT_BYTES:
        return _Unpacked(segment, is_block=False)
    num_bits = segment.num_bits + _MARK_BITS + _CRC_BITS
    stream = (segment.bits << _MARK_BITS | _END) << _CRC_BITS | segment.crc
    packed = (stream << -num_bits % 8).to_bytes(-(-num_bits // 8), "big")
    decompressor = bz2.BZ2Decompressor()
    try:
        piece = decompressor.decompress(_OWN_HEADER + packed, _PIECE_BYTES)
    except OSError:
        return _Unpacked(segment, is_block=False)
    if decompressor.eof:
        return _Unpacked(segment, not decompressor.unused_data, piece)
    if decompressor.needs_input:
        return _Unpacked(segment, is_block=False)
    return _Unpacked(segment, True, piece, decompressor)


def _unpacked_ahead(executor: Executor, segments: Iterator[_Segment], number: int) -> Iterator[_Unpacked]:
    """All segments unpacked, in their order; `number` of them are under way or wait."""
    waiting = deque(executor.submit(_unpacked, segment) for segment in itertools.islice(segments, number))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(executor.submit(_unpacked, segment) for segment in itertools.islice(segments, 1))


def _content(tried: Iterator[_Unpacked]) -> Iterator[bytes]:
    """Content of all blocks, in pieces, if they make up whole streams. Raises OSError and EOFError."""
    if not _HEADER.fullmatch(next(tried).segment.bytes_after(0)):
        raise OSError("no bzip2 stream begins at byte 0")
    crc, has_ended = 0, False
    for unpacked in tried:
        segment = unpacked.segment
        if has_ended:
            raise OSError(f"what lies before byte {segment.start // 8} begins no bzip2 stream")
        if segment.mark == _BLOCK:
            yield from _block_content(_mended(unpacked, tried))
            crc = (crc << 1 & _CRC_MASK | crc >> _CRC_BITS - 1) ^ segment.crc
            continue
        if segment.num_bits < _MARK_BITS + _CRC_BITS:
            break
        place = -(-(segment.start + _MARK_BITS + _CRC_BITS) // 8)
        if segment.crc != crc:
            raise OSError(f"the checksum of the stream that ends at byte {place} is not that of its blocks")
        behind = segment.bytes_after(_MARK_BITS + _CRC_BITS)
        crc, has_ended = 0, not _HEADER.fullmatch(behind)
        if has_ended and behind.strip(b"\0"):
            raise OSError(f"no bzip2 stream begins at byte {place}, where one has ended")
    if not has_ended:
        raise EOFError("it ends before the end of a stream")


def _mended(unpacked: _Unpacked, tried: Iterator[_Unpacked]) -> _Unpacked:
    """The block, also where its data looks like a mark by chance; takes what follows that from `tried`."""
    place = unpacked.segment.start // 8
    for number in range(_MOST_FALSE_MARKS):
        if unpacked.is_block:
            return unpacked
        following = next(tried, None)
        if following is None:
            if number or unpacked.segment.num_bits > 8 * LONGEST_SEGMENT_BYTES:
                break
            raise EOFError(f"it ends inside the block that begins at byte {place}")
        unpacked = _unpacked(unpacked.segment.joined(following.segment))
    if not unpacked.is_block:
        raise OSError(f"the block that begins at byte {place} is broken")
    return unpacked


def _block_content(block: _Unpacked) -> Iterator[bytes]:
    yield block.piece
    if rest := block.decompressor:
        while not rest.eof:
            piece = rest.decompress(b"", _PIECE_BYTES)
            if not piece and not rest.eof:
                raise OSError(f"the block that begins at byte {block.segment.start // 8} is broken")
            yield piece
