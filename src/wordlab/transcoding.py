"""Text in any encoding that Python knows -> UTF-8, piece by piece.

An encoding is named, never guessed: cp949 read as latin-1 gives words too, none of them Korean.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, Literal

from wordlab.errors import CorpusError
from wordlab.remote_files import CorpusPath

_READ_BYTES = 1 << 20
_LONGEST_CHARACTER = 4
_STRAY = "\ud800"
"""Stands for a byte that was dropped. Half of a surrogate pair is no character, so no text holds one."""
_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
_REMEDY = (
    "If it is in another encoding, name that: dvc exp run -S download.corpus_format.encoding=ENCODING. If a few bytes "
    "are broken, drop and count them: dvc exp run -S tokenize.invalid_bytes=drop"
)


def _mark_stray(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _STRAY * (error.end - error.start), error.end


codecs.register_error("wordlab.stray", _mark_stray)


def utf8_pieces(
    stream: BinaryIO, path: CorpusPath, encoding: str, invalid: Literal["error", "drop"], dropped: Counter[str]
) -> Iterator[bytes]:
    """The stream's text in UTF-8. Bytes that are no text are an error, or left out and counted as `invalid_bytes`.

    A character cut off by the end of the file is always left out, as in UTF-8. path: for messages.
    Raises CorpusError naming the file, the place and the parameter.
    """
    name = codecs.lookup(encoding).name
    decoder = codecs.getincrementaldecoder(encoding)("wordlab.stray" if invalid == "drop" else "strict")
    offset = 0
    while data := stream.read(_READ_BYTES):
        if offset == 0:
            _check_mark(data, path, name, encoding)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data)
        except UnicodeDecodeError as error:
            raise CorpusError(_broken_message(path, encoding, error, offset - pending)) from None
        except UnicodeError as error:  # an escape sequence that does not end, say
            raise CorpusError(f"{path} is not {encoding}: {error}, at offset {offset - pending}. {_REMEDY}") from None
        offset += len(data)
        yield _as_utf8(text, path, encoding, invalid, dropped)
    if pending := len(decoder.getstate()[0]) if offset else 0:
        dropped["truncated_final_bytes"] += pending


def _check_mark(data: bytes, path: CorpusPath, name: str, encoding: str) -> None:
    if name in _MARKS and not data.startswith(_MARKS[name]):
        raise CorpusError(
            f"{path} has no byte order mark, so {encoding} does not say which byte comes first. Name {name}-le or "
            f"{name}-be: dvc exp run -S download.corpus_format.encoding={name}-le"
        )


def _as_utf8(text: str, path: CorpusPath, encoding: str, invalid: str, dropped: Counter[str]) -> bytes:
    if "\0" in text:
        if invalid == "error":
            raise CorpusError(
                f"{path} holds a NUL character when it is read as {encoding}, so it is no plain text. {_REMEDY}"
            )
        dropped["nul_bytes"] += text.count("\0")
        text = text.replace("\0", "")
    try:
        return text.encode()
    except UnicodeEncodeError:  # strays, and lone halves of surrogate pairs that utf-7 lets through
        if invalid == "error":
            raise CorpusError(f"{path} holds half of a surrogate pair, which is no character. {_REMEDY}") from None
    kept = text.encode(errors="ignore")
    dropped["invalid_bytes"] += len(text) - len(kept.decode())
    return kept


def _broken_message(path: CorpusPath, encoding: str, error: UnicodeDecodeError, offset: int) -> str:
    found = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.start + _LONGEST_CHARACTER])
    return f"{path} is not {encoding}: bytes {found} at offset {offset + error.start} ({error.reason}). {_REMEDY}"
