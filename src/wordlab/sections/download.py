"""Section `download` of params.yaml: what is fetched beside the corpus, and how an own corpus is stored."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

from wordlab.sections.reading import require


@dataclass(frozen=True, kw_only=True)
class CorpusFormatConfig:
    """Section `download.corpus_format` of params.yaml: how the files of an own corpus are stored."""

    kind: Literal["auto", "text", "jsonl", "parquet", "arrow", "wikiextractor"]
    """auto: told of each file by its name and first bytes."""
    field: str
    """What holds the text: a field of jsonl, a column of parquet and arrow."""
    encoding: str
    """Of text, jsonl and wikiextractor: any text encoding of Python's."""

    def __post_init__(self) -> None:
        require(self.field != "", "download.corpus_format.field", self.field, "the name of a field or column")
        wanted = "an encoding that Python knows, such as utf-8, cp949, euc-kr, utf-16 or latin-1"
        require(_is_text_encoding(self.encoding), "download.corpus_format.encoding", self.encoding, wanted)


_NOT_OF_FILES = ("idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")


def _is_text_encoding(name: str) -> bool:
    """Whether bytes become text by it, piece by piece."""
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):  # the latter: a name that cannot be one, with NUL or a half of a surrogate pair
        return False
    is_text = bool(getattr(codec, "_is_text_encoding", True))  # the mark by which bytes.decode refuses rot13 and zlib
    return is_text and codec.incrementaldecoder is not None and codec.name not in _NOT_OF_FILES


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """Section `download` of params.yaml."""

    evaluation_sets: tuple[str, ...]
    """Catalog rows to fetch beside the corpus; one that cannot be had is recorded as absent."""
    corpus_format: CorpusFormatConfig
