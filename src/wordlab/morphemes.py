"""Tokenizer `kiwi`: morphemes of Korean text, found by Kiwi (kiwipiepy, extra `korean`).

A morpheme is written as Kiwi writes it: 갔다 is 가, 었, 다. What holds no letter and no digit is left out, as the
tokenizer `words` leaves it out.
The result depends on the versions of kiwipiepy and its model, which the manifest names.
"""

from __future__ import annotations

import functools
import importlib.metadata
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.errors import ConfigError
from wordlab.sections.tokenize import TokenizeConfig
from wordlab.tokencount import split_sentences
from wordlab.tokenizers import character_classes

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

PACKAGES = ("kiwipiepy", "kiwipiepy_model")
ANALYZED_CHARACTERS = 4096
"""A longer sentence is analyzed in parts, cut at white space: Kiwi's memory grows with what it sees at once."""


def kiwi_versions() -> dict[str, str]:
    """Versions of Kiwi and of its model. Raises ConfigError where one is not installed."""
    try:
        return {name: importlib.metadata.version(name) for name in PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(_missing_message(str(error.name))) from None


@functools.cache
def load_kiwi() -> Kiwi:
    """Kiwi with its dictionary, some 300 MB, once in a process. Raises ConfigError where it is not installed."""
    try:
        from kiwipiepy import Kiwi
    except ModuleNotFoundError as error:
        raise ConfigError(_missing_message(str(error.name))) from None
    return Kiwi(num_workers=1)


def _missing_message(package: str) -> str:
    return (
        f"tokenize.tokenizer is kiwi, but the package {package} is not installed. Install it: "
        "pip install -c constraints.txt -e '.[korean]'. Or choose another tokenizer in params.yaml"
    )


def count_morphemes(
    text: bytes, config: TokenizeConfig
) -> tuple[NDArray[np.int32], NDArray[np.int64], pa.LargeStringArray]:
    """Split text into sentences of morphemes: local ids, offsets of the sentences, words in order of first use."""
    spans = split_sentences(text, character_classes("kiwi", config.sentences)).tolist()
    sentences = (text[start:stop].decode() for start, stop in spans)
    number: dict[str, int] = {}
    ids: list[NDArray[np.int32]] = []
    lengths = [0]
    for words in morphemes(sentences, config.lowercase):
        if words:
            ids.append(np.array([number.setdefault(word, len(number)) for word in words], dtype=np.int32))
            lengths.append(len(words))
    found = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    return found, np.cumsum(lengths, dtype=np.int64), pa.array(list(number), pa.large_string())


def morphemes(sentences: Iterable[str], lowercase: bool) -> Iterator[list[str]]:
    """The morphemes of each sentence, in the form in which they are counted."""
    kiwi = load_kiwi()
    form = functools.lru_cache(1 << 16)(functools.partial(_counted_form, lowercase=lowercase))
    for sentence in sentences:
        parts = _parts(unicodedata.normalize("NFC", sentence))
        tokens: list[Any] = [token for part in parts for token in kiwi.tokenize(part, compatible_jamo=True)]
        yield [word for token in tokens if (word := form(token.form))]


def _counted_form(morpheme: str, lowercase: bool) -> str:
    """NFC, lower-cased if so wished, white space inside of a name as _; empty where it is no word."""
    if not any(unicodedata.category(character)[0] in "LN" for character in morpheme):
        return ""
    joined = "_".join(unicodedata.normalize("NFC", morpheme).split())
    return unicodedata.normalize("NFC", joined.lower()) if lowercase else joined


def _parts(sentence: str) -> Iterator[str]:
    start = 0
    while len(sentence) - start > ANALYZED_CHARACTERS:
        stop = sentence.rfind(" ", start + 1, start + ANALYZED_CHARACTERS)
        stop = stop if stop > start else start + ANALYZED_CHARACTERS
        yield sentence[start:stop]
        start = stop
    yield sentence[start:]
