"""Readers of the evaluation sets: analogy questions and word pairs with human scores; sentences are in `sentence_sets`.

The catalog names one of the formats for every location of a set; all locations of one set parse to the same content.
A line that does not fit is an error with its number: a set that silently lost lines would give a score that looks
right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wordlab.errors import ArtifactError
from wordlab.evaluation_lines import REMEDY, bad_line, lines_of
from wordlab.sentence_sets import (
    Answer,
    Completion,
    SentencePair,
    read_answers,
    read_completions,
    read_korsts,
    read_stsb,
)


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


Item = Question | Pair | SentencePair | Completion | Answer


def read_evaluation_set(path: Path, format: str) -> Sequence[Item]:
    """Read a set in the format the catalog names: one of FORMATS.

    A byte-order mark and CRLF line ends are accepted, empty lines are skipped.
    Raises ArtifactError naming file and line if a line does not fit the format, or nothing is left.
    """
    if format not in FORMATS:
        raise ArtifactError(f"{path} is of format {format!r}, which is none of {', '.join(FORMATS)}. {REMEDY}")
    items: Sequence[Item] = FORMATS[format](path)
    if not items:
        raise ArtifactError(f"{path} holds no question and no pair. {REMEDY}")
    return items


def _read_questions(path: Path) -> list[Question]:
    """word2vec's format: `: name` opens a section, every other line has four words."""
    section, questions = None, []
    for number, line in lines_of(path):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        words = line.split()
        if section is None:
            raise bad_line(path, number, line, "a section's name (': capital-world') before the first question")
        if len(words) != 4:
            raise bad_line(path, number, line, "four words separated by spaces")
        questions.append(Question(section, *words))
    return questions


def _read_pairs_tsv(path: Path) -> list[Pair]:
    """word<TAB>word<TAB>score; lines with # are comments; further columns (ratings of single people) are left aside."""
    return [
        _pair(path, number, line, line.split("\t"), (0, 1, 2))
        for number, line in lines_of(path)
        if not line.startswith("#")
    ]


def _read_wordsim_csv(path: Path) -> list[Pair]:
    """word,word,score below one header line, as the WordSim-353 collection comes."""
    return [_pair(path, number, line, line.split(","), (0, 1, 2)) for number, line in lines_of(path) if number > 1]


def _read_simlex_tsv(path: Path) -> list[Pair]:
    """SimLex-999's table: columns are found by the names in its header."""
    lines = lines_of(path)
    number, header = next(lines, (1, ""))
    names = header.split("\t")
    wanted = ("word1", "word2", "SimLex999")
    if any(name not in names for name in wanted):
        raise bad_line(path, number, header, f"a header with the columns {', '.join(wanted)}")
    columns = (names.index(wanted[0]), names.index(wanted[1]), names.index(wanted[2]))
    return [_pair(path, number, line, line.split("\t"), columns) for number, line in lines]


def _pair(path: Path, number: int, line: str, fields: list[str], columns: tuple[int, int, int]) -> Pair:
    """One line's fields -> Pair. Raises ArtifactError if a word is empty or the score is no finite number."""
    try:
        first, second, score = (fields[column].strip() for column in columns)
        pair = Pair(first, second, float(score))
    except (IndexError, ValueError):
        raise bad_line(path, number, line, "two words and a number") from None
    if not first or not second or not math.isfinite(pair.score):
        raise bad_line(path, number, line, "two words and a number")
    return pair


FORMATS: dict[str, Callable[[Path], Sequence[Item]]] = {
    "questions": _read_questions,
    "pairs_tsv": _read_pairs_tsv,
    "wordsim_csv": _read_wordsim_csv,
    "simlex_tsv": _read_simlex_tsv,
    "stsb_tsv": read_stsb,
    "korsts_tsv": read_korsts,
    "completion_csv": read_completions,
    "completion_answers_csv": read_answers,
}
"""What the catalog can call a set's format, and its reader."""
