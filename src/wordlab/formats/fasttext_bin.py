"""fastText's binary format, as fastText 0.9 writes and reads it (`Args`, `Dictionary`, `DenseMatrix`: save and load).

    int32    793712314, then the version: 12, or 11, which has the same form
    args     12 int32 and a float64: `Args`
    dictionary   int32 entries, words, labels; int64 tokens, size of an index for pruned models (-1: none);
             then for each word its bytes, a zero, its count (int64) and its type (int8: 0 word, 1 label)
    bool     whether the matrix is quantised, then the input matrix: int64 rows, int64 columns, float32 row by row;
             the words' own rows, then one row for each bucket of n-grams
    bool     the same of the output matrix, then that

The vector of a word is the mean of its own row and of the rows of its n-grams' buckets; of a word that is not in the
dictionary, the mean of the latter. fastText gives the word `</s>` its own row alone; gensim gives it n-grams as well.

Read are models of single words (skipgram, cbow). Bucket rows stay in the file, which must not be changed while the
vectors are in use. Written, buckets that are not used have rows of zeros, and so has the output matrix where it is not
known: vectors are the same, only training on would begin anew. Without counts every word counts once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.formats.contents import MAX_DIM, Contents, Description, MappedFile
from wordlab.formats.fasttext_parts import (
    ARGS,
    CBOW,
    DICTIONARY,
    ENTRY,
    MAGIC,
    MATRIX,
    SKIPGRAM,
    START,
    SUPERVISED,
    VERSIONS,
    Args,
    end_of_sentence,
    to_config,
)
from wordlab.formats.fasttext_writer import save
from wordlab.formats.named_arrays import MAX_N
from wordlab.machine import require_memory

if TYPE_CHECKING:
    from wordlab.subword_vectors import SubwordVectors

__all__ = ["describe", "load", "recognises", "save"]

COMPOSED_AT_A_TIME = 1 << 13
"""Words whose rows of n-grams are held at once."""


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a file lie."""

    args: Args
    num_words: int
    entries: int
    """Offset of the first entry of the dictionary."""


def recognises(file: MappedFile) -> bool:
    """Whether the file begins with fastText's number."""
    return file.data[:4] == struct.pack("<i", MAGIC)


def describe(file: MappedFile) -> Description:
    """What the parameters say. Raises ArtifactError."""
    layout = _read_layout(file)
    args = layout.args
    more = {"model": "skipgram" if args.model == SKIPGRAM else "cbow"}
    if args.maxn:
        more["n-grams"] = f"{args.minn} to {args.maxn} characters, {args.bucket:,} buckets"
    return Description(layout.num_words, args.dim, more)


def load(file: MappedFile, mmap: bool) -> Contents:
    """Words, vectors, counts, rows of n-grams, output vectors and parameters.

    Raises ArtifactError for a damaged, supervised or quantised file, ResourceError if memory is too small.
    """
    layout = _read_layout(file)
    args, num_words = layout.args, layout.num_words
    require_memory(4 * num_words * args.dim, f"the vectors of {file.path}", "a file with fewer words")
    words, counts, position = _read_entries(file, layout)
    rows, position = _read_matrix(file, position, num_words + args.bucket, args.dim, "input")
    output, position = _read_matrix(file, position, num_words, args.dim, "output")
    if position != len(file):
        raise file.damaged(f"{len(file) - position} bytes follow its output matrix")
    subwords = _subwords(args, rows, num_words)
    vectors = np.array(rows) if subwords is None else _composed(words, subwords)
    return Contents(words, vectors, counts, output, subwords, to_config(args))


def _read_layout(file: MappedFile) -> _Layout:
    """Parameters and sizes, as far as the beginning tells. Raises ArtifactError."""
    (_, version), position = _unpacked(file, START, 0)
    if version not in VERSIONS:
        raise file.damaged(f"it has version {version}; known here are {' and '.join(map(str, VERSIONS))}")
    values, position = _unpacked(file, ARGS, position)
    args = Args(*values)
    (size, num_words, num_labels, _, pruned), position = _unpacked(file, DICTIONARY, position)
    if args.model == SUPERVISED or num_labels:
        raise file.damaged(
            "it is a supervised model, a classifier of texts, and not one of single words. Its vectors as text are "
            "read (fasttext print-word-vectors)"
        )
    if args.model not in (CBOW, SKIPGRAM) or size != num_words:
        raise file.damaged(f"it is of model {args.model} and has {size} entries, of which {num_words} are words")
    if pruned > 0:
        raise file.damaged("it is pruned, as quantised models are, which are not read")
    if num_words < 1 or not 1 <= args.dim <= MAX_DIM or args.bucket < 0:
        raise file.damaged(f"it promises {num_words} words of {args.dim} dimensions and {args.bucket} buckets")
    if args.maxn > MAX_N:
        raise file.damaged(f"it has n-grams of up to {args.maxn} characters; {MAX_N} are the most that are read")
    least = num_words * (1 + ENTRY.size + 8 * args.dim) + 4 * args.bucket * args.dim
    if least > len(file) - position:
        raise file.damaged(
            f"it promises {num_words} words of {args.dim} dimensions and {args.bucket} buckets, which take {least} "
            f"bytes at least, but {len(file) - position} follow"
        )
    if args.bucket == 0 or args.maxn < max(args.minn, 1):  # no n-grams, whatever it says beside
        return _Layout(replace(args, minn=0, maxn=0), num_words, position)
    return _Layout(replace(args, minn=max(args.minn, 1)), num_words, position)


def _unpacked(file: MappedFile, form: struct.Struct, position: int) -> tuple[tuple[Any, ...], int]:
    """Numbers at a place of the file, and the place behind them."""
    if position + form.size > len(file):
        raise file.damaged(f"it ends at byte {len(file)}, where more was promised")
    return form.unpack_from(file.data, position), position + form.size


def _read_entries(file: MappedFile, layout: _Layout) -> tuple[pa.LargeStringArray, NDArray[np.int64], int]:
    """Words, counts, and the place behind them."""
    data, position, end = file.data, layout.entries, len(file)
    words, counts = [], np.empty(layout.num_words, np.int64)
    for row in range(layout.num_words):
        zero = data.find(b"\0", position)
        if zero < 0 or zero + 1 + ENTRY.size > end:
            raise file.damaged(f"it ends within word {row + 1} of {layout.num_words}")
        words.append(data[position:zero])
        counts[row], kind = ENTRY.unpack_from(data, zero + 1)
        if kind != 0 or counts[row] < 0:
            raise file.damaged(f"entry {row + 1} has type {kind} and count {counts[row]}, which no word has")
        position = zero + 1 + ENTRY.size
    try:
        return pa.array(words, pa.large_binary()).cast(pa.large_string()), counts, position
    except pa.ArrowInvalid as error:
        raise file.damaged(f"a word in it is not UTF-8 ({error})") from None


def _read_matrix(
    file: MappedFile, position: int, num_rows: int, dim: int, which: str
) -> tuple[NDArray[np.float32], int]:
    """A matrix, which stays in the file, and the place behind it."""
    (quantised, rows, columns), position = _unpacked(file, MATRIX, position)
    if quantised:
        raise file.damaged(f"its {which} matrix is quantised (.ftz), which is not read. Use the model before that")
    if (rows, columns) != (num_rows, dim):
        raise file.damaged(f"its {which} matrix has {rows} rows of {columns}, not {num_rows} of {dim}")
    if 4 * num_rows * dim > len(file) - position:
        raise file.damaged(f"its {which} matrix takes {4 * num_rows * dim} bytes, but {len(file) - position} follow")
    numbers = np.frombuffer(file.data, "<f4", num_rows * dim, position)
    return numbers.reshape(num_rows, dim), position + numbers.nbytes


def _subwords(args: Args, rows: NDArray[np.float32], num_words: int) -> SubwordVectors | None:
    """Rows of words and of all buckets; None in a model without n-grams."""
    if not args.maxn:
        return None
    from wordlab.ngrams import Ngrams  # compiled functions, which not every file needs
    from wordlab.subword_vectors import SubwordVectors

    return SubwordVectors(
        ngrams=Ngrams(args.minn, args.maxn, args.bucket),
        word_rows=rows[:num_words],
        buckets=np.arange(args.bucket, dtype=np.int32),
        rows=rows[num_words:],
    )


def _composed(words: pa.LargeStringArray, subwords: SubwordVectors) -> NDArray[np.float32]:
    """Vectors of all words; `</s>` has its own row alone."""
    from wordlab.subwords import mean_vectors

    vectors = np.empty(subwords.word_rows.shape, np.float32)
    for start in range(0, len(words), COMPOSED_AT_A_TIME):
        part = slice(start, start + COMPOSED_AT_A_TIME)
        bags = subwords.ngrams.of_words(words.slice(start, COMPOSED_AT_A_TIME))
        used, row = np.unique(bags.bucket, return_inverse=True)
        # Copies: in the file, rows begin anywhere, for which compiled functions would have to be compiled anew.
        own, ngrams = np.array(subwords.word_rows[part]), subwords.rows[used]
        vectors[part] = mean_vectors(bags.start, row.astype(np.int32), own, ngrams)
    end = end_of_sentence(words)
    if end is not None:
        vectors[end] = subwords.word_rows[end]
    return vectors
