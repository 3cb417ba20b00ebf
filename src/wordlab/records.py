"""Files of one record a line, JSONL and what WikiExtractor writes -> their texts.

A row that cannot be read is an error that names its line, or is dropped and counted as `invalid_rows`. A row whose
text is null says so on purpose: it is dropped and counted as `rows_without_text`.
"""

from __future__ import annotations

import html
import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

from wordlab.documents import as_document
from wordlab.errors import CorpusError
from wordlab.piece_stream import joined_pieces
from wordlab.remote_files import CorpusPath

ROW_LIMIT_BYTES = 1 << 26
"""A longer line is a row that cannot be read: rows are held in memory, one at a time."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN_FIELDS = 10
_TITLE = ' title="'
_ENDLESS_REFERENCE = re.compile(r"&#[0-9]{100,}+;?+")


class _Number:
    """A number of a row, left as it is written: one of a million digits takes long to read, and nobody needs it."""

    def __init__(self, digits: str) -> None:
        self._digits = digits

    def __repr__(self) -> str:
        return self._digits


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number)


class InvalidRowError(Exception):
    """A row gives no text; says why."""


def rows_to_pieces(
    rows: Iterator[tuple[str, Callable[[], bytes | None]]],
    path: CorpusPath,
    invalid: Literal["error", "drop"],
    dropped: Counter[str],
    as_piece: Callable[[bytes], bytes],
) -> Iterator[bytes]:
    """Texts of rows, as pieces. rows: where it stands, and what reads its text; None where it has none.

    Raises CorpusError naming file and row for the first that cannot be read, unless they are to be dropped.
    """
    for place, read in rows:
        try:
            text = read()
        except InvalidRowError as error:
            if invalid == "error":
                raise CorpusError(
                    f"{path}, {place}: {error}. Correct it, or drop and count such rows: "
                    "dvc exp run -S tokenize.invalid_bytes=drop"
                ) from None
            dropped["invalid_rows"] += 1
            continue
        if text is None:
            dropped["rows_without_text"] += 1
        else:
            yield as_piece(text)


def as_line(text: bytes) -> bytes:
    return text + b"\n"


def as_text(row: bytes, hint: str = "") -> str:
    """The row as text. hint: ends the message over broken UTF-8. Raises InvalidRowError."""
    try:
        text = row.decode()
    except UnicodeDecodeError as error:
        raise InvalidRowError(
            f"it is not valid UTF-8 ({error.reason} at byte {error.start} of the row){hint}"
        ) from None
    if "\0" in text:
        raise InvalidRowError("it holds a NUL character")
    return text


def json_texts(
    stream: BinaryIO,
    path: CorpusPath,
    field: str,
    invalid: Literal["error", "drop"],
    dropped: Counter[str],
    by_document: bool = False,
) -> Iterator[bytes]:
    """The texts in `field` of a file with one JSON object a line; empty lines are passed over."""
    rows = (
        (f"line {number}", lambda line=line: _json_text(line, field))
        for number, line in _numbered_lines(stream)
        if line is None or line.strip()
    )
    return joined_pieces(rows_to_pieces(rows, path, invalid, dropped, as_document if by_document else as_line))


def _numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines from 1 on, without a byte order mark; None for one above the limit."""
    number = 0
    while line := stream.readline(ROW_LIMIT_BYTES):
        number += 1
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if len(line) < ROW_LIMIT_BYTES or line.endswith(b"\n"):
            yield number, line
            continue
        while (rest := stream.readline(ROW_LIMIT_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _line_text(line: bytes | None) -> str:
    if line is None:
        raise InvalidRowError(f"it is longer than {ROW_LIMIT_BYTES} bytes")
    return as_text(line, "; if the file is in another encoding, name that in download.corpus_format.encoding")


def _json_text(line: bytes | None, field: str) -> bytes | None:
    try:
        row = _DECODER.decode(_line_text(line).rstrip("\r\n"))
    except RecursionError:
        raise InvalidRowError("its values are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidRowError(f"it is no JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(row, dict):
        raise InvalidRowError("it is JSON, but no object with fields")
    if field not in row:
        names = ", ".join(reprlib.repr(name) for name in list(row)[:_SHOWN_FIELDS]) or "none"
        raise InvalidRowError(f"it has no field {field!r} (download.corpus_format.field); its fields: {names}")
    text = row[field]
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidRowError(f"its field {field!r} holds {reprlib.repr(text)}, which is no text")
    if "\0" in text:
        raise InvalidRowError(f"its field {field!r} holds a NUL character")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRowError(f"its field {field!r} holds half of a surrogate pair, which is no character") from None


def wikiextractor_texts(
    stream: BinaryIO,
    path: CorpusPath,
    invalid: Literal["error", "drop"],
    dropped: Counter[str],
    by_document: bool = False,
) -> Iterator[bytes]:
    """Texts of pages between <doc ...> and </doc>, as WikiExtractor writes them, without the line of the title.

    WikiExtractor writes text in HTML (`&lt;`, `&amp;`), which is turned back. by_document: an empty line stands behind
    each page, and nowhere else.
    """
    titles: list[str] = []
    read: Callable[[bytes | None, list[str]], bytes] = _document_line if by_document else _page_line
    rows = ((f"line {number}", lambda line=line: read(line, titles)) for number, line in _numbered_lines(stream))
    return joined_pieces(rows_to_pieces(rows, path, invalid, dropped, bytes if by_document else as_line))


def _document_line(line: bytes | None, titles: list[str]) -> bytes:
    """A line of text with its end, nothing for an empty one or a title, and an empty line for a mark."""
    text = _page_line(line, titles)
    mark = (line or b"").strip()
    if mark == b"</doc>" or (mark.startswith(b'<doc id="') and mark.endswith(b'">')):
        return b"\n"
    return b"".join(part + b"\n" for part in text.split(b"\n") if part.strip())


def _page_line(line: bytes | None, titles: list[str]) -> bytes:
    """A line of text; an empty one for a mark or a title. titles: the one that is to come, or none."""
    text = _line_text(line).rstrip()
    if text.startswith('<doc id="') and text.endswith('">'):
        start = text.find(_TITLE)
        titles[:] = [_unescaped(text[start + len(_TITLE) : -2])] if start >= 0 else []
        return b""
    if text == "</doc>":
        titles.clear()
        return b""
    text = _unescaped(text)
    expected = titles.pop() if titles else None
    return b"" if text == expected else text.encode()


def _unescaped(text: str) -> str:
    return html.unescape(_ENDLESS_REFERENCE.sub("\ufffd", text)) if "&" in text else text
