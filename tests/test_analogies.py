"""Analogies: the answers of gensim and of plain loops, whatever the blocks; the rules one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cosine as cosine_distance

from wordlab import analogies
from wordlab.analogies import METHODS, answer_questions, best_answers, distances_to
from wordlab.embeddings import unit_rows
from wordlab.evaluation_sets import Question
from wordlab.rules import Rules


def random_rows(num_words: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    return unit_rows(np.random.default_rng(seed).normal(size=(num_words, dim)).astype(np.float32))


def random_questions(words: list[str], count: int, seed: int = 0) -> list[Question]:
    rng = np.random.default_rng(seed)
    return [Question(f"part {i * 3 // count}", *(words[j] for j in rng.choice(len(words), 4))) for i in range(count)]


def keyed_vectors(words: list[str], rows: NDArray[np.float32]) -> KeyedVectors:
    vectors = KeyedVectors(rows.shape[1])
    vectors.add_vectors(words, rows)
    return vectors


def gensim_correct(
    folder: Path, words: list[str], rows: NDArray[np.float32], questions: list[Question], restrict_vocab: int
) -> dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]]:
    """Section -> questions answered rightly and wrongly, in upper case, by gensim's own evaluator."""
    path = folder / "questions.txt"
    lines = []
    for number, question in enumerate(questions):
        if number == 0 or question.section != questions[number - 1].section:
            lines.append(f": {question.section}")
        lines.append(" ".join(question[1:]))
    path.write_text("\n".join(lines) + "\n")
    _, sections = keyed_vectors(words, rows).evaluate_word_analogies(
        str(path), restrict_vocab=restrict_vocab or len(words), case_insensitive=True, dummy4unknown=False
    )
    return {part["section"]: (part["correct"], part["incorrect"]) for part in sections[:-1]}


def our_correct(
    words: list[str], rows: NDArray[np.float32], questions: list[Question], restrict_vocab: int
) -> dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]]:
    """The same by 3CosAdd here."""
    answers = answer_questions(words, rows, questions, restrict_vocab)
    sections: dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]] = {}
    for question, asked, correct in zip(questions, answers.asked, answers.correct["add"], strict=True):
        right, wrong = sections.setdefault(question.section, ([], []))
        if asked:
            (right if correct else wrong).append(tuple(word.upper() for word in question[1:]))
    return sections


@pytest.mark.parametrize("dim", [3, 50, 301])
@pytest.mark.parametrize("restrict_vocab", [0, 300])
def test_random_vectors_give_the_answers_of_gensim(tmp_path: Path, dim: int, restrict_vocab: int) -> None:
    words = [f"Word{i}" if i % 3 else f"word{i}" for i in range(500)]
    rows = random_rows(500, dim)
    # Questions that have right answers: d lies where b - a + c points to
    rows[3::4] = unit_rows(rows[1::4] - rows[0::4] + rows[2::4] + random_rows(125, dim, seed=1) * 0.4)
    questions = [Question("made", *(word.swapcase() for word in words[i : i + 4])) for i in range(0, 500, 4)]
    questions += random_questions([*words, "unknown"], 200)
    ours = our_correct(words, rows, questions, restrict_vocab)
    assert ours == gensim_correct(tmp_path, words, rows, questions, restrict_vocab)
    assert len(ours["made"][0]) > 10


def test_case_variants_in_the_vocabulary_give_the_answers_of_gensim(tmp_path: Path) -> None:
    """The most frequent spelling gives the vector; the other ones are neither answers nor wrong spellings of one."""
    words = [word for i in range(60) for word in (f"w{i}", f"W{i}")]
    np.random.default_rng(5).shuffle(words)
    rows = random_rows(120, 4)
    # Variants lie close to one another, so that they are among the best answers
    place = {word: number for number, word in enumerate(words)}
    for i in range(60):
        rows[place[f"W{i}"]] = unit_rows((rows[place[f"w{i}"]] + rows[place[f"W{i}"]] * 0.1)[None])[0]
    questions = random_questions(words, 400)
    ours = our_correct(words, rows, questions, 0)
    assert ours == gensim_correct(tmp_path, words, rows, questions, 0)
    assert sum(len(right) for right, _ in ours.values()) > 0


def test_trained_vectors_give_the_answers_of_gensim(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [(f"land{i}", f"city{i}") for i in range(12)]
    sentences = []
    for number in rng.integers(12, size=2000):
        kind = rng.integers(2)
        place, word = pairs[number][kind], ("country", "capital")[kind]
        sentences.append([f"about{number}", place, word, place, f"near{number}", word, place])
    vectors = Word2Vec(sentences, vector_size=20, min_count=1, sg=1, workers=1, seed=1, epochs=20, sample=0).wv
    questions = [Question("capitals", *a, *b) for a in pairs for b in pairs if a != b]
    words, rows = list(vectors.index_to_key), unit_rows(vectors.vectors)
    ours = our_correct(words, rows, questions, 0)
    assert ours == gensim_correct(tmp_path, words, rows, questions, 0)
    assert len(ours["capitals"][0]) > 10


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")
def test_3cosmul_gives_the_answers_of_gensim() -> None:
    words = [f"w{i}" for i in range(200)]
    rows = random_rows(200, 10)
    vectors, questions = keyed_vectors(words, rows), random_questions(words, 150)
    ours = answer_questions(words, rows, questions, 0, Rules(name="gensim")).answers["mul"]
    theirs = [vectors.most_similar_cosmul([q.b, q.c], [q.a], topn=1)[0][0] for q in questions]
    assert [words[answer] for answer in ours] == theirs


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.sampled_from([2, 3, 17]), st.integers(0, 10_000))
def test_blocks_and_chunks_of_any_size_give_the_answers_of_plain_loops(num_words: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(num_words, dim, seed)
    spelling = np.minimum(np.arange(num_words), rng.integers(0, num_words, num_words))
    spelling = spelling[spelling]  # a first spelling is its own first spelling, at least mostly
    queries = spelling[rng.integers(0, num_words, (25, 3))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analogies, "BLOCK_BYTES", 1)
        patch.setattr(analogies, "MIN_BLOCK_WORDS", int(rng.integers(1, 9)))
        patch.setattr(analogies, "CHUNK_QUESTIONS", int(rng.integers(1, 9)))
        found = best_answers(rows, queries, spelling)
    for number, query in enumerate(queries):
        for method in METHODS:
            scores = plain_scores(rows.astype(np.float64), query, method)
            scores[np.isin(spelling, query)] = -np.inf
            answer = found[method][number]
            if np.isinf(scores).all():
                assert answer == -1
            else:
                assert scores[answer] >= scores.max() - 1e-5 * max(1, abs(scores.max()))


def plain_scores(rows: NDArray[np.float64], query: NDArray[np.int64], method: str) -> NDArray[np.float64]:
    """A method's score of every word, one word at a time."""
    a, b, c = rows[query]
    if method == "add":
        return np.array([word @ b - word @ a + word @ c for word in rows])
    near_a, near_b, near_c = ([(word @ x + 1) / 2 for word in rows] for x in (a, b, c))
    return np.array([x * y / (z + 0.001) for x, y, z in zip(near_b, near_c, near_a, strict=True)])


def test_rotating_all_vectors_changes_no_answer() -> None:
    words, rows = [f"w{i}" for i in range(300)], random_rows(300, 20)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))
    questions = random_questions(words, 300)
    before = answer_questions(words, rows, questions, 0)
    after = answer_questions(words, (rows @ rotation).astype(np.float32), questions, 0)
    for method in METHODS:
        assert (before.answers[method] == after.answers[method]).all()


def test_of_equal_answers_the_most_frequent_one_is_given() -> None:
    words = ["a", "b", "c", "often", "seldom"]
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.6, 0.8], [0, 0.6, 0.8]], dtype=np.float32)
    answers = answer_questions(
        words, rows, [Question("s", "a", "b", "c", "often"), Question("s", "a", "b", "c", "seldom")], 0
    )
    assert answers.correct["add"].tolist() == [True, False]
    assert answers.correct["mul"].tolist() == [True, False]


def test_unknown_and_rare_words_are_not_asked() -> None:
    words = ["a", "b", "c", "d", "rare"]
    questions = [Question("s", *"abcd"), Question("s", "a", "b", "c", "rare"), Question("s", "a", "b", "x", "d")]
    assert answer_questions(words, random_rows(5, 3), questions, 4).asked.tolist() == [True, False, False]
    assert answer_questions(words, random_rows(5, 3), questions, 0).asked.tolist() == [True, True, False]
    assert answer_questions(words, random_rows(5, 3), questions, 100).asked.tolist() == [True, True, False]


def test_a_question_that_leaves_no_word_to_answer_is_wrong() -> None:
    answers = answer_questions(["a", "b"], random_rows(2, 3), [Question("s", "a", "b", "a", "b")], 0)
    assert answers.asked.tolist() == [True]
    assert answers.answers["add"].tolist() == [-1]
    assert answers.correct["add"].tolist() == [False]


def test_no_known_question_is_no_error() -> None:
    answers = answer_questions(["a"], random_rows(1, 3), [Question("s", *"wxyz")], 0)
    assert not answers.asked.any()


class Counted(np.ndarray[Any, np.dtype[np.float32]]):
    """Rows that count the products of pairs of them."""

    products = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        plain = [np.asarray(array) for array in inputs]
        if ufunc is np.matmul:
            Counted.products += plain[0].shape[0] * plain[1].shape[-1]
        keywords = {key: tuple(map(np.asarray, value)) if key == "out" else value for key, value in keywords.items()}
        return getattr(ufunc, method)(*plain, **keywords)


def test_cosines_are_computed_once_for_each_word_of_the_questions_and_each_of_the_vocabulary() -> None:
    """However many questions there are: this is what makes them fast, where gensim takes a product for each."""
    words, rows = [f"w{i}" for i in range(3000)], random_rows(3000, 5)
    Counted.products = 0
    answers = answer_questions(words, rows.view(Counted), random_questions(words[:50], 2000), 0)
    assert Counted.products == 50 * 3000
    plain = answer_questions(words, rows, random_questions(words[:50], 2000), 0)
    assert all((answers.answers[method] == plain.answers[method]).all() for method in METHODS)


def test_distances_are_those_of_the_expected_word_from_b_minus_a_plus_c() -> None:
    words, rows = [f"w{i}" for i in range(40)], random_rows(40, 7)
    questions = random_questions([*words, "unknown"], 200)
    found = answer_questions(words, rows, questions, 0).distances
    for question, distance in zip(questions, found, strict=True):
        if "unknown" in question[1:]:
            assert np.isnan(distance)
        else:
            a, b, c, d = (rows[words.index(word)].astype(np.float64) for word in question[1:])
            assert distance == pytest.approx(cosine_distance(b - a + c, d), abs=1e-9)


def test_zero_vectors_have_distance_one() -> None:
    rows = np.zeros((4, 3), np.float32)
    assert distances_to(rows, np.array([[0, 1, 2, 3]])).tolist() == [1.0]
