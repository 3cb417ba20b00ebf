"""Raw bytes -> clean running text: valid UTF-8 without NUL bytes, markup stripped where there is any.

Broken bytes are an error by default, since they mostly mean a wrong encoding. What is dropped is counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from wordlab.documents import as_document, split_documents
from wordlab.errors import CorpusError
from wordlab.korean import korean_text
from wordlab.shards import is_utf8
from wordlab.spans import Span
from wordlab.wikitext import article_texts

InvalidBytes = Literal["error", "drop"]
_LONGEST_CHARACTER = 4
_KOREAN_BYTES = 1 << 20


def normalized_text(
    spans: Sequence[Span], invalid_bytes: InvalidBytes, is_korean: bool = False, by_document: bool = False
) -> tuple[bytes, Counter[str]]:
    """Text of a shard as UTF-8, a line end between spans and between articles, and what was dropped, by reason.

    is_korean: whether the rules of `wordlab.korean` come last.   by_document: with an empty line behind each document,
    and nowhere else.

    Raises CorpusError naming file, place and remedy for broken UTF-8 and NUL bytes, unless they are to be dropped.
    """
    dropped: Counter[str] = Counter()
    texts: list[bytes] = []
    for span in spans:
        data = checked_utf8(span, invalid_bytes, dropped)
        if span.cut:
            dropped["cut_pages" if span.dump else "cut_documents" if by_document else "cut_lines"] += 1
        if span.dump is not None:
            articles = article_texts(data, span.dump, dropped)
            texts += (text.encode() for text in articles) if by_document else ["\n".join(articles).encode()]
        else:
            texts += split_documents(data) if by_document else [data]
    if by_document:
        texts = [_korean(text, dropped) for text in texts] if is_korean else texts
        return b"".join(map(as_document, texts)), dropped
    text = b"\n".join(texts) if len(texts) != 1 else texts[0]
    return _korean(text, dropped) if is_korean else text, dropped


def _korean(text: bytes, dropped: Counter[str]) -> bytes:
    """By the rules for Korean, which look at one line at a time, so that no more of it is a string of Python's."""
    parts = []
    start = 0
    while start < len(text):
        stop = text.find(b"\n", start + _KOREAN_BYTES) + 1 or len(text)
        parts.append(korean_text(text[start:stop].decode(), dropped).encode())
        start = stop
    return b"".join(parts)


def checked_utf8(span: Span, invalid_bytes: InvalidBytes, dropped: Counter[str]) -> bytes:
    """The span's bytes if they are UTF-8 without NUL, or what is left of them; `dropped` counts the others.

    A character cut off by the end of the file is always dropped: files cut to a size (enwik8) may end in one.
    """
    data = span.data
    if b"\0" in data:
        data = _without_nul(span, invalid_bytes, dropped)
    if is_utf8(data):
        return data
    try:
        data.decode()
    except UnicodeDecodeError as error:
        cut_off = span.ends_file and error.end == len(data) and error.reason == "unexpected end of data"
        if cut_off:
            dropped["truncated_final_bytes"] += len(data) - error.start
            return data[: error.start]
        if invalid_bytes == "error":
            raise CorpusError(_broken_message(span, error)) from None
        kept = data.decode(errors="ignore").encode()
        dropped["invalid_utf8_bytes"] += len(data) - len(kept)
        return kept
    return data


def _without_nul(span: Span, invalid_bytes: InvalidBytes, dropped: Counter[str]) -> bytes:
    if invalid_bytes == "error":
        found = span.data.index(b"\0")
        raise CorpusError(
            f"{span.path} holds a NUL byte at offset {span.offset + found}, so it is no plain text. If it is UTF-16, "
            "say so: dvc exp run -S download.corpus_format.encoding=utf-16-le. If a few bytes are broken, drop and "
            "count them: dvc exp run -S tokenize.invalid_bytes=drop"
        )
    kept = span.data.replace(b"\0", b"")
    dropped["nul_bytes"] += len(span.data) - len(kept)
    return kept


def _broken_message(span: Span, error: UnicodeDecodeError) -> str:
    found = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.start + _LONGEST_CHARACTER])
    return (
        f"{span.path} is not valid UTF-8: bytes {found} at offset {span.offset + error.start} ({error.reason}). If "
        "it is in another encoding, name that: dvc exp run -S download.corpus_format.encoding=ENCODING. If a few bytes "
        "are broken, drop and count them: dvc exp run -S tokenize.invalid_bytes=drop"
    )
