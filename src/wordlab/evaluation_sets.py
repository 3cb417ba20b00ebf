"""Readers of the word evaluation sets: analogy questions and word pairs with human scores.

The catalog names one of four formats for every location of a set; all locations of one set parse to the same content.
A line that does not fit is an error with its number: a set that silently lost lines would give a score that looks
right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from wordlab.errors import ArtifactError

REMEDY = "Fetch it anew: dvc repro download"
T = TypeVar("T")


class Question(NamedTuple):
    """`a` is to `b` as `c` is to `d`."""

    section: str
    a: str
    b: str
    c: str
    d: str


class Pair(NamedTuple):
    """Two words and how alike people find them, on any scale: only ranks matter."""

    first: str
    second: str
    score: float


def read_evaluation_set(path: Path, format: str) -> list[Question] | list[Pair]:
    """Read a set in the format the catalog names: `questions`, `pairs_tsv`, `wordsim_csv` or `simlex_tsv`.

    A byte-order mark and CRLF line ends are accepted, empty lines are skipped.
    Raises ArtifactError naming file and line if a line does not fit the format, or nothing is left.
    """
    if format == "questions":
        return _not_empty(path, _read_questions(path))
    readers = {"pairs_tsv": _read_pairs_tsv, "wordsim_csv": _read_wordsim_csv, "simlex_tsv": _read_simlex_tsv}
    if format not in readers:
        known = ", ".join(["questions", *readers])
        raise ArtifactError(f"{path} is of format {format!r}, which is none of {known}. {REMEDY}")
    return _not_empty(path, readers[format](path))


def _read_questions(path: Path) -> list[Question]:
    """word2vec's format: `: name` opens a section, every other line has four words."""
    section, questions = None, []
    for number, line in _lines(path):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        words = line.split()
        if section is None:
            raise _bad_line(path, number, line, "a section's name (': capital-world') before the first question")
        if len(words) != 4:
            raise _bad_line(path, number, line, "four words separated by spaces")
        questions.append(Question(section, *words))
    return questions


def _read_pairs_tsv(path: Path) -> list[Pair]:
    """word<TAB>word<TAB>score; lines with # are comments; further columns (ratings of single people) are left aside."""
    return [
        _pair(path, number, line, line.split("\t"), (0, 1, 2))
        for number, line in _lines(path)
        if not line.startswith("#")
    ]


def _read_wordsim_csv(path: Path) -> list[Pair]:
    """word,word,score below one header line, as the WordSim-353 collection comes."""
    return [_pair(path, number, line, line.split(","), (0, 1, 2)) for number, line in _lines(path) if number > 1]


def _read_simlex_tsv(path: Path) -> list[Pair]:
    """SimLex-999's table: columns are found by the names in its header."""
    lines = _lines(path)
    number, header = next(lines, (1, ""))
    names = header.split("\t")
    wanted = ("word1", "word2", "SimLex999")
    if any(name not in names for name in wanted):
        raise _bad_line(path, number, header, f"a header with the columns {', '.join(wanted)}")
    columns = (names.index(wanted[0]), names.index(wanted[1]), names.index(wanted[2]))
    return [_pair(path, number, line, line.split("\t"), columns) for number, line in lines]


def _pair(path: Path, number: int, line: str, fields: list[str], columns: tuple[int, int, int]) -> Pair:
    """One line's fields -> Pair. Raises ArtifactError if a word is empty or the score is no finite number."""
    try:
        first, second, score = (fields[column].strip() for column in columns)
        pair = Pair(first, second, float(score))
    except (IndexError, ValueError):
        raise _bad_line(path, number, line, "two words and a number") from None
    if not first or not second or not math.isfinite(pair.score):
        raise _bad_line(path, number, line, "two words and a number")
    return pair


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1, without line end and byte-order mark."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}. {REMEDY}") from None
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{path}, line {number}, is not UTF-8: {error.reason}. {REMEDY}") from None
        if text.strip():
            yield number, text


def _not_empty(path: Path, items: list[T]) -> list[T]:
    if not items:
        raise ArtifactError(f"{path} holds no question and no pair. {REMEDY}")
    return items


def _bad_line(path: Path, number: int, line: str, wanted: str) -> ArtifactError:
    return ArtifactError(f"{path}, line {number}, is {line[:80]!r}, but must be {wanted}. {REMEDY}")
