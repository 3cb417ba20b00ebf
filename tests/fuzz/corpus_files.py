"""Readers of corpora in the forms that people store them in: rows of JSON, tables, other encodings."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.reader import Execution, Reader, replace_file
from wordlab.corpus_format import file_kind, open_corpus_text
from wordlab.sections.download import CorpusFormatConfig

TEXTS = ["the king and the queen", "", "한국어 문장\nand a line", None, "x" * 300]
ENCODINGS = ("utf-8", "cp949", "utf-16", "utf-16-le", "utf-7", "iso2022_kr", "hz", "latin-1", "shift_jis", "utf-32")


def _read(path: Path, kind: str, encoding: str, invalid: str) -> str:
    dropped: Counter[str] = Counter()
    stored = CorpusFormatConfig(kind=kind, field="text", encoding=encoding)  # type: ignore[arg-type]
    with open_corpus_text(path, stored, invalid, dropped) as stream:  # type: ignore[arg-type]
        text = stream.read()
    if file_kind(path, stored) != "text" or encoding != "utf-8":  # that is checked by who reads it
        assert "\0" not in text.decode()
    return f"{'text' if text else 'nothing'}, dropped {' '.join(sorted(+dropped))}"


# ---- rows

_ROWS = (
    *(b'{"text": "', b'"text":', b'"}', b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"1e999", b"NaN", b"-0"),
    *(b"\\u0000", b"\\ud800", b"\\ud83d\\ude42", b"\\", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"9" * 5000, b"[" * 5000, b'{"a":' * 2000, b'<doc id="1" url="u" title="T">\n', b"</doc>\n", b'">', b' title="'),
    *(b"T\n", b"&lt;", b"&#" + b"9" * 5000 + b";", b"&#xD800;", b"&#0;", b"+2AA-", b"~{", b"\x1b$)C", b"\x0e", b"\xb0"),
)


def _open_rows(folder: Path) -> Execution:
    """The first byte says which form it is, which encoding, and what becomes of rows that cannot be read."""
    path = folder / "corpus"

    def execute(data: bytes) -> str:
        replace_file(path, data[1:])
        choice = data[0] if data else 0
        invalid = "drop" if choice % 2 else "error"
        kind = ("jsonl", "wikiextractor", "text", "auto")[choice // 2 % 4]
        return _read(path, kind, ENCODINGS[choice // 8 % len(ENCODINGS)], invalid)

    return execute


def _row_seeds(_: Path) -> list[bytes]:
    rows = "".join(json.dumps({"id": i, "text": text}, ensure_ascii=i % 2 == 0) + "\n" for i, text in enumerate(TEXTS))
    pages = '<doc id="1" url="u" title="A &amp; b">\nA & b\n\ntext &lt; more\n</doc>\n' * 2
    seeds = [bytes([drop]) + rows.encode() for drop in (0, 1)] + [b"\2" + pages.encode(), b"\3" + pages.encode()]
    for number, encoding in enumerate(ENCODINGS):
        for kind, text in ((0, rows), (2, pages), (5, "한국어 문장 and 3\n")):
            seeds.append(bytes([8 * number + kind]) + text.encode(encoding, "ignore"))
    return seeds


def _build_rows(rng: Random, seeds: list[bytes]) -> bytes:
    head = bytes([rng.randrange(8 * len(ENCODINGS))])
    if rng.random() < 0.1:
        mark = rng.choice(_ROWS)
        return head + mark * (60_000 // len(mark))
    return head + b"".join(rng.choices(_ROWS, k=rng.randrange(40)))


# ---- tables


def _open_tables(kind: str) -> Any:
    def open_in(folder: Path) -> Execution:
        path = folder / "table"

        def execute(data: bytes) -> str:
            replace_file(path, data)
            return _read(path, kind, "utf-8", "drop" if len(data) % 2 else "error")

        return execute

    return open_in


def _tables() -> list[pa.Table]:
    texts = pa.array(TEXTS * 2, pa.string())
    types = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string()))
    return [pa.table({"id": pa.array(range(10)), "text": texts.cast(type_)}) for type_ in types]


def _parquet_seeds(_: Path) -> list[bytes]:
    seeds = []
    for number, table in enumerate(_tables()):
        for options in ({"compression": "snappy"}, {"compression": "zstd", "data_page_version": "2.0"}):
            sink = io.BytesIO()
            pq.write_table(table, sink, row_group_size=4, use_dictionary=number % 2 == 0, **options)
            seeds.append(sink.getvalue())
    return seeds


def _arrow_seeds(_: Path) -> list[bytes]:
    seeds = []
    for table in _tables():
        for compression in (None, "lz4", "zstd"):
            for open_writer in (pa.ipc.new_file, pa.ipc.new_stream):
                sink = io.BytesIO()
                options = pa.ipc.IpcWriteOptions(compression=compression)
                with open_writer(sink, table.schema, options=options) as writer:
                    writer.write_table(table, max_chunksize=4)
                seeds.append(sink.getvalue())
    return seeds


_NUMBERS = tuple(value.to_bytes(8, "little", signed=True) for value in (-1, 1 << 20, 1 << 40, (1 << 63) - 1))
READERS = (
    Reader("rows", "JSONL, WikiExtractor's pages, ten encodings", _open_rows, _row_seeds, _ROWS, _build_rows),
    Reader(
        *("parquet", "corpora in Parquet", _open_tables("parquet"), _parquet_seeds, (b"PAR1", *_NUMBERS)),
        memory_bytes=1 << 33,  # a page may say that it unpacks to 2 GiB
    ),
    Reader(
        *("arrow", "corpora in Arrow files and streams", _open_tables("arrow"), _arrow_seeds, (b"ARROW1", *_NUMBERS)),
        memory_bytes=1 << 33,  # and a buffer to 1 GiB
    ),
)
