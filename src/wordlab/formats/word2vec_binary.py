"""word2vec's binary format, as word2vec.c and gensim write and read it.

    "V d\\n", then for each word: the word, a space, d float32 little endian, and often a newline

A missing newline after a vector is fine (gensim writes none). The format cannot hold a word with white space in it, so
such a word is refused rather than written for others to trip over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wordlab.formats.contents import (
    Contents,
    Description,
    MappedFile,
    check_words,
    refuse_unwritable,
    row_blocks,
    writing,
)
from wordlab.formats.word2vec_header import has_header, is_text, read_header
from wordlab.machine import require_memory


def recognises(file: MappedFile) -> bool:
    """Whether a file is of this format, as its beginning shows."""
    return has_header(file) and not is_text(file)


def describe(file: MappedFile) -> Description:
    """The header. Raises ArtifactError."""
    header = read_header(file)
    return Description(header.num_words, header.dim)


def load(file: MappedFile, mmap: bool) -> Contents:
    """Step from word to word, then copy all vectors at once. Raises ArtifactError, or ResourceError."""
    header = read_header(file)
    require_memory(4 * header.num_words * header.dim, f"the vectors of {file.path}", "a file with fewer words")
    data, size, end, position = file.data, 4 * header.dim, len(file), header.start
    words, starts = [], np.empty(header.num_words, np.int64)
    for row in range(header.num_words):
        if data[position : position + 1] == b"\n":
            position += 1
        space = data.find(b" ", position)
        if space < 0 or space + 1 + size > end:
            raise file.damaged(f"its first line promises {header.num_words} words, but it ends within word {row + 1}")
        words.append(data[position:space])
        starts[row] = space + 1
        position = space + 1 + size
    if data[position:].strip():
        raise file.damaged(f"{end - position} bytes follow the {header.num_words} words its first line promises")
    try:
        strings = pa.array(words, pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise file.damaged(f"a word in it is not UTF-8 ({error})") from None
    check_words(file, strings)
    # One overlapping item of `size` bytes at every offset of the file: indexing copies just the vectors, one by one.
    everywhere = np.ndarray(end - size + 1, dtype=f"V{size}", buffer=data, strides=(1,))
    return Contents(strings, everywhere[starts].view("<f4").reshape(header.num_words, header.dim))


def save(path: Path, contents: Contents) -> None:
    """Write words and vectors. Raises QueryError for a word that the format cannot hold."""
    refuse_unwritable(contents.words, path, "word2vec's formats")
    with writing(path, contents.words.nbytes + 4 * contents.vectors.size) as file:
        file.write(b"%d %d\n" % contents.vectors.shape)
        file.writelines(_records(contents.words, contents.vectors))


def _records(words: pa.LargeStringArray, vectors: NDArray[np.float32]) -> Iterator[bytes]:
    """Records, each with the newline that word2vec.c writes, some thousands at a time."""
    for start, block in row_blocks(vectors):
        size, numbers = 4 * block.shape[1], block.tobytes()
        yield b"".join(
            b"%b %b\n" % (word, numbers[row * size : (row + 1) * size])
            for row, word in enumerate(words.slice(start, len(block)).cast(pa.large_binary()).to_pylist())
        )
