"""Lines of a word and its numbers, separated by single spaces: what word2vec's text format and GloVe's are made of.

Numbers are the shortest that give back the same float32. Read as written: a space at the end of a line (word2vec.c and
fastText leave one), \\r\\n, and numbers of any length. Arrow formats a number in 70 ns where Python takes 600, and
parses one in 35; its reader splits at every space and quotes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from wordlab.formats.contents import MAX_DIM, MappedFile, check_words, row_blocks

BYTES_A_NUMBER = 12
"""What a typical number and its space take; to foresee a file's size."""
BLOCK_BYTES = 1 << 23
"""Text parsed at a time; more where a single line needs it."""
LONGEST_WORD = 1 << 20
LONGEST_NUMBER = 64
"""Bytes of these that are looked for in the first line, to tell text from binary."""


def formatted(words: pa.LargeStringArray, vectors: NDArray[np.float32]) -> Iterator[pa.Buffer | bytes]:
    """The lines of all words, some thousands at a time."""
    for start, block in row_blocks(vectors):
        numbers = pc.cast(pa.array(block.reshape(-1)), pa.string())
        block_words = words.slice(start, len(block)).cast(pa.string())
        lines = pc.binary_join_element_wise(block_words, _joined(numbers, block.shape[1], " "), " ")
        yield _joined(lines, len(lines), "\n")[0].as_buffer()
        yield b"\n"


def _joined(strings: pa.StringArray, length: int, separator: str) -> pa.StringArray:
    """Join every `length` strings that follow one another."""
    offsets = pa.array(np.arange(0, len(strings) + 1, length, dtype=np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, strings), separator)


def first_line(file: MappedFile, start: int, most_numbers: int) -> bytes:
    """The line at `start`, without its end; no more of it than a word and so many numbers can take."""
    stop = min(len(file), start + LONGEST_WORD + LONGEST_NUMBER * (most_numbers + 1))
    end = file.data.find(b"\n", start, stop)
    return file.data[start : end if end >= 0 else stop].removesuffix(b"\r")


def is_word_and_numbers(line: bytes) -> bool:
    """Whether a line is a word and at least one number; of many, the first MAX_DIM are looked at."""
    try:
        return len([float(number) for number in line.split(None, MAX_DIM + 1)[1 : MAX_DIM + 1]]) > 0
    except ValueError:
        return False


def parse(
    file: MappedFile, skipped: int, num_words: int, line: bytes, odd_line: Callable[[str], bool] | None = None
) -> tuple[pa.LargeStringArray, NDArray[np.float32]]:
    """Parse all lines but the first `skipped`, block by block into the matrix.

    num_words: lines there may be at most.   line: the first one, which says how many numbers each has.
    odd_line: is shown a line with more fields than that, and says whether to leave it out.
    Returns fewer than `num_words` rows where there are fewer lines. Raises ArtifactError.
    """
    if file.data[len(file) - 1 :] != b"\n":  # a last number that lost its end would still be a number
        raise file.damaged("its last line has no end, so it may have been cut short")
    dim = len(line.split()) - 1
    spare = ["spare"] if line.endswith(b" ") else []
    numbers = [f"v{i}" for i in range(dim)]
    words, vectors, filled = [], np.empty((num_words, dim), np.float32), 0
    try:
        reader = csv.open_csv(
            pa.BufferReader(pa.py_buffer(file.data)),
            csv.ReadOptions(
                skip_rows=skipped,
                column_names=["word", *numbers, *spare],
                block_size=max(BLOCK_BYTES, LONGEST_NUMBER * (dim + 16)),
            ),
            csv.ParseOptions(
                delimiter=" ", quote_char=False, double_quote=False, invalid_row_handler=_handler(odd_line)
            ),
            csv.ConvertOptions(
                column_types={"word": pa.large_string(), "spare": pa.null()} | dict.fromkeys(numbers, pa.float32()),
                null_values=[""],
            ),
        )
        for batch in reader:
            if filled + len(batch) > num_words:
                raise file.damaged(f"more than the {num_words} words follow that its first line promises")
            words.append(batch.column(0))
            for i in range(dim):
                vectors[filled : filled + len(batch), i] = batch.column(i + 1).to_numpy()
            filled += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise file.damaged(f"after row {filled}: {error}") from None
    found = pa.concat_arrays(words or [pa.array([], pa.large_string())])
    check_words(file, found)
    return found, vectors[:filled]


def _handler(odd_line: Callable[[str], bool] | None) -> Any:
    """What Arrow asks about a line with another number of fields than the first."""
    if odd_line is None:
        return None
    return lambda row: "skip" if row.actual_columns > row.expected_columns and odd_line(row.text) else "error"
