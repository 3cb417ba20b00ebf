"""Vectors and all that belongs to them as arrays with names, for formats that hold such: safetensors and NumPy.

    vectors          float32 (V, dim)   input vectors
    words            uint8              the words in UTF-8, with a newline between each two
    counts           int64 (V,)         occurrences in the corpus, where they are known
    output_vectors   float32 (V, dim)   where the model was loaded with them
    word_rows        float32 (V, dim)   with subwords: the words' own rows,
    ngram_rows       float32 (G, dim)   the rows of the buckets that are used,
    ngram_buckets    int32 (G,)         their numbers, rising,
    ngrams           int64 (4,)         and min_n, max_n, buckets, and 1 for Hangul by letters or 0

In Python, words are `array.tobytes().decode().split("\\n")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.errors import QueryError
from wordlab.formats.contents import MAX_DIM, Contents, Description, MappedFile
from wordlab.machine import require_memory
from wordlab.shards import string_array, string_buffers

if TYPE_CHECKING:
    from wordlab.subword_vectors import SubwordVectors

NEWLINE = 10
FLOATS = ("float32", "float64", "float16")
"""Read as float32."""
_KINDS = {
    "vectors": FLOATS,
    "output_vectors": FLOATS,
    "word_rows": FLOATS,
    "ngram_rows": FLOATS,
    "words": ("uint8",),
    "counts": ("int64",),
    "ngram_buckets": ("int32",),
    "ngrams": ("int64",),
}
SUBWORDS = ("word_rows", "ngram_rows", "ngram_buckets", "ngrams")
UNITS = ("characters", "jamo")
MOST_BUCKETS = 2**31 - 1
MAX_N = 64
"""Longest n-grams, in characters, that a file may ask for: work and memory grow with it."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file: type, shape, and its bytes, which are known to be there."""

    kind: str
    """As NumPy calls it."""
    shape: tuple[int, ...]
    start: int
    stop: int

    def view(self, file: MappedFile) -> NDArray:
        """The array, mapped and read-only."""
        return np.ndarray(self.shape, np.dtype(self.kind).newbyteorder("<"), file.data, self.start)

    @property
    def size(self) -> int:
        """Numbers in it."""
        return int(np.prod(self.shape, dtype=object))


def to_arrays(path: Path, contents: Contents) -> dict[str, NDArray]:
    """What is written. path: for messages. Raises QueryError for a word with a newline in it."""
    arrays: dict[str, NDArray] = {"vectors": contents.vectors, "words": _joined(path, contents.words)}
    if contents.counts is not None:
        arrays["counts"] = np.asarray(contents.counts, np.int64)
    if contents.output_vectors is not None:
        arrays["output_vectors"] = contents.output_vectors
    subwords = contents.subwords
    if subwords is not None:
        ngrams = subwords.ngrams
        arrays["word_rows"], arrays["ngram_rows"] = subwords.word_rows, subwords.rows
        arrays["ngram_buckets"] = np.asarray(subwords.buckets, np.int32)
        arrays["ngrams"] = np.array([ngrams.min_n, ngrams.max_n, ngrams.buckets, UNITS.index(ngrams.units)], np.int64)
    return arrays


def describe(file: MappedFile, places: Mapping[str, Place]) -> Description:
    """Numbers of words and dimensions, and what else there is. Raises ArtifactError."""
    vectors = _checked(file, places)["vectors"]
    return Description(vectors.shape[0], vectors.shape[1], {"arrays": ", ".join(places)})


def from_arrays(file: MappedFile, places: Mapping[str, Place], mmap: bool) -> Contents:
    """What was read. mmap: leave arrays of float32 in the file.

    Raises ArtifactError where arrays are missing or do not fit together, ResourceError if memory is too small.
    """
    known = _checked(file, places)
    num_words = known["vectors"].shape[0]
    if not mmap:
        need = sum(4 * place.size for place in known.values())
        require_memory(need, f"the vectors of {file.path}", "Embeddings.load(path, mmap=True), which maps them instead")
    arrays = {name: _read(place.view(file), mmap) for name, place in known.items()}
    return Contents(
        words=_split(file, arrays["words"], num_words),
        vectors=arrays["vectors"],
        counts=arrays.get("counts"),
        output_vectors=arrays.get("output_vectors"),
        subwords=_subwords(file, arrays) if "ngrams" in arrays else None,
    )


def _checked(file: MappedFile, places: Mapping[str, Place]) -> dict[str, Place]:
    """The arrays that are known here, once they fit together."""
    known = {name: places[name] for name in _KINDS if name in places}
    for name in ("vectors", "words"):
        if name not in known:
            raise file.damaged(f"it has no array {name!r} among {', '.join(list(places)[:20]) or 'none'}")
    for name, place in known.items():
        if place.kind not in _KINDS[name]:
            raise file.damaged(f"its array {name!r} holds {place.kind}, not {' or '.join(_KINDS[name])}")
    shape = known["vectors"].shape
    if len(shape) != 2 or 0 in shape or shape[1] > MAX_DIM:
        raise file.damaged(f"its vectors have shape {shape}, not words and up to {MAX_DIM} dimensions")
    given = [name for name in SUBWORDS if name in known]
    if given and len(given) < len(SUBWORDS):
        raise file.damaged(f"of {', '.join(SUBWORDS)}, which belong together, it has only {', '.join(given)}")
    rows = known["ngram_buckets"].shape if "ngram_buckets" in known else ()
    wanted = {
        "counts": shape[:1],
        "output_vectors": shape,
        "word_rows": shape,
        "ngram_rows": (*rows, shape[1]),
        "ngrams": (4,),
    }
    for name, place in known.items():
        if place.shape != wanted.get(name, place.shape) or (
            name in ("words", "ngram_buckets") and len(place.shape) != 1
        ):
            raise file.damaged(f"its array {name!r} has shape {place.shape}, which does not fit vectors of {shape}")
    return known


def _read(array: NDArray, mmap: bool) -> NDArray:
    """In memory or in the file; float32 for all kinds of floats, and at addresses that a processor likes."""
    kind = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype
    if array.dtype == kind and mmap and array.flags.aligned:
        return array
    with np.errstate(over="ignore"):  # a float64 of 1e300 becomes infinite
        return array.astype(kind)


def _joined(path: Path, words: pa.LargeStringArray) -> NDArray[np.uint8]:
    """UTF-8 of all words, with a newline between each two."""
    offsets, utf8 = string_buffers(words)
    found = np.flatnonzero(utf8[offsets[0] : offsets[-1]] == NEWLINE)
    if len(found):
        row = int(np.searchsorted(offsets, found[0] + offsets[0], side="right")) - 1
        raise QueryError(
            f"{path} was not written: its words are separated by newlines, and word {row} has one: "
            f"{words[row].as_py()!r}. Replace it, and make an Embeddings of the new words."
        )
    breaks = offsets[1:-1] - offsets[0]
    return np.insert(utf8[offsets[0] : offsets[-1]], breaks, NEWLINE)


def _split(file: MappedFile, joined: NDArray[np.uint8], num_words: int) -> pa.LargeStringArray:
    """The inverse. Raises ArtifactError for another number of words, or words that are not UTF-8."""
    ends = np.flatnonzero(joined == NEWLINE)
    if len(ends) + 1 != num_words:
        raise file.damaged(f"it has {len(ends) + 1} words but {num_words} vectors")
    offsets = np.zeros(num_words + 1, np.int64)
    offsets[1:-1] = ends - np.arange(len(ends))
    offsets[-1] = len(joined) - len(ends)
    try:
        return string_array(offsets, joined[joined != NEWLINE])
    except pa.ArrowInvalid as error:
        raise file.damaged(f"a word in it is not UTF-8 ({error})") from None


def _subwords(file: MappedFile, arrays: Mapping[str, NDArray]) -> SubwordVectors:
    """N-grams and their rows. Raises ArtifactError for numbers that cannot be."""
    from wordlab.ngrams import Ngrams  # compiled functions, which not every file needs
    from wordlab.subword_vectors import SubwordVectors

    min_n, max_n, num_buckets, units = (int(number) for number in arrays["ngrams"])
    buckets = arrays["ngram_buckets"]
    if not (1 <= min_n <= max_n <= MAX_N and 1 <= num_buckets <= MOST_BUCKETS and units in (0, 1)):
        raise file.damaged(
            f"its n-grams cannot be: {min_n} to {max_n} characters, {num_buckets} buckets, units {units}"
        )
    if len(buckets) and (buckets[0] < 0 or buckets[-1] >= num_buckets or (np.diff(buckets) <= 0).any()):
        raise file.damaged(f"its ngram_buckets are not rising numbers below {num_buckets}")
    ngrams = Ngrams(min_n, max_n, num_buckets, UNITS[units])
    return SubwordVectors(ngrams=ngrams, word_rows=arrays["word_rows"], buckets=buckets, rows=arrays["ngram_rows"])
