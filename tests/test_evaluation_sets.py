"""Readers of evaluation sets: every format as it arrives, and damage named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordlab.errors import ArtifactError
from wordlab.evaluation_sets import Pair, Question, read_evaluation_set

PAIRS = [Pair("Seoul", "Busan", 7.5), Pair("cup", "mug", 9.0)]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "set.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("pairs_tsv", "Seoul\tBusan\t7.5\ncup\tmug\t9\n"),
        ("pairs_tsv", "# a comment\n# Word 1\tWord 2\tHuman\nSeoul\tBusan\t7.50\n\ncup\tmug\t9.0"),
        ("pairs_tsv", "Seoul\tBusan\t7.5\t8\t7\ncup\tmug\t9\t9\t9\t9\t9\n"),
        ("pairs_tsv", "\ufeffSeoul\tBusan\t7.5\r\ncup\tmug\t9\r\n"),
        ("wordsim_csv", "Word 1,Word 2,Human (mean)\r\nSeoul,Busan,7.5\r\ncup,mug,9\r\n"),
        ("wordsim_csv", "\ufeffword 1,word 2,score\nSeoul,Busan,7.5\ncup,mug,9\n"),
        ("simlex_tsv", "word1\tword2\tPOS\tSimLex999\tSD\r\nSeoul\tBusan\tN\t7.5\t1\r\ncup\tmug\tN\t9\t2\r\n"),
        ("simlex_tsv", "POS\tSimLex999\tword2\tword1\nN\t7.5\tBusan\tSeoul\nN\t9\tmug\tcup\n"),
    ],
    ids=["plain", "comments", "more columns", "mark and CRLF", "csv", "csv with mark", "simlex", "simlex reordered"],
)
def test_all_formats_of_pairs_read_the_same(tmp_path: Path, format: str, content: str) -> None:
    assert read_evaluation_set(write(tmp_path, content), format) == PAIRS


def test_questions_are_read_with_their_sections(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff: first part\r\na b c d\r\n\r\n: gram1\r\n  서울 한국 도쿄   일본 \r\n")
    expected = [Question("first part", "a", "b", "c", "d"), Question("gram1", "서울", "한국", "도쿄", "일본")]
    assert read_evaluation_set(path, "questions") == expected


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        ("questions", ": s\na b c d\na b c\n", "line 3, is 'a b c', but must be four words separated by spaces"),
        ("questions", "a b c d\n", "line 1, is 'a b c d', but must be a section's name"),
        ("pairs_tsv", "a\tb\t1\n\na b 2\n", "line 3, is 'a b 2', but must be two words and a number"),
        ("pairs_tsv", "a\tb\tmuch\n", "line 1, is 'a\\tb\\tmuch', but must be two words and a number"),
        ("pairs_tsv", "a\tb\tnan\n", "line 1, is 'a\\tb\\tnan', but must be"),
        ("pairs_tsv", "a\t \t3\n", "line 1, is 'a\\t \\t3', but must be"),
        ("wordsim_csv", "header\na,b\n", "line 2, is 'a,b', but must be two words and a number"),
        (
            "simlex_tsv",
            "a\tb\tA\t3\n",
            "line 1, is 'a\\tb\\tA\\t3', but must be a header with the columns word1, word2",
        ),
        ("pairs_tsv", b"a\tb\t1\n\xff\tb\t1\n", "line 2, is not UTF-8: invalid start byte"),
        ("pairs_tsv", "# nothing else\n", "holds no question and no pair"),
        ("simlex_tsv", "", "line 1, is '', but must be a header"),
        ("word pairs", "a\tb\t1\n", "is of format 'word pairs', which is none of questions, pairs_tsv, wordsim_csv"),
    ],
)
def test_a_damaged_set_is_an_error_with_its_line(
    tmp_path: Path, format: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ArtifactError) as error:
        read_evaluation_set(path, format)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert str(error.value).endswith("Fetch it anew: dvc repro download")


def test_a_missing_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be read: No such file or directory\. Fetch it anew"):
        read_evaluation_set(tmp_path / "none.txt", "questions")
