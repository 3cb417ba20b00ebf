"""The first line of word2vec's two formats, `V d`, compared with the file's size."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wordlab.formats import text_lines
from wordlab.formats.contents import MAX_DIM, MappedFile

HEADER = re.compile(rb"[ \t]*(\d{1,30})[ \t]+(\d{1,30})[ \t]*\r?\n")
HEADER_BYTES = 128


@dataclass(frozen=True)
class Header:
    """The first line of a file, and what can be told from it."""

    num_words: int
    dim: int
    start: int
    """Offset of the first byte after it."""


def has_header(file: MappedFile) -> bool:
    """Whether the file begins as word2vec's formats do."""
    return HEADER.match(file.data[:HEADER_BYTES]) is not None


def read_header(file: MappedFile) -> Header:
    """The header, compared with the file's size, so that nothing is allocated that the file cannot fill."""
    file, match = file.taken_for("word2vec's text or binary format"), HEADER.match(file.data[:HEADER_BYTES])
    if match is None:
        shown = file.data[:HEADER_BYTES].splitlines()[0]
        raise file.damaged(f"its first line is {shown!r}, not a number of words and one of dimensions")
    header = Header(int(match[1]), int(match[2]), match.end())
    promises = f"its first line promises {header.num_words} words of {header.dim} dimensions"
    if header.num_words == 0 or header.dim == 0:
        raise file.damaged(promises)
    least = header.num_words * (2 * header.dim + 1)  # text of one-digit numbers, without the last newline
    if len(file) - header.start < least:
        raise file.damaged(f"{promises}, which take {least} bytes at least, but {len(file) - header.start} follow")
    if header.dim > MAX_DIM:
        raise file.damaged(f"its first line promises {header.dim} dimensions, but {MAX_DIM} are the most that are read")
    return header


def is_text(file: MappedFile) -> bool:
    """Whether numbers are written in digits: the line after the header is a word and numbers.

    How many there are may differ from the header's, which is told later. Raises ArtifactError as `read_header`.
    """
    header = read_header(file)
    return text_lines.is_word_and_numbers(text_lines.first_line(file, header.start, header.dim))
