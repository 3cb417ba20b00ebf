"""word2vec's two file formats, as word2vec.c and gensim write and read them.

    text     "V d\\n", then a line a word: the word and d decimal numbers, separated by single spaces
    binary   "V d\\n", then for each word: the word, a space, d float32 little endian, and often a newline

Numbers in text are the shortest that give back the same float32. Read as written: a space at the end of a text line
(word2vec.c and fastText leave one) and a missing newline after a binary vector (gensim writes none) are both fine.
Neither format can hold a word with white space in it, so such a word is refused rather than written for others to trip
over. A reader believes no header before it has compared it with the file's size.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from wordlab.artifacts import unwritable_as_error
from wordlab.errors import ArtifactError, QueryError
from wordlab.machine import require_disk, require_memory
from wordlab.shards import string_buffers

BLOCK_NUMBERS = 1 << 20
"""Numbers formatted at a time."""
TEXT_BLOCK_BYTES = 1 << 23
"""Text parsed at a time; more where a single line needs it."""
TEXT_BYTES_A_NUMBER = 12
"""What a typical number and its space take; to foresee a file's size."""
MAX_DIM = 1 << 16
"""Arrow holds about a kilobyte for each column it parses, so a header may not ask for any number of them."""
LONGEST_WORD = 1 << 20
LONGEST_NUMBER = 64
"""Bytes of these that are looked for in the first line, to tell text from binary."""
LONGEST_REASON = 400
"""Arrow shows the value it cannot read, however long."""
HEADER = re.compile(rb"[ \t]*(\d{1,18})[ \t]+(\d{1,18})[ \t]*\r?\n")


@dataclass(frozen=True)
class Header:
    """The first line of a file, and what can be told from it."""

    num_words: int
    dim: int
    start: int
    """Offset of the first byte after it."""


def save(path: Path, words: pa.LargeStringArray, vectors: NDArray[np.float32], binary: bool) -> None:
    """Write words and vectors; the file appears when it is whole.

    words: V of them.   vectors: float32, shape (V, d).
    Raises QueryError for a word the format cannot hold, ResourceError if the disk is too full.
    """
    _refuse_unwritable(words, path)
    numbers_bytes = vectors.size * (4 if binary else TEXT_BYTES_A_NUMBER)
    require_disk(words.nbytes + numbers_bytes, path, "another disk")
    temporary = path.with_name(path.name + ".tmp")
    blocks = _binary_blocks(words, vectors) if binary else _text_blocks(words, vectors)
    try:
        with unwritable_as_error(path, again="try again"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(b"%d %d\n" % vectors.shape)
                file.writelines(blocks)
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def load(path: Path) -> tuple[pa.LargeStringArray, NDArray[np.float32]]:
    """Read a text or binary file, as its content shows: words and vectors, float32 of shape (V, d).

    Of a word that is listed twice the first row is kept, with a warning.
    Raises ArtifactError for a truncated or damaged file, ResourceError where the vectors do not fit in memory.
    """
    data = _map(path)
    header = _read_header(path, data)
    require_memory(4 * header.num_words * header.dim, f"the vectors of {path}", "a file with fewer words")
    words, vectors = (_read_text if _is_text(data, header) else _read_binary)(path, data, header)
    if _first_unwritable(words) is not None:
        raise _damaged(path, f"word {_first_unwritable(words)} in it is empty or contains white space")
    return _without_repeats(path, words, vectors)


def describe(path: Path) -> tuple[Header, bool]:
    """A file's header, and whether the file is text, without reading its vectors. Raises ArtifactError."""
    data = _map(path)
    header = _read_header(path, data)
    return header, _is_text(data, header)


def _first_unwritable(words: pa.LargeStringArray) -> int | None:
    """Row of the first word that is empty or has ASCII white space in it, which neither format can hold."""
    offsets, utf8 = string_buffers(words)
    written = utf8[offsets[0] : offsets[-1]]
    spaces = np.flatnonzero((written == ord(" ")) | (written - np.uint8(ord("\t")) < 5)) + offsets[0]  # \t \n \v \f \r
    rows = [*np.flatnonzero(np.diff(offsets) == 0)[:1], *(np.searchsorted(offsets, spaces[:1], side="right") - 1)]
    return int(min(rows)) if rows else None


def _refuse_unwritable(words: pa.LargeStringArray, path: Path) -> None:
    row = _first_unwritable(words)
    if row is not None:
        raise QueryError(
            f"{path} was not written: word2vec's formats cannot hold an empty word or one with white space in it, and "
            f"word {row} is {words[row].as_py()!r}. "
            "Replace the white space in such words, for instance by _, and make an Embeddings of the new words."
        )


def _row_blocks(words: pa.LargeStringArray, vectors: NDArray[np.float32]) -> Iterator[tuple[pa.Array, NDArray]]:
    step = max(1, BLOCK_NUMBERS // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        yield words.slice(start, step), np.ascontiguousarray(vectors[start : start + step], dtype="<f4")


def _text_blocks(words: pa.LargeStringArray, vectors: NDArray[np.float32]) -> Iterator[pa.Buffer | bytes]:
    """Lines of text, some thousands at a time. Arrow formats a number in 70 ns, Python in 600."""
    for block_words, block in _row_blocks(words, vectors):
        numbers = pc.cast(pa.array(block.reshape(-1)), pa.string())
        lines = pc.binary_join_element_wise(block_words.cast(pa.string()), _joined(numbers, block.shape[1], " "), " ")
        yield _joined(lines, len(lines), "\n")[0].as_buffer()
        yield b"\n"


def _joined(strings: pa.StringArray, length: int, separator: str) -> pa.StringArray:
    """Join every `length` strings that follow one another."""
    offsets = pa.array(np.arange(0, len(strings) + 1, length, dtype=np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, strings), separator)


def _binary_blocks(words: pa.LargeStringArray, vectors: NDArray[np.float32]) -> Iterator[bytes]:
    """Records, each with the newline that word2vec.c writes, some thousands at a time."""
    for block_words, block in _row_blocks(words, vectors):
        size, numbers = 4 * block.shape[1], block.tobytes()
        yield b"".join(
            b"%b %b\n" % (word, numbers[row * size : (row + 1) * size])
            for row, word in enumerate(block_words.cast(pa.large_binary()).to_pylist())
        )


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise _damaged(path, "it is empty") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. Check the name and that it is yours.") from None


def _read_header(path: Path, data: mmap.mmap) -> Header:
    """The header, compared with the file's size, so that nothing is allocated that the file cannot fill."""
    match = HEADER.match(data[:64])
    if match is None:
        first_line = data[:64].splitlines()[0]
        raise _damaged(path, f"its first line is {first_line!r}, not a number of words and one of dimensions")
    header = Header(int(match[1]), int(match[2]), match.end())
    if header.num_words == 0 or header.dim == 0:
        raise _damaged(path, f"its first line promises {header.num_words} words of {header.dim} dimensions")
    least = header.num_words * (2 * header.dim + 1)  # text of one-digit numbers, without the last newline
    if len(data) - header.start < least:
        raise _damaged(
            path,
            f"its first line promises {header.num_words} words of {header.dim} dimensions, which take {least} bytes at "
            f"least, but {len(data) - header.start} follow",
        )
    if header.dim > MAX_DIM:
        raise _damaged(
            path, f"its first line promises {header.dim} dimensions, but {MAX_DIM} are the most that are read"
        )
    return header


def _first_line(data: mmap.mmap, header: Header) -> bytes:
    """The line after the header, without its end; no more of it than a word and `dim` numbers can take."""
    stop = min(len(data), header.start + LONGEST_WORD + LONGEST_NUMBER * (header.dim + 1))
    end = data.find(b"\n", header.start, stop)
    return data[header.start : end if end >= 0 else stop].removesuffix(b"\r")


def _is_text(data: mmap.mmap, header: Header) -> bool:
    """Whether the first line is a word and numbers; how many may differ from the header's, which is told later."""
    try:
        numbers = [float(number) for number in _first_line(data, header).split()[1:]]
    except ValueError:
        return False
    return len(numbers) > 0


def _read_text(path: Path, data: mmap.mmap, header: Header) -> tuple[pa.LargeStringArray, NDArray[np.float32]]:
    """Parse lines with Arrow's CSV reader, block by block into the matrix."""
    first_line = _first_line(data, header)
    found = len(first_line.split()) - 1
    if found != header.dim:
        raise _damaged(path, f"its first line promises {header.dim} dimensions, but the first word has {found} numbers")
    if data[len(data) - 1 :] != b"\n":  # a last number that lost its end would still be a number
        raise _damaged(path, "its last line has no end, so it may have been cut short")
    spare = ["spare"] if first_line.endswith(b" ") else []
    numbers = [f"v{i}" for i in range(header.dim)]
    words, vectors, filled = [], np.empty((header.num_words, header.dim), np.float32), 0
    try:
        reader = csv.open_csv(
            pa.BufferReader(pa.py_buffer(data)),
            csv.ReadOptions(
                skip_rows=1,
                column_names=["word", *numbers, *spare],
                block_size=max(TEXT_BLOCK_BYTES, 64 * (header.dim + 16)),
            ),
            csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False),
            csv.ConvertOptions(
                column_types={"word": pa.large_string(), "spare": pa.null()} | dict.fromkeys(numbers, pa.float32()),
                null_values=[""],
            ),
        )
        for batch in reader:
            if filled + len(batch) > header.num_words:
                raise _damaged(path, f"more than the {header.num_words} words follow that its first line promises")
            words.append(batch.column(0))
            for i in range(header.dim):
                vectors[filled : filled + len(batch), i] = batch.column(i + 1).to_numpy()
            filled += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, f"after row {filled}: {str(error)[:LONGEST_REASON]}") from None
    if filled < header.num_words:
        raise _damaged(path, f"its first line promises {header.num_words} words, but {filled} follow")
    return pa.concat_arrays(words), vectors


def _read_binary(path: Path, data: mmap.mmap, header: Header) -> tuple[pa.LargeStringArray, NDArray[np.float32]]:
    """Step from word to word, then copy all vectors at once."""
    size, end, position = 4 * header.dim, len(data), header.start
    words, starts = [], np.empty(header.num_words, np.int64)
    for row in range(header.num_words):
        if data[position : position + 1] == b"\n":
            position += 1
        space = data.find(b" ", position)
        if space < 0 or space + 1 + size > end:
            raise _damaged(path, f"its first line promises {header.num_words} words, but it ends within word {row + 1}")
        words.append(data[position:space])
        starts[row] = space + 1
        position = space + 1 + size
    if data[position:].strip():
        raise _damaged(path, f"{end - position} bytes follow the {header.num_words} words its first line promises")
    try:
        strings = pa.array(words, pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise _damaged(path, f"a word in it is not UTF-8 ({error})") from None
    # One overlapping item of `size` bytes at every offset of the file: indexing copies just the vectors, one by one.
    everywhere = np.ndarray(end - size + 1, dtype=f"V{size}", buffer=data, strides=(1,))
    return strings, everywhere[starts].view("<f4").reshape(header.num_words, header.dim)


def _without_repeats(
    path: Path, words: pa.LargeStringArray, vectors: NDArray[np.float32]
) -> tuple[pa.LargeStringArray, NDArray[np.float32]]:
    distinct = pc.count_distinct(words).as_py()
    if distinct == len(words):
        return words, vectors
    warnings.warn(
        f"{path} lists {len(words) - distinct} words more than once; the first row of each is kept", stacklevel=3
    )
    first = np.unique(pc.index_in(words, value_set=words).to_numpy())
    return words.take(pa.array(first)), vectors[first]


def _damaged(path: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is not a whole file in word2vec's text or binary format: {what}. Export or download it again."
    )
