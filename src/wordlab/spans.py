"""Raw bytes cut into shards: fixed spans of the corpus, the same whatever the number of workers.

A shard ends at the first line end at or after `shard_bytes`, in a MediaWiki dump at the first end of a page. Small
files share a shard. Only one shard at a time is in memory: a line or page that does not end within a limit is cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wordlab.rawtext import open_text_stream

LINE_LIMIT_BYTES = 1 << 20
"""A line may pass the end of its shard by so much before it is cut at white space."""
PAGE_LIMIT_BYTES = 1 << 26
"""The same for a page of a dump. MediaWiki stores 2 MiB at most; with all revisions a page can be larger."""
_READ_BYTES = 1 << 20
_ALL_BYTES = 1 << 62
_HEAD_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DUMP_START = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:mediawiki[\s>]|page>)")
_PAGE_END = b"</page>"
_NAMESPACE = re.compile(rb'<namespace key="(-?\d{1,9})"[^<>]*+>([^<]++)</namespace>')


@dataclass(frozen=True)
class Dump:
    """What the head of a MediaWiki XML dump says, which every shard of it needs."""

    namespaces: tuple[tuple[int, str], ...]
    """Key and local name of each namespace, the main one left out: (6, "Image"), (14, "Category"), ..."""


@dataclass(frozen=True)
class Span:
    """A piece of one file, decompressed."""

    path: Path
    offset: int
    """Bytes of the file before `data`."""
    data: bytes
    starts_file: bool
    ends_file: bool
    cut: bool
    """Whether it ends inside a line or page that was too long."""
    dump: Dump | None
    """Set where the file is a MediaWiki dump that is to be stripped."""


@dataclass(frozen=True)
class ShardTask:
    """What a worker gets: the raw bytes of one shard."""

    index: int
    spans: list[Span]

    @property
    def raw_bytes(self) -> int:
        return sum(len(span.data) for span in self.spans)


def cut_into_shards(
    files: Sequence[Path],
    shard_bytes: int,
    find_dumps: bool,
    open_text: Callable[[Path], BinaryIO] = open_text_stream,
    max_bytes: int = 0,
) -> Iterator[ShardTask]:
    """All shards, in order.

    find_dumps: cut MediaWiki XML at pages. open_text: opens the text of a file. max_bytes: read no further than to
    where a shard of this size would end, whatever the size of shards; 0: read all.
    """
    spans: list[Span] = []
    filled, index, left = 0, 0, max_bytes or _ALL_BYTES
    for path in files:
        if left <= 0:
            break
        with open_text(path) as stream:
            reader = _SpanReader(path, stream, find_dumps)
            while left > 0 and (span := reader.next_span(min(shard_bytes - filled, left))):
                spans.append(span)
                filled += len(span.data)
                left -= len(span.data)
                if filled >= shard_bytes:
                    yield ShardTask(index, spans)
                    spans, filled, index = [], 0, index + 1
    if spans:
        yield ShardTask(index, spans)


class _SpanReader:
    """Cuts one stream."""

    def __init__(self, path: Path, stream: BinaryIO, find_dumps: bool) -> None:
        self._path = path
        self._stream = stream
        self._buffer = bytearray()
        self._ended = False
        self._fill(_HEAD_BYTES)
        self._offset = 0
        self._started = False
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._offset = len(_BYTE_ORDER_MARK)
            del self._buffer[: self._offset]
        self._dump = read_dump_head(bytes(self._buffer[:_HEAD_BYTES])) if find_dumps else None

    def _fill(self, size: int) -> None:
        """Read until the buffer holds `size` bytes or the file ends."""
        while len(self._buffer) < size and not self._ended:
            data = self._stream.read(max(_READ_BYTES, size - len(self._buffer)))
            self._ended = not data
            self._buffer += data

    def next_span(self, room: int) -> Span | None:
        """The next `room` bytes and what follows them up to the next good place for a cut; None at the end."""
        self._fill(room)
        size, cut = self._find_cut(room)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if not data:
            return None
        self._fill(1)
        span = Span(self._path, self._offset, data, not self._started, not self._buffer, cut, self._dump)
        self._offset += size
        self._started = True
        return span

    def _find_cut(self, room: int) -> tuple[int, bool]:
        """Size of the next span, and whether it is cut at a bad place."""
        mark, limit = (_PAGE_END, PAGE_LIMIT_BYTES) if self._dump else (b"\n", LINE_LIMIT_BYTES)
        searched, stop = max(0, room - len(mark)), room + limit
        while True:
            found = self._buffer.find(mark, searched, stop)
            if found >= 0:
                return found + len(mark), False
            if len(self._buffer) > stop:
                return self._last_white_space(room, stop), True
            if self._ended:
                return len(self._buffer), False
            searched = max(searched, len(self._buffer) - len(mark) + 1)
            self._fill(len(self._buffer) + 1)

    def _last_white_space(self, first: int, stop: int) -> int:
        """Where to cut text[first:stop] if need be: behind its last white space, else before a whole character."""
        place = max(self._buffer.rfind(byte, first, stop) for byte in (b"\n", b" ", b"\t", b"\r", b"\f"))
        if place >= 0:
            return place + 1
        while stop > first and self._buffer[stop] & 0xC0 == 0x80:
            stop -= 1
        return stop


def read_dump_head(head: bytes) -> Dump | None:
    """Namespaces of a MediaWiki dump by the beginning of the file; None if it is something else."""
    if not _DUMP_START.match(head):
        return None
    found = _NAMESPACE.findall(head)
    return Dump(tuple((int(key), name.decode("utf-8", "replace")) for key, name in found))
