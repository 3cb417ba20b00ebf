"""GloVe's text format: a line a word, the word and its numbers separated by single spaces, and no header.

Nothing in the file says how many words there are or where it was cut between two lines. Words with spaces in them,
of which GloVe's file of 840 billion tokens has some (`. . .`), are read and put behind all others; none is written.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wordlab.errors import ArtifactError, QueryError
from wordlab.formats import text_lines
from wordlab.formats.contents import MAX_DIM, Contents, Description, MappedFile, refuse_unwritable, writing
from wordlab.formats.word2vec_header import HEADER, HEADER_BYTES
from wordlab.machine import require_memory
from wordlab.shards import is_utf8

COUNTED_BYTES = 1 << 24
"""Of the file, in which line ends are counted at a time."""


def recognises(file: MappedFile) -> bool:
    """Whether the first line is a word and numbers."""
    return text_lines.is_word_and_numbers(text_lines.first_line(file, 0, MAX_DIM))


def describe(file: MappedFile) -> Description:
    """Number of lines, and of numbers in the first. Raises ArtifactError."""
    dim = len(text_lines.first_line(file, 0, MAX_DIM).split(None, MAX_DIM + 1)) - 1
    if dim > MAX_DIM:
        raise file.damaged(f"its first line has more than {MAX_DIM} numbers, which are the most that are read")
    blocks = range(0, len(file), COUNTED_BYTES)
    lines = sum(file.data[start : start + COUNTED_BYTES].count(b"\n") for start in blocks)
    if lines * (2 * dim + 1) > len(file):
        raise file.damaged(f"it has {lines} lines, too many for {len(file)} bytes where the first has {dim} numbers")
    return Description(lines, dim)


def load(file: MappedFile, mmap: bool) -> Contents:
    """Words and vectors. Raises ArtifactError for a damaged file, ResourceError for one too large."""
    described = describe(file)
    require_memory(4 * described.num_words * described.dim, f"the vectors of {file.path}", "a file with fewer words")
    line = text_lines.first_line(file, 0, described.dim)
    spaced = SpacedWords(described.dim)
    try:
        words, vectors = text_lines.parse(file, 0, described.num_words, line)
    except ArtifactError:
        if not is_utf8(cast(bytes, file.data)):  # Arrow could not hand a line over
            raise
        words, vectors = text_lines.parse(file, 0, described.num_words, line, spaced.take)
    if line.startswith(codecs.BOM_UTF8) and len(words):  # at the beginning of a file, Arrow leaves it out
        words = pa.concat_arrays([pa.array(["\ufeff" + words[0].as_py()], pa.large_string()), words[1:]])
    if len(words) + len(spaced.words) != described.num_words:  # more of them where a line ends in \r alone
        raise file.damaged(
            f"it has {described.num_words} lines, but {len(words) + len(spaced.words)} words with numbers"
        )
    if spaced.words:
        words = pa.concat_arrays([words, pa.array(spaced.words, pa.large_string())])
        vectors = np.vstack([vectors, *spaced.vectors])
    return Contents(words, vectors)


class SpacedWords:
    """Lines with more fields than a word and `dim` numbers: the words with spaces in them, and their vectors."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.words: list[str] = []
        self.vectors: list[NDArray[np.float32]] = []

    def take(self, line: str) -> bool:
        """Keep a line and return True; False where it has too many numbers, as where two lines ran together."""
        fields = line.rstrip(" ").split(" ")
        parts, numbers = fields[: -self.dim], fields[-self.dim :]
        if len(parts) < 2:  # spaces at its end, not within its word
            return False
        try:
            vector = pc.cast(pa.array(numbers), pa.float32()).to_numpy()
        except pa.ArrowInvalid:
            return False
        if not all(parts) or any(text_lines.is_word_and_numbers(f"word {part}".encode()) for part in parts):
            return False
        self.words.append(" ".join(parts))
        self.vectors.append(vector)
        return True


def save(path: Path, contents: Contents) -> None:
    """Write words and vectors. Raises QueryError for what would read as something else."""
    words, vectors = contents.words, contents.vectors
    refuse_unwritable(words, path, "GloVe's format")
    lines = text_lines.formatted(words, vectors)
    first = next(lines, b"")
    if HEADER.match(bytes(memoryview(first)[:HEADER_BYTES]) + b"\n"):
        raise QueryError(
            f"{path} was not written: its first line would be {words[0].as_py()!r} and one whole number, which reads "
            "as the header of word2vec's format. Use another format."
        )
    with writing(path, words.nbytes + vectors.size * text_lines.BYTES_A_NUMBER) as file:
        file.write(first)
        file.writelines(lines)
