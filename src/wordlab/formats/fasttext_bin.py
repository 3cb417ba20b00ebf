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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.errors import QueryError
from wordlab.formats.contents import BLOCK_NUMBERS, MAX_DIM, Contents, Description, MappedFile, row_blocks, writing
from wordlab.formats.fasttext_args import ARGS, CBOW, SKIPGRAM, SUPERVISED, Args, of_contents, to_config
from wordlab.formats.named_arrays import MAX_N
from wordlab.machine import require_memory

if TYPE_CHECKING:
    from wordlab.subword_vectors import SubwordVectors

MAGIC = 793712314
VERSIONS = (11, 12)
END_OF_SENTENCE = "</s>"
WORDS_AT_A_TIME = 1 << 16
COMPOSED_AT_A_TIME = 1 << 13
"""Words whose entries are written, and whose rows of n-grams are held at once."""
_START = struct.Struct("<ii")
_DICTIONARY = struct.Struct("<3i2q")
_ENTRY = struct.Struct("<qb")
_MATRIX = struct.Struct("<?qq")
_NO_PRUNING = -1


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


def save(path: Path, contents: Contents) -> None:
    """Write a model that fastText and gensim load. Raises QueryError for what the format cannot hold."""
    _refuse_unwritable(path, contents)
    num_words, dim = contents.vectors.shape
    args = of_contents(contents)
    counts = np.ones(num_words, np.int64) if contents.counts is None else np.asarray(contents.counts, np.int64)
    used = num_words if contents.subwords is None else num_words + len(contents.subwords.buckets)
    with writing(path, contents.words.nbytes + 9 * num_words + 4 * dim * (used + num_words)) as file:
        file.write(_START.pack(MAGIC, VERSIONS[-1]) + args.pack())
        file.write(_DICTIONARY.pack(num_words, num_words, 0, int(counts.sum()), _NO_PRUNING))
        file.writelines(_entries(contents.words, counts))
        file.write(_MATRIX.pack(False, num_words + args.bucket, dim))
        _write_rows(file, _own_rows(contents))
        if contents.subwords is not None:
            _write_buckets(file, contents.subwords, args)
        file.write(_MATRIX.pack(False, num_words, dim))
        if contents.output_vectors is not None:
            _write_rows(file, contents.output_vectors)
        else:
            file.truncate(file.seek(4 * num_words * dim, 1))


# ---- reading


def _read_layout(file: MappedFile) -> _Layout:
    """Parameters and sizes, as far as the beginning tells. Raises ArtifactError."""
    (_, version), position = _unpacked(file, _START, 0)
    if version not in VERSIONS:
        raise file.damaged(f"it has version {version}; known here are {' and '.join(map(str, VERSIONS))}")
    values, position = _unpacked(file, ARGS, position)
    args = Args(*values)
    (size, num_words, num_labels, _, pruned), position = _unpacked(file, _DICTIONARY, position)
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
    least = num_words * (1 + _ENTRY.size + 8 * args.dim) + 4 * args.bucket * args.dim
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
        if zero < 0 or zero + 1 + _ENTRY.size > end:
            raise file.damaged(f"it ends within word {row + 1} of {layout.num_words}")
        words.append(data[position:zero])
        counts[row], kind = _ENTRY.unpack_from(data, zero + 1)
        if kind != 0 or counts[row] < 0:
            raise file.damaged(f"entry {row + 1} has type {kind} and count {counts[row]}, which no word has")
        position = zero + 1 + _ENTRY.size
    try:
        return pa.array(words, pa.large_binary()).cast(pa.large_string()), counts, position
    except pa.ArrowInvalid as error:
        raise file.damaged(f"a word in it is not UTF-8 ({error})") from None


def _read_matrix(
    file: MappedFile, position: int, num_rows: int, dim: int, which: str
) -> tuple[NDArray[np.float32], int]:
    """A matrix, which stays in the file, and the place behind it."""
    (quantised, rows, columns), position = _unpacked(file, _MATRIX, position)
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
    end = _end_of_sentence(words)
    if end is not None:
        vectors[end] = subwords.word_rows[end]
    return vectors


def _end_of_sentence(words: pa.LargeStringArray) -> int | None:
    """Row of the word `</s>`."""
    row = pc.index(words, pa.scalar(END_OF_SENTENCE, pa.large_string())).as_py()
    return None if row < 0 else row


# ---- writing


def _refuse_unwritable(path: Path, contents: Contents) -> None:
    """Raise QueryError for words that a dictionary cannot hold, and for n-grams that fastText does not know."""
    words = contents.words
    if contents.subwords is not None and contents.subwords.ngrams.units != "characters":
        raise QueryError(
            f"{path} was not written: fastText's format knows n-grams of characters alone, and this model's are of "
            f"{contents.subwords.ngrams.units}. Use the format safetensors or numpy, which hold all of it, or text for "
            "the vectors of known words."
        )
    odd = pc.or_(pc.equal(words, ""), pc.match_substring(words, "\0"))
    if pc.any(odd).as_py():
        row = pc.index(odd, True).as_py()
        raise QueryError(
            f"{path} was not written: fastText's format cannot hold an empty word or one with a zero byte in it, and "
            f"word {row} is {words[row].as_py()!r}."
        )
    distinct = pc.count_distinct(words).as_py()
    if distinct < len(words):
        raise QueryError(
            f"{path} was not written: {len(words) - distinct} words are listed more than once, of which fastText would "
            "take the last and gensim none."
        )


def _entries(words: pa.LargeStringArray, counts: NDArray[np.int64]) -> Iterator[bytes]:
    """The dictionary, some thousand words at a time."""
    for start in range(0, len(words), WORDS_AT_A_TIME):
        part = words.slice(start, WORDS_AT_A_TIME).cast(pa.large_binary()).to_pylist()
        yield b"".join(
            b"%b\0%b" % (word, _ENTRY.pack(int(count), 0)) for word, count in zip(part, counts[start:], strict=False)
        )


def _own_rows(contents: Contents) -> NDArray[np.float32]:
    """The words' own rows, shape (V, dim). As fastText gives `</s>` no n-grams, its row is its vector."""
    if contents.subwords is None:
        return contents.vectors
    end = _end_of_sentence(contents.words)
    if end is None:
        return contents.subwords.word_rows
    rows = np.array(contents.subwords.word_rows)
    rows[end] = contents.vectors[end]
    return rows


def _write_rows(file: IO[bytes], rows: NDArray[np.float32]) -> None:
    for _, block in row_blocks(rows):
        file.write(block.data.cast("B"))


def _write_buckets(file: IO[bytes], subwords: SubwordVectors, args: Args) -> None:
    """Rows of all buckets, some megabytes at a time; where no bucket is used, a hole is left in the file."""
    step = max(1, BLOCK_NUMBERS // args.dim)
    borders = np.searchsorted(subwords.buckets, np.arange(0, args.bucket + step, step))
    for start, low, high in zip(range(0, args.bucket, step), borders[:-1], borders[1:], strict=True):
        size = min(step, args.bucket - start)
        if low == high:
            file.seek(4 * size * args.dim, 1)
            continue
        block = np.zeros((size, args.dim), "<f4")
        block[subwords.buckets[low:high] - start] = subwords.rows[low:high]
        file.write(block.data.cast("B"))
