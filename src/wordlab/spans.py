"""Raw bytes cut into shards: fixed spans of the corpus, the same whatever the number of workers.

A shard ends at the first line end at or after `shard_bytes`, in a MediaWiki dump at the first end of a page. Small
files share a shard. Only one shard at a time is in memory: a line or page that does not end within a limit is cut.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from wordlab.decompression import changed_while_read, open_text_stream, read_part, size_and_time
from wordlab.documents import EMPTY_LINE, LONGEST_EMPTY_LINE, SHORTEST_EMPTY_LINE
from wordlab.opened_ahead import opened_ahead
from wordlab.remote_files import CorpusPath, RemoteFile

LINE_LIMIT_BYTES = 1 << 20
"""A line may pass the end of its shard by so much before it is cut at white space."""
PAGE_LIMIT_BYTES = 1 << 26
"""The same for a page of a dump. MediaWiki stores 2 MiB at most; with all revisions a page can be larger."""
_READ_BYTES = 1 << 20
_LOOK_BYTES = 1 << 16
"""Read at a time where only the place of a cut is looked for."""
_ALL_BYTES = 1 << 62
_HEAD_BYTES = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DUMP_START = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:mediawiki[\s>]|page>)")
_PAGE_END, _LINE_END = b"</page>", b"\n"
_NAMESPACE = re.compile(rb'<namespace key="(-?\d{1,9})"[^<>]*+>([^<]++)</namespace>')


@dataclass(frozen=True)
class Dump:
    """What the head of a MediaWiki XML dump says, which every shard of it needs."""

    namespaces: tuple[tuple[int, str], ...]
    """Key and local name of each namespace, the main one left out: (6, "Image"), (14, "Category"), ..."""


@dataclass(frozen=True)
class Span:
    """A piece of one file, decompressed."""

    path: CorpusPath
    offset: int
    """Bytes of the file before `data`."""
    data: bytes
    starts_file: bool
    ends_file: bool
    cut: bool
    """Whether it ends inside a line or page that was too long."""
    dump: Dump | None
    """Set where the file is a MediaWiki dump that is to be stripped."""

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self) -> Span:
        return self


@dataclass(frozen=True)
class UnreadSpan:
    """The same to be read by who works on it: nobody else holds its bytes, and none go from process to process."""

    path: CorpusPath
    offset: int
    size: int
    starts_file: bool
    ends_file: bool
    cut: bool
    dump: Dump | None
    seen: tuple[int, int]
    """`size_and_time` of a file on this machine, when it was opened; the version of one in a store is in its path."""

    def read(self) -> Span:
        """Raises CorpusError where the file has changed or cannot be read, DownloadError of a store."""
        if isinstance(self.path, RemoteFile):
            data = self.path.read_part(self.offset, self.size)
        else:
            data = read_part(self.path, self.offset, self.size, self.seen)
        return Span(self.path, self.offset, data, self.starts_file, self.ends_file, self.cut, self.dump)


@dataclass(frozen=True)
class ShardTask:
    """What a worker gets: the raw bytes of one shard, or where they lie."""

    index: int
    spans: list[Span | UnreadSpan]

    @property
    def raw_bytes(self) -> int:
        return sum(span.size for span in self.spans)

    def read(self) -> list[Span]:
        """All of its bytes. Raises as `UnreadSpan.read` does."""
        return [span.read() for span in self.spans]


def cut_into_shards(
    files: Sequence[CorpusPath],
    shard_bytes: int,
    find_dumps: bool,
    open_text: Callable[[CorpusPath], BinaryIO] = open_text_stream,
    max_bytes: int = 0,
    read_later: bool = False,
    by_document: bool = False,
    ahead: Callable[[CorpusPath], bool] = lambda path: False,
) -> Iterator[ShardTask]:
    """All shards, in order.

    find_dumps: cut MediaWiki XML at pages. open_text: opens the text of a file. max_bytes: read no further than to
    where a shard of this size would end, whatever the size of shards; 0: read all.

    Of plain text in a store only the beginning and the places of the cuts are read here; with read_later, of plain text
    on this machine too. It is for workers that see the same files.
    by_document: cut text behind the empty line that ends a document.
    ahead: whether a file may be opened before its turn.
    """
    spans: list[Span | UnreadSpan] = []
    filled, index, left = 0, 0, max_bytes or _ALL_BYTES
    open_reader = functools.partial(
        _opened, open_text=open_text, find_dumps=find_dumps, by_document=by_document, read_later=read_later
    )
    with contextlib.closing(opened_ahead(files, open_reader, ahead)) as readers:
        for reader in readers:
            with contextlib.closing(reader):
                while left > 0 and (span := reader.next_span(min(shard_bytes - filled, left))):
                    spans.append(span)
                    filled += span.size
                    left -= span.size
                    if filled >= shard_bytes:
                        yield ShardTask(index, spans)
                        spans, filled, index = [], 0, index + 1
            if left <= 0:
                break
    if spans:
        yield ShardTask(index, spans)


def _opened(
    path: CorpusPath,
    open_text: Callable[[CorpusPath], BinaryIO],
    find_dumps: bool,
    by_document: bool,
    read_later: bool,
) -> _SpanReader | _CutFinder:
    """A file's reader, its beginning looked at."""
    stream = open_text(path)
    try:
        # A stream that can seek is the file as it lies there, neither unpacked nor recoded.
        if (read_later or isinstance(path, RemoteFile)) and stream.seekable():
            return _CutFinder(path, stream, find_dumps, by_document)
        return _SpanReader(path, stream, find_dumps, by_document)
    except BaseException:
        stream.close()
        raise


class _Cutter:
    """Finds where to cut one stream."""

    def __init__(self, stream: BinaryIO, find_dumps: bool, by_document: bool, read_bytes: int) -> None:
        self._stream = stream
        self._read_bytes = read_bytes
        self._buffer = bytearray()
        self._ended = False
        self._fill(_HEAD_BYTES + len(_BYTE_ORDER_MARK))
        self._offset = 0
        self._started = False
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._offset = len(_BYTE_ORDER_MARK)
            del self._buffer[: self._offset]
        self._dump = read_dump_head(bytes(self._buffer[:_HEAD_BYTES])) if find_dumps else None
        self._by_document = by_document and self._dump is None

    def close(self) -> None:
        self._stream.close()

    def _fill(self, size: int) -> None:
        """Read until the buffer holds `size` bytes or the file ends."""
        while len(self._buffer) < size and not self._ended:
            data = self._stream.read(max(self._read_bytes, size - len(self._buffer)))
            self._ended = not data
            self._buffer += data

    def _find_cut(self, room: int) -> tuple[int, bool]:
        """Size of the next span, and whether it is cut at a bad place."""
        shortest, longest, limit = self._marks()
        searched, stop = max(0, room - shortest), room + limit
        while True:
            found = self._end_of_mark(searched, stop)
            if found:
                return found, False
            if len(self._buffer) > stop:
                return self._last_white_space(room, stop), True
            if self._ended:
                return len(self._buffer), False
            searched = max(searched, len(self._buffer) - longest + 1)
            self._fill(len(self._buffer) + 1)

    def _marks(self) -> tuple[int, int, int]:
        """Bytes of the shortest and longest mark of a good place for a cut, and how far it is looked for."""
        if self._by_document:
            return SHORTEST_EMPTY_LINE, LONGEST_EMPTY_LINE, PAGE_LIMIT_BYTES
        if self._dump:
            return len(_PAGE_END), len(_PAGE_END), PAGE_LIMIT_BYTES
        return len(_LINE_END), len(_LINE_END), LINE_LIMIT_BYTES

    def _end_of_mark(self, start: int, stop: int) -> int:
        """End of the first mark in the buffer between these places; 0 where there is none."""
        if self._by_document:
            match = EMPTY_LINE.search(self._buffer, start, stop)
            return match.end() if match else 0
        mark = _PAGE_END if self._dump else _LINE_END
        found = self._buffer.find(mark, start, stop)
        return found + len(mark) if found >= 0 else 0

    def _last_white_space(self, first: int, stop: int) -> int:
        """Where to cut text[first:stop] if need be: behind its last white space, else before a whole character."""
        place = max(self._buffer.rfind(byte, first, stop) for byte in (b"\n", b" ", b"\t", b"\r", b"\f"))
        if place >= 0:
            return place + 1
        while stop > first and self._buffer[stop] & 0xC0 == 0x80:
            stop -= 1
        return stop


class _SpanReader(_Cutter):
    """Cuts a stream, read from its start to its end."""

    def __init__(self, path: CorpusPath, stream: BinaryIO, find_dumps: bool, by_document: bool) -> None:
        super().__init__(stream, find_dumps, by_document, _READ_BYTES)
        self._path = path

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


class _CutFinder(_Cutter):
    """Finds the same cuts in a file that can be read from any place on."""

    def __init__(self, path: CorpusPath, stream: BinaryIO, find_dumps: bool, by_document: bool) -> None:
        super().__init__(stream, find_dumps, by_document, _LOOK_BYTES)
        self._path = path
        self._seen = (path.size_bytes, 0) if isinstance(path, RemoteFile) else size_and_time(stream)

    def next_span(self, room: int) -> UnreadSpan | None:
        """The same without its bytes. Raises CorpusError where the file has become shorter."""
        left = self._seen[0] - self._offset
        if left <= 0:
            return None
        if left <= room:  # wherever its marks are, it is all there is; who reads it sees whether it has changed
            size, cut = left, False
        else:
            size, cut = self._look_for_cut(room)
        if not size:  # the file has become shorter, and would be looked through for ever
            raise changed_while_read(self._path)
        span = UnreadSpan(self._path, self._offset, size, not self._started, size == left, cut, self._dump, self._seen)
        self._offset += size
        self._started = True
        return span

    def _look_for_cut(self, room: int) -> tuple[int, bool]:
        """As `_find_cut`, by a look at the place of the cut alone."""
        skipped = max(0, room - len(_PAGE_END))  # the longer mark; it may begin before so many bytes
        self._stream.seek(self._offset + skipped)
        self._buffer.clear()
        self._ended = False
        size, cut = self._find_cut(room - skipped)
        return size + skipped, cut


def read_dump_head(head: bytes) -> Dump | None:
    """Namespaces of a MediaWiki dump by the beginning of the file; None if it is something else."""
    if not _DUMP_START.match(head):
        return None
    found = _NAMESPACE.findall(head)
    return Dump(tuple((int(key), name.decode("utf-8", "replace")) for key, name in found))
