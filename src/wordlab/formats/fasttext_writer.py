"""Writing fastText's .bin: what is known of a model, and zeros for the rest (`fasttext_bin` has the format)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.errors import QueryError
from wordlab.formats.contents import BLOCK_NUMBERS, Contents, row_blocks, writing
from wordlab.formats.fasttext_parts import (
    DICTIONARY,
    ENTRY,
    MAGIC,
    MATRIX,
    START,
    VERSIONS,
    Args,
    end_of_sentence,
    of_contents,
)

if TYPE_CHECKING:
    from wordlab.subword_vectors import SubwordVectors

WORDS_AT_A_TIME = 1 << 16
_NO_PRUNING = -1


def save(path: Path, contents: Contents) -> None:
    """Write a model that fastText and gensim load. Raises QueryError for what the format cannot hold."""
    _refuse_unwritable(path, contents)
    num_words, dim = contents.vectors.shape
    args = of_contents(contents)
    counts = np.ones(num_words, np.int64) if contents.counts is None else np.asarray(contents.counts, np.int64)
    used = num_words if contents.subwords is None else num_words + len(contents.subwords.buckets)
    with writing(path, contents.words.nbytes + 9 * num_words + 4 * dim * (used + num_words)) as file:
        file.write(START.pack(MAGIC, VERSIONS[-1]) + args.pack())
        file.write(DICTIONARY.pack(num_words, num_words, 0, int(counts.sum()), _NO_PRUNING))
        file.writelines(_entries(contents.words, counts))
        file.write(MATRIX.pack(False, num_words + args.bucket, dim))
        _write_rows(file, _own_rows(contents))
        if contents.subwords is not None:
            _write_buckets(file, contents.subwords, args)
        file.write(MATRIX.pack(False, num_words, dim))
        output = contents.output_vectors
        if output is not None and output.shape == contents.vectors.shape:
            _write_rows(file, output)
        else:
            file.truncate(file.seek(4 * num_words * dim, 1))


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
            b"%b\0%b" % (word, ENTRY.pack(int(count), 0)) for word, count in zip(part, counts[start:], strict=False)
        )


def _own_rows(contents: Contents) -> NDArray[np.float32]:
    """The words' own rows, shape (V, dim). As fastText gives `</s>` no n-grams, its row is its vector."""
    if contents.subwords is None:
        return contents.vectors
    end = end_of_sentence(contents.words)
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
