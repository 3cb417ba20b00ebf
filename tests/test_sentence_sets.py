"""Readers of sets of sentences: both layouts of pairs, questions with their answers, and damage named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wordlab.errors import ArtifactError
from wordlab.evaluation import load_evaluation_sets
from wordlab.evaluation_sets import read_evaluation_set
from wordlab.sentence_sets import Answer, Completion, SentencePair

HEADER = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"
QUESTIONS = 'id,question,a),b),c),d),e)\n1,"Take my _____, said ""he"".",hat,coat,"1,200",hand,oath\n'
ANSWERS = "id,answer\n1,d\n"


def write(folder: Path, content: str | bytes, name: str = "set") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_pairs_of_sentences_are_read_with_their_quotation_marks(tmp_path: Path) -> None:
    rows = 'news\tx\t2012\t1\t3.80\t"Go," he said.\tHe said "go\ncaption\tx\t2012\t2\t0\t한 문장.\tAnother one.'
    expected = [SentencePair('"Go," he said.', 'He said "go', 3.8), SentencePair("한 문장.", "Another one.", 0.0)]
    sources = rows.replace("go\n", "go\tsource\thttp://x\r\n")
    assert read_evaluation_set(write(tmp_path, rows), "stsb_tsv") == expected
    assert read_evaluation_set(write(tmp_path, sources + "\n\n"), "stsb_tsv") == expected
    assert read_evaluation_set(write(tmp_path, "\ufeff" + HEADER + rows), "korsts_tsv") == expected


def test_questions_and_answers_are_read_as_quoted_csv(tmp_path: Path) -> None:
    candidates = ("hat", "coat", "1,200", "hand", "oath")
    question = Completion("1", "Take my ", ', said "he".', candidates)
    assert read_evaluation_set(write(tmp_path, QUESTIONS), "completion_csv") == [question]
    assert read_evaluation_set(write(tmp_path, ANSWERS), "completion_answers_csv") == [Answer("1", "d")]


@pytest.mark.parametrize(
    ("format", "content", "message"),
    [
        ("stsb_tsv", "g\tf\ty\t1\t3\ta b\n", "line 1, is 'g\\tf\\ty\\t1\\t3\\ta b', but must be 7 or 9 columns"),
        ("stsb_tsv", "g\tf\ty\t1\t3\ta\tb\tc\n", "but must be 7 or 9 columns separated by tabs: genre, filename, year"),
        ("stsb_tsv", HEADER, "line 1, is 'genre\\tfilename"),
        ("stsb_tsv", "g\tf\ty\t1\tinf\ta\tb\n", "line 1, is 'g\\tf\\ty\\t1\\tinf"),
        ("stsb_tsv", "g\tf\ty\t1\t3\ta\t \n", "line 1, is"),
        ("stsb_tsv", b"g\tf\ty\t1\t3\ta\t\xff\n", "line 1, is not UTF-8"),
        ("stsb_tsv", "\n", "holds no question and no pair"),
        (
            "korsts_tsv",
            "g\tf\ty\t1\t3\ta\tb\n",
            "line 1, is 'g\\tf\\ty\\t1\\t3\\ta\\tb', but must be a header with the",
        ),
        ("korsts_tsv", HEADER + "g\tf\ty\t1\t3\ta\tb\tc\td\n", "line 2, is"),
        ("korsts_tsv", HEADER + "g\tf\ty\t1\thigh\ta\tb\n", "with a number in the fifth and sentences in the last two"),
        ("korsts_tsv", "", "line 1, is '', but must be a header"),
        ("korsts_tsv", HEADER, "holds no question and no pair"),
        (
            "completion_csv",
            "id,question\n",
            "line 1, is 'id,question', but must be a header with the columns id, quest",
        ),
        (
            "completion_csv",
            QUESTIONS + "2,no blank,a,b,c,d,e\n",
            "line 3, is '2,no blank,a,b,c,d,e', but must be a num",
        ),
        ("completion_csv", QUESTIONS + "2,_____ and _____,a,b,c,d,e\n", "a sentence with one _____, and five candidat"),
        ("completion_csv", QUESTIONS + "2,x _____,a,b,c, ,e\n", "line 3, is"),
        (
            "completion_csv",
            QUESTIONS + "2,x _____,a,b,c,d\n",
            "but must be 7 columns separated by commas: id, question",
        ),
        ("completion_csv", QUESTIONS + '2,"x _____,a,b,c,d,e\n', "comma-separated values (unexpected end of data)"),
        (
            "completion_answers_csv",
            "id,answer\n1,f\n",
            "line 2, is '1,f', but must be a number and a letter from a to e",
        ),
        ("completion_answers_csv", "1,a\n", "line 1, is '1,a', but must be a header with the columns id, answer"),
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


def listed_sets(folder: Path, answers: str) -> dict[str, dict[str, str]]:
    write(folder, QUESTIONS, "questions")
    write(folder, answers, "answers")
    return {
        "scc": {"path": "questions", "format": "completion_csv"},
        "scc-answers": {"path": "answers", "format": "completion_answers_csv"},
    }


def test_questions_are_loaded_with_their_answers(tmp_path: Path) -> None:
    sets = load_evaluation_sets(tmp_path, listed_sets(tmp_path, ANSWERS), ["scc"])
    assert [question.letter for question in sets.present["scc"]] == ["d"]  # type: ignore[union-attr]
    assert sets.have_sentences
    other = load_evaluation_sets(tmp_path, listed_sets(tmp_path, ANSWERS.replace(",d", ",e")), ["scc"])
    assert other.fingerprint != sets.fingerprint


def test_answers_alone_are_no_set(tmp_path: Path) -> None:
    sets = load_evaluation_sets(tmp_path, listed_sets(tmp_path, ANSWERS), ["scc-answers"])
    assert (sets.present, sets.absent, sets.have_sentences) == ({}, {}, False)


def test_questions_whose_answers_could_not_be_had_are_absent(tmp_path: Path) -> None:
    listed = listed_sets(tmp_path, ANSWERS) | {"scc-answers": {"absent": "no mirror"}}
    assert load_evaluation_sets(tmp_path, listed, ["scc"]).absent == {"scc": "its answers: no mirror"}


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as error:
        load_evaluation_sets(tmp_path, listed_sets(tmp_path, "id,answer\n2,d\n"), ["scc"])
    assert str(error.value) == (
        f"{tmp_path / 'answers'} holds 1 answers, which are not those to the 1 questions, one by one. "
        "Fetch it anew: dvc repro download"
    )
