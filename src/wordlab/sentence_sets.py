"""Readers of the evaluation sets of sentences: pairs with human scores, and sentences with a word to choose.

    stsb_tsv                STS Benchmark: no header; genre, file, year, number, score, two sentences, on some lines
                            two columns of sources more; separated by tabs although the files are called .csv
    korsts_tsv              KorSTS: the same seven columns below a header
    completion_csv          MSR Sentence Completion: a header; number, sentence with one _____, five candidates
    completion_answers_csv  the answers to it: a header; number, letter from a to e

Quotation marks in the first two are part of the text; the last two are CSV with quoting.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wordlab.errors import ArtifactError
from wordlab.evaluation_lines import REMEDY, bad_line, lines_of

BLANK = "_____"
LETTERS = ("a", "b", "c", "d", "e")
STS_COLUMNS = ("genre", "filename", "year", "id", "score", "sentence1", "sentence2")
STS_SOURCES = 2
QUESTION_COLUMNS = ("id", "question", *(f"{letter})" for letter in LETTERS))
ANSWER_COLUMNS = ("id", "answer")


class SentencePair(NamedTuple):
    """Two sentences and how alike people find their meaning, from 0 to 5."""

    first: str
    second: str
    score: float


class Completion(NamedTuple):
    """A sentence with a blank between `before` and `after`, and the words that might fill it."""

    number: str
    before: str
    after: str
    candidates: tuple[str, ...]
    """Five, a to e."""
    letter: str = ""
    """Of the right one, once `with_answers` has put it there."""


class Answer(NamedTuple):
    """The right candidate of a question."""

    number: str
    letter: str


def read_stsb(path: Path) -> list[SentencePair]:
    """STS Benchmark. Raises ArtifactError naming the line that does not fit, as all readers here do."""
    return [_sentence_pair(path, number, line, STS_SOURCES) for number, line in lines_of(path)]


def read_korsts(path: Path) -> list[SentencePair]:
    """KorSTS, below its header."""
    lines = lines_of(path)
    number, header = next(lines, (1, ""))
    if tuple(header.split("\t")) != STS_COLUMNS:
        raise bad_line(path, number, header, f"a header with the columns {', '.join(STS_COLUMNS)}")
    return [_sentence_pair(path, number, line, 0) for number, line in lines]


def _sentence_pair(path: Path, number: int, line: str, most_more: int) -> SentencePair:
    fields = line.split("\t")
    wanted = f"{len(STS_COLUMNS)} columns separated by tabs, with a number in the fifth and sentences in the last two"
    if most_more:
        wanted = (
            f"{len(STS_COLUMNS)} or {len(STS_COLUMNS) + most_more} columns separated by tabs: {', '.join(STS_COLUMNS)}"
        )
    if len(fields) not in (len(STS_COLUMNS), len(STS_COLUMNS) + most_more):
        raise bad_line(path, number, line, wanted)
    first, second = fields[5].strip(), fields[6].strip()
    try:
        score = float(fields[4])
    except ValueError:
        raise bad_line(path, number, line, wanted) from None
    if not first or not second or not math.isfinite(score):
        raise bad_line(path, number, line, wanted)
    return SentencePair(first, second, score)


def read_completions(path: Path) -> list[Completion]:
    """The questions of MSR Sentence Completion."""
    questions = []
    for number, fields in _csv_rows(path, QUESTION_COLUMNS):
        before, blank, after = fields[1].partition(BLANK)
        candidates = tuple(field.strip() for field in fields[2:])
        if not blank or BLANK in after or not fields[0] or not all(candidates):
            wanted = f"a number, a sentence with one {BLANK}, and five candidates"
            raise bad_line(path, number, ",".join(fields), wanted)
        questions.append(Completion(fields[0], before, after, candidates))
    return questions


def read_answers(path: Path) -> list[Answer]:
    """The answers of MSR Sentence Completion."""
    answers = []
    for number, fields in _csv_rows(path, ANSWER_COLUMNS):
        if not fields[0] or fields[1] not in LETTERS:
            raise bad_line(path, number, ",".join(fields), "a number and a letter from a to e")
        answers.append(Answer(*fields))
    return answers


def with_answers(path: Path, questions: Sequence[Completion], answers: Sequence[Answer]) -> list[Completion]:
    """The questions with their letters. path: of the answers.

    Raises ArtifactError where they are not the answers to these questions, one by one.
    """
    if [question.number for question in questions] != [answer.number for answer in answers]:
        raise ArtifactError(
            f"{path} holds {len(answers)} answers, which are not those to the {len(questions)} questions, one by one. "
            f"{REMEDY}"
        )
    return [question._replace(letter=answer.letter) for question, answer in zip(questions, answers, strict=True)]


def _csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows below the header, with the number of their line. A field holds no line end."""
    lines = lines_of(path)
    number, header = next(lines, (1, ""))
    if tuple(_csv_fields(path, number, header)) != tuple(columns):
        raise bad_line(path, number, header, f"a header with the columns {', '.join(columns)}")
    for number, line in lines:
        fields = _csv_fields(path, number, line)
        if len(fields) != len(columns):
            raise bad_line(path, number, line, f"{len(columns)} columns separated by commas: {', '.join(columns)}")
        yield number, fields


def _csv_fields(path: Path, number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise bad_line(path, number, line, f"comma-separated values ({error})") from None
