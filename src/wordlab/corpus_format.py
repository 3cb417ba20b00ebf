"""How an own corpus is stored, and each of its files as one stream of text in UTF-8, whatever that is.

The stages after this one see a file as `open_corpus_text` gives it: documents, or sentences, with a line end between
them. Files of the catalog are text in UTF-8, and go through here without a step more than they need.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from wordlab.artifacts import read_manifest
from wordlab.decompression import open_decompressed, sniff_format
from wordlab.errors import ArtifactError, ConfigError, CorpusError
from wordlab.piece_stream import piece_stream
from wordlab.rawtext import DOWNLOAD
from wordlab.records import json_texts, wikiextractor_texts
from wordlab.remote_files import CorpusPath, RemoteFile, look_at_all
from wordlab.sections.download import CorpusFormatConfig
from wordlab.sections.reading import parse_section
from wordlab.table_columns import table_texts
from wordlab.transcoding import utf8_pieces

TEXT = CorpusFormatConfig(kind="text", field="text", encoding="utf-8")
"""How a corpus of the catalog is stored, unless its row names another format."""
TABLES = ("parquet", "arrow")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_WIKIEXTRACTOR = re.compile(rb'(?:\xef\xbb\xbf)?\s{0,8}<doc id="[^"\n]{0,80}" ')
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_BYTES = 128


def recorded_format(download: Path = DOWNLOAD) -> CorpusFormatConfig:
    """How the corpus is stored, as the download stage recorded it. Raises ArtifactError where the record is damaged."""
    folder = download / "corpus"
    corpus = read_manifest(folder, "download").get("corpus")
    recorded = corpus.get("corpus_format") if isinstance(corpus, dict) else None
    if recorded is None:
        return TEXT
    try:
        parsed: CorpusFormatConfig = parse_section(CorpusFormatConfig, recorded, "corpus_format")
    except ConfigError as error:
        reason = str(error).removeprefix("params.yaml: ")
        raise ArtifactError(f"{folder / 'manifest.json'} is damaged: {reason} Run: dvc repro download") from None
    return parsed


def file_kind(path: CorpusPath, stored: CorpusFormatConfig) -> str:
    """text, jsonl, wikiextractor, parquet or arrow: as named, or with `auto` by the file's name and first bytes.

    Raises CorpusError for a file that cannot be read, or whose name promises another compression.
    """
    if stored.kind != "auto":
        return stored.kind
    name = PurePosixPath(path.name)
    name = name.with_suffix("") if name.suffix.lower() in _PACKED else name
    if kind := _SUFFIXES.get(name.suffix.lower()):
        return kind
    return _remote_kind(path) if isinstance(path, RemoteFile) else _kind_by_head(path)


@functools.cache
def _remote_kind(path: RemoteFile) -> str:
    return _kind_of(path.head()) if sniff_format(path) == "text" else _kind_by_head(path)


def _kind_by_head(path: CorpusPath) -> str:
    with open_decompressed(path, sniff_format(path)) as stream:
        return _kind_of(stream.read(_HEAD_BYTES))


def _kind_of(head: bytes) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1\0\0"):
        return "arrow"
    return "wikiextractor" if _WIKIEXTRACTOR.match(head) else "text"


def look_at_kinds(paths: Sequence[CorpusPath], stored: CorpusFormatConfig) -> None:
    """Look at what files in a store are, many at a time: who asks for one afterwards has the answer at once.

    Raises as `file_kind` does, for the first file for which it does.
    """
    look_at_all(functools.partial(_look_at, stored=stored), paths)


def _look_at(path: CorpusPath, stored: CorpusFormatConfig) -> None:
    sniff_format(path)
    file_kind(path, stored)


def text_factor(path: CorpusPath, stored: CorpusFormatConfig, expansion: int) -> int:
    """How many bytes of text a byte of the file may be; `expansion` where it is compressed, as tables always may be."""
    is_packed = sniff_format(path) != "text" or file_kind(path, stored) in TABLES
    return (expansion if is_packed else 1) * (1 if _is_utf8(stored.encoding) else 2)


def is_plain_text(path: CorpusPath, stored: CorpusFormatConfig) -> bool:
    """Whether the file's bytes, once unpacked, are the text itself. Raises CorpusError."""
    return _is_utf8(stored.encoding) and file_kind(path, stored) == "text"


def open_corpus_text(
    path: CorpusPath,
    stored: CorpusFormatConfig,
    invalid: Literal["error", "drop"],
    dropped: Counter[str],
    threads: int = 1,
    by_document: bool = False,
) -> BinaryIO:
    """The text of one file of the corpus, in UTF-8; `dropped` counts, while it is read, the rows that gave none.

    threads: that unpack it ahead, as for `open_decompressed`.   by_document: rows and pages as `wordlab.documents` has
    them; plain text is what it is.

    Raises CorpusError, here or while reading, where the file cannot be read, is damaged or is in another encoding; and
    unless `invalid` is drop, where a row holds no text. Broken UTF-8 of plain text is left to who reads it.
    """
    kind, compression = file_kind(path, stored), sniff_format(path)
    if kind in TABLES:
        if compression != "text":
            raise CorpusError(
                f"{path} is a table ({kind}) packed with {compression}. Unpack it: {compression} allows no jumps in "
                f"the file, and {kind} has compression of its own."
            )
        return piece_stream(table_texts(path, kind, stored.field, invalid, dropped, by_document))
    stream = open_decompressed(path, compression, threads)
    if _is_utf8(stored.encoding):
        head = stream.peek(2)[:2]  # type: ignore[attr-defined]  # all of them are buffered
        if head in _UTF16_MARKS:
            stream.close()
            raise CorpusError(
                f"{path} begins with {head.hex(' ')}, the byte order mark of UTF-16, but is to be {stored.encoding}. "
                "Name its encoding: dvc exp run -S download.corpus_format.encoding=utf-16"
            )
    else:
        stream = piece_stream(utf8_pieces(stream, path, stored.encoding, invalid, dropped), stream)
    if kind == "jsonl":
        return piece_stream(json_texts(stream, path, stored.field, invalid, dropped, by_document), stream)
    if kind == "wikiextractor":
        return piece_stream(wikiextractor_texts(stream, path, invalid, dropped, by_document), stream)
    return stream


@functools.cache
def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
